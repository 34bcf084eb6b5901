"""Rows that stand more than once: as exact copies, or nearly the same."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence

from pydantic import Field

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding, Record
from tunesmith.core.spool import Spool
from tunesmith.curate.checks.near import THRESHOLD, Cluster, Near, near_duplicates
from tunesmith.curate.checks.observe import Outcome, Setting, finding, places, put_aside
from tunesmith.curate.corpus import Corpus, Row

COPIES = "exact duplicates"
NEAR = "near duplicates"


class NearOptions(Record):
    """Near duplicates."""

    threshold: float = Field(
        default=THRESHOLD,
        ge=0.7,
        le=1.0,
        description="Least Jaccard similarity of the 5-grams of two rows that are reported as near duplicates.",
    )


class Copies:
    """Rows whose normalised question and answer stand more than once: one finding for each group."""

    def __init__(self, setting: Setting) -> None:
        self._numbers: dict[str, list[int]] = defaultdict(list)
        self._questions: set[str] = set()
        self._answers: set[int] = set()

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone."""
        self._numbers[row.row_key].append(row.number)
        self._questions.add(row.prompt_key)
        self._answers.add(hash(row.answered))
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """The groups, by their first row; of equal questions and equal answers, the number."""
        groups = [numbers for numbers in self._numbers.values() if len(numbers) > 1]
        findings = [_copied([corpus[number] for number in numbers]) for numbers in groups]
        figures = {
            "groups": len(groups),
            "copies": sum(map(len, groups)) - len(groups),
            "rows_with_a_question_again": len(corpus) - len(self._questions),
            "rows_with_an_answer_again": len(corpus) - len(self._answers),
        }
        return Outcome(findings, figures=figures)


def _copied(rows: list[Row]) -> Finding:
    sources = [row.example.source for row in rows]
    return finding(
        COPIES,
        "warning",
        f"the row stands {len(rows)} times: {places(sources)}",
        rows[0].example,
        "remove the copies: they count as often as they stand there",
        others=tuple(sources[1:]),
        action=put_aside(*sources[1:]),
    )


class NearDuplicates:
    """Rows whose question and answer together are nearly the same; exact copies are the other check's business."""

    def __init__(self, setting: Setting) -> None:
        self._threshold = setting.options.near_duplicates.threshold
        self._texts = Spool(str)
        self._numbers = array("q")
        self._seen: set[int] = set()

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone."""
        key = hash(row.row_key)
        if key not in self._seen:
            self._seen.add(key)
            self._texts.append(row.whole)
            self._numbers.append(row.number)
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """One finding for each cluster."""
        found = near_duplicates(self._texts, self._threshold, progress)
        findings = [_near(corpus, self._numbers, found, cluster) for cluster in found.clusters]
        sizes = [len(cluster.members) for cluster in found.clusters]
        left = found.not_compared
        return Outcome(
            findings,
            remark=f"; not compared: at most {left:,} pairs of rows of one mould" if left else "",
            figures={
                "threshold": self._threshold,
                "clusters": len(sizes),
                "rows": sum(sizes),
                "largest": max(sizes, default=0),
                "pairs_measured": found.measured,
                "pairs_not_compared": left,
            },
        )


def _near(corpus: Corpus, numbers: Sequence[int], found: Near, cluster: Cluster) -> Finding:
    """What hangs together; copies go aside where nothing but the wording of the question differs."""
    rows = [corpus[numbers[member]] for member in cluster.members]
    sources = [row.example.source for row in rows]
    answers = {row.answered for row in rows if not row.example.is_document}
    agree = len(answers) < 2
    spare = found.spare(cluster)[1] if agree else []
    aside = [corpus[numbers[member]].example.source for member in spare]
    more = "" if agree else "; their answers differ"
    return finding(
        NEAR,
        "warning",
        f"{len(rows)} rows are nearly the same (lowest Jaccard {cluster.lowest:.2f}){more}: {places(sources)}",
        rows[0].example,
        "keep one of them: together they count several times" if agree else "keep the right one, unless all are meant",
        others=tuple(sources[1:]),
        action=put_aside(*aside) if aside else None,
    )
