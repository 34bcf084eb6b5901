"""``tunesmith data enough``: would more data help?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import JsonOption, SetOption, session
from tunesmith.cli.train import resumable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunesmith.experiments import Curve


def enough(
    config: Annotated[Path, typer.Argument(help="The config file.")] = Path("tunesmith.yaml"),
    fractions: Annotated[
        str, typer.Option("--fractions", help="Shares of the training rows, ascending, the last one 1.")
    ] = "0.25,0.5,1",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each share.")] = 3,
    margin: Annotated[
        float, typer.Option("--margin", min=0, max=1, help="Share of the loss that a gain must reach to matter.")
    ] = 0.02,
    set: SetOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again what is known already.")] = False,
    json: JsonOption = False,
) -> None:
    """Say whether more data will likely help: the configured run on growing shares of its rows.

    Judged on the validation rows alone. A command that was stopped goes on when it is given again. Exit code 1 when it
    cannot tell.
    """
    with session(json) as console:
        from tunesmith import experiments, lifecycle
        from tunesmith.core.store import Workspace

        shares = _shares(fractions)
        settings = lifecycle.load_settings(config, set or [])
        words = [f" --set {item}" for item in set or []]
        words += [f" --fractions {fractions}"] * (fractions != "0.25,0.5,1") + [f" --seeds {seeds}"] * (seeds != 3)
        words += [f" --margin {margin:g}"] * (margin != 0.02)
        with resumable(f"tunesmith data enough {config}{''.join(words)}"):
            curve = experiments.enough(settings, Workspace.open(), shares, seeds, margin, console.emit, fresh)
        console.print("", _table(curve), "", curve.growth.sentence, "", f"report:  {curve.page}")
        console.result(curve.document())
        if curve.growth.answer == "cannot tell":
            raise typer.Exit(1)


def _shares(text: str) -> list[float]:
    from tunesmith.core.errors import ConfigError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"{text!r} is no list of shares",
            where="--fractions",
            rule="shares are numbers above 0, separated by commas, the last one 1",
            fix="take --fractions 0.25,0.5,1",
        ) from None


def _table(curve: Curve) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from tunesmith.curate import percent

    table = Table("share", "rows", "validation loss", "between seeds", box=None, pad_edge=False)
    for point, rows in zip(curve.growth.curve, curve.rows, strict=True):
        cells = (percent(point.share), f"{rows:,}", f"{point.loss:.4f}", f"± {point.spread:.4f}")
        table.add_row(*map(Text, cells))
    return table
