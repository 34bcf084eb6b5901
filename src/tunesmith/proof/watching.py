"""A model on fresh rows, sample after sample: what `tunesmith eval --watch` does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from tunesmith import curate, evaluate
from tunesmith.core.config import Settings
from tunesmith.core.errors import InputError
from tunesmith.core.events import Emit, Note, Stage, ignore
from tunesmith.core.records import digest_of
from tunesmith.core.store import Workspace
from tunesmith.held_out import TRAINED_ROWS, lists_of_trained_rows, once_each
from tunesmith.model.resolve import Subject
from tunesmith.proof.models import open_models


def watch(
    name: str,
    folder: Path,
    read_as: Callable[[str], curate.DatasetSpec],
    settings: Settings,
    workspace: Workspace,
    emit: Emit = ignore,
    today: date | None = None,
) -> evaluate.Trend:
    """Measure a model on every file of a folder that it was not measured on yet, in the order of their dates.

    Rows that any model of the workspace was trained on, or that stood in an earlier sample, do not count and are named.

    Args:
        folder: files whose names hold the day until which their rows were collected.
        read_as: how to read a file.
        today: for what is overdue; None = now.

    Raises:
        InputError: no files, or one without a date. DataError: a file without one fresh row.
    """
    files = _files(folder)
    kept = _samples(name, workspace)
    known = {sample.content for sample in kept}
    waiting = [(day, file) for day, file in files if curate.content_digest(file) not in known]
    if waiting:
        [opened] = open_models([name], workspace, emit)
        trained = trained_rows(workspace, opened.subject)
        config = settings.stage("evaluate", evaluate.Config)
    for day, file in waiting:
        emit(Stage(title="fresh rows", detail=f"{file.name}, collected until {day}"))
        examples = once_each(tuple(curate.read(read_as(str(file)))), emit)
        fresh, refused = evaluate.only_fresh(examples, trained, kept)
        if refused:
            text = f"{len(refused)} of {len(examples)} rows are not fresh and do not count: {', '.join(refused[:5])}"
            emit(Note(text=text, level="warning"))
        first = next((sample for sample in kept if sample.drift is None), None)
        sample = evaluate.measure_fresh(config, opened.sampler, fresh, first, emit)
        content = curate.content_digest(file)
        sample = sample.model_copy(
            update={
                "model": name,
                "file": file.name,
                "content": content,
                "collected": day.isoformat(),
                "refused": refused,
            }
        )
        workspace.put("fresh", digest_of([name, content])[:32], sample)
        kept.append(sample)
    return evaluate.trend_of(kept, today or datetime.now(UTC).date())


def trained_rows(workspace: Workspace, subject: Subject | None) -> set[str]:
    """Ids of all rows that any model of the workspace, or this one, was trained on."""
    lists = sorted((workspace.root / "artifacts").glob(f"*/{TRAINED_ROWS}"))
    if subject is not None:
        lists += lists_of_trained_rows(subject)
    return {id for known in lists for id in known.read_text(encoding="utf-8").split()}


def _samples(name: str, workspace: Workspace) -> list[evaluate.FreshSample]:
    return [sample for sample in reversed(workspace.list("fresh", evaluate.FreshSample)) if sample.model == name]


def _files(folder: Path) -> list[tuple[date, Path]]:
    files = [file for file in folder.iterdir() if file.is_file() and file.name[0] != "."] if folder.is_dir() else []
    if not files:
        raise InputError(
            f"there are no files of fresh rows in {folder}",
            where="--data",
            rule="--watch takes a folder with one file for each sample",
            fix=f"put one there, for example {folder}/{date.today().isoformat()}.jsonl",
        )
    return sorted((evaluate.collected_on(file), file) for file in files)
