"""``tunesmith data diff``: what changed between two data files, versions or splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import Console, JsonOption, session
from tunesmith.cli.data.request import ColumnOption, FormatOption, data_config, styled

if TYPE_CHECKING:
    from tunesmith.curate import Config, DataDiff, Difference

SideArgument = Annotated[str, typer.Argument(help="A data file, a config file, or a folder that data split wrote.")]
SPLITS = ("train", "validation", "test")
LISTED = 10
"""How many differences of each kind are listed for people."""


def diff(
    before: SideArgument,
    after: SideArgument,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    json: JsonOption = False,
) -> None:
    """Say which rows came, went, got another answer or changed splits. Exit code 1 when the rows differ."""
    with session(json) as console:
        from tunesmith import curate

        sides = [_config(path, format, column or []) for path in (before, after)]
        found = curate.diff(*sides, emit=console.emit)
        _print(console, found)
        console.result({"equal": found.is_empty, **found.model_dump(mode="json")})
        if not found.is_empty:
            raise typer.Exit(1)


def _config(path: str, format: str, columns: Sequence[str]) -> Config:
    """How to read one side; the files of a folder stand in the splits that they are named after."""
    from tunesmith.curate import Config

    parts = [file for name in SPLITS if (file := Path(path) / f"{name}.jsonl").is_file()]
    if not parts:
        return data_config([path], format, columns)
    sets = [{"path": str(file), "split": file.stem} for file in parts]
    return Config.model_validate({"datasets": sets, "require_provenance": None})


def _print(console: Console, found: DataDiff) -> None:
    console.print(f"rows: {found.rows_before:,} before, {found.rows_after:,} after, {found.same:,} the same")
    if found.respelled:
        console.print(f"  {found.respelled:,} of the same differ in spelling alone (case, white space, Unicode form)")
    if found.reordered:
        console.print("  the same rows stand in another order")
    for title, style, rows in (
        ("added", "green", found.added),
        ("removed", "red", found.removed),
        ("another answer", "yellow", found.changed),
        ("another split", "cyan", found.moved),
    ):
        if rows:
            console.print("", styled(f"{title}: {len(rows):,}", f"bold {style}"))
            for row in rows[:LISTED]:
                console.print(*_lines(row))
            if len(rows) > LISTED:
                console.print(f"  … and {len(rows) - LISTED:,} more (--json lists all)")
    if found.is_empty:
        console.print(styled("no difference", "bold green"))


def _lines(row: Difference) -> list[str]:
    place = " → ".join(str(source) for source in (row.before, row.after) if source)
    lines = [f"  {place}  {row.question}"]
    if row.before and row.after and row.answer_before != row.answer_after:
        lines += [f"    − {row.answer_before}", f"    + {row.answer_after}"]
    if row.before and row.after and row.split_before != row.split_after:
        lines.append(f"    {row.split_before} → {row.split_after}")
    return lines
