"""Large files: memory that does not grow with them, two processes that change no answer, and interruption."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.chats import write_chats
from tests.command import QUICK, ctrl_c, inside, read_until, started

READ = """
import sys
from tunesmith.core.records import Example
from tunesmith.core.spool import Spool
from tunesmith.curate.config import DatasetSpec
from tunesmith.curate.reading.read import read
def highest():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = highest()
rows = Spool(Example, read(DatasetSpec(path=sys.argv[1])), int(sys.argv[2]))
print(len(rows), sum(1 for _ in rows), highest() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_reading_takes_a_small_part_of_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    write_chats(path, 20_000)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(1 << 20)],
        capture_output=True, text=True, check=True, env=os.environ | QUICK,
    )  # fmt: skip
    rows, again, kilobytes = map(int, done.stdout.split())
    assert (rows, again) == (20_000, 20_000)
    assert kilobytes * 1024 < path.stat().st_size / 2, "a gigabyte must not need a gigabyte"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks safely")
def test_two_processes_report_what_one_does(tmp_path: Path) -> None:
    write_chats(tmp_path / "chats.jsonl", 5_200)
    reports = []
    for threads in ("1", "2"):
        ran = inside("data", "check", "chats.jsonl", "--out", threads, at=tmp_path, TUNESMITH_THREADS=threads)
        assert ran.code == 1, ran.err
        reports.append({path.name: path.read_bytes() for path in sorted((tmp_path / threads).iterdir())})
    assert reports[0] == reports[1]


def test_an_interrupted_check_leaves_no_half_report(tmp_path: Path) -> None:
    write_chats(tmp_path / "chats.jsonl", 6_000)
    with started("data", "check", "chats.jsonl", at=tmp_path, TUNESMITH_THREADS="2") as process:
        read_until(process.stderr, "checking rows")
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        ran = ctrl_c(process)  # a first one that falls into a destructor is lost, as in any Python program
    assert ran.code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["chats.jsonl"]
    assert "Traceback" not in ran.err


def test_a_file_of_which_no_row_can_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("hello\nworld\n", encoding="utf-8")
    ran = inside("data", "check", "x.jsonl", "--json", at=tmp_path)
    assert ran.code == 2
    assert ran.error["where"] == "x.jsonl:1 (column 1)"
    assert "is not valid JSON" in ran.error["what"]
    assert "x.jsonl:2" in ran.error["what"], "the other row is named too"
