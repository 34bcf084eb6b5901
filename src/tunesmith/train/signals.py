"""Ctrl-C and the like while training: a wish that is granted between two steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[list[str]]:
    """Collects the first SIGINT or SIGTERM instead of dying in the middle of a step; a second one kills at once."""
    requested: list[str] = []

    def note(number: int, _frame: FrameType | None) -> None:
        requested.append(signal.Signals(number).name)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    except ValueError:  # not the main thread: whoever started the thread handles signals
        before = {}
    try:
        yield requested
    finally:
        restore()
