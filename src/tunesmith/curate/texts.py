"""Normalised texts of rows, kept so that they can be looked up by number: in memory or, if they are many, in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from tunesmith.core.records import Record
from tunesmith.core.spool import Spool


class Line(Record):
    """One text."""

    text: str


class Texts(Sequence[str]):
    """A growing sequence of texts."""

    def __init__(self) -> None:
        self._lines: Spool[Line] = Spool(Line)

    def append(self, text: str) -> None:
        """Add a text at the end."""
        self._lines.append(Line.model_construct(text=text))

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [line.text for line in self._lines[number]]
        return self._lines[number].text

    def __iter__(self) -> Iterator[str]:
        return (line.text for line in self._lines)
