"""Helpers: processes that die in the middle of writing, and several that write at once."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

STEPS = ("mkdir", "open", "fsync", "rename", "replace", "unlink", "rmdir")
"""Calls of the operating system between which a process is killed."""


def run_and_kill(work: Callable[[], object], step: int) -> bool:
    """Run ``work`` in a child process that is killed just before its ``step``-th call. False when it ended before."""
    child = os.fork()
    if child == 0:
        _die_at(step)
        _finish(work)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def run_together(works: list[Callable[[], object]]) -> list[int]:
    """Run each in a child process of its own, all at once; their exit codes."""
    read, write = os.pipe()
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)  # returns when the parent closes the pipe: everybody starts then
            _finish(work)
        children.append(child)
    os.close(write)
    os.close(read)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _finish(work: Callable[[], object]) -> None:
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _die_at(step: int) -> None:
    calls = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1
            return call(*arguments, **options)

        return wrapped

    for name in STEPS:
        setattr(os, name, counted(vars(os)[name]))
