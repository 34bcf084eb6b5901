"""Places that cannot be written: said before the work where that can be known, and never half-written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, refusal
from tests.command import Ran, files, kept
from tests.project import Project
from tests.train.job import InstantReload
from tunesmith.core import disk
from tunesmith.train import verify


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "Reload", InstantReload)


def complete(run: Path) -> list[str]:
    """The folders of a run that hold weights; each has to be whole."""
    found = [folder for folder in (*run.glob("*"), *run.glob("checkpoints/*")) if (folder / "manifest.json").exists()]
    for folder in found:
        disk.verify_folder(folder)
    stray = [path for path in run.rglob("*.safetensors") if path.parent not in found]
    assert stray == [], "weights without a manifest are half-written"
    return sorted(str(folder.relative_to(run)) for folder in found)


def test_disk_full_in_training(desk: Desk, small_disk: Path) -> None:
    desk.config(output_dir=str(small_disk / "run"))
    error = refusal(desk.train(), code=2)
    assert error.what == "the disk is full"
    assert error.where == str(small_disk / "run" / "checkpoints" / "step-000005")
    assert error.rule == "there is room for what is written"
    assert error.fix == "free some space, or choose another disk"
    assert complete(small_disk / "run") == []
    assert not list(small_disk.rglob("*.new-*"))
    assert kept(desk.home) == []


def test_disk_full_of_the_workspace(desk: Desk, small_disk: Path) -> None:
    """The run is whole by then: what is missing is made when there is room."""
    full = small_disk / "home"
    (small_disk / "ballast").write_bytes(bytes(100_000))
    error = refusal(desk.train(TUNESMITH_HOME=str(full)), code=2)
    assert error.what == "the disk is full"
    assert error.where.startswith(str(full))
    assert error.fix.startswith("free some space, or ")
    assert [path for path in kept(full) if not path.endswith("tmp")] == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_the_last_step(desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    sync_tree = disk.sync_tree

    def failing(folder: Path) -> None:
        if ".adapter." in folder.name:
            raise OSError(number, os.strerror(number))
        sync_tree(folder)

    monkeypatch.setattr(disk, "sync_tree", failing)
    error = refusal(desk.train(), code=2)
    assert error.what == ("the disk is full" if number == errno.ENOSPC else os.strerror(number))
    assert error.where == str(desk.run / "adapter")
    assert "adapter" not in complete(desk.run)
    assert not (desk.run / "run.json").exists()
    assert kept(desk.home) == []
    assert refusal(desk.ask("chat", desk.run, "-m", "Hello")).what == f"the run in {desk.run} is not finished"
    monkeypatch.undo()
    monkeypatch.setattr(verify, "Reload", InstantReload)
    again = desk.train()
    assert again.code == 0, again.err
    assert "resumed from step 21 " in again.err
    assert complete(desk.run) == ["adapter", "last"]


def test_read_only_output_folder(desk: Desk, read_only_disk: Path) -> None:
    desk.config(output_dir=str(read_only_disk / "run"), model="no-such-model")
    error = refusal(desk.train(), code=2)
    assert error.what == "the file system is read-only"
    assert error.where == str(read_only_disk / "run")
    assert error.rule == "the place is writable"
    assert error.fix == "choose a folder on a writable disk"
    assert not desk.home.exists(), "known before the model is looked for"


def test_read_only_workspace(desk: Desk, read_only_disk: Path) -> None:
    error = refusal(desk.train(TUNESMITH_HOME=str(read_only_disk / "home")), code=2)
    assert error.what == "the file system is read-only"
    assert error.where.startswith(str(read_only_disk / "home"))
    assert not desk.run.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_output_folder_of_somebody_else(desk: Desk) -> None:
    (desk.folder / "theirs").mkdir(mode=0o555)
    desk.config(output_dir="theirs/run")
    error = refusal(desk.train(), code=2)
    assert error.what == "no permission to write here"
    assert error.fix == "change its owner, or choose another folder"
    assert desk.is_untouched()


def test_no_permission_to_write(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and not mode & os.W_OK)
    error = refusal(desk.train(), code=2)
    assert (error.what, error.where) == ("no permission to write here", "run")
    assert desk.is_untouched()


def test_a_file_where_the_run_should_go(desk: Desk) -> None:
    desk.run.write_text("mine")
    error = refusal(desk.train(), code=2)
    assert (error.what, error.where) == ("a part of the path is a file", "run")
    assert desk.run.read_text() == "mine"
    assert kept(desk.home) == []


def test_a_finished_run_is_not_overwritten(unchanged: Project, trained: Ran, desk: Desk) -> None:
    assert trained.code == 0, trained.err
    desk.config(output_dir=str(unchanged.run), model="no-such-model")
    error = refusal(desk.train())
    assert error.what == f"{unchanged.run} holds a finished run"
    assert error.where == "output_dir"
    assert error.rule == "a finished run is never overwritten silently"
    assert error.fix == "choose another output_dir, or start over with --fresh"
    assert not desk.home.exists(), "known before the model is looked for"


def test_bad_rows_cost_no_finished_run(unchanged: Project, trained: Ran, desk: Desk) -> None:
    assert trained.code == 0, trained.err
    desk.config(output_dir=str(unchanged.run), datasets=[{"path": "nowhere.jsonl"}])
    assert refusal(desk.train("--fresh")).what == "there is no such file"
    assert files(unchanged.run)


def test_the_report_of_eval_needs_a_place(desk: Desk) -> None:
    (desk.folder / "file").write_text("")
    error = refusal(desk.ask("eval", desk.base, "--data", "rows.jsonl", "--report", "file/report.html"), code=2)
    assert (error.what, error.where) == ("a part of the path is a file", "file")
    assert kept(desk.home) == []
