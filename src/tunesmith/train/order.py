"""Which rows make up each step: a fixed permutation per epoch, so that any step can be found again.

There is no hidden state: the rows of step n follow from seed, number of rows and batch size alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """``rows`` training rows, ``per_step`` of them in each optimiser step; an epoch's last step may hold fewer."""

    rows: int
    per_step: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps that see every row once."""
        return math.ceil(self.rows / self.per_step)

    def total_steps(self, epochs: float, max_steps: int) -> int:
        """Steps of the run: ``max_steps`` where it is above 0, else the epochs."""
        return max_steps or max(1, math.ceil(self.steps_per_epoch * epochs))

    def step(self, step: int) -> list[int]:
        """Row numbers of optimiser step ``step`` (counted from 0)."""
        epoch, within = divmod(step, self.steps_per_epoch)
        shuffled = list(range(self.rows))
        random.Random(f"{self.seed}:{epoch}").shuffle(shuffled)
        return shuffled[within * self.per_step : (within + 1) * self.per_step]


def micro_batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """The rows of a step in forward passes of at most ``size``."""
    return [items[i : i + size] for i in range(0, len(items), size)]
