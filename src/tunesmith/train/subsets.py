"""Parts of the training rows as a run of their own: which rows, and how often an epoch shows them.

A row of a data set may be several tokenised ones (a template that rewrites history, a text in pieces): these stay
together. No torch here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from tunesmith.core.records import Record, TokenizedExample
from tunesmith.core.rows import TokenRows, endings, lengths, trained
from tunesmith.train.config import Config
from tunesmith.train.order import Order, Part

KIND = "subset-training"
"""What a finished training is called in the workspace."""

POINTS = 4
"""Validations of a training, at equal shares of its own steps: small and large ones have as many chances."""


class SubsetTraining(Record):
    """A training on some of the rows, and what the validation rows said at its lowest validation loss."""

    key: str
    """Identity: configuration, base, template, chosen rows, validation rows. Equal keys are the same training."""
    seed: int
    rows: int
    """Rows of the data set that it saw."""
    steps: int
    seconds: float
    loss: float
    """Lowest validation loss, in nats per target token."""
    losses: tuple[float, ...]
    """Loss per target token of each validation row then, in order."""
    still_falling: float = 0.0
    """By how much the validation loss fell between the last two validations; 0 when the last was not the lowest."""


@dataclass(frozen=True)
class Unit:
    """A row of the data set: its id, its place among the parts, and its tokenised rows."""

    id: str
    part: int
    rows: tuple[int, ...]


class Chosen(TokenRows):
    """Some of the tokenised rows, in their order; nothing is copied."""

    def __init__(self, rows: Sequence[TokenizedExample], numbers: Sequence[int]) -> None:
        self._rows, self._numbers = rows, numbers

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each row."""
        known = lengths(self._rows)
        return [known[number] for number in self._numbers]

    @property
    def trained(self) -> Sequence[int]:
        """Trained tokens of each row."""
        known = trained(self._rows)
        return [known[number] for number in self._numbers]

    def endings(self) -> Iterable[tuple[int, float]]:
        """Last token and its weight of each trained answer, and of each plain text (not of each piece of it)."""
        return endings(list(self))

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> TokenizedExample: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[TokenizedExample]: ...

    def __getitem__(self, index: int | slice) -> TokenizedExample | Sequence[TokenizedExample]:
        if isinstance(index, slice):
            return Chosen(self._rows, self._numbers[index])
        return self._rows[self._numbers[index]]

    def __iter__(self) -> Iterator[TokenizedExample]:
        return (self._rows[number] for number in self._numbers)


def units_of(rows: Sequence[TokenizedExample], parts: Sequence[Part] = ()) -> list[Unit]:
    """The rows of the data set behind the tokenised ones, in order; equal rows of a part are one unit."""
    ends = [0]
    for part in parts:
        ends.append(ends[-1] + part.rows)
    found: dict[tuple[int, str], list[int]] = {}
    place = 0
    for number, row in enumerate(rows):
        while place + 1 < len(parts) and number >= ends[place + 1]:
            place += 1
        found.setdefault((place, row.example_id), []).append(number)
    return [Unit(id, part, tuple(numbers)) for (part, id), numbers in found.items()]


def nested(units: Sequence[Unit], share: float, seed: int) -> list[Unit]:
    """A random share of the units of each part; of one seed, a smaller share lies inside every larger one."""
    chosen: list[Unit] = []
    for part in sorted({unit.part for unit in units}):
        mine = [unit for unit in units if unit.part == part]
        random.Random(f"{seed}:subset:{part}").shuffle(mine)
        chosen += mine[: max(1, round(share * len(mine)))]
    return chosen


def drawn(units: Sequence[Unit], count: int, seed: int) -> list[Unit]:
    """So many units, by chance."""
    return random.Random(f"{seed}:drawn").sample(list(units), count)


def numbers_of(units: Sequence[Unit]) -> list[int]:
    """Numbers of their tokenised rows, in the order of the data set."""
    return sorted(number for unit in units for number in unit.rows)


def parts_for(units: Sequence[Unit], parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts that remain, each shown as often as before in proportion to its rows."""
    counts = [0] * len(parts)
    for unit in units:
        if parts:
            counts[unit.part] += len(unit.rows)
    left = [(part, count) for part, count in zip(parts, counts, strict=True) if count]
    return tuple(Part(part.name, count, max(1, round(part.per_epoch * count / part.rows))) for part, count in left)


def config_for(config: Config, seed: int, order: Order, whole: Order) -> Config:
    """The configuration of a training on some rows: as many epochs as the whole has, validated at equal shares.

    Args:
        seed: of this training.
        order: of the chosen rows.
        whole: of all rows; ``max_steps`` counts on these, and is lowered in proportion.
    """
    most = config.max_steps
    if most:
        most = max(1, round(most * order.steps_per_epoch / whole.steps_per_epoch))
    total = order.total_steps(config.num_train_epochs, most)
    return config.model_copy(
        update={
            "seed": seed,
            "max_steps": most,
            "eval_steps": max(1, math.ceil(total / POINTS)),
            "early_stopping_patience": 0,
        }
    )
