"""Files to raw rows, as a stream: a row is a mapping of field name to value, with the place it stands in.

A file is never held in memory as a whole, and no single row may be longer than ``MAX_ROW``.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NoReturn, cast

from tunesmith.core.errors import DataError
from tunesmith.core.protocols import Progress
from tunesmith.core.registry import nearest
from tunesmith.curate.reading.json_rows import json_rows
from tunesmith.curate.reading.lines import MAX_ROW, OpenFile, RawRow, lines_of, too_big
from tunesmith.curate.reading.parquet import parquet_rows
from tunesmith.curate.reading.place import Place, Report, count, shown, stop


def raw_rows(
    path: str,
    *,
    wanted: Sequence[str] = (),
    sample_by: str = "document",
    report: Report = stop,
    progress: Progress | None = None,
) -> Iterator[RawRow]:
    """The rows of a file, in order; of a folder of .txt files, the rows of each, sorted by name.

    ``wanted`` names the columns that are needed (Parquet reads only those); ``sample_by`` says what a row of a .txt
    file is.

    Raises:
        DataError: no such file, a folder, unknown kind of file, damaged or not UTF-8; a bad row goes to ``report``.
    """
    file, place = Path(path), Place(path)
    if texts := text_files(file):
        for text in texts:
            yield from raw_rows(str(text), sample_by=sample_by, report=report, progress=progress)
        return
    suffix, packed = _kind(file, place)
    try:
        with file.open("rb") as raw:
            stream = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw))) if packed else raw
            opened = OpenFile(path, stream, raw, file.stat().st_size, report, progress, wanted, sample_by)
            yield from READERS[suffix](opened)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise place.error(
            f"the gzip file is damaged: {error}",
            code="damaged-gzip",
            rule="a .gz file must be complete",
            fix="copy or download it again; test it with: gzip -t",
        ) from error
    except PermissionError as error:
        raise _unpermitted(place) from error


def require_file(path: str) -> None:
    """Refuse a file that cannot be opened or is of no kind that is read; nothing of it is read yet.

    Raises:
        DataError: as in ``raw_rows``.
    """
    file, place = Path(path), Place(path)
    if text_files(file):
        return
    _kind(file, place)
    if not os.access(file, os.R_OK):
        raise _unpermitted(place)


def _unpermitted(place: Place) -> DataError:
    return place.error(
        "no permission to read it", code="no-permission", rule="the file must be readable", fix="chmod u+r"
    )


def _kind(file: Path, place: Place) -> tuple[str, bool]:
    """The suffix that says how a file is read, and whether it is packed."""
    _must_be_file(file, place)
    packed = file.name.lower().endswith(".gz")
    suffix = Path(file.name[:-3] if packed else file.name).suffix.lower()
    if suffix not in READERS:
        _refuse_kind(place, suffix)
    return suffix, packed


def text_files(folder: Path) -> list[Path]:
    """The .txt files of a folder that holds no other data; [] for anything else."""
    inside = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    data = [path for path in inside if path.name.lower().removesuffix(".gz").endswith(tuple(READERS))]
    return data if all(path.name.lower().removesuffix(".gz").endswith(".txt") for path in data) else []


def _must_be_file(file: Path, place: Place) -> None:
    if file.is_dir():
        inside = sorted(p.name for p in file.iterdir() if p.suffix.lower() in READERS or p.suffix.lower() == ".gz")
        raise place.error(
            "is a folder, not a file",
            code="is-a-folder",
            rule="a data set is named file by file; only a folder of .txt files is read as a whole",
            fix=f"name a file in it, e.g. {', '.join(inside[:3])}" if inside else "it holds no file that can be read",
        )
    if not file.exists():
        near = []
        if file.parent.is_dir():
            near = nearest(file.name, [p.name for p in file.parent.iterdir()], 3)
        raise place.error(
            "there is no such file",
            code="no-such-file",
            rule="every path under datasets must exist",
            fix=f"did you mean {', '.join(near)}?" if near else "check the path (it is relative to the config file)",
        )


def _refuse_kind(place: Place, suffix: str) -> NoReturn:
    raise place.error(
        f"a file of kind {suffix or '(no suffix)'} cannot be read",
        code="unknown-kind",
        rule=f"data files end in {', '.join(sorted(READERS))}, all but Parquet also in .gz",
        fix="save the data as .jsonl or .csv",
    )


# ---------------------------------------------------------------- text


def text_rows(file: OpenFile) -> Iterator[RawRow]:
    """Plain texts of a .txt file: the file as a whole, its paragraphs, or its lines; empty ones are none."""
    held: list[str] = []
    size, start = 0, Place(file.name, 1)
    for place, line in lines_of(file, file.report):
        if not line.strip() and (not held or file.sample_by != "document"):
            if held:
                yield start, {"text": "".join(held).strip("\n")}
                held, size = [], 0
            continue
        start = start if held else place
        held.append(line)
        size += len(line)
        if size > MAX_ROW:
            raise too_big(start)
        if file.sample_by == "line":
            yield start, {"text": line.rstrip("\n")}
            held, size = [], 0
    if held:
        yield start, {"text": "".join(held).strip("\n")}


# ---------------------------------------------------------------- CSV


def csv_rows(file: OpenFile) -> Iterator[RawRow]:
    """Rows of a table with a header; comma, semicolon or tab, whichever splits the header most. Cells are text."""
    csv.field_size_limit(MAX_ROW)
    lines = (line for _, line in lines_of(file, stop))
    first = next(lines, "")
    if not first.strip():
        return
    sign = max(",;\t", key=lambda s: len(next(csv.reader([first], delimiter=s), [])))
    reader = csv.reader(chain([first], lines), delimiter=sign, strict=True)
    number = 0
    try:
        header = [name.strip() for name in next(reader)]
        _check_header(header, Place(file.name, 1))
        for number, cells in enumerate(reader, start=2):
            place = Place(file.name, number)
            if not cells:
                continue
            if len(cells) != len(header):
                file.report(_ragged(place, len(cells), len(header)))
                continue
            yield place, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise Place(file.name, reader.line_num).error(
            f"is not valid CSV: {error}",
            code="invalid-csv",
            field=f"row {max(number, 1) + 1}",
            rule='a cell with a quote, a line break or a separator stands in "quotes", quotes inside are doubled',
            fix="export the table again with a CSV library or a spreadsheet",
        ) from error


def _check_header(header: list[str], place: Place) -> None:
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice:
        raise place.error(
            f"the column name {shown(twice)} stands twice",
            code="column-twice",
            field="header",
            rule="column names are unique",
            fix="rename one of the columns",
        )


def _ragged(place: Place, found: int, wanted: int) -> DataError:
    return place.error(
        f"has {count(found, 'cell')}, the header has {wanted}",
        code="cell-count",
        rule="every row has as many cells as the header",
        fix='put cells that contain the separator or a line break in "quotes"',
    )


READERS: Mapping[str, Callable[[OpenFile], Iterator[RawRow]]] = {
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
    ".parquet": parquet_rows,
    ".txt": text_rows,
}
"""Suffix → reader: the whole table of file kinds."""
