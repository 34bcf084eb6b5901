"""Rows that a model is measured on: each once, none that it was trained on, and every look at them counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tunesmith import evaluate
from tunesmith.core.artifacts import Opening, Standing
from tunesmith.core.errors import DataError
from tunesmith.core.events import Emit, Note
from tunesmith.core.protocols import Sampler
from tunesmith.core.records import Example
from tunesmith.core.store import Workspace
from tunesmith.model.resolve import CARD, Subject

TRAINED_ROWS = "trained_rows.txt"
"""Ids (hashes of the content) of the rows that a model has seen, in a run's folder and beside stored weights."""


def once_each(examples: Sequence[Example], emit: Emit) -> tuple[Example, ...]:
    """A row that occurs twice would count double and make the intervals too narrow."""
    distinct = {example.id: example for example in examples}
    if len(distinct) < len(examples):
        text = f"{len(examples) - len(distinct)} held-out rows occur more than once; each is counted once"
        emit(Note(text=text, level="warning"))
    return tuple(distinct.values())


def warn_of_trained_rows(subject: Subject, examples: Sequence[Example], emit: Emit) -> None:
    """Say which rows a model was trained on; refuse when it was trained on all of them."""
    lists = lists_of_trained_rows(subject)
    if not lists:
        if subject.adapter is not None or subject.renderer_digest:
            text = f"not checked whether {subject.name} was trained on these rows: give the run's folder to check it"
            emit(Note(text=text))
        return
    trained = {id for known in lists for id in known.read_text(encoding="utf-8").split()}
    seen = [example for example in examples if example.id in trained]
    if len(seen) == len(examples):
        raise DataError(
            f"all {len(examples)} rows were training or validation rows of {subject.name}",
            where=str(examples[0].source.path),
            rule="a model is measured on rows that it has not seen",
            fix="give a file of held-out rows",
        )
    if seen:
        places = ", ".join(str(example.source) for example in seen[:3])
        text = f"{len(seen)} of {len(examples)} rows were training or validation rows of {subject.name}: {places}"
        emit(Note(text=f"{text}; the result flatters it", level="warning"))


def lists_of_trained_rows(subject: Subject) -> list[Path]:
    """The lists of the run or the stored weights, and that of a base which was tuned before it."""
    base = Path(subject.base)
    tuned = (base, base.parent) if (base / CARD).is_file() else ()
    places = dict.fromkeys((subject.run, subject.adapter, *tuned))
    return [known for place in places if place and (known := place / TRAINED_ROWS).is_file()]


def look_at(
    examples: Sequence[Example],
    samplers: Sequence[Sampler],
    workspace: Workspace,
    spec: evaluate.Spec | None = None,
    models: Sequence[str] = (),
    where: str = "",
) -> Standing:
    """Count a look at held-out rows, before any model is asked, and say what its verdict may claim.

    The same models by the same spec are the same look, however often it is repeated or taken up again.

    Args:
        spec: what was written down before; it has to be in the workspace as it stands (see ``fix``).
        models: the names that were given.
        where: what to call the rows in an error.

    Raises:
        InputError: the rows are a vault that was opened too often.
    """
    this = Opening(
        rows=evaluate.rows_digest(examples),
        spec=spec.digest if spec else "",
        models=tuple(sampler.digest or sampler.name for sampler in samplers),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        limit=spec.openings if spec and spec.set == "vault" else 0,
    )
    looks = [look for look in workspace.list("opening", Opening) if look.rows == this.rows]
    before = [look for look in looks if (look.spec, look.models) != (this.spec, this.models)]
    if len(before) == len(looks):
        evaluate.require_opening(spec, before, where)
        workspace.put("opening", f"{this.rows}-{len(looks) + 1}", this)
    fixed = spec is not None and any(kept.digest == spec.digest for kept in workspace.list("spec", evaluate.Spec))
    return evaluate.standing(spec, fixed, models, this, before)


def fix(spec: evaluate.Spec, workspace: Workspace) -> None:
    """Keep a spec in the workspace: from now on it counts as written before the rows were looked at."""
    workspace.put("spec", spec.digest, spec)
