"""Running code that somebody else wrote: a function of a Python source, in a confined process.

    with Foreign(source, "grade", where="my_metric.py") as function:
        outcome = function.call(answer="…", reference="…")

The process has no network, cannot write or start anything, and is ended when a call takes too long or memory runs out
(see `tunesmith.core.confined`). It lives for many calls: starting one takes a tenth of a second.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

LONGEST_REPLY = 1024 * 1024

Fault = Literal["", "raised", "missing", "timeout", "died"]


@dataclass(frozen=True)
class Limits:
    """What one function may use: seconds for the start and for each call, and memory of its process."""

    seconds: float = 10.0
    memory_bytes: int = 1024**3


@dataclass(frozen=True)
class Outcome:
    """What a call gave: a value, or a fault with its detail.

    raised: an error of the source. missing: it has no such function. timeout, died: the process was ended, or ended.
    """

    value: Any = None
    fault: Fault = ""
    detail: str = ""


@dataclass(frozen=True)
class Facts:
    """What a source says about its function.

    ``isolation``: "kernel" where the operating system keeps the walls, "interpreter" where only Python does.
    """

    parameters: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    isolation: str = ""


@final
class Foreign:
    """A function of a source in a process of its own; leave it as a context.

    Args:
        source: Python text.
        function: name of the function in it.
        where: what to call the source in messages.
        folders: folders that it may read and import from, besides Python's own.
        limits: time and memory.

    Attributes:
        facts: parameters and attributes of the function; empty when ``broken``.
        broken: why the function cannot be called at all.
    """

    def __init__(
        self,
        source: str,
        function: str,
        *,
        where: str = "source",
        folders: Sequence[Path] = (),
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._order = {
            "source": source,
            "function": function,
            "name": where,
            "folders": [str(folder.resolve()) for folder in folders],
            "memory": self._limits.memory_bytes,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.facts = Facts()
        self.broken: Outcome | None = None
        self._start()

    def call(self, *args: Any, **kwargs: Any) -> Outcome:
        """Call the function with JSON values. After a timeout or a death, the next call starts a fresh process."""
        if self.broken:
            return self.broken
        if self._process is None:
            self._start()
            if self.broken:
                return self.broken
        return self._exchange({"args": args, "kwargs": kwargs})[0]

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def __enter__(self) -> Foreign:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _start(self) -> None:
        program = Path(__file__).with_name("confined.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            start_new_session=True,
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8"},
        )
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        outcome, facts = self._exchange(self._order)
        self.facts = facts or Facts()
        if outcome.fault:
            self.broken = outcome
            self.stop()

    def _exchange(self, document: Mapping[str, Any]) -> tuple[Outcome, Facts | None]:
        """Send a line and wait for its reply; a process that gives none in time is ended."""
        assert self._process is not None
        data, reply = (json.dumps(document) + "\n").encode(), b""
        sending, receiving = self._process.stdin, self._process.stdout
        assert sending is not None
        assert receiving is not None
        deadline = time.monotonic() + self._limits.seconds
        with selectors.DefaultSelector() as selector:
            selector.register(receiving, selectors.EVENT_READ)
            selector.register(sending, selectors.EVENT_WRITE)
            while not reply.endswith(b"\n"):
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    self.stop()
                    return Outcome(fault="timeout", detail=f"no result after {self._limits.seconds:g} seconds"), None
                for key, _ in ready:
                    if key.fileobj is sending:
                        data = self._send(data)
                        if not data:
                            selector.unregister(sending)
                    else:
                        piece = receiving.read(65536)
                        reply += piece or b""
                        if piece == b"" or len(reply) > LONGEST_REPLY:
                            return self._ended(), None
        return _read(reply)

    def _send(self, data: bytes) -> bytes:
        """Write what the pipe takes; what is left. A process that is gone takes everything: its end is read next."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            return data[self._process.stdin.write(data) or 0 :]
        except BrokenPipeError:
            return b""

    def _ended(self) -> Outcome:
        mib = self._limits.memory_bytes // 1024**2
        self.stop()
        return Outcome(fault="died", detail=f"the process ended without a result (it may use {mib} MiB)")


def _read(reply: bytes) -> tuple[Outcome, Facts | None]:
    try:
        document = json.loads(reply)
    except ValueError:
        return Outcome(fault="died", detail="the process gave no readable result"), None
    if "facts" in document:
        facts = document["facts"]
        return Outcome(), Facts(tuple(facts["parameters"]), facts["attributes"], facts["isolation"])
    if "fault" in document:
        return Outcome(fault=document["fault"], detail=document["detail"]), None
    return Outcome(value=document["value"]), None
