"""What a row of the training table is: the shape of its documents, the method, and how long it is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import rows
from benchmarks.rows import Rows


@dataclass(frozen=True)
class Shape:
    """Documents of a kind, and how many of them make a step."""

    about: str
    load: Callable[[], Rows]
    batch: int


@dataclass(frozen=True)
class Method:
    """A way to train: its learning rate (constant), and what one step is."""

    about: str
    learning_rate: float


SHAPES = {
    "short": Shape("short documents", lambda: rows.training_rows(400, 0), 8),
    "long": Shape("documents of about 1,000 tokens", lambda: rows.long_rows(24), 2),
    "shared": Shape("rows that share a system prompt of about 400 tokens", lambda: rows.shared_rows(40), 4),
}
METHODS = {
    "lora": Method("LoRA", 2e-4),
    "full": Method("all weights", 2e-5),
    "qlora": Method("QLoRA", 2e-4),
    "dpo": Method("DPO-like double passes", 2e-4),
}
"""``dpo``: a frozen forward of the base and a trained pass of the adapter over chosen and rejected answers."""

PAIRS = 40


@dataclass(frozen=True)
class Work:
    """One row of the table.

    ``warm_up``: first steps of a round that are not timed. ``trial_steps``: of each setting of a rival. ``compared``:
    how many losses are compared. ``few``: only those settings of rivals are tried that won or nearly won on short rows.
    """

    shape: str
    method: str
    steps: int
    warm_up: int
    trial_steps: int
    compared: int
    few: bool

    @property
    def name(self) -> str:
        """Name of its figures."""
        parts = [self.shape] * (self.shape != "short") + [self.method] * (self.method != "lora")
        return "-".join(["training", *parts])

    @property
    def about(self) -> str:
        """In words."""
        return f"{METHODS[self.method].about}, {SHAPES[self.shape].about}"

    def task(self) -> dict[str, Any]:
        """What all sides are told."""
        shape, method = SHAPES[self.shape], METHODS[self.method]
        return {
            "method": self.method,
            "batch": shape.batch,
            "learning_rate": method.learning_rate,
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "seed": 42,
            "lora_r": 16,
            "lora_alpha": 32.0,
            "beta": 0.1,
            "warm_up": self.warm_up,
        }


def work(shape: str = "short", method: str = "lora", steps: int | None = None) -> Work:
    """A row of the table, with as many steps as fit into about five minutes on two cores unless ``steps`` says."""
    if (shape, method) == ("short", "lora"):
        return Work(shape, method, steps or 20, warm_up=3, trial_steps=6, compared=20, few=False)
    return Work(shape, method, steps or 4, warm_up=1, trial_steps=3, compared=min(steps or 4, 4), few=True)
