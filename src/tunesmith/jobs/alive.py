"""Whether a process is still the one it was, and the end of those that nobody owns any more."""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Iterator
from pathlib import Path

from tunesmith.jobs.records import Owner

MARK = "TUNESMITH_JOB_ATTEMPT"
"""Environment variable of every process of an attempt: the job's id."""


def this_process(worker: str) -> Owner:
    """This process as the owner of jobs."""
    return Owner(worker=worker, host=platform.node(), pid=os.getpid(), started=started(os.getpid()))


def started(pid: int) -> str:
    """When a process started, as its system counts; "" where it is gone or the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):
        return ""
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def is_gone(owner: Owner) -> bool:
    """Whether the owner is known to have ended. Of another machine's processes nothing is known."""
    if owner.host != platform.node():
        return False
    if Path("/proc/self/stat").exists():
        return started(owner.pid) != owner.started
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def attempts_of(job: str) -> Iterator[int]:
    """The processes of this machine that belong to an attempt at a job, by their mark."""
    wanted = f"{MARK}={job}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                yield int(folder.name)
        except OSError:
            continue


def end_attempts(job: str) -> int:
    """Kill what earlier attempts at a job left running; returns how many processes that were."""
    killed = 0
    for pid in attempts_of(job):
        try:
            os.kill(pid, signal.SIGKILL)
            killed += 1
        except (ProcessLookupError, PermissionError):
            continue
    return killed
