"""The loss of every row of every step: collected while a step runs, kept in the run's folder, a line a row.

The file is a function of configuration, data and seed alone: a resumed run cuts it back to its checkpoint and writes
on, so that no line is lost and none stands twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from tunesmith.core import store
from tunesmith.core.events import RowLoss
from tunesmith.model.batch import Batch
from tunesmith.train import ranks
from tunesmith.train.loss_log import FILE

Tensor = torch.Tensor


class Collector:
    """Takes the loss of each target as a step's micro-batches run; nothing leaves the device before `rows`."""

    def __init__(self) -> None:
        self._parts: list[tuple[tuple[str, ...], Tensor, Tensor]] = []

    def add(self, batch: Batch, losses: Tensor) -> None:
        """A micro-batch with −log p of each of its targets (N,)."""
        count = len(batch.example_ids)
        sums = torch.zeros(count, dtype=torch.float32, device=losses.device)
        sums.index_add_(0, batch.owners, losses.detach().float())
        self._parts.append((batch.example_ids, sums, torch.bincount(batch.owners, minlength=count)))

    def rows(self) -> tuple[RowLoss, ...]:
        """Every row of the step in order; a row without targets has loss 0 over 0 tokens."""
        return tuple(
            RowLoss(row=name, loss=total / max(1, tokens), tokens=tokens)
            for names, sums, counts in self._parts
            for name, total, tokens in zip(names, sums.tolist(), counts.tolist(), strict=True)
        )


def write(folder: Path, step: int, rows: Sequence[RowLoss]) -> None:
    """Append the rows of a step; the first of several processes does it for all."""
    if ranks.first():
        store.append_lines(folder / FILE, [json.dumps({"step": step, **row.model_dump(mode="json")}) for row in rows])


def trim(path: Path, step: int) -> None:
    """Cut a log of JSON lines back to what was so after ``step``: what came later is going to happen again."""
    if not ranks.first() or not path.exists():
        return
    kept, whole = [], path.read_text(encoding="utf-8").splitlines(keepends=True)
    for line in whole:
        if _step_of(line) > step:
            break
        kept.append(line)
    if len(kept) < len(whole):
        store.write_text(path, "".join(kept))


def _step_of(line: str) -> float:
    """The step that a line is about; infinite for one that a crash cut short."""
    try:
        return float(json.loads(line).get("step", 0)) if line.endswith("\n") else math.inf
    except ValueError:
        return math.inf
