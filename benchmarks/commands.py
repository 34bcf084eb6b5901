"""Seconds of commands that people wait for: help, and the check of a large file."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.load import Usage, Watch
from benchmarks.results import Result, judged, not_measured
from benchmarks.rows import made_rows, write_pairs
from benchmarks.settings import OFFLINE, Settings, Unavailable, environment, last_words, tunesmith

HELP_RUNS, HELP_GOAL = 7, 0.5
CHECKED_ROWS, CHECK_GOAL = 50_000, 30.0


def measure_help(_settings: Settings) -> list[Result]:
    """Seconds of ``tunesmith --help``."""
    timings = [_timed(tunesmith("--help")) for _ in range(HELP_RUNS + 1)][1:]  # the first one fills caches
    seconds = [timing.seconds for timing in timings]
    note = f"median of {HELP_RUNS}, {min(seconds):.2f} to {max(seconds):.2f}"
    whole = Usage(sum(seconds), median(t.own for t in timings), median(t.foreign for t in timings))
    return [judged("tunesmith --help", median(seconds), "s", at_most=HELP_GOAL, usage=whole, note=note)]


def measure_check(settings: Settings) -> list[Result]:
    """Seconds of ``tunesmith data check`` on a large file, without and with the tokens of a model."""
    results = []
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        file = Path(name) / "rows.jsonl"
        write_pairs(file, made_rows(CHECKED_ROWS))
        size = f"{CHECKED_ROWS:,} rows, {file.stat().st_size / 1e6:.0f} MB"
        for label, model in (("without a model", False), ("with a model's tokens", True)):
            what = f"tunesmith data check, {label}"
            try:
                extra = ["--model", str(settings.model_folder())] if model else []
                usage = _timed(tunesmith("data", "check", str(file), *extra), cwd=Path(name))
            except Unavailable as error:
                results.append(not_measured(what, str(error), f"≤ {CHECK_GOAL:g} s"))
                continue
            results.append(judged(what, usage.seconds, "s", at_most=CHECK_GOAL, usage=usage, note=size))
    return results


def _timed(command: list[str], cwd: Path | None = None) -> Usage:
    watch = Watch()
    done = subprocess.run(command, cwd=cwd, env=environment(**OFFLINE), capture_output=True, text=True, check=False)
    usage = watch.usage()
    if done.returncode != 0:
        raise Unavailable(f"exit code {done.returncode}: {last_words(done.stderr)}")
    return usage
