"""``tunesmith data split``: training, validation and test rows as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.console import JsonOption, SetOption, session
from tunesmith.cli.data.request import ColumnOption, FilesArgument, FormatOption, data_config

ShareOption = Annotated[float | None, typer.Option("--val-size", help="Share of the rows for validation.")]
TestOption = Annotated[float | None, typer.Option("--test-size", help="Share of the rows for the test.")]
GroupOption = Annotated[str | None, typer.Option("--group-by", help="Column whose equal values stay in one split.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Another number gives another split.")]


def split(
    files: FilesArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it must not be there yet.")],
    val_size: ShareOption = None,
    test_size: TestOption = None,
    seed: SeedOption = None,
    group_by: GroupOption = None,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    set: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Write train.jsonl, validation.jsonl and test.jsonl, and why each row stands where it stands."""
    with session(json) as console:
        from tunesmith import curate

        asked = data_config(files, format, column or [], set or [])
        given = {"val_size": val_size, "test_size": test_size, "split_seed": seed, "group_by": group_by}
        changes = {name: value for name, value in given.items() if value is not None}
        config = curate.Config.model_validate({**asked.model_dump(), **changes})
        rows = curate.write_splits(config, out, console.emit)
        console.print(*(f"{number:>8,}  {out / name}.jsonl" for name, number in rows.items()))
        console.print(f"why each row stands where it stands: {out / curate.ASSIGNMENT}", "", "for a config file:")
        console.print("datasets:", *(f"  - {{path: {out / name}.jsonl, split: {name}}}" for name in rows))
        console.result({"path": str(out), "rows": rows})
