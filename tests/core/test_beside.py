"""Work in a second process: its result and events come back, and its death changes no answer."""

from __future__ import annotations

import os
import sys

import pytest

from tunesmith.core.beside import Beside
from tunesmith.core.events import Emit, Note, ignore

forks = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks safely")


def where(tell: Emit) -> int:
    tell(Note(text="at work"))
    return os.getpid()


@forks
def test_the_work_is_done_by_another_process_which_tells_how_it_goes() -> None:
    told: list[object] = []
    with Beside(where) as beside:
        assert beside.result(told.append) != os.getpid()
    assert told == [Note(text="at work")]


def test_without_a_second_process_the_work_is_done_here() -> None:
    assert Beside(where, can_fork=False).result(ignore) == os.getpid()


@forks
def test_a_result_larger_than_a_pipe_comes_back() -> None:
    with Beside(lambda tell: "x" * 5_000_000) as beside:
        assert len(beside.result(ignore)) == 5_000_000


@forks
def test_when_the_child_dies_the_work_is_done_here() -> None:
    parent = os.getpid()

    def deadly(tell: Emit) -> int:
        if os.getpid() != parent:
            os._exit(9)
        return 7

    with Beside(deadly) as beside:
        assert beside.result(ignore) == 7


@forks
def test_an_error_of_the_work_is_raised_here(capfd: pytest.CaptureFixture[str]) -> None:
    def wrong(tell: Emit) -> None:
        raise ValueError("no")

    with Beside(wrong) as beside, pytest.raises(ValueError, match="no"):
        beside.result(ignore)
    assert capfd.readouterr() == ("", "")


@forks
def test_leaving_early_leaves_no_process() -> None:
    import time

    with Beside(lambda tell: time.sleep(600)) as beside:
        child = beside._child
        assert child.is_alive()
    assert not child.is_alive()
