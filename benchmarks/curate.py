"""Seconds and memory of ``tunesmith data check`` with all default checks, on support chats with known faults.

Goals: 100,000 records (about 100 MB) in 90 s on two cores and in 2 GB, and time that grows with the number of rows.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from pathlib import Path

from benchmarks.chats import write_chats
from benchmarks.load import Usage, Watch
from benchmarks.results import Result, judged, not_measured
from benchmarks.settings import OFFLINE, Settings, Unavailable, environment, last_words, tunesmith

SIZES = (10_000, 100_000)
SECONDS, GIGABYTES = 90.0, 2.0
LINEAR = 1.15
"""Ten times the rows may take at most 11.5 times as long."""

_EVERY = 0.1


def measure(settings: Settings) -> list[Result]:
    """10,000 and 100,000 rows."""
    return _measured(SIZES)


def measure_million(settings: Settings) -> list[Result]:
    """100,000 rows and a million."""
    return _measured((100_000, 1_000_000))


def _measured(sizes: tuple[int, int]) -> list[Result]:
    results: list[Result] = []
    seconds = []
    for rows in sizes:
        what = f"tunesmith data check, {rows:,} rows"
        try:
            usage, memory, size = _checked(rows)
        except Unavailable as error:
            results.append(not_measured(what, str(error)))
            continue
        seconds.append(usage.seconds)
        goal = SECONDS * rows / 100_000 if rows >= 100_000 else None
        note = f"{size / 1e6:.0f} MB of support chats, all default checks, {usage.own:.1f} cores used"
        results.append(judged(what, usage.seconds, "s", at_most=goal, usage=usage, note=note))
        most = GIGABYTES if rows <= 100_000 else None
        results.append(judged(f"memory of it, {rows:,} rows", memory / 1e9, "GB", at_most=most, note="both processes"))
    if len(seconds) == 2:
        growth = seconds[1] / seconds[0] / (sizes[1] / sizes[0])
        note = "time a row against that of the smaller file; start-up makes it less than 1"
        results.append(judged("growth of its time", growth, "×", at_most=LINEAR, note=note))
    return results


def _checked(rows: int) -> tuple[Usage, int, int]:
    """Time, most memory of all its processes together in bytes, and size of the file."""
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        folder = Path(name)
        file = folder / "chats.jsonl"
        write_chats(file, rows)
        command = tunesmith("data", "check", str(file), "--out", str(folder / "out"))
        watch, memory = Watch(), Memory()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(**OFFLINE),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        memory.watch(process.pid)
        _, errors = process.communicate()
        usage, most = watch.usage(), memory.most()
        if process.returncode != 1:  # the planted faults are errors
            raise Unavailable(f"exit code {process.returncode}: {last_words(errors)}")
        report = json.loads((folder / "out" / "curation_report.json").read_text(encoding="utf-8"))
        if report["rows"] != rows:
            raise Unavailable(f"{report['rows']} rows were checked, not {rows}")
        return usage, most, file.stat().st_size


class Memory:
    """The most memory that a process and its children hold together, pages that they share counted once."""

    def __init__(self) -> None:
        self._most = 0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Look ten times a second from now on."""
        self._thread = threading.Thread(target=self._look, args=(pid,), daemon=True)
        self._thread.start()

    def most(self) -> int:
        """Stop looking; bytes."""
        self._done.set()
        if self._thread:
            self._thread.join()
        return self._most

    def _look(self, pid: int) -> None:
        while not self._done.wait(_EVERY):
            self._most = max(self._most, sum(map(_proportional, [pid, *_children(pid)])))


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    except OSError:
        return []


def _proportional(pid: int) -> int:
    """Proportional set size of a process in bytes; 0 when it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
