"""The workspace: what is stored stays as it was, whoever dies, races or edits meanwhile."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.core.crash import run_and_kill, run_together
from tunesmith.core import disk, store
from tunesmith.core.artifacts import Check, Release
from tunesmith.core.disk import read_manifest
from tunesmith.core.errors import CorruptArtifactError, InputError, StorageError
from tunesmith.core.index import MIGRATIONS, Index
from tunesmith.core.records import Finding, digest_of
from tunesmith.core.store import Artifact, Workspace


def fill(text: str = "weights") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.bin").write_text(text * 100)
        (folder / "config.json").write_text("{}")

    return write


def check(name: str, detail: str = "") -> Check:
    return Check(name=name, passed=True, detail=detail)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


# --- artifacts -------------------------------------------------------------------------------------------------------


def test_an_artifact_is_named_by_its_content(workspace: Workspace) -> None:
    artifact = workspace.publish("adapter", fill(), {"run": "r1"})
    assert artifact.path == workspace.root / "artifacts" / artifact.digest
    assert artifact.digest == digest_of(read_manifest(artifact.path))
    assert (artifact.path / "model.bin").read_text() == "weights" * 100
    assert (artifact.kind, dict(artifact.meta)) == ("adapter", {"run": "r1"})
    assert workspace.artifact(artifact.digest) == artifact
    assert workspace.artifact(artifact.digest[:8]) == artifact
    assert list((workspace.root / "tmp").iterdir()) == []


def test_the_same_content_is_stored_once_under_every_kind(workspace: Workspace) -> None:
    first = workspace.publish("adapter", fill(), {"run": "r1"})
    again = workspace.publish("adapter", fill(), {"run": "r2"})
    other = workspace.publish("checkpoint", fill(), {"step": 3})
    assert again == first
    assert other.path == first.path
    assert dict(other.meta) == {"step": 3}
    assert [a.kind for kind in ("adapter", "checkpoint", "model") for a in workspace.artifacts(kind)] == [
        "adapter",
        "checkpoint",
    ]
    assert len(list((workspace.root / "artifacts").iterdir())) == 1


def test_artifacts_come_newest_first(workspace: Workspace) -> None:
    digests = [workspace.publish("adapter", fill(text)).digest for text in "abc"]
    assert [artifact.digest for artifact in workspace.artifacts("adapter")] == digests[::-1]


def test_a_failing_publisher_stores_nothing(workspace: Workspace) -> None:
    def half(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        workspace.publish("adapter", half)
    assert workspace.artifacts("adapter") == []
    assert list((workspace.root / "artifacts").iterdir()) == list((workspace.root / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("digest", "what", "fix"),
    [
        ("abc", "'abc' is not the digest of an artifact", "give 8 to 64 of the digits 0-9 and a-f"),
        ("%" * 8, "is not the digest of an artifact", "give 8 to 64"),
        ("0" * 8, "there is no artifact '00000000'", "TUNESMITH_HOME is the right one"),
    ],
)
def test_an_unknown_digest(workspace: Workspace, digest: str, what: str, fix: str) -> None:
    workspace.publish("adapter", fill())
    with pytest.raises(InputError) as caught:
        workspace.artifact(digest)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert str(workspace.root) in caught.value.where


def test_a_prefix_of_several_artifacts(workspace: Workspace) -> None:
    index = Index(workspace.root / "index.sqlite3")
    for digest in ("abcdef0011" + "0" * 54, "abcdef0012" + "0" * 54):
        index.add_artifact(digest, "adapter", {})
    with pytest.raises(InputError, match="2 artifacts start with 'abcdef00'") as caught:
        workspace.artifact("abcdef00")
    assert "give more digits: abcdef001100…, abcdef001200…" in caught.value.fix


def test_a_flipped_byte_is_named_and_mended_by_publishing_again(workspace: Workspace) -> None:
    artifact = workspace.publish("adapter", fill())
    with (artifact.path / "model.bin").open("r+b") as file:
        file.write(b"W")
    with pytest.raises(CorruptArtifactError, match="the bytes changed") as caught:
        workspace.artifact(artifact.digest)
    assert caught.value.where == str(artifact.path / "model.bin")
    assert workspace.artifact(artifact.digest, verify=False) == artifact
    assert workspace.publish("adapter", fill()) == artifact
    assert workspace.artifact(artifact.digest) == artifact
    assert list((workspace.root / "tmp").iterdir()) == []


def test_a_folder_under_a_wrong_name(workspace: Workspace) -> None:
    one, two = (workspace.publish("adapter", fill(text)) for text in "ab")
    store.remove(one.path)
    two.path.rename(one.path)
    with pytest.raises(CorruptArtifactError, match="the manifest belongs to another artifact"):
        workspace.artifact(one.digest)


def publish_in(root: Path, text: str) -> None:
    Workspace.open(root).publish("adapter", fill(text))


def cache_in(root: Path, key: str) -> None:
    Workspace.open(root).cached(key, fill())


def test_publishing_survives_being_killed_anywhere(tmp_path: Path) -> None:
    root = tmp_path / "home"
    for step in itertools.count():
        killed = run_and_kill(partial(publish_in, root, f"{step}"), step)
        workspace = Workspace.open(root)
        for artifact in workspace.artifacts("adapter")[:1]:
            workspace.artifact(artifact.digest)
        assert workspace.publish("adapter", fill(f"{step}")) == workspace.artifacts("adapter")[0]
        if not killed:
            break
    assert step > 10
    assert len(workspace.artifacts("adapter")) == step + 1


def test_the_row_is_written_last(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("the disk is full", where="index")

    monkeypatch.setattr(Index, "add_artifact", refuse)
    with pytest.raises(StorageError):
        workspace.publish("adapter", fill())
    monkeypatch.undo()
    assert workspace.artifacts("adapter") == []
    (orphan,) = (workspace.root / "artifacts").iterdir()
    assert workspace.publish("adapter", fill()).path == orphan


def test_publishers_of_the_same_content_at_once(tmp_path: Path) -> None:
    root = tmp_path / "home"

    def publish() -> None:
        workspace = Workspace.open(root)
        for text in "abc":
            artifact = workspace.publish("adapter", fill(text), {"pid": os.getpid()})
            assert workspace.artifact(artifact.digest) == artifact
            workspace.put("run", f"{os.getpid()}-{text}", check("x"))

    assert run_together([publish] * 6) == [0] * 6
    workspace = Workspace.open(root)
    assert len(workspace.artifacts("adapter")) == 3
    assert len(workspace.list("run", Check)) == 18
    assert list((root / "tmp").iterdir()) == []


def test_derived_data_is_made_once(workspace: Workspace) -> None:
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        fill()(folder)

    first = workspace.cached("model-abc.v1", make)
    assert workspace.cached("model-abc.v1", make) == first == workspace.root / "cache" / "model-abc.v1"
    assert len(calls) == 1
    with pytest.raises(ZeroDivisionError):
        workspace.cached("other", lambda folder: make(folder / str(1 / 0)))
    assert [path.name for path in (workspace.root / "cache").iterdir()] == ["model-abc.v1"]


@pytest.mark.parametrize("key", ["owner/name", "../../etc", "a b", "ü", "", ".", "x" * 300, "owner name"])
def test_any_key_becomes_a_folder_of_its_own(workspace: Workspace, key: str) -> None:
    path = workspace.cached(key, fill())
    assert path.parent == workspace.root / "cache"
    assert path != workspace.cached(key + "/", fill())
    assert path == workspace.cached(key, fill())


def test_derived_data_survives_being_killed_anywhere(tmp_path: Path) -> None:
    root = tmp_path / "home"
    for step in itertools.count():
        killed = run_and_kill(partial(cache_in, root, f"k{step}"), step)
        made = root / "cache" / f"k{step}"
        assert not made.exists() or (made / "model.bin").read_text() == "weights" * 100
        if not killed:
            break
    assert step > 6
    assert made.exists()


# --- records and releases --------------------------------------------------------------------------------------------


def test_records_come_back_and_are_replaced(workspace: Workspace) -> None:
    for name in ("first", "second", "third"):
        workspace.put("run", name, check(name))
    workspace.put("run", "first", check("first", "finished"))
    workspace.put("report", "first", check("another kind"))
    assert workspace.get("run", "first", Check) == check("first", "finished")
    assert [found.name for found in workspace.list("run", Check)] == ["third", "second", "first"]
    assert workspace.list("nothing", Check) == []


def test_a_missing_record_offers_the_nearest_ids(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="there is no run '2024-01'") as caught:
        workspace.get("run", "2024-01", Check)
    assert caught.value.fix == "this workspace has no run yet"
    for name in ("2024-01-a", "2024-01-b", "zzz"):
        workspace.put("run", name, check(name))
    with pytest.raises(InputError) as caught:
        workspace.get("run", "2024-01", Check)
    assert caught.value.fix in (
        "did you mean '2024-01-a' or '2024-01-b'?",
        "did you mean '2024-01-b' or '2024-01-a'?",
    )
    with pytest.raises(InputError) as caught:
        workspace.get("run", "qqqqqqq", Check)
    assert "'zzz'" in caught.value.fix


def test_a_record_of_another_type(workspace: Workspace) -> None:
    workspace.put("run", "a", check("x"))
    with pytest.raises(InputError, match="the run 'a' cannot be read as Finding: check: Field required") as caught:
        workspace.get("run", "a", Finding)
    assert "newer tunesmith" in caught.value.fix


def test_releases_point_at_stored_artifacts(workspace: Workspace) -> None:
    one, two = (workspace.publish("adapter", fill(text)) for text in "ab")
    first = Release(alias="prod", adapter_digest=one.digest, created_at="1")
    other = Release(alias="test", adapter_digest=two.digest[:12], created_at="2")
    second = Release(alias="prod", adapter_digest=two.digest, created_at="3", previous_digest=one.digest)
    for release in (first, other, second):
        workspace.release(release)
    assert workspace.released("prod") == second
    assert workspace.released("nothing") is None
    assert workspace.releases() == [second, other]
    with pytest.raises(InputError, match="there is no artifact"):
        workspace.release(Release(alias="prod", adapter_digest="0" * 64, created_at="4"))
    assert workspace.released("prod") == second


# --- opening ---------------------------------------------------------------------------------------------------------


def test_where_the_workspace_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNESMITH_HOME", raising=False)
    assert Workspace.open().root == tmp_path / ".tunesmith"
    assert (tmp_path / ".tunesmith" / ".gitignore").read_text() == "*\n"
    monkeypatch.setenv("TUNESMITH_HOME", "elsewhere")
    assert Workspace.open().root == tmp_path / "elsewhere"
    assert Workspace.open(Path("given")).root == tmp_path / "given"


def test_what_was_stored_is_there_after_reopening(workspace: Workspace) -> None:
    artifact = workspace.publish("adapter", fill())
    assert Workspace.open(workspace.root).artifact(artifact.digest) == artifact


def test_old_work_in_progress_is_cleared_away(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    leftover = workspace.root / "tmp" / "1-dead"
    leftover.mkdir()
    fill()(leftover)
    Workspace.open(workspace.root)
    assert leftover.exists()
    monkeypatch.setattr(disk, "STALE_SECONDS", -1)
    Workspace.open(workspace.root)
    assert not leftover.exists()


def test_a_newer_workspace_is_refused(workspace: Workspace) -> None:
    with sqlite3.connect(workspace.root / "index.sqlite3") as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(InputError, match="the index of the workspace has version 99") as caught:
        Workspace.open(workspace.root)
    assert caught.value.rule == f"this version of tunesmith reads versions up to {len(MIGRATIONS)}"
    assert "use a newer tunesmith" in caught.value.fix


def add_note(connection: sa.Connection) -> None:
    connection.execute(sa.text("CREATE TABLE notes (text VARCHAR)"))


def fail_half_way(connection: sa.Connection) -> None:
    connection.execute(sa.text("CREATE TABLE half (text VARCHAR)"))
    raise RuntimeError("mine")


def test_migrations_run_once_in_order_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    Index(path).put("run", "a", "{}")
    with pytest.raises(RuntimeError, match="mine"):
        Index(path, (*MIGRATIONS, add_note, fail_half_way))
    with sqlite3.connect(path) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        version = connection.execute("SELECT version FROM schema_version").fetchall()
    assert version == [(1,)]
    assert not {"notes", "half"} & tables
    index = Index(path, (*MIGRATIONS, add_note))
    assert Index(path, (*MIGRATIONS, add_note)).get("run", "a") == index.get("run", "a") == "{}"


def test_processes_that_open_a_new_workspace_at_once(tmp_path: Path) -> None:
    assert run_together([lambda: Workspace.open(tmp_path / "home")] * 6) == [0] * 6
    with sqlite3.connect(tmp_path / "home" / "index.sqlite3") as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(len(MIGRATIONS),)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_row_cannot_point_at_nothing(tmp_path: Path) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="FOREIGN KEY"):
        Index(tmp_path / "index.sqlite3").add_release("prod", "0" * 64, "{}")


def test_an_index_that_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite3").write_bytes(b"not a database, but long enough to look like one" * 30)
    with pytest.raises(CorruptArtifactError, match="the index cannot be read: file is not a database") as caught:
        Workspace.open(tmp_path)
    assert "restore it from a backup" in caught.value.fix


def test_a_locked_index(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.core.database.BUSY_SECONDS", 0)
    blocker = sqlite3.connect(workspace.root / "index.sqlite3")
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="another process has held the index") as caught:
        workspace.put("run", "a", check("x"))
    assert "wait for it to end" in caught.value.fix
    blocker.close()
    workspace.put("run", "a", check("x"))


def test_a_full_disk(small_disk: Path) -> None:
    workspace = Workspace.open(small_disk / "home")
    artifact = workspace.publish("adapter", fill())
    with pytest.raises(StorageError, match="the disk is full") as caught:
        workspace.put("run", "a", check("x" * 1_000_000))
    assert "TUNESMITH_HOME" in caught.value.fix
    with pytest.raises(StorageError, match="the disk is full"):
        workspace.publish("adapter", fill("x" * 10_000))
    with pytest.raises(StorageError, match="the disk is full"):
        workspace.cached("key", fill("x" * 10_000))
    workspace.put("run", "a", check("x"))
    assert workspace.artifacts("adapter") == [workspace.artifact(artifact.digest)]
    assert list((workspace.root / "tmp").iterdir()) == list((workspace.root / "cache").iterdir()) == []


def test_a_read_only_disk(small_disk: Path) -> None:
    workspace = Workspace.open(small_disk / "home")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError, match="the file system is read-only"):
        workspace.publish("adapter", fill())
    with pytest.raises(StorageError) as caught:
        workspace.put("run", "a", check("x"))
    assert caught.value.what in ("no permission to write the index", "the index cannot be opened")
    assert "the workspace is writable" in caught.value.rule


def test_an_index_whose_disk_fails(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sa.exc.OperationalError("", {}, sqlite3.OperationalError("disk I/O error"))

    monkeypatch.setattr(sa.Connection, "scalar", fail)
    with pytest.raises(StorageError, match="the disk reports an error"):
        workspace.get("run", "a", Check)


def test_a_workspace_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        Workspace.open(tmp_path / "file" / "home")


def test_importing_the_store_does_not_import_the_database() -> None:
    code = "import sys, tunesmith.core.store; print(*sys.modules)"
    source = Path(store.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=source)
    assert "sqlalchemy" not in done.stdout.split()


def test_an_artifact_is_a_value() -> None:
    assert Artifact("d", "k", Path("p")) == Artifact("d", "k", Path("p"), {})
