"""Different answers to one question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.observe import Outcome, Setting, finding, places

CONFLICTS = "conflicting answers"


class Conflicts:
    """Questions that stand more than once with different answers: one finding for each."""

    def __init__(self, setting: Setting) -> None:
        self._answers: dict[str, dict[str, int]] = defaultdict(dict)

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone."""
        self._answers[row.prompt_key].setdefault(row.row_key, row.number)
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """The questions, by their first row."""
        groups = [list(numbers.values()) for numbers in self._answers.values() if len(numbers) > 1]
        return Outcome([_conflicting([corpus[number] for number in numbers]) for numbers in groups])


def _conflicting(rows: list[Row]) -> Finding:
    sources = [row.example.source for row in rows]
    return finding(
        CONFLICTS,
        "warning",
        f"the same question has {len(rows)} different answers: {places(sources)}",
        rows[0].example,
        "keep the right answer, unless several are right",
        others=tuple(sources[1:]),
    )
