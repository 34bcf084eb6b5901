"""``tunesmith data select``: is any way to choose rows better than chance?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import JsonOption, SetOption, session
from tunesmith.cli.train import resumable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunesmith.experiments import Selection


def select(
    config: Annotated[Path, typer.Argument(help="The config file.")] = Path("tunesmith.yaml"),
    arms: Annotated[
        str, typer.Option("--arms", help="Ways to choose, of random, ifd, diversity, all; random always takes part.")
    ] = "random,ifd,diversity,all",
    budget: Annotated[float, typer.Option("--budget", help="Share of the training rows that is chosen.")] = 0.3,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each arm.")] = 3,
    write: Annotated[
        tuple[str, Path] | None, typer.Option("--write", help="ARM FILE: also write the rows of an arm as data.")
    ] = None,
    set: SetOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again what is known already.")] = False,
    json: JsonOption = False,
) -> None:
    """Compare ways to choose some of the training rows with chance, at equal numbers of rows.

    Judged on the validation rows alone; nothing is chosen unasked. A command that was stopped goes on when it is given
    again. Exit code 1 when no arm is better than chance.
    """
    with session(json) as console:
        from tunesmith import experiments, lifecycle
        from tunesmith.core.store import Workspace

        names = tuple(name.strip() for name in arms.split(",") if name.strip())
        settings = lifecycle.load_settings(config, set or [])
        choice = experiments.Choice(names, budget, seeds, write)
        words = [f" --arms {arms} --budget {budget:g} --seeds {seeds}"]
        words += [f" --set {item}" for item in set or []] + ([f" --write {write[0]} {write[1]}"] if write else [])
        with resumable(f"tunesmith data select {config}{''.join(words)}"):
            selection = experiments.select(settings, Workspace.open(), choice, console.emit, fresh)
        console.print("", _table(selection), "", selection.comparison.sentence, "", f"report:  {selection.page}")
        if selection.written:
            console.print(f"rows:    {selection.written}")
        console.result(selection.document())
        if not selection.comparison.best:
            raise typer.Exit(1)


def _table(selection: Selection) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    columns = ("arm", "rows", "validation loss", "between seeds", "against random", "difference", "interval")
    table = Table(*columns, box=None, pad_edge=False)
    for arm in selection.comparison.arms:
        difference = "–" if arm.difference is None else f"{arm.difference:+.4f}"
        interval = "–" if arm.interval is None else f"{arm.interval.low:+.4f} to {arm.interval.high:+.4f}"
        cells = [arm.name, f"{arm.rows:,}", f"{arm.loss:.4f}", f"± {arm.spread:.4f}", arm.word or "–"]
        table.add_row(*map(Text, [*cells, difference, interval]))
    return table
