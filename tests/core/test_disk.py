"""Files and folders appear whole or not at all; a failing disk is explained."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.core.crash import run_and_kill, run_together
from tunesmith.core import disk
from tunesmith.core.errors import CorruptArtifactError, InputError, StorageError
from tunesmith.core.records import digest_of
from tunesmith.core.store import (
    append_line,
    copy_file,
    file_digest,
    make_folder,
    remove,
    require_writable,
    staged_folder,
    verify_folder,
    write_bytes,
    write_lines,
    write_manifest,
    write_text,
)


def fill(folder: Path, text: str = "new", parts: int = 3) -> None:
    (folder / "sub").mkdir(parents=True)
    for number in range(parts):
        (folder / "sub" / f"{number}.txt").write_text(text * (number + 1))


def stage(target: Path, text: str) -> None:
    with staged_folder(target) as folder:
        fill(folder, text)
        write_manifest(folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- files -----------------------------------------------------------------------------------------------------------


def test_files_are_written_with_their_folders(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "grüße")
    write_bytes(tmp_path / "a" / "b.txt", b"second")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"second"
    assert names(tmp_path / "a") == ["b.txt"]


@pytest.mark.parametrize("step", range(6))
def test_a_killed_writer_leaves_the_old_or_the_new_file(tmp_path: Path, step: int) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old" * 1000)
    run_and_kill(lambda: write_text(path, "new" * 1000), step)
    assert path.read_text() in ("old" * 1000, "new" * 1000)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(StorageError):
        write_text(path, "new")
    assert (names(tmp_path), path.read_text()) == (["x"], "old")


def test_lines_are_appended_and_a_torn_one_is_closed(tmp_path: Path) -> None:
    log = tmp_path / "runs" / "events.jsonl"
    append_line(log, '{"a": 1}')
    append_line(log, "ü")
    with log.open("a") as file:
        file.write('{"torn')
    append_line(log, "after")
    assert log.read_text().split("\n") == ['{"a": 1}', "ü", '{"torn', "after", ""]
    with pytest.raises(ValueError, match="no line break"):
        append_line(log, "a\nb")


def test_lines_of_several_processes_stay_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    works = [lambda n=n: [append_line(log, f"{n}" * 500) for _ in range(20)] for n in range(4)]
    assert run_together(works) == [0] * 4
    lines = log.read_text().splitlines()
    assert sorted(lines) == sorted(f"{n}" * 500 for n in range(4) for _ in range(20))


def test_a_place_is_tried_without_making_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_writable(tmp_path)
    require_writable(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        require_writable(tmp_path / "file" / "b")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StorageError, match="no permission to write here") as caught:
        require_writable(tmp_path / "a")
    assert caught.value.where == str(tmp_path / "a")
    assert names(tmp_path) == ["file"]


def test_remove_takes_files_folders_links_and_nothing(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    fill(tmp_path / "a" / "b" / "c")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    write_text(tmp_path / "file", "")
    remove(tmp_path / "link")
    assert (tmp_path / "a" / "b" / "c" / "sub" / "0.txt").exists()
    for name in ("a", "file", "nothing"):
        remove(tmp_path / name)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("umask", "wanted"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_finished_folder_has_the_modes_that_the_umask_gives(tmp_path: Path, umask: int, wanted: int) -> None:
    before = os.umask(umask)
    try:
        with staged_folder(tmp_path / "run") as folder:
            save_file({"w": np.zeros(3, dtype=np.float32)}, folder / "model.safetensors")
            assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) == 0o600, "the library closes it"
            write_text(folder / "config.json", "{}")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "run").iterdir()} == {wanted}


def test_a_file_is_copied_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "weights").write_bytes(data)
    monkeypatch.setattr(Path, "read_bytes", None)
    copy_file(tmp_path / "weights", tmp_path / "sub" / "copy")
    assert (tmp_path / "sub" / "copy").open("rb").read() == data
    with pytest.raises(StorageError, match="File exists"):
        copy_file(tmp_path / "weights", tmp_path / "sub" / "copy")


# --- digests and manifests -------------------------------------------------------------------------------------------


def test_digests_are_of_the_content(tmp_path: Path) -> None:
    fill(tmp_path / "a", "x")
    fill(tmp_path / "b", "x")
    assert write_manifest(tmp_path / "a") == write_manifest(tmp_path / "b")
    assert write_manifest(tmp_path / "a") == write_manifest(tmp_path / "b"), "a manifest does not list itself"
    (tmp_path / "b" / "sub" / "0.txt").rename(tmp_path / "b" / "sub" / "renamed.txt")
    assert write_manifest(tmp_path / "a") != write_manifest(tmp_path / "b")
    write_bytes(tmp_path / "c", b"abc")
    assert file_digest(tmp_path / "c") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_manifest_lists_every_file(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    listed = write_manifest(tmp_path / "a")
    assert sorted(listed) == ["sub/0.txt", "sub/1.txt", "sub/2.txt"]
    assert verify_folder(tmp_path / "a") == listed
    assert listed["sub/1.txt"] == file_digest(tmp_path / "a" / "sub" / "1.txt")
    document = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert document["digest"] == digest_of(document["files"])
    assert document["files"]["sub/1.txt"]["size"] == 6


def flip(path: Path, at: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "file", "message"),
    [
        (lambda folder: flip(folder / "sub" / "1.txt", 3), "1.txt", "the bytes changed: SHA-256 is "),
        (
            lambda folder: (folder / "sub" / "1.txt").write_text("newnew!"),
            "1.txt",
            "the file has 7 bytes, its manifest",
        ),
        (lambda folder: (folder / "sub" / "1.txt").unlink(), "1.txt", "the file is missing"),
        (lambda folder: (folder / "more.py").write_text("x"), "more.py", "the file is not in the manifest"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json", "the manifest is missing"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "manifest.json", "cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json", "cannot be read"),
        (lambda folder: edit_manifest(folder), "manifest.json", "the manifest was changed: its list of files"),
    ],
)
def test_damage_names_the_file(tmp_path: Path, damage: Callable[[Path], Any], file: str, message: str) -> None:
    folder = tmp_path / "a"
    fill(folder)
    write_manifest(folder)
    damage(folder)
    with pytest.raises(CorruptArtifactError) as caught:
        verify_folder(folder)
    error = caught.value
    assert message in error.what
    assert error.where.endswith(file)
    assert error.rule
    assert error.fix
    assert error.exit_code == 2


def edit_manifest(folder: Path) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    document["files"]["sub/1.txt"]["size"] = 7
    (folder / "manifest.json").write_text(json.dumps(document))


def verdict(folder: Path) -> dict[str, str] | str:
    """The files of an intact folder, or the place of the damage."""
    try:
        return verify_folder(folder)
    except CorruptArtifactError as error:
        return error.where


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    fill(folder, parts=1)
    listed = write_manifest(folder)
    harmless = 0
    for path in (folder / "sub" / "0.txt", folder / "manifest.json"):
        intact = path.read_bytes()
        for at in range(len(intact)):
            flip(path, at)
            found = verdict(folder)
            assert found == listed or path.name in str(found)
            harmless += found == listed
            path.write_bytes(intact)
    # White space and the number of the schema, which no file depends on.
    assert 0 < harmless < 40


def test_links_are_not_stored(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    fill(folder)
    (folder / "link.txt").symlink_to("/etc/hosts")
    with pytest.raises(StorageError, match="a symbolic link stands in the folder") as caught:
        write_manifest(folder)
    assert caught.value.where.endswith("link.txt")


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_staged_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    stage(target, "old")
    (target / "stray.txt").write_text("gone with the old folder")
    stage(target, "new")
    assert sorted(verify_folder(target)) == ["sub/0.txt", "sub/1.txt", "sub/2.txt"]
    assert (target / "sub" / "0.txt").read_text() == "new"
    assert names(tmp_path / "deep") == ["out"]


@pytest.mark.parametrize(
    "error", [RuntimeError("mine"), KeyboardInterrupt(), InputError("x"), FileNotFoundError(2, "x")]
)
def test_an_error_leaves_the_target_untouched(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "out"
    stage(target, "old")

    def fail() -> None:
        with staged_folder(target) as folder:
            fill(folder)
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert (target / "sub" / "0.txt").read_text() == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("step", range(32))
def test_a_killed_process_leaves_the_old_or_the_new_folder(tmp_path: Path, step: int) -> None:
    target = tmp_path / "out"
    stage(target, "old")
    killed = run_and_kill(lambda: stage(target, "new"), step)
    with pytest.raises(RuntimeError), staged_folder(target):
        raise RuntimeError  # staging again mends what was left between the two renames
    verify_folder(target)
    assert (target / "sub" / "0.txt").read_text() in (("old", "new") if killed else ("new",))
    assert not [name for name in names(tmp_path) if ".old-" in name]


def test_the_killing_reaches_the_end(tmp_path: Path) -> None:
    stage(tmp_path / "out", "old")
    assert run_and_kill(lambda: stage(tmp_path / "out", "new"), 12)
    assert not run_and_kill(lambda: stage(tmp_path / "out", "new"), 200)


def test_several_processes_may_stage_the_same_folder(tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert run_together([lambda n=n: stage(target, f"{n}") for n in range(4)]) == [0] * 4
    verify_folder(target)
    assert names(tmp_path) == ["out"]


def test_old_leftovers_are_tidied_and_young_ones_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    young = tmp_path / ".out.new-1-abcdef"
    young.mkdir()
    stage(tmp_path / "out", "x")
    assert young.exists()
    monkeypatch.setattr(disk, "STALE_SECONDS", -1)
    stage(tmp_path / "out", "x")
    assert names(tmp_path) == ["out"]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "big")
    stage(tmp_path / "out", "x")
    assert (tmp_path / "out").is_symlink()
    assert verify_folder(tmp_path / "big")


def test_folders_that_hold_other_things_are_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    write_text(tmp_path / "file", "x")
    for target in (Path("."), tmp_path, Path.home(), Path("/")):
        with pytest.raises(StorageError, match="this folder is not ours to replace"), staged_folder(target):
            pass
    with pytest.raises(StorageError, match="a file stands there") as caught, staged_folder(tmp_path / "file"):
        pass
    assert "./output" in caught.value.fix


def test_a_swap_that_never_succeeds_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "rename", failing(errno.ENOTEMPTY, only=".new-"))
    with pytest.raises(StorageError, match="other processes keep replacing the folder"):
        stage(tmp_path / "out", "new")


def test_a_failed_swap_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(tmp_path / "out", "old")
    monkeypatch.setattr(os, "rename", failing(errno.EACCES, only=".new-"))
    with pytest.raises(StorageError, match="no permission"):
        stage(tmp_path / "out", "new")
    assert (tmp_path / "out" / "sub" / "0.txt").read_text() == "old"
    assert names(tmp_path) == ["out"]


# --- a disk that fails -----------------------------------------------------------------------------------------------


def failing(number: int, only: str = "") -> Callable[..., Any]:
    real = os.rename

    def call(*arguments: Any, **_options: Any) -> Any:
        if only and only not in str(arguments[0]):
            return real(*arguments)
        raise OSError(number, os.strerror(number))

    return call


WRITERS: list[tuple[str, Callable[[Path], object], str]] = [
    ("write_text", lambda path: write_text(path, "x"), "fsync"),
    ("append_line", lambda path: append_line(path / "log", "x"), "mkdir"),
    ("make_folder", lambda path: make_folder(path), "mkdir"),
    ("staged_folder", lambda path: stage(path, "x"), "mkdir"),
    ("staged_folder", lambda path: stage(path, "x"), "fsync"),
    ("staged_folder", lambda path: stage(path, "x"), "rename"),
]


@pytest.mark.parametrize(
    ("number", "what", "fix"),
    [
        (errno.ENOSPC, "the disk is full", "free some space, or choose another disk"),
        (errno.EDQUOT, "the disk quota is used up", "free some space in your quota"),
        (errno.EROFS, "the file system is read-only", "choose a folder on a writable disk"),
        (errno.EACCES, "no permission to write here", "change its owner, or choose another folder"),
        (errno.EIO, "Input/output error", "check the disk and the path"),
    ],
)
@pytest.mark.parametrize(("name", "work", "call"), WRITERS)
def test_a_failing_disk_is_explained(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    work: Callable[[Path], object],
    call: str,
    number: int,
    what: str,
    fix: str,
) -> None:
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(StorageError) as caught:
        work(tmp_path / "place")
    error = caught.value
    assert what in error.what, name
    assert str(tmp_path / "place") in error.where
    assert error.rule
    assert fix in error.fix
    assert isinstance(error.__cause__, OSError)
    monkeypatch.undo()
    assert names(tmp_path) in ([], ["place"])


def test_errors_of_libraries_are_explained_too(tmp_path: Path) -> None:
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError('IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })'),
    ):
        with pytest.raises(StorageError, match="the disk is full"), staged_folder(tmp_path / "out"):
            raise error


def test_a_file_in_the_way_is_explained(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        write_text(tmp_path / "file" / "x" / "y", "")
    with pytest.raises(StorageError, match="a folder stands there"):
        write_text(tmp_path, "")
    with pytest.raises(StorageError, match="the name is too long"):
        write_text(tmp_path / ("x" * 300), "")


def test_a_full_disk_leaves_everything_as_it_was(small_disk: Path) -> None:
    target = small_disk / "out"
    stage(target, "old")
    free = os.statvfs(small_disk).f_bavail
    too_much = {"weight": np.zeros(200_000, dtype=np.float32)}

    def python_writes() -> None:
        with staged_folder(target) as folder:
            (folder / "big").write_bytes(bytes(800_000))

    def compiled_code_writes() -> None:
        with staged_folder(target) as folder:
            save_file(too_much, folder / "model.safetensors")

    for write in (
        python_writes,
        compiled_code_writes,
        lambda: write_bytes(small_disk / "one", bytes(800_000)),
        lambda: append_line(small_disk / "log", "x" * 800_000),
    ):
        with pytest.raises(StorageError, match="the disk is full") as caught:
            write()
        assert str(small_disk) in caught.value.where
        (small_disk / "log").unlink(missing_ok=True)
        assert os.statvfs(small_disk).f_bavail == free
    verify_folder(target)


def test_a_read_only_disk_is_explained(small_disk: Path) -> None:
    stage(small_disk / "out", "old")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for write in (
        lambda: stage(small_disk / "out", "new"),
        lambda: write_text(small_disk / "one", "x"),
        lambda: remove(small_disk / "out"),
    ):
        with pytest.raises(StorageError, match="the file system is read-only"):
            write()
    verify_folder(small_disk / "out")


def test_lines_appear_all_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    write_lines(path, iter(["é", "b"]))
    assert path.read_bytes() == "é\nb\n".encode()

    def broken() -> Iterator[str]:
        yield "c"
        raise LookupError

    with pytest.raises(LookupError):
        write_lines(path, broken())
    assert path.read_bytes() == "é\nb\n".encode()
    assert [each.name for each in path.parent.iterdir()] == ["a.jsonl"]
