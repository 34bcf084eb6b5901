"""``tunesmith eval`` and ``tunesmith compare``: models on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import Console, JsonOption, SetOption, session
from tunesmith.cli.data.request import ColumnOption, FormatOption, dataset_spec
from tunesmith.cli.train import show_verdict

if TYPE_CHECKING:
    from tunesmith.core.artifacts import Report
    from tunesmith.curate import DatasetSpec
    from tunesmith.evaluate import RiskReport

DataOption = Annotated[Path, typer.Option("--data", help="File with held-out rows; its answers are the wanted ones.")]
OptionalDataOption = Annotated[
    Path | None,
    typer.Option("--data", help="File with held-out rows; its answers are the wanted ones. Not needed for --risk."),
]
RiskOption = Annotated[
    list[str] | None,
    typer.Option("--risk", help="forgetting, leakage or bias of a run beside its base; give it once for each, or all."),
]
TwinOption = Annotated[
    str, typer.Option("--twin", help="With --risk leakage: a run with canaries (tunesmith data canaries).")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Config file with evaluation keys (json_schema, primary_metric, …).")
]
SystemOption = Annotated[str, typer.Option("--system", help="System message for rows that have none.")]
SpecOption = Annotated[
    Path | None, typer.Option("--spec", help="Go by this eval.yaml, which was written before; refuse other rows.")
]
WriteOption = Annotated[
    Path | None,
    typer.Option("--write-spec", help="Only write down what will be decided, to this file; no model is asked."),
]
VaultOption = Annotated[
    bool, typer.Option("--vault", help="With --write-spec: the rows are a vault, to be opened three times at most.")
]
MetricOption = Annotated[
    list[str] | None,
    typer.Option("--metric", help="Measure this too: a name (ter, latency_p95, …) or FILE.py:FUNCTION; repeatable."),
]
WatchOption = Annotated[
    str, typer.Option("--watch", help="Note the result as the next point of this series; its rows must be fresh.")
]
OutOption = Annotated[Path | None, typer.Option("--report", help="Write the report as an HTML page to this file.")]


def evaluate(
    model: Annotated[str, typer.Argument(help="Run folder, adapter folder, released name, model folder or name.")],
    data: OptionalDataOption = None,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    system: SystemOption = "",
    config: ConfigOption = None,
    set: SetOption = None,
    metric: MetricOption = None,
    spec: SpecOption = None,
    write_spec: WriteOption = None,
    vault: VaultOption = False,
    watch: WatchOption = "",
    risk: RiskOption = None,
    twin: TwinOption = "",
    report: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Score one model's answers to held-out rows, and measure what tuning may have done besides.

    Exit code 1 when what decides was not measured, or a risk that was asked for did not pass.
    """
    with session(json) as console:
        _require_something(data, risk)
        rows = dataset_spec(str(data), format, column or [], system) if data else None
        wish = _Wish(config, _overrides(set, metric), spec, write_spec, vault, report, watch)
        found = None if rows is None else _measure(console, [model], rows, wish, last=not risk)
        reports = _risks(console, model, risk, wish, twin) if risk else []
        if risk:
            console.result({"report": found, "risks": reports})
        if found is not None:
            _require_measured(found)
        if any(one.verdict != "pass" for one in reports):
            raise typer.Exit(1)


