"""``tunesmith data show``: rows as the model sees them, with what is trained marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nlargest
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from tunesmith.cli.console import Console, JsonOption, SetOption, session
from tunesmith.cli.data.request import (
    ColumnOption,
    FilesArgument,
    FormatOption,
    ModelOption,
    data_config,
    request,
    styled,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from tunesmith.core.events import RowLoss
    from tunesmith.core.records import Example, TokenizedExample
    from tunesmith.curate import Config

OPEN, CLOSE, LINE_BREAK = "⟦", "⟧", "⏎"
"""Around what is trained, and for a line break: marks that survive without colour."""


WorstOption = Annotated[
    Path | None, typer.Option("--worst", help="Folder of a run: the rows with the highest losses of all files.")
]


class Piece(Protocol):
    """Text of a token and whether it is trained."""

    @property
    def text(self) -> str:
        """What the token says."""
        ...

    @property
    def trained(self) -> bool:
        """Whether it takes part in the loss."""
        ...


def show(
    files: FilesArgument,
    model: ModelOption = "",
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows of each file.")] = 3,
    line: Annotated[int | None, typer.Option("--line", min=1, help="Only the row on this line of the file.")] = None,
    worst: WorstOption = None,
    clusters: Annotated[bool, typer.Option("--clusters", help="The kinds of questions, with a row of each.")] = False,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    set: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Show rows token by token, with what is trained marked."""
    with session(json) as console:
        from tunesmith import curate
        from tunesmith.core.errors import InputError

        if clusters:
            _clusters(console, data_config(files, format, column or [], set or []))
            return
        asked = request(console, files, model, None, format, column or [], set or [])
        shown: list[dict[str, object]] = []
        if worst is not None:
            for example, loss in _worst(asked.config, worst, rows):
                console.print(f"loss {loss.loss:.3f} nats a token, over {loss.tokens} tokens, when it was last trained")
                shown += [{**row, "loss": loss.loss} for row in show_row(console, example, asked.renderer)]
            console.print(*_legend(asked.renderer is not None))
            console.result({"rows": shown})
            return
        for spec in asked.config.datasets:
            wanted = (e for e in curate.read(spec) if line is None or e.source.line == line)
            for example in islice(wanted, rows):
                shown += show_row(console, example, asked.renderer)
        if not shown:
            raise InputError(
                f"no row begins on line {line}",
                where=", ".join(files),
                rule="--line is the line a row begins on (the row number in CSV and Parquet files)",
                fix="leave --line out to see the first rows",
            )
        console.print(*_legend(asked.renderer is not None))
        console.result({"rows": shown})


def _clusters(console: Console, config: Config) -> None:
    """The kinds of questions, the largest first."""
    from tunesmith import curate

    found = curate.question_clusters(config, console.emit)
    for cluster in found:
        console.print(styled(f"{cluster.share:>4.0%}  {', '.join(cluster.words) or 'no word in common'}", "bold"))
        console.print(f"      {cluster.source}  {' '.join(cluster.question.split())[:160]}")
    console.result({"clusters": found})


def _worst(config: Config, run: Path, number: int) -> list[tuple[Example, RowLoss]]:
    """The rows of the files that a run found hardest, the hardest first; a row that stands twice is shown once."""
    from tunesmith import curate, lifecycle
    from tunesmith.core.errors import InputError

    losses = {loss.row: loss for loss in lifecycle.worst_rows(run)}
    rows = (example for spec in config.datasets for example in curate.read(spec))
    here = ((example, losses.pop(example.id)) for example in rows if example.id in losses)
    found = nlargest(number, here, key=lambda pair: (pair[1].loss, pair[1].row))
    if not found:
        raise InputError(
            f"no row of these files was trained by {run}",
            where=", ".join(spec.path for spec in config.datasets),
            rule="rows are found by their ids, which are hashes of their content",
            fix="give the data files of the run, or its config.yaml",
        )
    return found


def show_row(console: Console, example: Example, renderer: Any) -> list[dict[str, object]]:
    """Print a row and return its JSON form; a template that rewrites history makes several of one."""
    content = {"text": example.target.text} if example.is_document else {"messages": list(example.conversation)}
    plain: dict[str, object] = {"source": str(example.source), "id": example.id, **content}
    if renderer is None:
        console.print(styled(f"{example.source}  id {example.id}", "bold"))
        console.print(*turns(example), "")
        return [{**plain, "tokens": None}]
    parts: list[dict[str, object]] = []
    rendered: Sequence[TokenizedExample] = renderer.example(example)
    for number, row in enumerate(rendered, start=1):
        part = f"  part {number} of {len(rendered)}" if len(rendered) > 1 else ""
        title = f"{example.source}  id {example.id}{part}  {row.trained_tokens} of {len(row.tokens)} tokens trained"
        pieces = renderer.pieces(row)
        console.print(styled(title, "bold"), marked(pieces), "")
        parts.append({**plain, "tokens": [{"text": piece.text, "trained": piece.trained} for piece in pieces]})
    return parts


def marked(pieces: Sequence[Piece]) -> Text:
    """A rendered row: tokens parted by ``│``, what is trained in brackets and in colour."""
    from rich.text import Text

    from tunesmith.cli.failures import clean

    text = Text()
    for trained, run in groupby(pieces, lambda piece: piece.trained):
        style = "bold green" if trained else ""
        text.append(OPEN if trained else "", style="bold")
        for i, piece in enumerate(run):
            text.append("│" if i else "", style="dim")
            text.append(clean(piece.text.replace("\t", "\\t")).replace("\n", f"{LINE_BREAK}\n"), style=style)
        text.append(CLOSE if trained else "", style="bold")
    return text


def turns(example: Example) -> Iterator[RenderableType]:
    """A row as its turns, with what is trained in brackets: for when there is no model to make tokens."""
    if example.is_document:
        yield styled(OPEN + example.target.text.replace("\n", f"{LINE_BREAK}\n  ") + CLOSE, "bold green")
    for message in example.conversation:
        calls = "".join(f"{call.name}({call.arguments})" for call in message.tool_calls)
        trained = message.role == "assistant" and message.weight != 0
        body = (message.text + calls).replace("\n", f"{LINE_BREAK}\n  ")
        yield styled(f"{message.role}:", "dim")
        yield styled(f"  {OPEN}{body}{CLOSE}" if trained else f"  {body}", "bold green" if trained else "")


def _legend(tokens: bool) -> list[str]:
    what = f"{OPEN}…{CLOSE} is trained"
    if tokens:
        return [f"{what}, all else is context; │ parts tokens, {LINE_BREAK} is a line break"]
    return [f"{what}, all else is context; not shown: tokens (no model given: --model)"]
