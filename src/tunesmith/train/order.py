"""Which rows make up each step: a fixed permutation per epoch, so that any step can be found again.

There is no hidden state: the rows of step n follow from seed, parts and batch size alone.

A part is a data set among the training rows. Its rows form an endless stream, one permutation of all of them after
another, and epoch e takes the next ``per_epoch`` of it. So a part of weight 1 shows every row once an epoch, one of
weight 2 twice, one of weight 0.5 one half and then the other, and every row is seen before any is seen again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Consecutive training rows that come from one data set, and how many of them an epoch shows."""

    name: str
    rows: int
    per_epoch: int


class Share(Protocol):
    """A data set and how often it is wanted: by weight, or (``replay``) as a share of the whole epoch."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def weight(self) -> float: ...  # noqa: D102
    @property
    def replay(self) -> float | None: ...  # noqa: D102


def parts_of(sets: Sequence[Share]) -> tuple[Part, ...]:
    """How many rows of each data set make an epoch; those without training rows are left out.

    With N weighted rows and replay shares that sum to s, an epoch has T = N / (1 − s) rows; a replay share q gives q·T.
    """
    used = [one for one in sets if one.rows]
    weighted = {i: max(1, round(one.rows * one.weight)) for i, one in enumerate(used) if one.replay is None}
    total = sum(weighted.values()) / (1.0 - sum(one.replay or 0.0 for one in used))
    return tuple(
        Part(one.path, one.rows, weighted[i] if one.replay is None else max(1, round(one.replay * total)))
        for i, one in enumerate(used)
    )


@dataclass(frozen=True)
class Order:
    """``rows`` training rows, ``per_step`` of them in each optimiser step; an epoch's last step may hold fewer.

    ``parts`` divides the rows, in order; without parts, an epoch shows every row once.
    """

    rows: int
    per_step: int
    seed: int
    parts: tuple[Part, ...] = ()

    @property
    def per_epoch(self) -> int:
        """Rows that an epoch shows; a row that is shown twice counts twice."""
        return sum(part.per_epoch for part in self.parts) or self.rows

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return math.ceil(self.per_epoch / self.per_step)

    def total_steps(self, epochs: float, max_steps: int) -> int:
        """Steps of the run: ``max_steps`` where it is above 0, else the epochs."""
        return max_steps or max(1, math.ceil(self.steps_per_epoch * epochs))

    def step(self, step: int) -> list[int]:
        """Row numbers of optimiser step ``step`` (counted from 0)."""
        epoch, within = divmod(step, self.steps_per_epoch)
        return list(_epoch(self, epoch)[within * self.per_step : (within + 1) * self.per_step])

    def seen(self, steps: int) -> list[int]:
        """How often each row is shown in the first ``steps`` steps."""
        counts = [0] * self.rows
        for epoch in range(math.ceil(steps / self.steps_per_epoch)):
            left = (steps - epoch * self.steps_per_epoch) * self.per_step
            for row in _epoch(self, epoch)[:left]:
                counts[row] += 1
        return counts


@lru_cache(maxsize=2)  # an epoch has many steps, and shuffling it is dear; the result follows from the arguments alone
def _epoch(order: Order, epoch: int) -> tuple[int, ...]:
    """Row numbers of an epoch, in order."""
    chosen: list[int] = []
    start = 0
    for number, part in enumerate(order.parts or (Part("", order.rows, order.rows),)):
        chosen += [start + row for row in _taken(part, f"{order.seed}:{number}", epoch)]
        start += part.rows
    random.Random(f"{order.seed}:{epoch}").shuffle(chosen)
    return tuple(chosen)


def _taken(part: Part, seed: str, epoch: int) -> list[int]:
    """The rows of a part that an epoch shows: the next of its endless stream of permutations, sorted."""
    first, end = epoch * part.per_epoch, (epoch + 1) * part.per_epoch
    taken: list[int] = []
    for turn in range(first // part.rows, math.ceil(end / part.rows)):
        begin, stop = max(0, first - turn * part.rows), min(part.rows, end - turn * part.rows)
        rows = list(range(part.rows))
        if (begin, stop) != (0, part.rows):
            random.Random(f"{seed}:part:{turn}").shuffle(rows)
        taken += rows[begin:stop]
    return sorted(taken)


def dealt(lengths: Sequence[int], size: int, world: int, rank: int) -> list[list[int]]:
    """The rows of a step that one of ``world`` processes takes, by place, in forward passes of at most ``size``.

    Longer rows are dealt first, to and fro, so that processes have about as many tokens. All get the same number of
    forward passes; where there are too few rows, the last ones are empty. One process takes all rows in their order.
    """
    rounds = math.ceil(math.ceil(len(lengths) / world) / size)
    longest = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    seats = [*range(world), *reversed(range(world))]
    mine = sorted(row for turn, row in enumerate(longest) if seats[turn % len(seats)] == rank)
    return [mine[i * size : (i + 1) * size] for i in range(rounds)]


def micro_batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """The rows of a step in forward passes of at most ``size``."""
    return [items[i : i + size] for i in range(0, len(items), size)]
