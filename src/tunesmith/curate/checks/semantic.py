"""Rows that say about the same in other words."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

from pydantic import Field, model_validator

from tunesmith.core.errors import ConfigError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding, Record
from tunesmith.core.spool import Spool
from tunesmith.curate.checks.near import THRESHOLD, Measure
from tunesmith.curate.checks.observe import Outcome, Setting, finding, places
from tunesmith.curate.checks.vectors import close_pairs, space_of
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.keys import rank
from tunesmith.text.embedder import require_embedder

SEMANTIC = "semantic duplicates"

LIMIT = 200_000
"""So many rows are compared; of more, a choice that follows from their content."""


class SemanticOptions(Record):
    """Rows that say about the same."""

    embedder: str = Field(
        default="",
        description="Folder of a sentence-transformers model on this machine; empty: TF-IDF over words and characters.",
    )
    report: float = Field(default=0.95, gt=0.5, le=1.0, description="Least cosine of rows that are reported.")
    review: float = Field(default=0.90, gt=0.5, le=1.0, description="Least cosine of rows that are worth a look.")

    @model_validator(mode="after")
    def _review_less_than_report(self) -> SemanticOptions:
        if self.review > self.report:
            raise ConfigError(
                f"review is {self.review:g}, report is {self.report:g}",
                where="checks.semantic_duplicates",
                rule="what is worth a look begins at a lower cosine than what is reported",
                fix="lower review, or raise report",
            )
        return self


class SemanticDuplicates:
    """Rows whose question and answer together say about the same; near duplicates are the other check's business."""

    def __init__(self, setting: Setting) -> None:
        self._options = setting.options.semantic_duplicates
        require_embedder(self._options.embedder)
        self._texts = Spool(str)
        self._numbers = array("q")
        self._seen: set[int] = set()

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone."""
        key = hash(row.row_key)
        if key not in self._seen and (text := row.whole):
            self._seen.add(key)
            self._texts.append(text)
            self._numbers.append(row.number)
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """One finding for each group of rows at or over ``report``, and one for each pair over ``review``."""
        order = sorted(range(len(self._texts)), key=lambda i: rank(self._texts[i]))[:LIMIT]
        left = len(self._texts) - len(order)
        texts = Spool(str)
        for i in order:
            texts.append(self._texts[i])
        space = space_of(texts, self._options.embedder, progress)
        close = close_pairs(space, self._options.review)
        measure = Measure(texts)
        pairs = [pair for pair in close.pairs if measure.of(*pair[:2]) < THRESHOLD]
        numbers = [self._numbers[i] for i in order]
        findings = list(_findings(corpus, numbers, pairs, self._options.report))
        reported = sum(found.severity == "warning" for found in findings)
        missed = [f"{left:,} rows"] * (left > 0) + [f"at most {close.not_compared:,} pairs"] * (close.not_compared > 0)
        return Outcome(
            findings,
            remark=f" (by {space.name}" + (f"; not compared: {' and '.join(missed)})" if missed else ")"),
            figures={
                "by": space.name,
                "report": self._options.report,
                "review": self._options.review,
                "groups_reported": reported,
                "pairs_to_review": len(findings) - reported,
                "rows_not_compared": left,
                "pairs_not_compared": close.not_compared,
            },
        )


def _findings(
    corpus: Corpus, numbers: Sequence[int], pairs: Sequence[tuple[int, int, float]], report: float
) -> Iterator[Finding]:
    parent: dict[int, int] = {}

    def root(i: int) -> int:
        while parent.get(i, i) != i:
            i = parent[i]
        return i

    lowest: dict[int, float] = {}
    for a, b, cosine in pairs:
        if cosine >= report:
            one, other = sorted((root(a), root(b)), key=lambda i: numbers[i])
            parent[other] = one
            lowest[one] = min(cosine, lowest.get(one, 1.0), lowest.pop(other, 1.0) if one != other else 1.0)
    groups: dict[int, list[int]] = {}
    for member in sorted({i for a, b, cosine in pairs if cosine >= report for i in (a, b)}, key=lambda i: numbers[i]):
        groups.setdefault(root(member), []).append(member)
    for first, members in groups.items():
        rows = [corpus[numbers[i]] for i in members]
        yield _finding(rows, f"{len(rows)} rows say about the same (lowest cosine {lowest[first]:.2f})", "warning")
    for a, b, cosine in pairs:
        if cosine < report and root(a) != root(b):
            rows = [corpus[n] for n in sorted((numbers[a], numbers[b]))]
            yield _finding(rows, f"2 rows may say about the same (cosine {cosine:.2f})", "info")


def _finding(rows: Sequence[Row], message: str, severity: str) -> Finding:
    sources = [row.example.source for row in rows]
    fix = "keep the better one, unless the variety is wanted; paraphrases are no error in themselves"
    return finding(
        SEMANTIC,
        severity,  # type: ignore[arg-type]
        f"{message}: {places(sources)}",
        rows[0].example,
        fix,
        others=tuple(sources[1:]),
    )
