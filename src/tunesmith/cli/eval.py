"""``tunesmith eval`` and ``tunesmith compare``: models on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import Console, JsonOption, SetOption, session
from tunesmith.cli.data.request import ColumnOption, FormatOption, dataset_spec
from tunesmith.cli.train import show_verdict

if TYPE_CHECKING:
    from tunesmith.core.artifacts import Report
    from tunesmith.curate import DatasetSpec

DataOption = Annotated[Path, typer.Option("--data", help="File with held-out rows; its answers are the wanted ones.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Config file with evaluation keys (json_schema, primary_metric, …).")
]
SystemOption = Annotated[str, typer.Option("--system", help="System message for rows that have none.")]
OutOption = Annotated[Path | None, typer.Option("--report", help="Write the report as an HTML page to this file.")]


def evaluate(
    model: Annotated[str, typer.Argument(help="Run folder, adapter folder, released name, model folder or name.")],
    data: DataOption,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    system: SystemOption = "",
    config: ConfigOption = None,
    set: SetOption = None,
    report: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Score one model's answers to held-out rows, each score with its interval."""
    with session(json) as console:
        rows = dataset_spec(str(data), format, column or [], system)
        _measure(console, [model], rows, config, set or [], report)


def compare(
    models: Annotated[list[str], typer.Argument(help="Two models or more; the first is the baseline.")],
    data: DataOption,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    system: SystemOption = "",
    config: ConfigOption = None,
    set: SetOption = None,
    report: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Hold models against the first one on the same rows. Exit code 1 when one of them is worse."""
    with session(json) as console:
        from tunesmith.core.errors import InputError

        if len(models) < 2:
            raise InputError(
                "one model cannot be compared",
                where="compare",
                rule="compare takes two models or more; the first is the baseline",
                fix=f"tunesmith compare BASELINE {models[0]} --data {data}",
            )
        rows = dataset_spec(str(data), format, column or [], system)
        found = _measure(console, models, rows, config, set or [], report)
        deciding = [c.verdict for c in found.comparisons if c.metric == found.primary_metric]
        if "worse" in deciding:
            raise typer.Exit(1)


def _measure(
    console: Console,
    models: Sequence[str],
    data: DatasetSpec,
    config: Path | None,
    set: Sequence[str],
    page: Path | None,
) -> Report:
    from tunesmith import evaluate, lifecycle
    from tunesmith.core.store import Workspace, require_writable, write_text

    if page is not None:
        require_writable(page.parent)
    settings = lifecycle.load_evaluation(config, set, models)
    report = lifecycle.evaluate_models(models, data, settings, Workspace.open(), console.emit)
    show_verdict(console, report)
    if page is not None:
        write_text(page, evaluate.to_html(report))
        console.print("", f"report: {page}")
    console.result(report)
    return report
