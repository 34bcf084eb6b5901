"""``tunesmith train``: from a config file to a judged adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import Console, JsonOption, SetOption, session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunesmith.core.artifacts import Check, Report
    from tunesmith.core.config import Settings
    from tunesmith.lifecycle import Outcome

ConfigArgument = Annotated[Path, typer.Argument(help="The config file.")]

MARKS = {True: "✓", False: "✗", None: "–"}


def train(
    config: ConfigArgument = Path("tunesmith.yaml"),
    set: SetOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over: remove what the run's folder holds.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Only show every key, its value and where it came from.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train what a config file says, judge it against its base, and register it.

    A run that was stopped goes on from its checkpoint. Exit code 1 when the tuned model is worse than its base.
    Several processes share the work: torchrun --nproc-per-node 2 -m tunesmith train CONFIG.
    """
    with session(json, several=True) as console, together():
        from tunesmith import lifecycle, train
        from tunesmith.core.store import Workspace

        settings = lifecycle.load_settings(config, set or [])
        if explain:
            console.print(explanation(settings))
            console.result({"config": settings.as_dict(), "origins": dict(settings.origins)})
            return
        with train.in_turn():
            lifecycle.claim_output(settings, fresh)
            project = lifecycle.prepare(settings, Workspace.open(), console.emit)
        with resumable(f"tunesmith train {config}" + "".join(f" --set {item}" for item in set or [])):
            outcome = lifecycle.run_to_verdict(project, fresh=fresh)
        if outcome is None:
            return
        console.print(*summary(outcome), "", *next_steps(outcome))
        console.result(document(outcome))
        if outcome.report.verdict == "worse":
            raise typer.Exit(1)


def together() -> AbstractContextManager[None]:
    """Meet the other processes of the run, where there are some."""
    from tunesmith.core.ranks import place

    if place().world == 1:
        return nullcontext()
    from tunesmith import train

    return train.joined()


@contextmanager
def resumable(command: str) -> Iterator[None]:
    """Put the command that goes on into an interruption's message; ``--fresh`` would throw the checkpoint away."""
    from tunesmith.core.errors import Interrupted

    try:
        yield
    except Interrupted as stopped:
        fix = f"resume with: {command}"
        raise Interrupted(stopped.what, where=stopped.where, rule=stopped.rule, fix=fix) from None


def explanation(settings: Settings) -> RenderableType:
    """Every key with its value and its origin."""
    from rich.table import Table
    from rich.text import Text

    from tunesmith.core.config import explain

    table = Table("key", "value", "from", box=None, pad_edge=False)
    for key, value, origin in explain(settings):
        table.add_row(Text(key), Text(str(value)), Text(origin))
    return table


def verify_table(checks: tuple[Check, ...]) -> RenderableType:
    """The checks that a run made on itself; a dash means: not measured."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "verify", "what was found", box=None, pad_edge=False)
    for check in checks:
        table.add_row(MARKS[check.passed], Text(check.name), Text(check.detail))
    return table


def scores_table(report: Report) -> RenderableType:
    """Scores with intervals, one column a model."""
    from rich.table import Table
    from rich.text import Text

    from tunesmith import evaluate

    head, *rows = evaluate.table(report)
    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def summary(outcome: Outcome) -> list[RenderableType]:
    """What a person reads at the end of a run."""
    from tunesmith import evaluate

    run = outcome.run
    speed = f"{run.tokens / run.seconds:,.0f} tokens/s" if run.seconds else "speed not measured"
    speed += f", {100 * run.utilisation:.0f} % of the matrix speed" if run.utilisation else ""
    line = f"trained {run.steps} steps in {run.seconds:.0f} s ({speed}), best weights of step {run.best_step}"
    return [
        "",
        f"{line}; {run.stopped}",
        *run.noticed,
        "",
        verify_table(run.checks),
        "",
        scores_table(outcome.report),
        "",
        *evaluate.verdict_lines(outcome.report),
    ]


def next_steps(outcome: Outcome) -> list[str]:
    """Where everything is, and what to type now."""
    folder = outcome.page.parent
    return [
        f"report:  {outcome.page}",
        f"adapter: {folder / 'adapter'}" if (folder / "adapter").exists() else f"model:   {folder / 'model'}",
        f"ask it:  tunesmith chat {folder}",
        f"serve:   tunesmith serve --model {folder}",
    ]


def document(outcome: Outcome) -> dict[str, object]:
    """The result for ``--json``."""
    report = outcome.report
    return {
        "run": outcome.run.model_dump(mode="json"),
        "verdict": report.verdict,
        "sentence": report.sentence,
        "summaries": [summary.model_dump(mode="json") for summary in report.summaries],
        "comparisons": [comparison.model_dump(mode="json") for comparison in report.comparisons],
        "report_id": report.report_id,
        "page": str(outcome.page),
        "alias": outcome.release.alias,
    }


def show_verdict(console: Console, report: Report) -> None:
    """Scores and verdict of an evaluation."""
    from tunesmith import evaluate

    console.print("", scores_table(report), "", *evaluate.verdict_lines(report))