def compare(
    models: Annotated[list[str], typer.Argument(help="Two models or more; the first is the baseline.")],
    data: DataOption,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    system: SystemOption = "",
    config: ConfigOption = None,
    set: SetOption = None,
    metric: MetricOption = None,
    spec: SpecOption = None,
    write_spec: WriteOption = None,
    vault: VaultOption = False,
    report: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Hold models against the first one on the same rows.

    Exit code 1 when one of them is worse, or when what decides was not measured.
    """
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
        found = _measure(console, models, rows, _Wish(config, _overrides(set, metric), spec, write_spec, vault, report))
        if found is None:
            return
        _require_measured(found)
        deciding = [c.verdict for c in found.comparisons if c.metric == found.primary_metric]
        if "worse" in deciding:
            raise typer.Exit(1)


def _overrides(set: list[str] | None, metrics: list[str] | None) -> tuple[str, ...]:
    """``--set`` and ``--metric`` together; files of metrics count from the folder that the command is given in."""
    import json

    whole = [
        f"{Path(path).expanduser().absolute()}:{name}" if mark else name
        for path, mark, name in (spec.rpartition(":") for spec in metrics or ())
    ]
    return (*(set or ()), *([f"metrics={json.dumps(whole)}"] if whole else []))


@dataclass(frozen=True)
class _Wish:
    """The options of both commands."""

    config: Path | None
    set: tuple[str, ...]
    spec: Path | None
    write_spec: Path | None
    vault: bool
    page: Path | None
    series: str = ""


def _require_something(data: Path | None, risk: list[str] | None) -> None:
    """Refuse a command that measures nothing, and risks that do not exist.

    Raises:
        InputError: neither rows nor a risk, or an unknown risk.
    """
    from tunesmith import proof
    from tunesmith.core.errors import InputError

    unknown = [name for name in risk or () if name not in (*proof.KINDS, "all")]
    if unknown or (data is None and not risk):
        raise InputError(
            f"there is no risk called {unknown[0]}" if unknown else "there is nothing to measure",
            where="--risk" if unknown else "--data",
            rule=f"a model is measured on held-out rows (--data), for a risk ({', '.join(proof.KINDS)}, all), or both",
            fix="give --data FILE, or --risk all",
        )


def _risks(console: Console, model: str, names: Sequence[str], wish: _Wish, twin: str) -> list[RiskReport]:
    """The reports of the risks that were asked for, told to people."""
    from tunesmith import lifecycle, proof
    from tunesmith.core.store import Workspace

    kinds = [kind for kind in proof.KINDS if kind in names or "all" in names]
    settings = lifecycle.load_evaluation(wish.config, wish.set, [model])
    found = proof.measure_risks(model, kinds, settings, Workspace.open(), console.emit, twin)
    for one in found:
        console.print("", f"{one.kind}: {one.verdict}")
        console.print(*(f"  {gate.name}: {gate.verdict}. {gate.sentence}" for gate in one.gates))
        console.print(*(f"  {note}" for note in one.notes))
        if one.statement:
            console.print("", one.statement)
    return found


def _measure(
    console: Console, models: Sequence[str], data: DatasetSpec, wish: _Wish, last: bool = True
) -> Report | None:
    """The report; None where only a spec was written. ``last``: it is the command's one result."""
    from tunesmith import evaluate, lifecycle, proof
    from tunesmith.core.store import Workspace, require_writable, write_text

    _require_sense(wish)
    for target in filter(None, (wish.page, wish.write_spec)):
        require_writable(target.parent)
    settings = lifecycle.load_evaluation(wish.config, wish.set, models)
    if wish.write_spec is not None:
        made = proof.write_spec(models, data, settings, Workspace.open(), wish.write_spec, wish.vault, console.emit)
        console.print(f"{wish.write_spec}: spec {made.digest} for {made.count} rows is fixed; no model was asked")
        console.result(made)
        return None
    spec = evaluate.read_spec(wish.spec) if wish.spec else None
    report = proof.evaluate_models(models, data, settings, Workspace.open(), console.emit, spec, wish.series)
    show_verdict(console, report)
    if wish.page is not None:
        write_text(wish.page, evaluate.to_html(report))
        console.print("", f"report: {wish.page}")
    if last:
        console.result(report)
    return report


def _require_measured(report: Report) -> None:
    """Exit code 1 where the metric that decides was not measured on a model: a run that says nothing is no success."""
    if any(s.metric == report.primary_metric and s.value is None for s in report.summaries):
        raise typer.Exit(1)


def _require_sense(wish: _Wish) -> None:
    """Refuse options that contradict each other.

    Raises:
        InputError: they do.
    """
    from tunesmith.core.errors import InputError

    if wish.spec and (wish.set or wish.config):
        raise InputError(
            "--spec and --config or --set were given together",
            where="--spec",
            rule="what was decided is not changed afterwards",
            fix="leave --config and --set out, or write a new spec with --write-spec",
        )
    if (wish.spec and wish.write_spec) or (wish.vault and not wish.write_spec):
        raise InputError(
            "--vault was given without --write-spec" if wish.vault else "--spec and --write-spec were given together",
            where="--write-spec",
            rule="a spec is written first (--write-spec, with --vault for a vault) and used later (--spec)",
            fix="run the command twice: with --write-spec, then with --spec",
        )
