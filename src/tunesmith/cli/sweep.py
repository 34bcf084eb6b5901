"""``tunesmith sweep``: search for the best configuration under a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import JsonOption, SetOption, session
from tunesmith.cli.train import resumable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunesmith.core.artifacts import SweepRecord


def sweep(
    config: Annotated[Path, typer.Argument(help="The config file.")] = Path("tunesmith.yaml"),
    set: SetOption = None,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Most trials, over all commands of this sweep.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Longest time in minutes, over all commands of this sweep.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over: forget the trials of this sweep.")] = False,
    json: JsonOption = False,
) -> None:
    """Search for the best configuration on the validation rows, and write it as a config file.

    A sweep that was stopped goes on with the same command. Exit code 1 when no trial was completed.
    """
    with session(json) as console:
        from tunesmith import lifecycle
        from tunesmith import train as training
        from tunesmith.core.store import Workspace

        limits = {"sweep_trials": trials, "sweep_minutes": minutes}
        given = [f"{key}={value}" for key, value in limits.items() if value is not None]
        settings = lifecycle.load_settings(config, [*(set or []), *given])
        training.claim_sweep(settings)
        words = [f" --set {item}" for item in set or []]
        words += [f" --{key.removeprefix('sweep_')} {value:g}" for key, value in limits.items() if value is not None]
        with resumable(f"tunesmith sweep {config}{''.join(words)}"):
            record = lifecycle.sweep(settings, Workspace.open(), console.emit, fresh)
        console.print("", trials_table(record), "", record.sentence, "", *next_steps(record))
        console.result(document(record))
        if not record.ranking:
            raise typer.Exit(1)


def trials_table(record: SweepRecord) -> RenderableType:
    """The complete trials, best first, then the others."""
    from rich.table import Table
    from rich.text import Text

    table = Table("trial", "loss", *record.space, "steps", "time", "outcome", box=None, pad_edge=False)
    ranked = [trial.number for trial in record.ranking]
    for trial in [*record.ranking, *(trial for trial in record.trials if trial.number not in ranked)]:
        loss = "–" if trial.loss is None else f"{trial.loss:.4f}"
        outcome = trial.state + (f": {trial.reason}" if trial.reason else "")
        values = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in (trial.values[n] for n in record.space)]
        cells = [str(trial.number), loss, *values, f"{trial.steps:,}", f"{trial.seconds:.0f} s", outcome]
        table.add_row(*map(Text, cells))
    return table


def next_steps(record: SweepRecord) -> list[str]:
    """Where everything is, and what to type now."""
    folder = Path(record.sweep_id)
    lines = [f"ended:   {record.stopped}", f"report:  {folder / 'report.html'}"]
    if not record.ranking:
        return lines
    return [*lines, f"best:    {folder / 'best.yaml'}", f"train:   tunesmith train {folder / 'best.yaml'}"]


def document(record: SweepRecord) -> dict[str, object]:
    """The result for ``--json``."""
    folder = Path(record.sweep_id)
    best = record.ranking[0].model_dump(mode="json") if record.ranking else None
    return {
        "sweep": record.model_dump(mode="json"),
        "best": best,
        "sentence": record.sentence,
        "stopped": record.stopped,
        "config": str(folder / "best.yaml") if best else None,
        "page": str(folder / "report.html"),
    }
