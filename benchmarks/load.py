"""Who used the processor, and how much memory: read from /proc, standard library only.

The rivals' environments run this too, so nothing else may be imported here.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass

CONTENDED = 0.12
"""Cores used by others from which on a timing is not valid."""

_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal; guests are in user already


@dataclass(frozen=True)
class Usage:
    """A stretch of time: its length in seconds, and the cores that we and all others used on average."""

    seconds: float
    own: float
    foreign: float

    @property
    def contended(self) -> bool:
        """Whether others used so much that the timing is not valid."""
        return self.foreign > CONTENDED

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


class Watch:
    """Measures from its creation on. ``own`` is this process with its children that have ended."""

    def __init__(self) -> None:
        self._began = _now()

    def usage(self) -> Usage:
        """What happened since the creation."""
        wall, busy, own = (b - a for a, b in zip(self._began, _now(), strict=True))
        wall = max(wall, 1e-9)
        return Usage(wall, own / wall, max(0.0, busy - own) / wall)


class StepClock:
    """Seconds of every optimiser step, and who used the processor in the steps after the first ``warm_up``."""

    def __init__(self, warm_up: int) -> None:
        self.warm_up = warm_up
        self.seconds: list[float] = []
        self._ended = time.monotonic()
        self._watch = Watch()

    def start(self) -> None:
        """Call right before the first step."""
        self._ended = time.monotonic()

    def step_ended(self) -> None:
        """Call after each step; a step lasts from the end of the one before."""
        now = time.monotonic()
        self.seconds.append(now - self._ended)
        self._ended = now
        if len(self.seconds) == self.warm_up:
            self._watch = Watch()

    def usage(self) -> Usage:
        """Use of the processor since the warm-up ended."""
        return self._watch.usage()


def _now() -> tuple[float, float, float]:
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return time.monotonic(), busy_seconds(_read("/proc/stat")), own


def busy_seconds(stat: str) -> float:
    """Seconds of processor time that anybody used since the machine started, from the text of /proc/stat."""
    fields = [int(x) for x in stat.splitlines()[0].split()[1:]]
    return sum(fields[i] for i in _BUSY_FIELDS if i < len(fields)) / os.sysconf("SC_CLK_TCK")


def peak_memory() -> int:
    """Highest resident set of this process in bytes. (``ru_maxrss`` would count the parent's before the exec.)"""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()
