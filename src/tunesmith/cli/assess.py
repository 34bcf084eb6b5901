"""``tunesmith assess``: is fine-tuning the right lever at all?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.console import JsonOption, SetOption, session


def assess(
    config: Annotated[Path, typer.Argument(help="Config file: its data and model, and the block assess.")],
    add: Annotated[
        list[str] | None, typer.Option("--add", help="A run or adapter to put beside the other arms; may be repeated.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for why-not-prompting.md, advice.html and advice.json.")
    ] = Path("assessment"),
    set: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Try a good prompt, retrieval and what was tuned on the same rows, and advise.

    Exit code 1 when nothing can be told, or more data are needed first.
    """
    with session(json) as console:
        from tunesmith import lifecycle, proof
        from tunesmith.core.store import Workspace, require_writable

        require_writable(out)
        settings = lifecycle.load_settings(config, set or [])
        advice = proof.assess_levers(settings, Workspace.open(), console.emit, add or [])
        proof.write_advice(advice, out, console.emit)
        console.print("", f"advice: {advice.recommendation}", advice.sentence, f"rule: {advice.rule}", "")
        for arm in advice.arms:
            if arm.right is None:
                console.print(f"  {arm.name}: not measured: {arm.reason}")
            else:
                found = f"{arm.right.count} of {arm.right.n} rows right ({arm.right.low:.0%} to {arm.right.high:.0%})"
                console.print(f"  {arm.name}: {found}; {arm.fell_short or 'reaches the target'}")
        console.print("", *(f"what would change it: {change}" for change in advice.would_change))
        console.result(advice)
        if advice.recommendation in ("cannot tell", "collect more data"):
            raise typer.Exit(1)
