"""A verb for tests of the frame: one command, and a group with one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.console import JsonOption, session
from tunesmith.core.errors import ConfigError

group = typer.Typer(no_args_is_help=True, help="A group of commands.")


def sample(
    config: Annotated[Path, typer.Argument(help="The config file.")],
    rows: Annotated[int, typer.Option(min=1, help="How many rows.")] = 3,
    fail: str = "",
    json: JsonOption = False,
) -> None:
    """Do a sample thing."""
    with session(json) as console:
        if fail == "config":
            raise ConfigError("unknown key 'lora_rank'", where=f"{config}:4", fix="did you mean 'lora_r'?")
        if fail == "no":
            raise typer.Exit(1)
        for number in range(rows):
            console.print(f"row {number}")
        console.result({"rows": rows})


@group.command()
def check(json: JsonOption = False) -> None:
    """Check a thing."""
    with session(json) as console:
        console.print("checked")
        console.result({"checked": True})
