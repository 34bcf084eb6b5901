"""``tunesmith data selftest``: what the checks find on this machine, measured on planted faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import JsonOption, session
from tunesmith.cli.data.request import ColumnOption, FormatOption, dataset_spec, styled

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunesmith.core.records import Example
    from tunesmith.curate import TrialResult

RowsOption = Annotated[
    str, typer.Option("--rows", help="Plant into the rows of this file, wherever any question and answer will do.")
]
PageOption = Annotated[Path | None, typer.Option("--page", help="Also write the table as a Markdown file.")]


def selftest(
    rows: RowsOption = "",
    format: FormatOption = "auto",
    column: ColumnOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Another number plants other faults.")] = 0,
    page: PageOption = None,
    json: JsonOption = False,
) -> None:
    """Plant known faults into clean rows and count what every check finds. Exit code 1 when a threshold fails."""
    with session(json) as console:
        from tunesmith import curate
        from tunesmith.core.store import write_text

        own = _own_rows(rows, format, column or []) if rows else []
        results = curate.selftest(seed, own, console.emit)
        if page is not None:
            write_text(page, curate.trials_page(results))
        console.print(_table(results), "", *_verdict(results, rows))
        failed = sum(one.ok is False for one in results)
        trials = [{**one.model_dump(mode="json"), "must": one.must} for one in results]
        console.result({"ok": not failed, "seed": seed, "failed": failed, "trials": trials})
        if failed:
            raise typer.Exit(1)


def _own_rows(path: str, format: str, columns: Sequence[str]) -> list[Example]:
    """The rows of a file.

    Raises:
        DataError: the file cannot be read, or too few of its rows can be planted into.
    """
    from tunesmith import curate
    from tunesmith.core.errors import DataError

    spec = dataset_spec(path, format, columns, "")
    own = list(curate.read(spec))
    usable = len(curate.plantable(own))
    if usable < curate.FEWEST_PLANTABLE:
        raise DataError(
            f"{usable} of {len(own)} rows can be planted into",
            where=path,
            rule=f"{curate.FEWEST_PLANTABLE} different questions with an answer are needed, 25 words or more together",
            fix="give a larger file, or leave --rows out: the lab then uses rows of its own",
        )
    return own


def _table(results: Sequence[TrialResult]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "check", "planted fault"):
        table.add_column(name, overflow="fold")
    for name in ("planted", "found", "false alarms"):
        table.add_column(name, justify="right")
    table.add_column("must hold", overflow="fold")
    before = ""
    for one in results:
        name = "" if one.check == before else one.check
        before = one.check
        if one.ok is None:
            table.add_row(styled("–", "yellow"), name, f"not tried: {one.why}")
            continue
        mark = styled("ok", "green") if one.ok else styled("FAILED", "bold red")
        alarms = "–" if one.false_alarms is None else f"{one.false_alarms:,}"
        must = one.must if one.ok else f"{one.must}: {one.why}"
        table.add_row(mark, name, one.what, f"{one.planted:,}", f"{one.found:,}", alarms, must)
    return table


def _verdict(results: Sequence[TrialResult], rows: str) -> Iterator[RenderableType]:
    counts = Counter(one.ok for one in results)
    own = sum(one.own_rows for one in results)
    if rows:
        yield (
            f"{own} trials used rows of {rows}, the others rows of the lab. Beside planted faults your rows may hold "
            "real ones, so false alarms are not counted there."
        )
    skipped = f"; {counts[None]} checks not tried" if counts[None] else ""
    if counts[False]:
        yield styled(f"{counts[False]} of {len(results) - counts[None]} trials failed{skipped}", "bold red")
    else:
        yield styled(f"all {counts[True]} trials hold{skipped}", "bold green")
