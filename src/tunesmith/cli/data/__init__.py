"""``tunesmith data``: look at examples before they are trained on, one module for each command."""

from __future__ import annotations

import typer

from tunesmith.cli.data import (
    audit,
    canaries,
    card,
    check,
    diff,
    enough,
    import_,
    lineage,
    repair,
    select,
    selftest,
    show,
    split,
    synth,
)

app = typer.Typer(no_args_is_help=True, help="Check data files, look at their rows, repair, split and describe them.")
app.command()(check.check)
app.command()(show.show)
app.command()(repair.repair)
app.command("import")(import_.import_)
app.command()(split.split)
app.command()(diff.diff)
app.command()(audit.audit)
app.command()(canaries.canaries)
app.command()(lineage.lineage)
app.command()(card.card)
app.command()(synth.synth)
app.command()(enough.enough)
app.command()(select.select)
app.command()(selftest.selftest)
