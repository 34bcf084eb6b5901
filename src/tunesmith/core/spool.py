"""Records or texts in order, looked up by number: in memory while they are few, in an unnamed temporary file when they
are many.

A data file of a gigabyte must not need a gigabyte of memory. The file has no name, so nothing is left behind however
the process ends. What is written can be read by a forked process too: reading moves no common place in the file.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, Generic, TypeVar, cast, overload

from tunesmith.core.records import Record

T = TypeVar("T", bound=Record | str)

IN_MEMORY = 32 << 20
"""Bytes up to which the items stay objects in memory (objects take several times as much)."""

_SAMPLED = 64
"""One item of so many is measured to know how much there is."""

_BUFFER = 1 << 20


class Spool(Sequence[T], Generic[T]):
    """A growing sequence of records of one type, or of texts (``Spool(str)``)."""

    def __init__(self, type: type[T], items: Iterable[T] = (), in_memory: int = IN_MEMORY) -> None:
        self._type: Any = type
        self._limit, self._bytes = in_memory, 0
        self._items: list[T] = []
        self._file: IO[bytes] | None = None
        self._is_written = True
        self._ends = array("Q", [0])
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Add an item at the end."""
        if self._file is not None:
            self._write(item)
            return
        if len(self._items) % _SAMPLED == 0:
            self._bytes += _SAMPLED * len(_encoded(item))
        self._items.append(item)
        if self._bytes > self._limit:
            self._move_to_file()

    def settle(self) -> None:
        """Put everything into the file, where there is one. Before a fork, or both processes would write the rest."""
        if self._file is not None and not self._is_written:
            self._file.flush()
            self._is_written = True

    def __len__(self) -> int:
        return len(self._items) if self._file is None else len(self._ends) - 1

    @overload
    def __getitem__(self, number: int) -> T: ...
    @overload
    def __getitem__(self, number: slice) -> list[T]: ...
    def __getitem__(self, number: int | slice) -> T | list[T]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if self._file is None:
            return self._items[number]
        start, end = self._place(number)
        return self._decoded(self._bytes_at(start, end))

    def __iter__(self) -> Iterator[T]:
        return iter(self._items) if self._file is None else self._in_order()

    def _in_order(self) -> Iterator[T]:
        """Every item, read a megabyte at a time."""
        first = 0
        while first < len(self):
            last = first + 1
            while last < len(self) and self._ends[last + 1] - self._ends[first] <= _BUFFER:
                last += 1
            start = self._ends[first]
            data = self._bytes_at(start, self._ends[last])
            for i in range(first, last):
                yield self._decoded(data[self._ends[i] - start : self._ends[i + 1] - start])
            first = last

    def _place(self, number: int) -> tuple[int, int]:
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        number %= len(self)
        return self._ends[number], self._ends[number + 1]

    def _bytes_at(self, start: int, end: int) -> bytes:
        assert self._file is not None
        self.settle()
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), end - start, start)
        self._file.seek(start)
        data = self._file.read(end - start)
        self._file.seek(self._ends[-1])
        return data

    def _move_to_file(self) -> None:
        items, self._items = self._items, []
        self._file = tempfile.TemporaryFile(prefix="tunesmith-")  # noqa: SIM115 (open as long as the sequence lives)
        for item in items:
            self._write(item)

    def _write(self, item: T) -> None:
        assert self._file is not None
        data = _encoded(item)
        self._file.write(data)
        self._is_written = False
        self._ends.append(self._ends[-1] + len(data))

    def _decoded(self, data: bytes) -> T:
        item: Any = data.decode("utf-8", "surrogatepass") if self._type is str else self._type.model_validate_json(data)
        return cast("T", item)


def _encoded(item: Record | str) -> bytes:
    return (item if isinstance(item, str) else item.model_dump_json()).encode("utf-8", "surrogatepass")
