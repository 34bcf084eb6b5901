"""Examples to files, in the shapes and kinds that are read: what is written reads back as the same examples, always.

Every row is read back before it is written. One that its shape cannot hold (a tool call in an Alpaca row, a line end of
Windows in a CSV cell) is refused by name instead of being changed on the way.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith.core import store
from tunesmith.core.errors import DataError, InputError
from tunesmith.core.records import Example, Message
from tunesmith.curate.checks.synthetic import MARK, read_mark
from tunesmith.curate.reading.place import Place
from tunesmith.curate.reading.shapes import BUILDERS

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "chat": ("messages", "tools"),
    "sharegpt": ("conversations", "tools"),
    "alpaca": ("system", "history", "instruction", "input", "output"),
    "prompt-completion": ("system", "prompt", "completion", "tools"),
    "text": ("text",),
}
"""Shape → its columns in a table, in order."""

_PIECE = 2000
"""Rows that are held before they are written."""


def write_examples(examples: Iterable[Example], out: Path, shape: str) -> int:
    """Write examples in a shape; the suffix of ``out`` says the kind of file. Returns how many were written.

    The file appears whole or not at all.

    Raises:
        InputError: no kind of file that is written. DataError: a row does not fit the shape.
    """
    kind = out.suffix.lower()
    if kind not in (".jsonl", ".csv", ".parquet"):
        raise InputError(
            f"a file of kind {kind or '(no suffix)'} is not written",
            where=str(out),
            rule="the suffix says the kind: .jsonl, .csv or .parquet",
            fix="give --out a name that ends in .jsonl",
        )
    rows = (checked_row(example, shape, kind) for example in examples)
    with store.staged_file(out) as staging:
        return _write_parquet(rows, staging, shape) if kind == ".parquet" else _write_text(rows, staging, shape, kind)


def checked_row(example: Example, shape: str, kind: str = ".jsonl") -> Mapping[str, Any]:
    """A row that reads back as this example.

    Raises:
        DataError: the shape, or the kind of file, cannot hold it.
    """
    place = Place(example.source.path, example.source.line)
    row = ROWS[shape](example) if example.is_document == (shape == "text") else {}
    if example.synthetic is not None:
        row = {**row, MARK: example.synthetic.model_dump(mode="json")}
    row = row if kind == ".jsonl" else {name: _cell(value) for name, value in row.items()}
    try:
        is_same = BUILDERS[shape](row, place).id == example.id and read_mark(row, None, place) == example.synthetic
    except (DataError, KeyError):
        is_same = False
    if not is_same or (kind == ".csv" and any("\r" in cell for cell in row.values())):
        raise place.error(
            f"does not fit the shape {shape} in a {kind} file: it would read back as another row",
            code="shape-cannot-hold",
            rule="what is written reads back as the same rows",
            fix="write it as chat rows: --to openai, with an --out that ends in .jsonl",
        )
    return row


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- shapes


def _turn(message: Message) -> dict[str, Any]:
    """A turn as the OpenAI API has it."""
    turn: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.weight is not None:
        turn["weight"] = message.weight
    return turn


def _tools(example: Example) -> dict[str, Any]:
    return {"tools": [dict(tool) for tool in example.tools]} if example.tools else {}


def chat_row(example: Example) -> dict[str, Any]:
    """OpenAI chat."""
    mark = {"synthetic": example.synthetic.model_dump(mode="json")} if example.synthetic else {}
    return {"messages": [_turn(message) for message in example.conversation], **_tools(example), **mark}


def _sharegpt_row(example: Example) -> dict[str, Any]:
    names = {"user": "human", "assistant": "gpt"}
    turns = []
    for message in example.conversation:
        turn: dict[str, Any] = {"from": names.get(message.role, message.role), "value": message.text}
        turns.append(turn if message.weight is None else {**turn, "weight": message.weight})
    return {"conversations": turns, **_tools(example)}


def _without_system(example: Example) -> tuple[dict[str, Any], list[Message]]:
    """A system field of the row, and the turns before the answer without it."""
    before = list(example.messages)
    if before and before[0].role == "system":
        return {"system": before[0].text}, before[1:]
    return {}, before


def _alpaca_row(example: Example) -> dict[str, Any]:
    row, before = _without_system(example)
    if len(before) % 2 == 0:
        return {}
    pairs = [[before[i].text, before[i + 1].text] for i in range(0, len(before) - 1, 2)]
    history = {"history": pairs} if pairs else {}
    return {**row, **history, "instruction": before[-1].text, "input": "", "output": example.target.text}


def _prompt_row(example: Example) -> dict[str, Any]:
    row, before = _without_system(example)
    answer = example.conversation[-1]
    is_flat = len(before) == 1 and before[0].role == "user"
    prompt: object = before[0].text if is_flat else [_turn(message) for message in before]
    completion: object = answer.text if answer == Message(role="assistant", content=answer.text) else [_turn(answer)]
    return {**row, "prompt": prompt, "completion": completion, **_tools(example)}


def _text_row(example: Example) -> dict[str, Any]:
    return {"text": example.target.text}


ROWS: Mapping[str, Callable[[Example], dict[str, Any]]] = {
    "chat": chat_row,
    "sharegpt": _sharegpt_row,
    "alpaca": _alpaca_row,
    "prompt-completion": _prompt_row,
    "text": _text_row,
}
"""Shape → the row that it makes of an example; the counterpart of `shapes.BUILDERS`."""


# ---------------------------------------------------------------- kinds of files


def _pieces(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    rows = iter(rows)
    while piece := list(islice(rows, _PIECE)):
        yield piece


def _write_text(rows: Iterable[Mapping[str, Any]], path: Path, shape: str, kind: str) -> int:
    names = COLUMNS[shape]
    written = 0
    store.write_bytes(path, _csv_lines([names]) if kind == ".csv" else b"")
    for piece in _pieces(rows):
        cells = [[row.get(name, "") for name in names] for row in piece] if kind == ".csv" else []
        store.append_bytes(path, _csv_lines(cells) if kind == ".csv" else _json_lines(piece))
        written += len(piece)
    return written


def _json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")


def _csv_lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


def _write_parquet(rows: Iterable[Mapping[str, Any]], path: Path, shape: str) -> int:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS[shape]])
    written = 0
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for piece in _pieces(rows):
            columns = {name: [row.get(name) for row in piece] for name in COLUMNS[shape]}
            writer.write_table(pyarrow.table(columns, schema=schema))
            written += len(piece)
    return written
