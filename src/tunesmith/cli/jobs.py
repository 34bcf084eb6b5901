"""``tunesmith jobs``: the queue of fine-tuning jobs, with or without a server."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.console import Console, JsonOption, session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunesmith.jobs import Job, JobEvent, JobStore

app = typer.Typer(no_args_is_help=True, help="Look at fine-tuning jobs, stop and resume them, and work at them.")

DATABASE = "TUNESMITH_DATABASE"
JobArgument = Annotated[str, typer.Argument(help="Id of a job: ftjob-…")]
DatabaseOption = Annotated[
    str,
    typer.Option(
        "--database", envvar=DATABASE, help="URL of the database of jobs; without it, SQLite in the workspace."
    ),
]
WAIT_SECONDS = 60.0
"""How long a command waits until the worker has done what was asked."""


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest first.")] = 20,
    database: DatabaseOption = "",
    json: JsonOption = False,
) -> None:
    """List the jobs of this workspace, the newest first."""
    with session(json) as console:
        found, more = _store(database).jobs(limit=limit)
        console.print(_table(found) if found else "no jobs yet: they are created over the API of `tunesmith serve`")
        if more:
            console.print(f"… and older ones: --limit {2 * limit}")
        console.result({"jobs": [_document(job) for job in found], "has_more": more})


@app.command()
def show(job: JobArgument, database: DatabaseOption = "", json: JsonOption = False) -> None:
    """Show a job: what was asked for, how far it is, what came out."""
    with session(json) as console:
        store = _store(database)
        found = store.job(job)
        points, _ = store.checkpoints(job, limit=1000)
        console.print(*_lines(found), *(f"checkpoint    step {point.step}: {point.model}" for point in points))
        console.result({**_document(found), "checkpoints": [point.model_dump(mode="json") for point in points]})


@app.command()
def events(
    job: JobArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The last so many.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    database: DatabaseOption = "",
    json: JsonOption = False,
) -> None:
    """Show what a job tells, oldest first."""
    with session(json) as console:
        store = _store(database)
        store.job(job)
        found = store.events(job, limit=limit)[0][::-1]
        for event in found:
            console.print(_line(event))
        while follow:
            ended = store.job(job).ended
            later, _ = store.events(job, since=found[-1].seq if found else 0, limit=1000)
            for event in later:
                console.print(_line(event))
            found += later
            if ended and not later:
                break
            time.sleep(0.5)
        console.result({"events": [event.model_dump(mode="json") for event in found]})


@app.command()
def cancel(job: JobArgument, database: DatabaseOption = "", json: JsonOption = False) -> None:
    """Cancel a job: it ends within one step and ten seconds."""
    with session(json) as console:
        _ask(console, _store(database), job, "cancel")


@app.command()
def pause(job: JobArgument, database: DatabaseOption = "", json: JsonOption = False) -> None:
    """Pause a job: it writes a checkpoint first, and goes on from it when it is resumed."""
    with session(json) as console:
        _ask(console, _store(database), job, "pause")


@app.command()
def resume(job: JobArgument, database: DatabaseOption = "", json: JsonOption = False) -> None:
    """Put a paused job back into the queue."""
    with session(json) as console:
        found = _store(database).resume(job)
        console.print(f"{job} is {found.state}")
        console.result(_document(found))


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="File to write.")],
    database: DatabaseOption = "",
    json: JsonOption = False,
) -> None:
    """Copy the queue as it is at one moment, while others write to it."""
    with session(json) as console:
        store = _store(database)
        store.database.backup(target)
        console.print(f"wrote {target}; it takes the place of {store.database.name} when it is needed")
        console.result({"path": str(target)})


@app.command()
def worker(
    slots: Annotated[int, typer.Option("--slots", min=1, help="Jobs that train at the same time.")] = 1,
    once: Annotated[bool, typer.Option("--once", help="End when no job is left to do.")] = False,
    database: DatabaseOption = "",
    json: JsonOption = False,
) -> None:
    """Work at the jobs of this workspace until Ctrl-C; a job that is interrupted goes on from its checkpoint.

    Several workers share a queue. `tunesmith serve` has one of its own.
    """
    with session(json) as console:
        from tunesmith.core.store import Workspace
        from tunesmith.jobs import Worker, WorkerConfig

        store, ended = _store(database), []

        def tell(job: Job) -> None:
            ended.append(job)
            console.print(f"{job.id} is {job.state}")

        working = Worker(store, Workspace.open(), config=WorkerConfig(slots=slots), on_end=tell)
        with _signals_to(working.request_stop):
            console.print("working at the jobs that are there" if once else "waiting for jobs; Ctrl-C stops")
            working.run(lambda: once and not _to_do(store))
        console.result({"jobs": [_document(job) for job in ended]})


@contextmanager
def _signals_to(stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM ask for the end instead of making one."""
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _to_do(store: JobStore) -> bool:
    return any(job.state != "paused" for job in store.open_jobs())


