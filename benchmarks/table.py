"""``python -m benchmarks table [ROW …]``: measure every row of the table, one after the other, then write the page.

Each row runs in a process of its own under a time limit and keeps its figures as soon as it has them, so that a row
that hangs or breaks costs no other row. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import page
from benchmarks import results as figures
from benchmarks.settings import ROOT, Settings, environment, say


@dataclass(frozen=True)
class Row:
    """What is run, and the seconds after which it is stopped."""

    arguments: tuple[str, ...]
    limit: float


ROWS: Mapping[str, Row] = {
    "training": Row(("training",), 1800),
    "training-long": Row(("training", "--shape", "long"), 600),
    "training-shared": Row(("training", "--shape", "shared"), 600),
    "training-full": Row(("training", "--method", "full"), 600),
    "training-qlora": Row(("training", "--method", "qlora"), 600),
    "training-dpo": Row(("training", "--method", "dpo"), 600),
    "evaluation": Row(("evaluation",), 420),
    "job": Row(("job",), 420),
    "help": Row(("help",), 60),
    "check": Row(("check",), 180),
}


def main(arguments: Sequence[str]) -> int:
    """Measure the rows that were asked for; gives the exit code: 1 when one was not done or did not meet its goals."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks table", description=__doc__.partition("\n\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[*ROWS, []], help=f"of {', '.join(ROWS)}")
    parser.add_argument("--model", default=Settings.model, help="model folder or name (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=Settings.rounds, help="rounds of each side (%(default)s)")
    parser.add_argument("--limit", type=float, default=None, help="seconds for each row (default: its own)")
    options = parser.parse_args(arguments)
    shared = ["--model", options.model, "--rounds", str(options.rounds)]
    failed = False
    for name in options.rows or ROWS:
        row, begin = ROWS[name], time.monotonic()
        problem = run_row([sys.executable, "-m", "benchmarks", *row.arguments, *shared], options.limit or row.limit)
        say(f"{name}: {problem or 'done'} after {time.monotonic() - begin:.0f} s")
        if problem.startswith("stopped"):
            figures.save(page.RESULTS, name, [figures.not_measured(name, problem)])
        failed = failed or bool(problem)
    page.write(page.RESULTS, ROOT)
    return int(failed)


def run_row(command: Sequence[str], limit: float, cwd: Path = ROOT) -> str:
    """Run one row to its end or its limit, with everything that it started; what went wrong, "" when nothing did."""
    with subprocess.Popen(command, cwd=cwd, env=environment(), start_new_session=True) as process:
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"stopped at its limit of {limit:g} s"
    return {0: "", 1: "a goal is not met"}.get(code, f"ended with {code}")
