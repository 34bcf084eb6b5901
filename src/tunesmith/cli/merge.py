"""``tunesmith merge``: base and adapter become one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli import deliver
from tunesmith.cli.console import JsonOption, SetOption, session
from tunesmith.cli.data.request import ColumnOption, FormatOption, dataset_spec
from tunesmith.cli.eval import ConfigOption, SystemOption

DataOption = Annotated[
    Path | None, typer.Option("--data", help="File with held-out rows, to compare logits and answers on.")
]
LimitOption = Annotated[
    float | None,
    typer.Option(
        "--max-difference",
        min=0,
        help="Largest difference of a logit, in standard deviations of the logits; more is refused.",
    ),
]


def merge(
    source: Annotated[str, typer.Argument(metavar="RUN_OR_ADAPTER", help="Run, adapter folder or released name.")],
    output: Annotated[Path, typer.Option("--output", help="Folder of the merged model; it must not exist yet.")],
    data: DataOption = None,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    system: SystemOption = "",
    config: ConfigOption = None,
    set: SetOption = None,
    max_difference: LimitOption = None,
    json: JsonOption = False,
) -> None:
    """Put an adapter's change into its base's weights, and prove it on the saved folder.

    Exit code 1 when the merged model is too far from base and adapter; nothing is written then.
    """
    with session(json) as console:
        from tunesmith import delivery, lifecycle
        from tunesmith.core.store import Workspace

        rows = dataset_spec(str(data), format, column or [], system) if data else None
        settings = lifecycle.load_evaluation(config, set or [], [source])
        order = delivery.Order(source, output, max_difference, rows, settings)
        deliver.show(console, delivery.merge(order, Workspace.open(), console.emit))
