"""From what people call a model to something that can be asked.

A name is a model, a run, an adapter or a released name; ``MODEL@http://host/v1`` is a model behind an endpoint; and
``MODEL::prompt.yaml`` is any of them behind a prompt of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tunesmith import evaluate, serve
from tunesmith.core.events import Emit, Note, ignore
from tunesmith.core.protocols import Sampler
from tunesmith.core.store import Workspace
from tunesmith.model.resolve import Subject

ANSWERS = "answers"
"""Folder of the workspace with what models have said already, one file for each."""


@dataclass(frozen=True)
class Opened:
    """A model that can be asked. ``subject`` is None for one behind an endpoint."""

    name: str
    sampler: Sampler
    subject: Subject | None = None


def open_models(names: Sequence[str], workspace: Workspace, emit: Emit = ignore, remember: bool = True) -> list[Opened]:
    """Something to ask for each name, in order; local ones on the same base share it.

    With ``remember`` nothing is asked twice: answers are kept in the workspace, so that a run that was stopped goes
    on. What an endpoint says is kept for the rest of the day only, since another model may stand behind its name
    tomorrow.

    Raises:
        InputError, ModelError, AdapterError, ConfigError, OfflineError: a name means nothing, or cannot be opened.
    """
    parts = [name.rpartition(evaluate.MARK) for name in names]
    plain = [model if mark else whole for model, mark, whole in parts]
    prompts = [evaluate.read_prompt(Path(whole).expanduser()) if mark else None for _, mark, whole in parts]
    local = [name for name in dict.fromkeys(plain) if not serve.is_remote(name)]
    opened = dict(zip(local, serve.open_samplers(local, workspace, emit), strict=True))
    result = []
    for name, model, prompt in zip(names, plain, prompts, strict=True):
        subject, sampler = opened[model] if model in opened else (None, serve.open_remote(model))
        if prompt is not None:
            sampler = evaluate.Prompted(sampler, prompt, name)
        if remember:
            sampler = evaluate.Remembered(sampler, _folder(workspace, subject is None))
        result.append(Opened(name, sampler, subject))
    if remember and any(found.subject is None for found in result):
        emit(Note(text="answers of endpoints are kept until midnight (UTC), so that a run that was stopped goes on"))
    return result


def _folder(workspace: Workspace, remote: bool) -> Path:
    day = f"until-{datetime.now(UTC):%Y-%m-%d}"
    return workspace.root / ANSWERS / day if remote else workspace.root / ANSWERS
