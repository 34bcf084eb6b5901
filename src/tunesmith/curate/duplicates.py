"""Copies of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.observe import Outcome, Setting, finding, places, put_aside

COPIES = "exact duplicates"


class Copies:
    """Rows whose normalised question and answer stand more than once: one finding for each group."""

    def __init__(self, setting: Setting) -> None:
        self._numbers: dict[str, list[int]] = defaultdict(list)

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone."""
        self._numbers[row.row_key].append(row.number)
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """The groups, by their first row."""
        groups = [numbers for numbers in self._numbers.values() if len(numbers) > 1]
        findings = [_copied([corpus[number] for number in numbers]) for numbers in groups]
        return Outcome(findings, figures={"groups": len(groups), "copies": sum(map(len, groups)) - len(groups)})


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
