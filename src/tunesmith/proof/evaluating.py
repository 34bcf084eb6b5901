"""Named models on a file of held-out rows: what `tunesmith eval` and `tunesmith compare` do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunesmith import curate, evaluate
from tunesmith.core import store
from tunesmith.core.artifacts import Report
from tunesmith.core.config import Settings
from tunesmith.core.events import Emit, Note, ignore
from tunesmith.core.records import Example
from tunesmith.core.store import Workspace
from tunesmith.held_out import fix, look_at, once_each, warn_of_trained_rows
from tunesmith.proof.models import open_models
from tunesmith.proof.series import add_point, require_fresh


def evaluate_models(
    names: Sequence[str],
    data: curate.DatasetSpec,
    settings: Settings,
    workspace: Workspace,
    emit: Emit = ignore,
    spec: evaluate.Spec | None = None,
    series: str = "",
) -> Report:
    """Measure models on a file of held-out rows; with two or more, each is compared with the first.

    The look at the rows is counted before any model is asked. A run that was stopped goes on where it was.

    Args:
        spec: what was decided before; its evaluation keys count instead of those of ``settings``.
        series: what the result becomes the next point of, so that its rows have to be fresh.

    Raises:
        DataError: every row of the file was trained on by one of them, or rows of a series are not fresh.
        InputError: the rows are not those of the spec, or a vault that was opened too often.
    """
    config = spec.evaluation if spec else settings.stage("evaluate", evaluate.Config)
    examples = _rows(data, config, emit)
    if spec is not None:
        evaluate.require_rows(spec, examples, data.path)
    if series:
        require_fresh(series, examples, workspace)
    opened = open_models(names, workspace, emit)
    for model in opened:
        if model.subject is not None:
            warn_of_trained_rows(model.subject, examples, emit)
    samplers = [model.sampler for model in opened]
    standing = look_at(examples, samplers, workspace, spec, names, data.path)
    emit(Note(text=f"{standing.kind}: {standing.reason}"))
    digest = curate.content_digest(Path(data.path))
    asked = open_models(config.asked_models, workspace, emit)
    judges = {model.name: model.sampler for model in asked}
    report = evaluate.run(config, samplers, examples, emit=emit, dataset_digest=digest, judges=judges)
    report = report.model_copy(update={"standing": standing})
    workspace.put("report", report.report_id, report)
    if series:
        found = add_point(series, report, workspace)
        emit(Note(text=f"{series}, point {len(found.points)}: {found.sentence}"))
    return report


def write_spec(
    names: Sequence[str],
    data: curate.DatasetSpec,
    settings: Settings,
    workspace: Workspace,
    path: Path,
    vault: bool = False,
    emit: Emit = ignore,
) -> evaluate.Spec:
    """Write down what an evaluation will decide, and fix it in the workspace; no model is asked.

    Args:
        path: the file to write.
        vault: the rows may be opened a few times only.
    """
    config = settings.stage("evaluate", evaluate.Config)
    spec = evaluate.make_spec(names, _rows(data, config, emit), config, vault)
    store.write_text(path, evaluate.spec_to_yaml(spec))
    fix(spec, workspace)
    return spec


def _rows(data: curate.DatasetSpec, config: evaluate.Config, emit: Emit) -> tuple[Example, ...]:
    evaluate.load_schema(config.json_schema)
    evaluate.require_primary(config)
    examples = once_each(tuple(curate.read(data)), emit)
    evaluate.require_primary(config, examples)
    return examples
