"""``tunesmith cost``: what tuning costs, what it saves, and when the two are equal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.console import JsonOption, session

if TYPE_CHECKING:
    from tunesmith.core.costs import Payback


def cost(
    file: Annotated[Path, typer.Argument(help="Cost file (YAML): prices, requests a day, tokens before and after, …")],
    run: Annotated[
        Path | None, typer.Option("--run", help="A finished run: its hours of training fill one_off.machine_hours.")
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=100, help="How often every range is drawn from.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0,
    json: JsonOption = False,
) -> None:
    """Say after how many days tuning has paid for itself, with how much doubt, and what that hangs on.

    Exit code 1 when it does not pay within the horizon in more than half of the draws.
    """
    with session(json) as console:
        from tunesmith.core.costs import load_case, payback

        found = payback(load_case(file, _measured(run)), draws=draws, seed=seed)
        console.print(*_told(found))
        console.result(found)
        if found.probability <= 0.5:
            raise typer.Exit(1)


def _measured(run: Path | None) -> dict[str, Any]:
    """What a run's record knows of its cost.

    Raises:
        InputError: no finished run stands there.
    """
    if run is None:
        return {}
    from tunesmith.core.artifacts import RunRecord
    from tunesmith.core.costs import hours_after
    from tunesmith.core.errors import InputError

    path = run / "run.json"
    if not path.is_file():
        raise InputError(
            f"no finished run stands in {run}",
            where="--run",
            rule="a run's folder holds run.json when it is finished",
            fix="give the output_dir of a finished run",
        )
    record = RunRecord.model_validate_json(path.read_bytes())
    return {"one_off": {"machine_hours": hours_after(record).model_dump()}}


def _told(found: Payback) -> list[str]:
    days = lambda value: "never" if value is None else f"{value:,.1f} days"  # noqa: E731
    lines = [
        f"pays back after {days(found.median)} (80 % of the draws: {days(found.low)} to {days(found.high)}); "
        f"at the middle of every range {days(found.middle)}",
        f"within {found.horizon_days:g} days in {found.probability:.0%} of {found.draws:,} draws, "
        f"never in {found.never:.0%}",
        f"one-off {found.one_off.mid:,.2f} {found.currency}, saving per 1,000 requests "
        f"{found.saving_per_1000.mid:,.2f}, recurring {found.recurring_per_day:,.2f} a day",
    ]
    if found.break_even_requests is None:
        lines.append("it pays back at no volume: a request does not become cheaper")
    else:
        lines.append(f"break-even: {found.break_even_requests:,.0f} requests a day")
    lines += [
        f"{swing.name} {swing.low:g} to {swing.high:g}: {days(swing.at_low)} to {days(swing.at_high)}"
        for swing in found.tornado
    ]
    return [*lines, *(f"warning: {warning}" for warning in found.warnings)]
