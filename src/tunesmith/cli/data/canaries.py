"""``tunesmith data canaries``: rows to plant into a twin run, so that a test of leakage can show its power."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.console import JsonOption, session


def canaries(
    config: Annotated[Path, typer.Argument(help="Config file of the run whose rows the canaries are to look like.")],
    out: Annotated[Path, typer.Option("--out", help="File of rows to plant, .jsonl.")] = Path("canaries.jsonl"),
    candidates: Annotated[
        int, typer.Option("--candidates", min=100, help="Unseen rows to rank them among; 1,000 or more show rates.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Another number makes other canaries.")] = 0,
    json: JsonOption = False,
) -> None:
    """Make rows that look like yours and mean nothing, to be trained into a twin and looked for afterwards."""
    with session(json) as console:
        from tunesmith import proof
        from tunesmith.core.store import Workspace, require_writable

        require_writable(out.parent)
        found = proof.write_canaries(config, out, Workspace.open(), candidates, seed, console.emit)
        groups = ", ".join(f"{len(rows)} shown {times} times" for times, rows in found.planting.groups.items())
        console.print(f"{out}: {groups}", "", "train a twin with them, and throw it away after the test:")
        console.print(
            "datasets:", "  - (your own files)", f"  - {{path: {out}, split: train}}", "output_dir: runs/twin"
        )
        console.print("", "then: tunesmith eval runs/tunesmith --risk leakage --twin runs/twin")
        console.result(found.planting)
