"""Records that move from memory to a file when they are many."""

from __future__ import annotations

import pytest

from tunesmith.core.records import Record
from tunesmith.core.spool import Spool


class Note(Record):
    text: str
    number: int = 0


def notes(n: int) -> list[Note]:
    return [Note(text=f"é{i}\n" * (i % 7), number=i) for i in range(n)]


@pytest.mark.parametrize("in_memory", [0, 1_000, 1 << 20])
def test_memory_and_file_give_the_same_records(in_memory: int) -> None:
    spool = Spool(Note, notes(500), in_memory)
    assert len(spool) == 500
    assert list(spool) == notes(500)
    assert spool[-1] == notes(500)[-1]
    assert spool[10:13] == notes(500)[10:13]
    assert spool[499] == spool[-1]
    spool.append(Note(text="late"))
    assert (len(spool), spool[500].text) == (501, "late")
    with pytest.raises(IndexError):
        spool[501]


def test_objects_leave_memory_beyond_the_limit() -> None:
    assert Spool(Note, notes(500), 1_000)._records == []
    assert len(Spool(Note, notes(500))._records) == 500
