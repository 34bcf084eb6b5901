"""``tunesmith migrate``: fine-tuning jobs of a hosted account, run again on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import JsonOption, session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunesmith.jobs import Job, Moved

app = typer.Typer(no_args_is_help=True, help="Move fine-tuning jobs from a hosted account to this machine.")


@app.callback()
def migrate() -> None:
    """Move fine-tuning jobs from a hosted account to this machine."""


@app.command()
def openai(
    base_url: Annotated[
        str, typer.Option("--base-url", envvar="OPENAI_BASE_URL", help="Address of the account's API.")
    ] = "https://api.openai.com/v1",
    key: Annotated[str, typer.Option("--key", envvar="OPENAI_API_KEY", help="Key of the account.")] = "",
    model: Annotated[
        str, typer.Option("--model", help="Base that takes the place of the account's.")
    ] = "smollm2-135m-instruct",
    job: Annotated[list[str] | None, typer.Option("--job", help="Only this job; may be repeated.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the fetched files and the record.")] = Path("migrated"),
    data: Annotated[Path | None, typer.Option("--data", help="Held-out rows to compare old and new on.")] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Questions asked of each model.")] = 50,
    run: Annotated[bool, typer.Option("--run/--fetch-only", help="Train again here, or only fetch the files.")] = True,
    compare: Annotated[bool, typer.Option("--compare/--no-compare", help="Ask the old models as well.")] = True,
    json: JsonOption = False,
) -> None:
    """Read files and jobs of an OpenAI-compatible account, train them again here, compare the answers.

    Nothing in the account is changed. What is done is remembered in the folder, so the command can be repeated.
    Exit code 1 when a job could not be trained again, or answers worse than the old model.
    """
    with session(json) as console:
        from tunesmith import serve
        from tunesmith.core.store import Workspace
        from tunesmith.jobs import Migration, Worker, open_service

        account = serve.open_account(base_url, _key(key))
        workspace = Workspace.open()
        service = open_service(workspace, {serve.public_name(model): model})
        migration = Migration(account, service, serve.public_name(model), out)
        worker = Worker(service.jobs, workspace)

        def work(job: Job) -> Job:
            worker.run(lambda: service.jobs.job(job.id).ended or service.jobs.job(job.id).state == "paused")
            return service.jobs.job(job.id)

        done = []
        for moved in migration.survey(job or ()):
            moved = migration.fetch(moved, console.emit)
            if run:
                moved = migration.run(moved, work, console.emit)
            if run and compare and moved.state == "succeeded" and moved.remote.tuned and not moved.sentence:
                moved, _ = migration.compare(moved, data, rows, console.emit)
            done.append(moved)
        console.print(*_summary(done, out))
        console.result({"jobs": [moved.model_dump(mode="json") for moved in done], "folder": str(out)})
        if any(moved.verdict == "worse" or (run and moved.state != "succeeded") for moved in done):
            raise typer.Exit(1)


def _key(key: str) -> str:
    from tunesmith.core.errors import ConfigError

    if not key:
        raise ConfigError(
            "no key of the account is given",
            where="--key",
            rule="the account is read with a key of its owner",
            fix="set OPENAI_API_KEY, or give --key",
        )
    return key


def _summary(done: list[Moved], out: Path) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    if not done:
        return ["the account has no job that ended well"]
    table = Table("job there", "model there", "here", "state", "model here", box=None, pad_edge=False)
    for moved in done:
        remote = moved.remote
        table.add_row(*map(Text, (remote.id, remote.tuned, moved.job, moved.state, moved.model)))
    said = [f"{moved.remote.id}: {moved.sentence}" for moved in done if moved.sentence]
    notes = [f"{moved.remote.id}: {note}" for moved in done for note in moved.notes]
    return [table, "", *said, *notes, "", f"files and record: {out}"]
