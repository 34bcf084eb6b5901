"""Rows of JSON files: one object a line, or one list over the whole file, read as a stream."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tunesmith.core.errors import DataError
from tunesmith.curate.reading.lines import MAX_ROW, OpenFile, RawRow, has_nul, lines_of, not_utf8, refuse_utf16, too_big
from tunesmith.curate.reading.place import Place, kind_of, shown

_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")


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
        code="invalid-json",
        field=f"column {column}",
        rule="every row is one complete JSON object, on a line of its own (.jsonl) or in one list (.json)",
        fix="correct this row, or write the file with a JSON library instead of by hand",
    )


def _refused(place: Place, error: ValueError | RecursionError) -> DataError:
    what = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return place.error(
        what,
        code="nested-too-deeply" if isinstance(error, RecursionError) else "ambiguous-json",
        rule="a row is a plain JSON object with each key once",
        fix="correct this row",
    )


def _not_an_object(value: object, place: Place) -> DataError:
    return place.error(
        f"is {kind_of(value)}, not an object: {shown(value)}",
        code="not-an-object",
        rule='a row is a JSON object such as {"prompt": "…", "completion": "…"}',
        fix="give every row field names",
    )


def json_rows(file: OpenFile) -> Iterator[RawRow]:
    """Rows of JSON lines, or of one JSON list; which of the two shows in the first character."""
    start = file.stream.peek(4096)
    if start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        yield from _json_list(file)
        return
    for place, line in lines_of(file, file.report):
        text = line.strip()
        if not text:
            continue
        if text == "{" and place.line == 1:
            raise place.error(
                "begins a JSON object that goes over several lines",
                code="object-over-lines",
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
        self.file.tick(self.offset)
        held = self.utf8.getstate()[0]
        if self.offset == 0:
            refuse_utf16(data, self.place)
        try:
            more = self.utf8.decode(data, final=not data)
        except UnicodeDecodeError as error:
            good = (held + data)[: error.start].decode("utf-8")
            self.text += good
            place, column = self.spot(len(self.text))
            raise not_utf8(place, held + data, error.start, self.offset - len(held) + error.start, column) from error
        more = more.removeprefix("\ufeff") if self.offset == 0 else more
        self.offset += len(data)
        self.text += more
        if "\0" in more:
            place, column = self.spot(self.text.index("\0"))
            raise has_nul(place, f"column {column}")
        return bool(data)

    def move(self, end: int) -> None:
        """Go on at ``end``, counting the lines on the way."""
        self.line += self.text.count("\n", self.at, end)
        self.at = end

    def next_sign(self) -> str:
        """The next character that is not white space, without taking it; empty at the end of the file."""
        while True:
            end = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
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
                    raise too_big(self.place) from error
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
                code="broken-list",
                field=f"column {column}",
                rule="a JSON list is [ row, row, … ]",
                fix="correct the list here" if sign else "the file seems to be cut off: write it again",
            )
        window.move(window.at + 1)
