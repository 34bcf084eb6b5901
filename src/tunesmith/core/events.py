"""Typed progress events. A verb emits them; the command line prints them, the store appends them, pages stream them.

Nothing here prints. An ``Emit`` callable receives every event; ``ignore`` drops them.
"""

from __future__ import annotations

from collections.abc import Callable
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


class Step(Record):
    """An optimiser step is done. ``loss`` is the mean over its target tokens, in nats."""

    kind: Literal["step"] = "step"
    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    target_tokens: int
    seconds: float
    example_ids: tuple[str, ...] = ()


class Validated(Record):
    """The validation loss was measured; ``best`` says whether it is the lowest so far."""

    kind: Literal["validated"] = "validated"
    step: int
    loss: float
    best: bool


class Saved(Record):
    """A checkpoint or an adapter was written."""

    kind: Literal["saved"] = "saved"
    step: int
    path: str
    what: Literal["checkpoint", "best", "last"]


Event = Annotated[Stage | Note | Tick | Step | Validated | Saved, Field(discriminator="kind")]
Emit = Callable[[Stage | Note | Tick | Step | Validated | Saved], None]

EVENT: TypeAdapter[Stage | Note | Tick | Step | Validated | Saved] = TypeAdapter(Event)
"""Reads an event back from JSON."""


def ignore(_event: object) -> None:
    """An ``Emit`` that drops every event."""
