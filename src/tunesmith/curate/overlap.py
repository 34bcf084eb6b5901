"""Rows that stand on both sides: the model would be judged on what it was trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.observe import Outcome, Setting, finding, put_aside

OVERLAP = "rows in more than one split"


class Overlap:
    """Questions that stand in more than one split, where files say which split they are."""

    def __init__(self, setting: Setting) -> None:
        self._numbers: dict[str, list[int]] = defaultdict(list)
        self._has_splits = setting.has_splits

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone."""
        if self._has_splits:
            self._numbers[row.prompt_key].append(row.number)
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """The questions on two sides."""
        if not self._has_splits:
            return Outcome(not_checked="overlap (no file has a split; rows are split by content)")
        groups = [numbers for numbers in self._numbers.values() if len(numbers) > 1]
        return Outcome([found for numbers in groups for found in _shared([corpus[n] for n in numbers])])


def _shared(rows: list[Row]) -> Iterable[Finding]:
    examples = [row.example for row in rows]
    splits = {example.split: example for example in reversed(examples) if example.split}
    if len(splits) > 1:
        where = ", ".join(f"{split} ({example.source})" for split, example in splits.items())
        held_out = next(example for example in examples if example.split not in (None, "train"))
        trained = tuple(example.source for example in examples if example.split == "train")
        yield finding(
            OVERLAP,
            "error",
            f"the same {'text' if examples[0].is_document else 'question'} stands in {where}",
            held_out,
            "remove it from all but one of the files, or leave split out: rows are then split by content",
            others=tuple(example.source for example in examples if example is not held_out),
            action=put_aside(*trained) if trained else None,
        )
