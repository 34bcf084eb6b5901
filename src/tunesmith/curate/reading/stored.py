"""Rows as they are written: the text of each row beside the example that is made of it.

A row of a JSON-lines file keeps its text to the byte (without the line end). A row of any other file has none of its
own; it is written as one line of JSON, under our field names where columns were named.
"""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.errors import DataError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Example
from tunesmith.core.registry import nearest
from tunesmith.curate.checks.synthetic import MARK
from tunesmith.curate.config import FIELD_NAMES, DatasetSpec
from tunesmith.curate.reading.detect import detect
from tunesmith.curate.reading.files import text_files
from tunesmith.curate.reading.place import Place
from tunesmith.curate.reading.read import open_rows

_LINE_KINDS = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class StoredRow:
    """``fields`` are those of the file, under our names where columns were named; ``text`` is one line without end."""

    number: int
    """From 0, among all rows of the file."""
    shape: str
    fields: Mapping[str, Any]
    example: Example
    text: str


def stored_rows(spec: DatasetSpec, progress: Progress | None = None) -> Iterator[StoredRow]:
    """The rows of a file with their texts, in order.

    Raises:
        DataError: as in `read.read`.
    """
    reading = open_rows(spec, progress=progress)
    keep_others: bool | None = None
    with closing(_lines(spec)) as lines:
        for number, (fields, example) in enumerate(reading.rows):
            if spec.columns:
                mapped = {ours: fields[theirs] for ours, theirs in spec.columns.items()}
                known = {*FIELD_NAMES, *spec.columns.values()}
                others = {name: value for name, value in fields.items() if name not in known}
                if keep_others is None:
                    keep_others = _same_shape(mapped, others, spec.path)
                mark = {MARK: fields[MARK]} if MARK in fields else {}
                fields = {**mapped, **others} if keep_others else {**mapped, **mark}
            line = next((text for at, text in lines if at == example.source.line), None)
            yield StoredRow(number, reading.format, fields, example, as_line(fields) if line is None else line)


def as_line(fields: Mapping[str, Any]) -> str:
    """A row as one line of JSON. What JSON has no form for (a date in a table) is written as text."""
    return json.dumps(fields, ensure_ascii=False, default=str)


def column_of(row: StoredRow, name: str) -> str:
    """The text in a column of a row.

    Raises:
        DataError: the row has no such column.
    """
    if name not in row.fields:
        place = Place(row.example.source.path, row.example.source.line)
        near = nearest(name, row.fields)
        raise place.error(
            f"the row has no column {name}; its columns are {', '.join(map(str, row.fields))}",
            code="missing-column",
            rule="a column that is named must be in every row",
            fix=f"did you mean {near[0]}?" if near else "name another column, or complete the row",
        )
    value = row.fields[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _same_shape(mapped: Mapping[str, Any], others: Mapping[str, Any], path: str) -> bool:
    """Whether columns that are not read can stay beside ours without another shape showing."""
    try:
        return detect({**mapped, **others}, Place(path)) == detect(mapped, Place(path))
    except DataError:
        return False


def _lines(spec: DatasetSpec) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of the lines of a JSON-lines file whose rows keep their text; nothing for other files."""
    path = Path(spec.path)
    packed = path.name.lower().endswith(".gz")
    suffix = Path(path.name[:-3] if packed else path.name).suffix.lower()
    if spec.columns or suffix not in _LINE_KINDS or text_files(path):
        return
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if number == 1 and line.lstrip().startswith(b"["):
                return
            yield number, line.rstrip(b"\r\n").decode("utf-8", "replace")
