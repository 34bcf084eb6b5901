"""How many processor cores this process may use."""

from __future__ import annotations

import os

from tunesmith.core.ranks import place

THREADS_VARIABLE = "TUNESMITH_THREADS"


def usable_cores() -> int:
    """Cores that this process may use: its CPU affinity, cut by the container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = _container_quota()
    return max(1, min(cores, quota)) if quota else cores


def _container_quota() -> int | None:
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            limit, period = file.read().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(1, round(int(limit) / int(period)))


def choose_threads() -> tuple[int, str]:
    """Number of threads for matrix work, and the reason in words.

    An inherited ``OMP_NUM_THREADS`` is not obeyed: launchers set it to 1 without telling anybody, which halves the
    speed on two cores. ``TUNESMITH_THREADS`` is the way to ask for fewer.
    """
    all_cores, processes = usable_cores(), place().local_world
    cores = max(1, all_cores // processes)
    wanted = os.environ.get(THREADS_VARIABLE, "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted), f"{THREADS_VARIABLE}={wanted}"
    if processes > 1:
        return cores, f"{all_cores} usable cores for {processes} processes"
    every = f"all {cores} usable cores" if cores > 1 else "the one usable core"
    inherited = os.environ.get("OMP_NUM_THREADS", "")
    if inherited and inherited != str(cores):
        return cores, f"{every} (inherited OMP_NUM_THREADS={inherited} is not obeyed)"
    return cores, every


def counted(number: int, thing: str) -> str:
    """ "1 thread", "2 threads"."""
    return f"{number} {thing}" + ("s" if number != 1 else "")
