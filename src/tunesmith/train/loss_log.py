"""The log of row losses as it is read back: which rows a run found hardest. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tunesmith.core.errors import InputError
from tunesmith.core.events import RowLoss

FILE = "row_losses.jsonl"


def worst_rows(run: Path) -> tuple[RowLoss, ...]:
    """The last loss of every row of a run, the highest first; the pieces of a cut text count as the worst of them.

    Raises:
        InputError: the folder is no run that logged the losses of its rows.
    """
    path = run / FILE
    if not path.is_file():
        raise InputError(
            "the run has no losses of rows",
            where=str(path),
            rule="a run logs the loss of every row of every step into its folder",
            fix="give the output_dir of a run that has trained",
        )
    last: dict[str, tuple[int, RowLoss]] = {}
    for step, loss in _entries(path):
        known = last.get(loss.row)
        if known is None or known[0] < step or (known[0] == step and known[1].loss < loss.loss):
            last[loss.row] = (step, loss)
    return tuple(sorted((loss for _, loss in last.values()), key=lambda loss: (-loss.loss, loss.row)))


def _entries(path: Path) -> Iterator[tuple[int, RowLoss]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):  # a line that a crash cut short is none
                entry = json.loads(line)
                step = int(entry.pop("step"))
                yield step, RowLoss.model_validate(entry)
