"""What two sets of rows have in common that they must not have: rows of one that give away rows of the other.

The kinds, strongest first: the same question; the same options in another order; nearly the same question; the same
answer under another question; a long run of the same words.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

from tunesmith.core.records import Source
from tunesmith.core.spool import Spool
from tunesmith.curate.checks.choices import choice_key
from tunesmith.curate.checks.near import Tell, near_duplicates
from tunesmith.curate.checks.runs import COMMON, longest_runs
from tunesmith.curate.corpus import Row, said

LONG_RUN = 13
"""A run of so many words is hardly chance (Brown et al., 2020); one of eight may be."""

_TELLING_WORDS, _TELLING_LETTERS = 5, 25
"""An answer with fewer words and letters is a label or a number: that it stands elsewhere says nothing."""

_COMPARED = 200
"""Training rows of a cluster of near duplicates that a held-out row is measured against."""

Value = str | int | None


@dataclass
class Side:
    """Rows as they are compared, and where they stand."""

    questions: Spool[str] = field(default_factory=lambda: Spool(str))
    answers: Spool[str] = field(default_factory=lambda: Spool(str))
    choices: list[int | None] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    """Of rows that a model is judged on; those that train need none (it is a digest of the whole row)."""

    def add(self, row: Row, split: str) -> None:
        """Add a row; a plain text is all question."""
        example = row.example
        self.questions.append(row.answered if example.is_document else row.asked)
        self.answers.append("" if example.is_document else row.answered)
        users = [said(turn) for turn in example.messages if turn.role != "system"]
        self.choices.append(choice_key("\n".join(users)) if users else None)
        self.splits.append(split)
        self.sources.append(example.source)
        self.ids.append("" if split == "train" else example.id)

    def part(self, numbers: Iterable[int]) -> Side:
        """Some of the rows."""
        some = Side()
        for i in numbers:
            some.questions.append(self.questions[i])
            some.answers.append(self.answers[i])
            some.choices.append(self.choices[i])
            some.splits.append(self.splits[i])
            some.sources.append(self.sources[i])
            some.ids.append(self.ids[i])
        return some

    def __len__(self) -> int:
        return len(self.splits)


@dataclass(frozen=True)
class Leak:
    """Why a held-out row is given away, and by which rows of the other side."""

    kind: str
    """verbatim, options, near, answer, run (13 words and more) or short run."""
    rows: tuple[int, ...]
    said: str

    @property
    def is_strong(self) -> bool:
        """Whether it is the same question, if perhaps with its options in another order."""
        return self.kind in ("verbatim", "options")


def leaks(
    held: Side, others: Side, threshold: float, tell: Tell | None = None, *, apart: bool = False
) -> tuple[dict[int, Leak], int]:
    """Number of a held-out row → its strongest leak, and how many near duplicates were not compared.

    ``apart``: it is known already that no two questions of the two sides are near duplicates.
    """
    found: dict[int, Leak] = {}
    near, left = ([], 0) if apart else _near(held, others, threshold, tell)
    for kind in (
        _equal(held, others),
        _reordered(held, others),
        near,
        _answers(held, others),
        _runs(held, others, tell),
    ):
        for number, leak in kind:
            found.setdefault(number, leak)
    return found, left


def _equal(held: Side, others: Side) -> Iterator[tuple[int, Leak]]:
    for number, rows in _same(held.questions, others.questions):
        yield number, Leak("verbatim", rows, "its question stands word for word in")


def _reordered(held: Side, others: Side) -> Iterator[tuple[int, Leak]]:
    for number, rows in _same(held.choices, others.choices):
        yield number, Leak("options", rows, "its question stands with the options in another order in")


def _same(
    held: Iterable[str | int | None], others: Iterable[str | int | None]
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Numbers of held-out values, with the numbers of the same value on the other side; empty ones are left out."""
    wanted: dict[str | int, list[int]] = defaultdict(list)
    for number, value in enumerate(held):
        if value:
            wanted[value].append(number)
    where: dict[str | int, array[int]] = {}
    for number, value in enumerate(others):
        if value and value in wanted:
            where.setdefault(value, array("q")).append(number)
    for value, rows in where.items():
        yield from ((number, tuple(rows)) for number in wanted[value])


def _answers(held: Side, others: Side) -> Iterator[tuple[int, Leak]]:
    """Answers that say something, equal or whole within a text of the other side."""
    telling = [answer if _is_telling(answer) else None for answer in held.answers]
    for number, rows in _same(telling, others.answers):
        if len(rows) <= COMMON:
            yield number, Leak("answer", rows, "its answer stands under another question in")


def _is_telling(answer: str) -> bool:
    return len(answer) >= _TELLING_LETTERS or answer.count(" ") >= _TELLING_WORDS - 1


def _near(held: Side, others: Side, threshold: float, tell: Tell | None) -> tuple[list[tuple[int, Leak]], int]:
    """Questions that are nearly the same."""
    both = Chain(held.questions, others.questions)
    found = near_duplicates(both, threshold, tell)
    result = []
    for cluster in found.clusters:
        mine = [member for member in cluster.members if member < len(held)]
        theirs = [member for member in cluster.members if member >= len(held)][:_COMPARED]
        for member in mine:
            values = {other - len(held): found.measure.of(member, other) for other in theirs}
            rows = tuple(other for other, value in values.items() if value >= threshold)
            if rows:
                best = max(values.values())
                result.append(
                    (member, Leak("near", rows, f"its question stands nearly the same (Jaccard {best:.2f}) in"))
                )
    return result, found.not_compared


def _runs(held: Side, others: Side, tell: Tell | None) -> Iterator[tuple[int, Leak]]:
    """Long runs of words of question or answer; the one that covers more of its text counts."""
    mine, theirs = Chain(held.questions, held.answers), Chain(others.questions, others.answers)
    best: dict[int, tuple[tuple[bool, float], Leak]] = {}
    for run in longest_runs(mine, theirs, tell):
        words = mine[run.held].count(" ") + 1
        number, other = run.held % len(held), run.other % len(others)
        part = "question" if run.held < len(held) else "answer"
        part = part if held.answers[number] else "text"
        share = run.words / words
        if part == "answer" and share == 1:
            leak = Leak("answer", (other,), "its answer stands under another question in")
        else:
            text = f"{run.words} words in a row of its {part} ({share:.0%} of it) stand in"
            leak = Leak("run" if run.words >= LONG_RUN else "short run", (other,), text)
        rank = (run.words >= LONG_RUN, share)
        if number not in best or rank > best[number][0]:
            best[number] = (rank, leak)
    return ((number, leak) for number, (_, leak) in best.items())


class Chain(Sequence[str]):
    """Two sequences of texts, one after the other."""

    def __init__(self, first: Sequence[str], second: Sequence[str]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        start = len(self._first)
        return self._first[number] if number < start else self._second[number - start]
