"""``tunesmith data``: look at examples before they are trained on, one module for each command."""

from __future__ import annotations

import typer

from tunesmith.cli.data import check, show

app = typer.Typer(no_args_is_help=True, help="Check data files, and look at their rows token by token.")
app.command()(check.check)
app.command()(show.show)
