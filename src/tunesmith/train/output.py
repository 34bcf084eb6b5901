"""The folder of a run: what it may hold before, and what it holds after."""

from __future__ import annotations

from pathlib import Path

from tunesmith.core import store
from tunesmith.core.errors import InputError

ADAPTER, MODEL, STEPS = "adapter", "model", "steps"
RECORD = "run.json"
_ALL = (
    "checkpoints",
    RECORD,
    "last",
    STEPS,
    "report.html",
    "report.json",
    "events.jsonl",
    "row_losses.jsonl",
    "tracking",
    ADAPTER,
    MODEL,
)


def weights_folder(method: str) -> str:
    """Where the best weights of a run stand."""
    return MODEL if method == "full" else ADAPTER


def refuse_finished(output: Path, fresh: bool = False) -> None:
    """Raise InputError when a finished run stands there, unless it is to be started over."""
    if not fresh and (output / RECORD).exists():
        raise InputError(
            f"{output} holds a finished run",
            where="output_dir",
            rule="a finished run is never overwritten silently",
            fix="choose another output_dir, or start over with --fresh",
        )


def prepare_output(output: Path, fresh: bool) -> None:
    """Make the folder of a run; ``fresh`` removes what an earlier run left there.

    Raises:
        InputError: it holds a finished run. StorageError: it cannot be written.
    """
    refuse_finished(output, fresh)
    if fresh:
        for name in _ALL:
            store.remove(output / name)
    store.make_folder(output)
