"""An open data file, its lines, and what is refused in the bytes themselves."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.core.errors import DataError
from tunesmith.core.protocols import Progress
from tunesmith.curate.reading.place import Place, Report

MAX_ROW = 32 * 1024 * 1024
"""Longest row in bytes; more is a broken file, and reading on could fill the memory."""

BOMB = 16 << 20
MOST_UNPACKED = 300
"""A packed file that has given more than ``BOMB`` bytes, and so many for each of its own, is no data file: rows of
text shrink 3 to 30 times, and gzip reaches 1,030 only on one byte repeated."""

MOST_EMPTY = 100_000
"""Empty lines in a row after which a file is taken for damaged."""

RawRow = tuple[Place, Mapping[str, Any]]

_TICK, _LONG = 512, 1 << 16
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

    def tick(self, unpacked: int = 0) -> None:
        """Say how far the file has been read, in bytes.

        Raises:
            DataError: a packed file gives so many bytes (``unpacked`` so far) that it is no data file.
        """
        if unpacked > BOMB and unpacked > MOST_UNPACKED * self.raw.tell():
            raise _bomb(Place(self.name), unpacked // max(self.raw.tell(), 1))
        if self.progress:
            self.progress(min(self.raw.tell(), self.size), self.size)


def lines_of(file: OpenFile, report: Report) -> Iterator[tuple[Place, str]]:
    """Lines as text: UTF-8, without byte-order mark, line ends as ``\\n``; offsets in errors count bytes from 0."""
    offset = number = empty = 0
    while line := file.stream.readline(MAX_ROW + 1):
        number += 1
        if number % _TICK == 0 or len(line) > _LONG:
            file.tick(offset)
        place = Place(file.name, number)
        if len(line) > MAX_ROW:
            raise too_big(place)
        empty = 0 if line.strip() else empty + 1
        if empty > MOST_EMPTY:
            raise _nothing(place)
        start, offset = offset, offset + len(line)
        if number == 1:
            refuse_utf16(line, place)
            start, line = (3, line[3:]) if line.startswith(codecs.BOM_UTF8) else (start, line)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            report(not_utf8(place, line, error.start, start + error.start, error.start + 1))
            continue
        if "\0" in text:
            report(has_nul(place, f"column {text.index(chr(0)) + 1}"))
            continue
        yield place, text[:-2] + "\n" if text.endswith("\r\n") else text
    file.tick()


def too_big(place: Place) -> DataError:
    """The error of a row over ``MAX_ROW``."""
    return place.error(
        f"a row is longer than {MAX_ROW // 1024 // 1024} MiB",
        code="row-too-long",
        rule="one row, one example; rows of such length are not examples",
        fix="check that the rows stand on lines of their own; cut a long .txt file with sample_by: paragraph or line",
    )


def refuse_utf16(start: bytes, place: Place) -> None:
    """Refuse a file that begins like UTF-16."""
    if start.startswith(_UTF16):
        raise place.error(
            "is not UTF-8: it begins like UTF-16",
            code="utf-16",
            field="byte 0",
            rule="data files are UTF-8",
            fix="save it as UTF-8, or: iconv -f UTF-16 -t UTF-8 OLD > NEW",
        )


def not_utf8(place: Place, data: bytes, at: int, offset: int, column: int) -> DataError:
    """The error of a byte that is no UTF-8: ``at`` in ``data``, ``offset`` in the file."""
    return place.error(
        f"is not UTF-8: byte 0x{data[at]:02X} at offset {offset}",
        code="not-utf8",
        field=f"column {column}",
        rule="data files are UTF-8",
        fix="save it as UTF-8; if it is Western European text: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
    )


def has_nul(place: Place, where: str) -> DataError:
    """The error of a NUL character."""
    return place.error(
        "has a NUL character (U+0000)",
        code="nul-character",
        field=where,
        rule="text has no NUL characters: they are a sign of a damaged or a binary file, or of UTF-16",
        fix="remove it, or write the file again as UTF-8 text",
    )


def _bomb(place: Place, ratio: int) -> DataError:
    return place.error(
        f"the packed file gives {ratio} bytes for each of its own",
        code="gzip-bomb",
        rule=f"a data file unpacks to at most {MOST_UNPACKED} times its size",
        fix="unpack it yourself and look at what it holds",
    )


def _nothing(place: Place) -> DataError:
    return place.error(
        f"more than {MOST_EMPTY:,} empty lines follow each other",
        code="empty-lines",
        rule="rows stand on lines of their own, with few empty lines between them",
        fix="write the file again; it is damaged, or no data file",
    )
