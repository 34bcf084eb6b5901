"""Where in a file something stands, so that every error can say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tunesmith.core.errors import DataError
from tunesmith.core.records import Source

Report = Callable[[DataError], None]
"""Receives the error of one bad row. Returning means: leave the row out and go on; raising stops the reading."""


@dataclass(frozen=True)
class Place:
    """A row of a file. ``line`` is 1-based; 0 is the file as a whole.

    JSON files count lines; CSV and Parquet count rows (the header of a CSV file is row 1).
    """

    path: str
    line: int = 0

    def error(self, what: str, *, rule: str, fix: str, field: str = "", code: str = "") -> DataError:
        """An error about this place, e.g. ``where="data.jsonl:17 (messages[2].role)"``; ``code`` names its kind."""
        where = f"{self.path}:{self.line}" if self.line else self.path
        return DataError(what, where=f"{where} ({field})" if field else where, rule=rule, fix=fix, code=code)

    @property
    def source(self) -> Source:
        """The same place, as records carry it."""
        return Source(path=self.path, line=self.line)


def stop(error: DataError) -> None:
    """A ``Report`` that stops at the first bad row."""
    raise error


def shown(value: object, limit: int = 60) -> str:
    """A value as an error message quotes it: one line, cut after ``limit`` characters."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= limit else text[:limit] + "…"


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 row", "2,000 rows"."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    names = {str: "a text", list: "a list", bool: "true or false", type(None): "null", dict: "an object"}
    return names.get(type(value), "a number")
