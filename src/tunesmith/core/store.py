"""The only door to the disk: the workspace, and safe writing of files and folders outside it.

A workspace keeps artifacts (folders named by a hash of their content, never changed), derived data (a cache), and one
index database of artifacts, JSON records and releases. A folder is complete and flushed before a row names it, so a
row never points at something that is missing or half written, whenever the process dies.

    <root>/artifacts/<digest>/…      immutable, each with manifest.json
    <root>/cache/<key>/…             can be made again
    <root>/tmp/…                     work in progress
    <root>/index.sqlite3
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, final

from pydantic import ValidationError

from tunesmith.core import disk
from tunesmith.core.artifacts import Release
from tunesmith.core.disk import (
    append_bytes,
    append_line,
    append_lines,
    copy_file,
    exclusive,
    file_digest,
    make_folder,
    move_file,
    open_log,
    remove,
    require_writable,
    staged_file,
    staged_folder,
    verify_folder,
    write_bytes,
    write_lines,
    write_manifest,
    write_text,
)
from tunesmith.core.errors import CorruptArtifactError, InputError
from tunesmith.core.records import Record, digest_of
from tunesmith.core.registry import nearest

if TYPE_CHECKING:
    from tunesmith.core.index import Index

__all__ = [
    "Artifact",
    "Workspace",
    "append_bytes",
    "append_line",
    "append_lines",
    "copy_file",
    "exclusive",
    "file_digest",
    "make_folder",
    "move_file",
    "open_log",
    "remove",
    "require_writable",
    "staged_file",
    "staged_folder",
    "verify_folder",
    "write_bytes",
    "write_lines",
    "write_manifest",
    "write_text",
]

R = TypeVar("R", bound=Record)

SHORTEST_PREFIX = 8


@final
@dataclass(frozen=True)
class Artifact:
    """A stored folder. ``digest`` is a hash of its content; ``meta`` is what its publisher wanted remembered."""

    digest: str
    kind: str
    path: Path
    meta: Mapping[str, Any] = field(default_factory=dict)


@final
class Workspace:
    """Artifacts, derived data and records under one folder. Several processes may use it at the same time."""

    def __init__(self, root: Path, index: Index) -> None:
        self.root = root
        self._index = index

    @classmethod
    def open(cls, root: Path | None = None) -> Workspace:
        """Open a workspace; made when it is not there, brought up to date when it is older.

        Args:
            root: its folder; None = ``TUNESMITH_HOME``, else ``.tunesmith`` in the current folder.

        Raises:
            StorageError: the folder cannot be written.
            InputError: a newer version of tunesmith wrote it.
        """
        # SQLAlchemy takes a fifth of a second to import; what only writes files does not wait for it.
        from tunesmith.core.index import Index

        root = Path(root or os.environ.get("TUNESMITH_HOME") or ".tunesmith").expanduser().absolute()
        fresh = not root.exists()
        for name in ("artifacts", "cache", "tmp"):
            make_folder(root / name)
        if fresh:
            write_text(root / ".gitignore", "*\n")
        for leftover in (root / "tmp").iterdir():
            if disk.is_stale(leftover):
                shutil.rmtree(leftover, ignore_errors=True)
        return cls(root, Index(root / "index.sqlite3"))

    def publish(
        self, kind: str, fill: Callable[[Path], None], meta: Mapping[str, Any] = MappingProxyType({})
    ) -> Artifact:
        """Store what ``fill`` writes into the folder it is given. The same content is stored once.

        Args:
            kind: what it is ("adapter", "model", …); ``artifacts`` lists by it.
            fill: writes plain files; when it raises, nothing is stored.
            meta: JSON-able notes; of two publishers of the same content and kind, those of the first stand.

        Raises:
            StorageError: full, read-only or not writable.
        """
        with self._temporary(self.root / "artifacts") as staging:
            fill(staging)
            write_manifest(staging)
            digest = digest_of(disk.read_manifest(staging))
            target = self.root / "artifacts" / digest
            with disk.guarded(target):
                disk.finish(staging)
                self._settle(staging, target)
        self._index.add_artifact(digest, kind, dict(meta))
        return next(self._artifact(*row) for row in self._index.artifacts(prefix=digest, kind=kind))

    def artifact(self, digest: str, verify: bool = True) -> Artifact:
        """The artifact with this digest, or the only one whose digest starts so (8 digits or more).

        Args:
            digest: hex digits.
            verify: check every file against the manifest.

        Raises:
            InputError: no such artifact, or several that start so.
            CorruptArtifactError: a file differs from the manifest; names the file.
        """
        rows = self._index.artifacts(prefix=digest) if re.fullmatch("[0-9a-f]{8,64}", digest) else []
        digests = sorted({row[0] for row in rows})
        if len(digests) != 1:
            raise self._no_such_artifact(digest, digests)
        artifact = self._artifact(*rows[0])
        if verify:
            self._verify(artifact)
        return artifact

    def artifacts(self, kind: str) -> builtins.list[Artifact]:
        """All artifacts of a kind, newest first; their files are not checked."""
        return [self._artifact(*row) for row in self._index.artifacts(kind=kind)]

    def discard(self, digest: str) -> None:
        """Delete an artifact with its bytes, and every release of it; fine when it is not there."""
        self._index.remove_artifact(digest)  # first the row: one that is there never points at something missing
        disk.remove(self.root / "artifacts" / digest)

    def cached(self, key: str, fill: Callable[[Path], None]) -> Path:
        """The folder of derived data under ``key``; ``fill`` makes it when it is not there yet.

        The folder appears complete or not at all. When two processes make it at once, the first one stands.
        """
        target = self.root / "cache" / _folder_name(key)
        if not target.is_dir():
            with self._temporary(target) as staging:
                fill(staging)
                with disk.guarded(target):
                    disk.finish(staging)
                    _move_in(staging, target)
        return target

    def put(self, kind: str, id: str, record: Record) -> None:
        """Store a JSON record; one with the same kind and id is replaced."""
        self._index.put(kind, id, record.model_dump_json())

    def get(self, kind: str, id: str, type: type[R]) -> R:
        """A record.

        Raises:
            InputError: there is none with this id (the nearest ids are offered), or it is of another type.
        """
        body = self._index.get(kind, id)
        if body is None:
            known = [name for name, _ in self._index.records(kind)]
            close = nearest(id, known, 3) or known[:3]
            raise InputError(
                f"there is no {kind} {id!r}",
                where=str(self.root),
                rule=f"a {kind} is named by the id that it was stored under",
                fix=f"did you mean {' or '.join(map(repr, close))}?" if close else f"this workspace has no {kind} yet",
            )
        return self._parse(kind, id, body, type)

    def list(self, kind: str, type: type[R]) -> builtins.list[R]:
        """All records of a kind, newest first."""
        return [self._parse(kind, id, body, type) for id, body in self._index.records(kind)]

    def release(self, release: Release) -> None:
        """Let an alias point at an adapter from now on; what it pointed at before stays in the history.

        Raises:
            InputError: the workspace has no such artifact.
        """
        digest = self.artifact(release.adapter_digest, verify=False).digest
        self._index.add_release(release.alias, digest, release.model_dump_json())

    def released(self, alias: str) -> Release | None:
        """What an alias points at; None when it never was released."""
        return next((release for release in self.releases() if release.alias == alias), None)

    def releases(self) -> builtins.list[Release]:
        """The standing release of every alias, newest first."""
        standing: dict[str, Release] = {}
        for alias, body in self._index.releases():
            if alias not in standing:
                standing[alias] = self._parse("release", alias, body, Release)
        return [*standing.values()]

    @contextlib.contextmanager
    def _temporary(self, target: Path) -> Iterator[Path]:
        """A folder to fill under ``tmp``; gone afterwards unless it was moved away."""
        staging = self.root / "tmp" / f"{os.getpid()}-{secrets.token_hex(8)}"
        make_folder(staging)
        try:
            with disk.filling(staging, target):
                yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _settle(self, staging: Path, target: Path) -> None:
        """Give a finished folder its name, unless an intact one has it already."""
        if not _move_in(staging, target):
            try:
                verify_folder(target)
            except CorruptArtifactError:
                broken = staging.with_name(f"{staging.name}-broken")
                with contextlib.suppress(FileNotFoundError):
                    os.rename(target, broken)
                _move_in(staging, target)
                shutil.rmtree(broken, ignore_errors=True)

    def _artifact(self, digest: str, kind: str, meta: Mapping[str, Any]) -> Artifact:
        return Artifact(digest, kind, self.root / "artifacts" / digest, MappingProxyType(dict(meta)))

    def _verify(self, artifact: Artifact) -> None:
        verify_folder(artifact.path)
        if digest_of(disk.read_manifest(artifact.path)) != artifact.digest:
            raise CorruptArtifactError(
                "the manifest belongs to another artifact",
                where=str(artifact.path / disk.MANIFEST),
                rule="the name of an artifact's folder is the digest of its content",
                fix="publish it again",
            )

    def _no_such_artifact(self, digest: str, digests: Sequence[str]) -> InputError:
        if digests:
            listed = ", ".join(known[: len(digest) + 4] + "…" for known in digests)
            what, fix = f"{len(digests)} artifacts start with {digest!r}", f"give more digits: {listed}"
        elif not re.fullmatch("[0-9a-f]{8,64}", digest):
            what, fix = f"{digest!r} is not the digest of an artifact", "give 8 to 64 of the digits 0-9 and a-f"
        else:
            what, fix = f"there is no artifact {digest!r}", "check the digits, and that TUNESMITH_HOME is the right one"
        rule = f"an artifact is named by its digest, or by the first {SHORTEST_PREFIX} or more digits of it"
        return InputError(what, where=str(self.root), rule=rule, fix=fix)

    def _parse(self, kind: str, id: str, body: str, type: type[R]) -> R:
        try:
            return type.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            raise InputError(
                f"the {kind} {id!r} cannot be read as {type.__name__}: {where}: {first['msg']}",
                where=str(self.root),
                rule="records are read by the version of tunesmith that wrote them, or a newer one",
                fix="use a newer tunesmith, or make it again",
            ) from error


def _move_in(staging: Path, target: Path) -> bool:
    """Rename a finished folder to its place; False when one is there already."""
    try:
        os.rename(staging, target)
        moved = True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        moved = False
    # In both cases: whoever renamed the folder that stands there may have died before this line.
    disk.sync(target.parent)
    return moved


def _folder_name(key: str) -> str:
    """A name that every file system takes: the key itself when it is harmless, else made so, with a hash."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", key):
        return key
    return re.sub(r"[^A-Za-z0-9._-]+", "-", key).strip(".-")[:60] + "-" + digest_of(key)[:16]
