"""``tunesmith data import``: rows of others become a data file; and rows of ours become a file for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.console import JsonOption, session

SourceArgument = Annotated[
    str, typer.Argument(help="A data file, a .sqlite database, or hf:owner/name:split for a data set of the hub.")
]
ImportFormatOption = Annotated[
    str,
    typer.Option("--format", help="openai, alpaca, sharegpt, prompt-completion, text, csv, parquet, sqlite, hf."),
]
ColumnOption = Annotated[
    list[str] | None, typer.Option("--column", help="Our field=your column, e.g. completion=answer; may be repeated.")
]
TemplateOption = Annotated[
    list[str] | None,
    typer.Option("--template", help='Our field=text over columns, e.g. prompt="Where is {city}?"; may be repeated.'),
]


def import_(
    source: SourceArgument,
    out: Annotated[Path, typer.Option("--out", help="File to write: .jsonl, .csv or .parquet.")],
    format: ImportFormatOption = "auto",
    to: Annotated[str, typer.Option("--to", help="Shape to write: openai, alpaca, sharegpt, prompt-completion.")] = "",
    column: ColumnOption = None,
    template: TemplateOption = None,
    table: Annotated[str, typer.Option("--table", help="Table or view of a database.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is already there.")] = False,
    json: JsonOption = False,
) -> None:
    """Make examples of the rows of a table, a file or a data set of the hub. What is written reads back the same."""
    with session(json) as console:
        from tunesmith import curate
        from tunesmith.core import store
        from tunesmith.core.events import ticking

        _refuse_target(out, source, force)
        asked = curate.wanted(source, format, column or [], template or [], table)
        shape, examples = curate.read_import(asked, ticking(console.emit, f"reading {Path(source).name}"))
        written_as = _shape(to, "text" if shape == "text" else "chat")
        rows = curate.write_examples(examples, out, written_as)
        console.print(f"{source} → {out}: {rows:,} rows, read as {shape}, written as {written_as}")
        console.print(f"next: tunesmith data check {out}")
        console.result(
            {
                "source": source,
                "path": str(out),
                "rows": rows,
                "format": shape,
                "written_as": written_as,
                "sha256": store.file_digest(out),
            }
        )


def _refuse_target(out: Path, source: str, force: bool) -> None:
    from tunesmith.core.errors import InputError

    if out.exists() and (not force or Path(source).resolve() == out.resolve()):
        raise InputError(
            "the file to write is the source itself" if force else "the file to write is already there",
            where=str(out),
            rule="importing replaces nothing unasked, and never its own source",
            fix="give another name with --out" + ("" if force else ", or replace it with --force"),
        )


def _shape(to: str, usual: str) -> str:
    from tunesmith.core.errors import ConfigError
    from tunesmith.core.registry import nearest
    from tunesmith.curate import SHAPES

    if to and to not in SHAPES:
        near = nearest(to, SHAPES)
        raise ConfigError(
            f"--to does not know the shape {to!r}",
            where="--to",
            rule=f"shapes are {', '.join(SHAPES)}",
            fix=f"did you mean {near[0]}?" if near else "leave it out: chat rows as OpenAI has them",
        )
    return SHAPES[to] if to else usual
