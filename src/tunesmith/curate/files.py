"""Files to raw rows, as a stream: a row is a mapping of field name to value, with the place it stands in.

A file is never held in memory as a whole, and no single row may be longer than ``MAX_ROW``.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, cast

from tunesmith.core.errors import DataError
from tunesmith.core.protocols import Progress
from tunesmith.core.registry import nearest
from tunesmith.curate.parquet import parquet_rows
from tunesmith.curate.place import Place, Report, kind_of, shown, stop

MAX_ROW = 32 * 1024 * 1024
"""Longest row in bytes; more is a broken file, and reading on could fill the memory."""

RawRow = tuple[Place, Mapping[str, Any]]

_CHUNK = 1 << 20
_TICK = 512
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class OpenFile:
    """A data file being read: ``stream`` gives its (unpacked) bytes, ``raw`` the bytes on disk."""

    name: str
    stream: io.BufferedReader
    raw: io.BufferedReader
    size: int
    report: Report
    progress: Progress | None
    wanted: Sequence[str] = ()
    sample_by: str = "document"

    def tick(self) -> None:
        """Say how far the file has been read, in bytes."""
        if self.progress:
            self.progress(min(self.raw.tell(), self.size), self.size)


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
    return place.error("no permission to read it", rule="the file must be readable", fix="chmod u+r")


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
            rule="a data set is named file by file; only a folder of .txt files is read as a whole",
            fix=f"name a file in it, e.g. {', '.join(inside[:3])}" if inside else "it holds no file that can be read",
        )
    if not file.exists():
        near = []
        if file.parent.is_dir():
            near = nearest(file.name, [p.name for p in file.parent.iterdir()], 3)
        raise place.error(
            "there is no such file",
            rule="every path under datasets must exist",
            fix=f"did you mean {', '.join(near)}?" if near else "check the path (it is relative to the config file)",
        )


def _refuse_kind(place: Place, suffix: str) -> NoReturn:
    raise place.error(
        f"a file of kind {suffix or '(no suffix)'} cannot be read",
        rule=f"data files end in {', '.join(sorted(READERS))}, all but Parquet also in .gz",
        fix="save the data as .jsonl or .csv",
    )


# ---------------------------------------------------------------- text


def _lines(file: OpenFile, report: Report) -> Iterator[tuple[Place, str]]:
    """Lines as text: UTF-8, without byte-order mark, line ends as ``\\n``; offsets in errors count bytes from 0."""
    offset = number = 0
    while line := file.stream.readline(MAX_ROW + 1):
        number += 1
        if number % _TICK == 0:
            file.tick()
        place = Place(file.name, number)
        if len(line) > MAX_ROW:
            raise _too_big(place)
        start, offset = offset, offset + len(line)
        if number == 1:
            _refuse_utf16(line, place)
            start, line = (3, line[3:]) if line.startswith(codecs.BOM_UTF8) else (start, line)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            report(_not_utf8(place, line, error.start, start + error.start, error.start + 1))
            continue
        if "\0" in text:
            report(_has_nul(place, f"column {text.index(chr(0)) + 1}"))
            continue
        yield place, text[:-2] + "\n" if text.endswith("\r\n") else text
    file.tick()


def _too_big(place: Place) -> DataError:
    return place.error(
        f"a row is longer than {MAX_ROW // 1024 // 1024} MiB",
        rule="one row, one example; rows of such length are not examples",
        fix="check that the rows stand on lines of their own; cut a long .txt file with sample_by: paragraph or line",
    )


def _refuse_utf16(start: bytes, place: Place) -> None:
    if start.startswith(_UTF16):
        raise place.error(
            "is not UTF-8: it begins like UTF-16",
            field="byte 0",
            rule="data files are UTF-8",
            fix="save it as UTF-8, or: iconv -f UTF-16 -t UTF-8 OLD > NEW",
        )


def _not_utf8(place: Place, data: bytes, at: int, offset: int, column: int) -> DataError:
    return place.error(
        f"is not UTF-8: byte 0x{data[at]:02X} at offset {offset}",
        field=f"column {column}",
        rule="data files are UTF-8",
        fix="save it as UTF-8; if it is Western European text: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
    )


def _has_nul(place: Place, where: str) -> DataError:
    return place.error(
        "has a NUL character (U+0000)",
        field=where,
        rule="text has no NUL characters: they are a sign of a damaged or a binary file, or of UTF-16",
        fix="remove it, or write the file again as UTF-8 text",
    )


def text_rows(file: OpenFile) -> Iterator[RawRow]:
    """Plain texts of a .txt file: the file as a whole, its paragraphs, or its lines; empty ones are none."""
    held: list[str] = []
    size, start = 0, Place(file.name, 1)
    for place, line in _lines(file, file.report):
        if not line.strip() and (not held or file.sample_by != "document"):
            if held:
                yield start, {"text": "".join(held).strip("\n")}
                held, size = [], 0
            continue
        start = start if held else place
        held.append(line)
        size += len(line)
        if size > MAX_ROW:
            raise _too_big(start)
        if file.sample_by == "line":
            yield start, {"text": line.rstrip("\n")}
            held, size = [], 0
    if held:
        yield start, {"text": "".join(held).strip("\n")}


# ---------------------------------------------------------------- JSON


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shown(twice)} stands twice in one object")
    return row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)


def _json_error(place: Place, message: str, column: int) -> DataError:
    return place.error(
        f"is not valid JSON: {message[0].lower()}{message[1:]}",
        field=f"column {column}",
        rule="every row is one complete JSON object, on a line of its own (.jsonl) or in one list (.json)",
        fix="correct this row, or write the file with a JSON library instead of by hand",
    )


def _refused(place: Place, error: ValueError | RecursionError) -> DataError:
    what = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return place.error(what, rule="a row is a plain JSON object with each key once", fix="correct this row")


def _not_an_object(value: object, place: Place) -> DataError:
    return place.error(
        f"is {kind_of(value)}, not an object: {shown(value)}",
        rule='a row is a JSON object such as {"prompt": "…", "completion": "…"}',
        fix="give every row field names",
    )


def json_rows(file: OpenFile) -> Iterator[RawRow]:
    """Rows of JSON lines, or of one JSON list; which of the two shows in the first character."""
    start = file.stream.peek(4096)
    if start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        yield from _json_list(file)
        return
    for place, line in _lines(file, file.report):
        text = line.strip()
        if not text:
            continue
        if text == "{" and place.line == 1:
            raise place.error(
                "begins a JSON object that goes over several lines",
                rule="rows stand one a line (.jsonl), or in one list [ … ] (.json)",
                fix="put the rows into a list: [{…}, {…}]",
            )
        try:
            value = _DECODER.decode(text)
        except json.JSONDecodeError as error:
            file.report(_json_error(place, error.msg, len(line) - len(line.lstrip()) + error.colno))
        except (ValueError, RecursionError) as error:
            file.report(_refused(place, error))
        else:
            if isinstance(value, dict):
                yield place, value
            else:
                file.report(_not_an_object(value, place))


@dataclass
class _Window:
    """A piece of a JSON list that slides over the file.

    ``at`` is where reading goes on, on line ``line``; ``before`` characters of that line came before ``text``.
    """

    file: OpenFile
    text: str = ""
    at: int = 0
    line: int = 1
    before: int = 0
    offset: int = 0
    utf8: codecs.IncrementalDecoder = field(default_factory=codecs.getincrementaldecoder("utf-8"))

    @property
    def place(self) -> Place:
        """The line that reading has come to."""
        return Place(self.file.name, self.line)

    def spot(self, position: int) -> tuple[Place, int]:
        """Line and column (from 1) of a position in ``text`` at or after ``at``."""
        line = self.line + self.text.count("\n", self.at, position)
        start = self.text.rfind("\n", 0, position)
        return Place(self.file.name, line), position - start if start >= 0 else self.before + position + 1

    def fill(self, size: int = _CHUNK) -> bool:
        """Read on; False at the end of the file."""
        gone = self.text[: self.at]
        self.before = self.at - gone.rfind("\n") - 1 if "\n" in gone else self.before + self.at
        self.text, self.at = self.text[self.at :], 0
        data = self.file.stream.read(size)
        self.file.tick()
        held = self.utf8.getstate()[0]
        if self.offset == 0:
            _refuse_utf16(data, self.place)
        try:
            more = self.utf8.decode(data, final=not data)
        except UnicodeDecodeError as error:
            good = (held + data)[: error.start].decode("utf-8")
            self.text += good
            place, column = self.spot(len(self.text))
            raise _not_utf8(place, held + data, error.start, self.offset - len(held) + error.start, column) from error
        more = more.removeprefix("\ufeff") if self.offset == 0 else more
        self.offset += len(data)
        self.text += more
        if "\0" in more:
            place, column = self.spot(self.text.index("\0"))
            raise _has_nul(place, f"column {column}")
        return bool(data)

    def move(self, end: int) -> None:
        """Go on at ``end``, counting the lines on the way."""
        self.line += self.text.count("\n", self.at, end)
        self.at = end

    def next_sign(self) -> str:
        """The next character that is not white space, without taking it; empty at the end of the file."""
        while True:
            end = self.at
            while end < len(self.text) and self.text[end] in " \t\r\n":
                end += 1
            self.move(end)
            if end < len(self.text):
                return self.text[end]
            if not self.fill():
                return ""

    def value(self) -> Any:
        """Take one JSON value; reads on until it is complete."""
        size = _CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if len(self.text) - self.at > MAX_ROW:
                    raise _too_big(self.place) from error
                size *= 2
                wrong = error.pos - self.at
                if not self.fill(size):
                    place, column = self.spot(self.at + wrong)
                    raise _json_error(place, error.msg, column) from error
            except (ValueError, RecursionError) as error:
                raise _refused(self.place, error) from error
            else:
                self.move(end)
                return value


def _json_list(file: OpenFile) -> Iterator[RawRow]:
    window = _Window(file)
    window.next_sign()
    window.move(window.at + 1)
    if window.next_sign() == "]":
        return
    while True:
        window.next_sign()
        place, value = window.place, window.value()
        if isinstance(value, dict):
            yield place, value
        else:
            file.report(_not_an_object(value, place))
        sign = window.next_sign()
        if sign == "]":
            return
        if sign != ",":
            where, column = window.spot(window.at)
            raise where.error(
                f"expected a comma or the closing bracket, found {shown(sign) if sign else 'the end of the file'}",
                field=f"column {column}",
                rule="a JSON list is [ row, row, … ]",
                fix="correct the list here" if sign else "the file seems to be cut off: write it again",
            )
        window.move(window.at + 1)


# ---------------------------------------------------------------- CSV


def csv_rows(file: OpenFile) -> Iterator[RawRow]:
    """Rows of a table with a header; comma, semicolon or tab, whichever splits the header most. Cells are text."""
    csv.field_size_limit(MAX_ROW)
    lines = (line for _, line in _lines(file, stop))
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
            field=f"row {max(number, 1) + 1}",
            rule='a cell with a quote, a line break or a separator stands in "quotes", quotes inside are doubled',
            fix="export the table again with a CSV library or a spreadsheet",
        ) from error


def _check_header(header: list[str], place: Place) -> None:
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice:
        raise place.error(
            f"the column name {shown(twice)} stands twice",
            field="header",
            rule="column names are unique",
            fix="rename one of the columns",
        )


def _ragged(place: Place, found: int, wanted: int) -> DataError:
    return place.error(
        f"has {found} cells, the header has {wanted}",
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
