"""Large files: memory that does not grow with them, two processes that change no answer, and interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chats import write_chats
from tests.command import QUICK, Ran, ctrl_c, inside, read_until, started
from tunesmith.core.records import Finding
from tunesmith.core.store import Workspace
from tunesmith.curate.checks import table
from tunesmith.curate.checks.kept import Kept, from_lines, outside, to_lines
from tunesmith.curate.checks.observe import Outcome

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
        ran = ctrl_c(process)
    # Python ends by the signal (which a shell shows as 130 too) where Ctrl-C rose inside the exec of a dataclass
    assert ran.code in (130, -signal.SIGINT)
    assert "stopped by Ctrl-C" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["chats.jsonl"]
    assert "Traceback" not in ran.err


def test_a_file_of_which_no_row_can_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("hello\nworld\n", encoding="utf-8")
    ran = inside("data", "check", "x.jsonl", "--json", at=tmp_path)
    assert ran.code == 2
    assert ran.error["where"] == "x.jsonl:1 (column 1)"
    assert "is not valid JSON" in ran.error["what"]
    assert "x.jsonl:2" in ran.error["what"], "the other row is named too"


def interrupted_in(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Ctrl-C when this part of a check begins."""
    looked = table._looked

    def stop(observers: Any, corpus: Any, emit: Any, task: str) -> Any:
        if task == table.PARTS[part]:
            raise KeyboardInterrupt
        return looked(observers, corpus, emit, task)

    monkeypatch.setattr(table, "_looked", stop)


def test_an_interrupted_check_goes_on_where_it_was(tmp_path: Path) -> None:
    write_chats(tmp_path / "chats.jsonl", 5_000)

    def check(out: str) -> Ran:
        home = {"TUNESMITH_HOME": str(tmp_path / "home"), "TUNESMITH_THREADS": "1"}
        return inside("data", "check", "chats.jsonl", "--out", out, at=tmp_path, **home)

    assert check("whole").code == 1
    assert parts_in(tmp_path) == [], "what is done needs no parts any more"
    with pytest.MonkeyPatch.context() as patch:
        interrupted_in(patch, "answers")
        assert check("half").code == 130
    assert not (tmp_path / "half").exists()
    assert parts_in(tmp_path) == ["copies", "leaks", "personal", "rows", "split"]
    again = check("again")
    said = "an earlier check of these files was interrupted: taken from there: copies, leaks, personal, rows, split"
    assert said in again.err
    assert "checking rows" not in again.err
    assert "reading answers" in again.err
    for name in ("findings.jsonl", "curation_report.json", "curation.html"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert parts_in(tmp_path) == []

    with pytest.MonkeyPatch.context() as patch:
        interrupted_in(patch, "personal")
        assert check("half").code == 130
    assert parts_in(tmp_path) == ["rows", "split"]
    with (tmp_path / "chats.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}\n')
    other = check("other")
    assert "interrupted" not in other.err, "a changed file starts anew"
    assert parts_in(tmp_path) == [], "and what belonged to the file as it was is removed"


def parts_in(folder: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[2] for path in (folder / "home" / "cache").glob("check-*"))


def test_a_damaged_part_is_made_again(tmp_path: Path) -> None:
    kept = Kept(Workspace.open(tmp_path), "f" * 64, "s" * 64)
    finding = Finding(check="x", severity="info", message="half a sign: \u2028 é", fix="f")
    seen = ({"x": [finding]}, {"x": Outcome(remark="; r", figures={"n": [1, 0.1]}, rows=array("q", [3]))})
    kept.keep("rows", to_lines(seen))
    found, outcomes = from_lines(kept.part("rows") or [])
    assert found == {"x": [finding]}
    assert (outcomes["x"].figures, outcomes["x"].rows) == ({"n": [1, 0.1]}, [3])
    kinds = [table.CheckKind("x", lambda setting: None)]  # type: ignore[arg-type,return-value]
    assert table._kept(kept, "rows", kinds) is not None
    assert table._kept(kept, "rows", [table.CheckKind("y", lambda setting: None)]) is None  # type: ignore[arg-type,return-value]
    assert kept.part("copies") is None
    path = next((tmp_path / "cache").glob("check-*")) / "lines"
    path.write_text(path.read_text("utf-8")[:-20], "utf-8")
    assert table._kept(kept, "rows", kinds) is None


def test_options_name_files_and_their_content_counts(tmp_path: Path) -> None:
    names, folder = tmp_path / "names.txt", tmp_path / "model"
    names.write_text("Jan")
    folder.mkdir()
    (folder / "weights").write_text("1")
    options = {"dictionary": str(names), "deep": [{"model": str(folder)}], "pattern": "[a-z]+", "number": 3}
    before = outside(options)
    assert set(before) == {str(names), str(folder)}
    names.write_text("Piet")
    (folder / "more").write_text("2")
    after = outside(options)
    assert all(after[path] != before[path] for path in before)
