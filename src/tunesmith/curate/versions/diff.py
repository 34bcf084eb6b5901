"""What differs between two data sets: rows that came, that went, that have another answer, and that changed splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.core.events import Emit, ignore, ticking
from tunesmith.core.records import Example, Record, Source
from tunesmith.core.spool import Spool
from tunesmith.curate.config import Config
from tunesmith.curate.corpus import Row
from tunesmith.curate.keys import prompt_key, row_key
from tunesmith.curate.reading.read import labels_of, open_reading
from tunesmith.curate.split import assign

LONGEST = 160
"""Characters of a text that are shown."""


class Difference(Record):
    """One row that differs. ``before`` is None for one that came, ``after`` for one that went."""

    question: str
    before: Source | None = None
    after: Source | None = None
    answer_before: str = ""
    answer_after: str = ""
    split_before: str = ""
    split_after: str = ""


class DataDiff(Record):
    """Two data sets side by side; rows are the same when their normalised question and answer are."""

    rows_before: int
    rows_after: int
    same: int
    respelled: int
    """Rows among the same ones that differ in case, white space or Unicode form alone."""
    reordered: bool
    added: tuple[Difference, ...] = ()
    removed: tuple[Difference, ...] = ()
    changed: tuple[Difference, ...] = ()
    """The same question with another answer."""
    moved: tuple[Difference, ...] = ()
    """The same row in another split."""

    @property
    def is_empty(self) -> bool:
        """Whether the two have the same rows, however they are ordered and spelled."""
        return not (self.added or self.removed or self.changed or self.moved)


@dataclass(frozen=True)
class _Key:
    number: int
    question: str
    row: str
    id: str
    split: str


@dataclass(frozen=True)
class _Side:
    examples: Spool[Example]
    keys: Sequence[_Key]


def diff(before: Config, after: Config, emit: Emit = ignore) -> DataDiff:
    """Compare two data sets, each with the splits that its configuration gives.

    Raises:
        DataError: a row cannot be read.
    """
    old, new = _read(before, emit), _read(after, emit)
    pairs, gone, come = _matched(old.keys, new.keys)
    changed, gone, come = _same_question(gone, come)
    moved = [(a, b) for a, b in pairs if a.split != b.split]
    return DataDiff(
        rows_before=len(old.keys),
        rows_after=len(new.keys),
        same=len(pairs),
        respelled=sum(a.id != b.id for a, b in pairs),
        reordered=[b.number for _, b in pairs] != sorted(b.number for _, b in pairs),
        added=tuple(_told(old, new, None, key) for key in come),
        removed=tuple(_told(old, new, key, None) for key in gone),
        changed=tuple(_told(old, new, a, b) for a, b in changed),
        moved=tuple(_told(old, new, a, b) for a, b in moved),
    )


def _read(config: Config, emit: Emit) -> _Side:
    examples: Spool[Example] = Spool(Example)
    for spec in config.datasets:
        ticks = ticking(emit, f"reading {Path(spec.path).name}")
        for example in open_reading(spec, progress=ticks, labels=labels_of(config)).examples:
            examples.append(example)
    splits = assign(examples, config)
    keys = [
        _Key(number, prompt_key(example), row_key(example), example.id, str(split or ""))
        for number, (example, split) in enumerate(zip(examples, splits, strict=True))
    ]
    return _Side(examples, keys)


def _matched(old: Iterable[_Key], new: Iterable[_Key]) -> tuple[list[tuple[_Key, _Key]], list[_Key], list[_Key]]:
    """The rows that stand on both sides, as often as they do; the same split and spelling first. And the others."""
    waiting: dict[str, list[_Key]] = defaultdict(list)
    for key in new:
        waiting[key.row].append(key)
    pairs, gone = [], []
    for key in old:
        candidates = waiting[key.row]
        if not candidates:
            gone.append(key)
            continue
        best = min(candidates, key=lambda other: (other.split != key.split, other.id != key.id, other.number))
        candidates.remove(best)
        pairs.append((key, best))
    come = sorted((key for keys in waiting.values() for key in keys), key=lambda key: key.number)
    return pairs, gone, come


def _same_question(
    gone: Sequence[_Key], come: Sequence[_Key]
) -> tuple[list[tuple[_Key, _Key]], list[_Key], list[_Key]]:
    """Rows whose question stands on both sides with different answers, paired in order; and the others."""
    answers: dict[str, list[_Key]] = defaultdict(list)
    for key in come:
        answers[key.question].append(key)
    changed, left = [], []
    for key in gone:
        if answers[key.question]:
            changed.append((key, answers[key.question].pop(0)))
        else:
            left.append(key)
    used = Counter(key.number for _, key in changed)
    return changed, left, [key for key in come if not used[key.number]]


def _told(old: _Side, new: _Side, before: _Key | None, after: _Key | None) -> Difference:
    a = Row(before.number, old.examples[before.number]) if before else None
    b = Row(after.number, new.examples[after.number]) if after else None
    shown = b or a
    assert shown is not None
    return Difference(
        question=_short(shown.answer if shown.example.is_document else shown.question),
        before=a.example.source if a else None,
        after=b.example.source if b else None,
        answer_before="" if a is None or a.example.is_document else _short(a.answer),
        answer_after="" if b is None or b.example.is_document else _short(b.answer),
        split_before=before.split if before else "",
        split_after=after.split if after else "",
    )


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
