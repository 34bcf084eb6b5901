"""Typed progress events. A verb emits them; the command line prints them, the store appends them, pages stream them.

Nothing here prints. An ``Emit`` callable receives every event; ``ignore`` drops them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tunesmith.core.records import Record


class Stage(Record):
    """A named stage begins (“measuring the base model”)."""

    kind: Literal["stage"] = "stage"
    title: str
    detail: str = ""


class Note(Record):
    """One line worth reading; ``level`` warns or informs."""

    kind: Literal["note"] = "note"
    text: str
    level: Literal["info", "warning"] = "info"


class Tick(Record):
    """Progress of the running task: ``done`` of ``total`` units."""

    kind: Literal["tick"] = "tick"
    task: str
    done: int
    total: int


class RowLoss(Record):
    """One row of a step: its mean loss over its own trained tokens, in nats, and how many these were."""

    row: str
    loss: float
    tokens: int


class Step(Record):
    """An optimiser step is done. ``loss`` is the mean over its target tokens, in nats.

    ``computed_tokens`` are fewer than ``tokens`` where rows share a beginning that was computed once.

    ``utilisation`` is the share of the measured speed of matrix products that the step reached, ``memory_bytes`` the
    peak so far; 0 where they were not measured.
    """

    kind: Literal["step"] = "step"
    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    target_tokens: int
    computed_tokens: int = 0
    seconds: float
    example_ids: tuple[str, ...] = ()
    row_losses: tuple[RowLoss, ...] = ()
    utilisation: float = 0.0
    memory_bytes: int = 0


class Validated(Record):
    """The validation loss was measured; ``best`` says whether it is the lowest so far.

    ``metrics`` are task metrics of answers to a fixed part of the validation rows; empty where none were asked for.
    """

    kind: Literal["validated"] = "validated"
    step: int
    loss: float
    best: bool
    metrics: Mapping[str, float] = {}


class Noticed(Record):
    """Something about the run that its owner should know: a loss spike, overfitting, memory that ran out."""

    kind: Literal["noticed"] = "noticed"
    step: int
    what: Literal["loss spike", "overfitting", "out of memory", "tracker lost"]
    text: str


class Saved(Record):
    """A checkpoint or an adapter was written: the best, the last, or that of a validation (``step``)."""

    kind: Literal["saved"] = "saved"
    step: int
    path: str
    what: Literal["checkpoint", "best", "last", "step"]


AnyEvent = Stage | Note | Tick | Step | Validated | Noticed | Saved
Event = Annotated[AnyEvent, Field(discriminator="kind")]
Emit = Callable[[AnyEvent], None]

EVENT: TypeAdapter[AnyEvent] = TypeAdapter(Event)
"""Reads an event back from JSON."""


def ignore(_event: object) -> None:
    """An ``Emit`` that drops every event."""


def ticking(emit: Emit, task: str) -> Callable[[int, int], None]:
    """Progress of a task as events."""
    return lambda done, total: emit(Tick(task=task, done=done, total=total))
