"""Records in order, looked up by number: in memory while they are few, in an unnamed temporary file when they are many.

A data file of a gigabyte must not need a gigabyte of memory. The file has no name, so nothing is left behind however
the process ends.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Generic, TypeVar, overload

from tunesmith.core.records import Record

R = TypeVar("R", bound=Record)

IN_MEMORY = 32 << 20
"""Bytes of JSON up to which the records stay objects in memory (objects take several times as much)."""

_SAMPLED = 64
"""One record of so many is measured to know how much there is."""


class Spool(Sequence[R], Generic[R]):
    """A growing sequence of records of one type."""

    def __init__(self, type: type[R], records: Iterable[R] = (), in_memory: int = IN_MEMORY) -> None:
        self._type, self._limit, self._bytes = type, in_memory, 0
        self._records: list[R] = []
        self._file: IO[bytes] | None = None
        self._ends = array("Q", [0])
        for record in records:
            self.append(record)

    def append(self, record: R) -> None:
        """Add a record at the end."""
        if self._file is not None:
            self._write(record)
            return
        if len(self._records) % _SAMPLED == 0:
            self._bytes += _SAMPLED * len(_bytes_of(record))
        self._records.append(record)
        if self._bytes > self._limit:
            self._move_to_file()

    def __len__(self) -> int:
        return len(self._records) if self._file is None else len(self._ends) - 1

    @overload
    def __getitem__(self, number: int) -> R: ...
    @overload
    def __getitem__(self, number: slice) -> list[R]: ...
    def __getitem__(self, number: int | slice) -> R | list[R]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if self._file is None:
            return self._records[number]
        start, end = self._place(number)
        self._file.seek(start)
        return self._type.model_validate_json(self._file.read(end - start))

    def __iter__(self) -> Iterator[R]:
        return iter(self._records) if self._file is None else (self[i] for i in range(len(self)))

    def _place(self, number: int) -> tuple[int, int]:
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        number %= len(self)
        return self._ends[number], self._ends[number + 1]

    def _move_to_file(self) -> None:
        records, self._records = self._records, []
        self._file = tempfile.TemporaryFile(prefix="tunesmith-")  # noqa: SIM115 (open as long as the sequence lives)
        for record in records:
            self._write(record)

    def _write(self, record: R) -> None:
        assert self._file is not None
        data = _bytes_of(record)
        self._file.seek(self._ends[-1])
        self._file.write(data)
        self._ends.append(self._ends[-1] + len(data))


def _bytes_of(record: Record) -> bytes:
    return record.model_dump_json().encode("utf-8", "surrogatepass")
