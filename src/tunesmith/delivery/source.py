"""What is to be delivered: where it stands, what its rows are, and whether it may go where it is to go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith import curate, evaluate, held_out, serve
from tunesmith.core import store
from tunesmith.core.artifacts import Delivery
from tunesmith.core.config import Settings
from tunesmith.core.errors import AdapterError, InputError
from tunesmith.core.events import Emit
from tunesmith.core.records import Example
from tunesmith.core.store import Workspace
from tunesmith.model.resolve import Subject, kind_of_adapter, resolve_model, resolve_subject
from tunesmith.text.template import TemplateRenderer


@dataclass(frozen=True)
class Order:
    """What is to be delivered: from where, where to, how far off it may be at most, and rows to measure it on.

    ``max_difference``: in standard deviations of the logits; None: the default of the number format.
    """

    source: str
    output: Path
    max_difference: float | None = None
    rows: curate.DatasetSpec | None = None
    settings: Settings | None = None


@dataclass(frozen=True)
class Opened:
    """A source that was found: what it is, its model folder, its renderer, and the rows."""

    order: Order
    subject: Subject
    folder: Path
    renderer: TemplateRenderer
    examples: Sequence[Example]
    workspace: Workspace
    emit: Emit

    @property
    def documents(self) -> list[list[int]]:
        """The tokens on which logits are compared."""
        from tunesmith.model.difference import NEUTRAL_TEXTS, choose

        rows = [self.renderer.example(example)[-1].tokens for example in self.examples]
        return choose(rows, [self.renderer.text(text) for text in NEUTRAL_TEXTS])


class Refused(Exception):
    """Leaves the staged folder, which is removed; carries the numbers."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery


def require_free(output: Path) -> None:
    """Refuse an output that stands already, or that cannot be written, before anything slow is done.

    Raises:
        InputError: a file, or a folder that is not empty. StorageError: the place cannot be written.
    """
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise InputError(
            f"something stands at {output} already",
            where="--output",
            rule="what was delivered once is never overwritten",
            fix="choose another path, or remove what stands there",
        )
    store.require_writable(output if output.is_dir() else output.parent)


def open_source(order: Order, workspace: Workspace, emit: Emit) -> Opened:
    """Find the source, its base, its renderer and the rows; no weights are loaded.

    Raises:
        AdapterError: of a kind that is no weight of a model. DataError: rows that cannot be used.
    """
    subject = resolve_subject(order.source, workspace)
    if subject.adapter is not None:
        from tunesmith.model.merge import refuse_unmergeable

        refuse_unmergeable(kind_of_adapter(subject.adapter), order.source)
    if order.settings is not None:
        evaluate.load_schema(order.settings.stage("evaluate", evaluate.Config).json_schema)
    examples: Sequence[Example] = ()
    if order.rows is not None:
        examples = held_out.once_each(tuple(curate.read(order.rows)), emit)
        held_out.warn_of_trained_rows(subject, examples, emit)
    folder = resolve_model(subject.base, workspace, emit)
    renderer = serve.subject_renderer(subject, folder)
    return Opened(order, subject, folder, renderer, examples, workspace, emit)


def require_adapter(subject: Subject, source: str, what: str) -> Path:
    """The folder of an adapter; raises AdapterError for anything else."""
    if subject.adapter is None:
        raise AdapterError(
            f"{source} is not an adapter, so there is nothing to be {what}",
            where=source,
            rule="an adapter is the folder of a run, an adapter folder or a released name",
            fix="a model is used as it is; `tunesmith export --format safetensors` copies it",
        )
    return subject.adapter
