"""What `merge` and `export` show: the difference between what was judged and what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunesmith.cli.console import Console
    from tunesmith.core.artifacts import Delivery


def show(console: Console, delivery: Delivery) -> None:
    """The numbers, and where it is, or why it is nowhere. Exit code 1 when nothing was written."""
    from tunesmith.cli.train import show_verdict

    console.print("", numbers(delivery))
    if delivery.report is not None:
        show_verdict(console, delivery.report)
    console.print("", *(f"note:    {note}" for note in delivery.notes))
    if delivery.refused:
        console.print(f"refused: {delivery.refused}", "nothing was written")
    else:
        console.print(f"written: {delivery.path} ({delivery.size / 1e6:,.1f} MB, {delivery.number_format})")
    console.result(delivery)
    if delivery.refused:
        raise typer.Exit(1)


def numbers(delivery: Delivery) -> RenderableType:
    """One line for each thing that was compared."""
    from rich.table import Table

    table = Table("compared after loading it again", "found", "allowed", box=None, pad_edge=False)
    found = delivery.difference
    if found is None:
        table.add_row("bytes and numbers", "the same", "the same")
        return table
    limit = f"{delivery.max_difference:g} deviations"
    detail = f"{found.largest:.2g} ({found.relative:.2g} standard deviations of the logits)"
    table.add_row("largest difference of a logit", detail, limit)
    table.add_row("same greedy token", f"{found.agreement:.1%} of {found.positions} positions", "")
    if found.kept is not None:
        table.add_row("of the adapter's effect", f"{found.kept:.1%} is left", "at least 50%")
    return table
