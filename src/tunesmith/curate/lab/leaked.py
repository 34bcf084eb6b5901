"""Planted leaks: training rows that give held-out rows away, each in one known way."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tunesmith.core.records import Example, Split
from tunesmith.curate.lab.planted import numbered, row

_LETTERS = "ABCDEF"

Leak = Callable[[Example, Example], Example]
"""Of a held-out row and a training row, the training row that gives the first away."""


@dataclass(frozen=True)
class Leaked:
    """Training and test rows: number of a test row that is given away → number of the training row that does it."""

    rows: list[Example]
    kind: str
    """verbatim, answer, run or options: how it is given away."""
    by: Mapping[int, int]


def question_leaks(rows: Sequence[Example], count: int, rng: random.Random) -> Leaked:
    """The question of a test row stands in training word for word, with another answer."""
    return _leaked(rows, count, rng, "verbatim", lambda held, other: row(held.messages[0].text, other.target.text))


def answer_leaks(rows: Sequence[Example], count: int, rng: random.Random) -> Leaked:
    """The answer of a test row stands in training under another question."""
    return _leaked(rows, count, rng, "answer", lambda held, other: row(other.messages[0].text, held.target.text))


def passage_leaks(rows: Sequence[Example], count: int, rng: random.Random) -> Leaked:
    """Fifteen words in a row of the question of a test row stand in a training row."""

    def passage(held: Example, other: Example) -> Example:
        words = held.messages[0].text.split()
        start = rng.randrange(len(words) - 14)
        return row(f"{other.messages[0].text} {' '.join(words[start : start + 15])}", other.target.text)

    return _leaked(rows, count, rng, "run", passage)


def option_leaks(count: int, leaks: int, rng: random.Random) -> Leaked:
    """Sums with four options; some stand in training with the options in another order."""
    rows = [_sum(rng.sample(range(10_000, 900_000), 2), rng) for _ in range(count)]
    rows = list({example.messages[0].text.partition("?")[0]: example for example in rows}.values())
    return _leaked(rows, leaks, rng, "options", lambda held, other: _reordered(held, rng))


def _sum(numbers: Sequence[int], rng: random.Random) -> Example:
    a, b = numbers
    options = [a + b, a + b + 10, a + b - 1, abs(a - b)]
    rng.shuffle(options)
    return _choice(f"What is {a} plus {b}?", [str(option) for option in options], str(a + b))


def _choice(stem: str, options: Sequence[str], right: str) -> Example:
    lines = [f"{letter}) {option}" for letter, option in zip(_LETTERS, options, strict=False)]
    return row("\n".join([stem, *lines, "Answer with one letter."]), _LETTERS[options.index(right)])


def _reordered(held: Example, rng: random.Random) -> Example:
    stem, *lines, _ = held.messages[0].text.split("\n")
    options = [line.partition(") ")[2] for line in lines]
    right = options[_LETTERS.index(held.target.text)]
    moved = list(options)
    while moved == options:
        rng.shuffle(moved)
    return _choice(stem, moved, right)


def _leaked(rows: Sequence[Example], count: int, rng: random.Random, kind: str, leak: Leak) -> Leaked:
    """A fifth of the rows as test, the others in training, and ``count`` leaks among these."""
    shuffled = list(rows)
    rng.shuffle(shuffled)
    held, others, spare = shuffled[: len(rows) // 5], shuffled[len(rows) // 5 :], shuffled[-count:]
    given = rng.sample(range(len(held)), count)
    train = [*others[: len(others) - count], *(leak(held[i], other) for i, other in zip(given, spare, strict=True))]
    places = list(range(len(train)))
    rng.shuffle(places)
    mixed = numbered([*(train[place] for place in places), *held])
    splits: list[Split] = ["train"] * len(train) + ["test"] * len(held)
    placed = [example.model_copy(update={"split": split}) for example, split in zip(mixed, splits, strict=True)]
    by = {len(train) + i: places.index(len(others) - count + n) for n, i in enumerate(given)}
    return Leaked(placed, kind, by)
