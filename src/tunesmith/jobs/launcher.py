"""How an attempt is started: a process group of its own on this machine. Another launcher is another function."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, final

from tunesmith.core import store
from tunesmith.jobs.alive import MARK
from tunesmith.jobs.places import Place


class Running(Protocol):
    """An attempt that was started."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs, negative for the signal that ended it."""
        ...

    def stop(self) -> None:
        """Ask it to end at the next step, with a checkpoint."""
        ...

    def kill(self) -> None:
        """End it now, with every process that it started."""
        ...


Launch = Callable[[str, Path, str, int], Running]
"""(phase, root of the workspace, job, fence) → the attempt."""


@final
class LocalProcess:
    """A child process of this one, in a group of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self._process.returncode is None:
            look = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, self._process.pid, look) is None:
                return None
            self.kill()  # what it started ends with it; while it is not reaped, the group's number is nobody else's
        return self._process.poll()

    def stop(self) -> None:
        """SIGTERM to the process alone: those that it started are its own business."""
        if self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to the group."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()


def launch_here(phase: str, root: Path, job: str, fence: int) -> Running:
    """Start an attempt on this machine.

    Raises:
        StorageError: its folder cannot be written.
    """
    command = [sys.executable, "-m", "tunesmith.jobs.attempt", phase, str(root), job, str(fence)]
    with store.open_log(Place(root, job).output) as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, MARK: job, "TUNESMITH_HOME": str(root)},
            start_new_session=True,
        )
    return LocalProcess(process)
