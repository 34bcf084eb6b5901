"""From the events of a run to those of OpenAI's API, and what they say of the progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from tunesmith.core.events import EVENT, Note, Noticed, Saved, Stage, Step, Validated
from tunesmith.jobs.records import NewEvent, Progress

HEADER = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
"""Columns of the result file; the accuracies are empty, since training here measures losses."""


@dataclass
class Told:
    """What a part of the log says."""

    events: list[NewEvent] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    kept: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    """Step, folder and figures of every set of weights that was kept."""


def tell(lines: Iterable[bytes], progress: Progress, clean: Callable[[str], str] = str) -> Told:
    """Events of whole lines of the log; a step that was told before is not told again.

    ``clean`` takes out of a text what its reader must not see.
    """
    told = Told(progress=progress)
    for line in lines:
        try:
            event = EVENT.validate_json(line)
        except ValidationError:  # a line that a crash cut short
            continue
        match event:
            case Stage(title=title, detail=detail):
                told.events.append(NewEvent(message=clean(f"{title}: {detail}" if detail else title)))
            case Note(text=text, level=level):
                told.events.append(NewEvent(message=clean(text), level="warn" if level == "warning" else "info"))
            case Noticed(text=text):
                told.events.append(NewEvent(message=clean(text), level="warn"))
            case Step():
                _step(told, event)
            case Validated():
                _validated(told, event)
            case Saved(what="step", step=step, path=path):
                _kept(told, step, path)
            case _:
                pass
    return told


def _step(told: Told, event: Step) -> None:
    before = told.progress
    if event.step <= before.step:
        return
    remaining = event.total_steps - event.step
    told.progress = before.model_copy(
        update={
            "step": event.step,
            "total_steps": event.total_steps,
            "train_loss": event.loss,
            "estimated_finish": int(time.time() + remaining * event.seconds),
            "longest_step": max(before.longest_step, event.seconds),
        }
    )
    data = {
        "step": event.step,
        "total_steps": event.total_steps,
        "train_loss": event.loss,
        "learning_rate": event.learning_rate,
        "grad_norm": event.grad_norm,
        "tokens": event.tokens,
    }
    text = f"Step {event.step}/{event.total_steps}: training loss={event.loss:.2f}"
    told.events.append(NewEvent(message=text, type="metrics", data=data))


def _validated(told: Told, event: Validated) -> None:
    before = told.progress
    if before.validated_step >= event.step:
        return
    told.progress = before.model_copy(update={"valid_loss": event.loss, "validated_step": event.step})
    data = {**_figures(told.progress, event.step), "total_steps": before.total_steps, **event.metrics}
    trained = f"training loss={before.train_loss:.2f}, " if before.train_loss is not None else ""
    text = f"Step {event.step}/{before.total_steps}: {trained}validation loss={event.loss:.2f}"
    told.events.append(NewEvent(message=text, type="metrics", data=data))


def _kept(told: Told, step: int, path: str) -> None:
    if step <= told.progress.kept_step:
        return
    told.progress = told.progress.model_copy(update={"kept_step": step})
    told.kept.append((step, path, _figures(told.progress, step)))
    told.events.append(NewEvent(message=f"Checkpoint created at step {step}"))


def _figures(progress: Progress, step: int) -> dict[str, Any]:
    """Metrics of a checkpoint, by OpenAI's names."""
    return {
        "step": step,
        "train_loss": progress.train_loss,
        "valid_loss": progress.valid_loss,
        "full_valid_loss": progress.valid_loss,
    }


def step_metrics(train_losses: Iterable[float], validation: Iterable[tuple[int, float]]) -> str:
    """The result file: a line a step, in CSV."""
    valid = {int(step): loss for step, loss in validation}
    rows = [HEADER]
    for step, loss in enumerate(train_losses, 1):
        rows.append(f"{step},{loss:.6g},,{f'{valid[step]:.6g}' if step in valid else ''},")
    return "\n".join(rows) + "\n"