def _store(url: str) -> JobStore:
    from tunesmith.core.store import Workspace
    from tunesmith.jobs import open_store

    return open_store(Workspace.open().root, url)


def _ask(console: Console, store: JobStore, id: str, wish: Any) -> None:
    """Ask, and wait until it is so."""
    job = store.ask(id, wish)
    end = time.monotonic() + WAIT_SECONDS
    while job.wish == wish and not job.ended and time.monotonic() < end:
        time.sleep(0.1)
        job = store.job(id)
    waits = f"; its worker has been asked to {wish} it" if job.wish == wish else ""
    console.print(f"{id} is {job.state}{waits}")
    console.result(_document(job))


def _document(job: Job) -> dict[str, Any]:
    return {**job.model_dump(mode="json", exclude={"owner"}), "status": job.state}


def _table(jobs: list[Job]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table("job", "state", "step", "base", "rows", "model", box=None, pad_edge=False)
    for job in jobs:
        progress, result = job.body.progress, job.body.result
        step = f"{progress.step}/{progress.total_steps}" if progress.total_steps else ""
        cells = (job.id, job.state, step, job.spec.base, f"{job.spec.rows:,}", result.model if result else "")
        table.add_row(*map(Text, cells))
    return table


def _lines(job: Job) -> list[str]:
    """What a person wants to know of a job, a line a fact."""
    body, spec, progress, result = job.body, job.spec, job.body.progress, job.body.result
    facts: list[tuple[str, str]] = [
        ("job", job.id),
        ("state", job.state + (f": {body.reason}" if body.reason else "") + (f", asked: {job.wish}" * bool(job.wish))),
        ("base", spec.base + (f", going on from {spec.model}" if spec.model != spec.base else "")),
        ("rows", f"{spec.rows:,} in {spec.training_file}"),
        (
            "training",
            f"{spec.n_epochs} epochs, {spec.batch_size} rows a step, learning rate {spec.config['learning_rate']:.3g} "
            f"({spec.learning_rate_multiplier:g} × {spec.base_learning_rate:.3g})",
        ),
    ]
    if progress.total_steps:
        facts.append(("step", f"{progress.step} of {progress.total_steps}"))
    if progress.train_loss is not None:
        valid = f", validation {progress.valid_loss:.3f}" if progress.valid_loss is not None else ""
        facts.append(("loss", f"{progress.train_loss:.3f}{valid}"))
    if body.error:
        facts.append(("error", f"{body.error.code}: {body.error.message}"))
    if result:
        facts.append(("model", result.model))
        facts.append(("verdict", result.sentence or "not measured: no rows were held out (test_file)"))
    return [f"{name:14}{value}" for name, value in facts]


def _line(event: JobEvent) -> str:
    mark = {"warn": "warning: ", "error": "error: "}.get(event.level, "")
    return f"{time.strftime('%H:%M:%S', time.localtime(event.created_at))}  {mark}{event.message}"
