"""Work in a second process beside this one, where the system can fork: half of a long computation on a second core.

The child sees everything that this process has in memory, without copying it; only its result comes back. If the child
cannot be started, or dies, `Beside.result` does the work here instead: so the answer never depends on it, and an error
is raised where the caller can see it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from tunesmith.core.events import Emit

T = TypeVar("T")


class Beside(Generic[T]):
    """A function at work in a forked process, from the creation of this object on; leave it as a context.

    Args:
        work: receives `emit`; its result and its events must be picklable. It must change nothing that matters here.
        can_fork: whether a second process is wanted at all; without it the work is done in `result`.
    """

    def __init__(self, work: Callable[[Emit], T], *, can_fork: bool = True) -> None:
        self._work = work
        self._told: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._child = self._start() if can_fork and sys.platform == "linux" else None

    def result(self, emit: Emit) -> T:
        """Wait for the result; ``emit`` receives the events of the work that come while waiting.

        Raises:
            Exception: whatever the work raises, when it is repeated here.
        """
        while self._child:
            kind, value = self._told.get()
            if kind == "event":
                emit(value)
            elif kind == "result":
                result: T = value
                return result
            else:
                self.stop()
        return self._work(emit)

    def stop(self) -> None:
        """End the child, if it is still there."""
        if self._child:
            self._child.kill()
            self._child.join()
            self._child = None

    def __enter__(self) -> Beside[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _start(self) -> Any:
        context = multiprocessing.get_context("fork")
        receiving, sending = context.Pipe(duplex=False)
        child = context.Process(target=_be_child, args=(self._work, sending), daemon=True)
        try:
            child.start()
        except OSError:  # no memory or no process to spare: the work is done here, later
            return None
        sending.close()
        threading.Thread(target=_listen, args=(receiving, self._told), daemon=True).start()
        return child


def _be_child(work: Callable[[Emit], Any], sending: Any) -> None:
    """What the child does. It says nothing on the console: an error shows when the work is repeated."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both: the parent ends the child
    with contextlib.suppress(Exception):
        result = work(lambda event: sending.send(("event", event)))
        sending.send(("result", result))


def _listen(receiving: Any, told: SimpleQueue[tuple[str, Any]]) -> None:
    """Take what the child says as it comes, so that it never waits for us."""
    with contextlib.suppress(Exception):  # the end, or half a message of a child that died
        while True:
            told.put(receiving.recv())
    told.put(("ended", None))
