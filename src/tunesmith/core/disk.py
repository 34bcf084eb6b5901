"""Writing to disk, safely: whole files and folders appear at once or not at all, and every failure says what to do.

The building blocks of ``core.store``, which is what the rest of the package imports. A crash at any moment leaves
either the old or the new content; bytes are flushed to the device before a name points at them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tunesmith.core.errors import CorruptArtifactError, StorageError, TunesmithError
from tunesmith.core.records import digest_of

MANIFEST = "manifest.json"
STALE_SECONDS = 24 * 3600
"""Temporary folders older than this were left by a process that died."""

_CHUNK = 1 << 20
_REASONS: Mapping[int, tuple[str, str, str]] = {
    errno.ENOSPC: ("the disk is full", "there is room for what is written", "free some space, or choose another disk"),
    errno.EDQUOT: ("the disk quota is used up", "there is room for what is written", "free some space in your quota"),
    errno.EROFS: ("the file system is read-only", "the place is writable", "choose a folder on a writable disk"),
    errno.EACCES: (
        "no permission to write here",
        "the place is writable",
        "change its owner, or choose another folder",
    ),
    errno.EPERM: ("no permission to write here", "the place is writable", "change its owner, or choose another folder"),
    errno.ENOTDIR: ("a part of the path is a file", "folders lead to the place", "choose another path"),
    errno.EISDIR: ("a folder stands there", "the path is free or a file", "choose another path"),
    errno.ENAMETOOLONG: ("the name is too long", "the file system takes the name", "choose a shorter path"),
}


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into ``StorageError`` with path, rule and way out."""
    try:
        yield
    except TunesmithError:
        raise
    except OSError as error:
        raise _storage_error(path, error.errno or 0, error.strerror or str(error)) from error


def _storage_error(path: Path, number: int, text: str) -> StorageError:
    known = (text, "the place can be written to", "check the disk and the path, then run the command again")
    what, rule, fix = _REASONS.get(number, known)
    return StorageError(what, where=str(path), rule=rule, fix=fix)


# --- names, sizes, digests -------------------------------------------------------------------------------------------


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    """Every file under a folder, sorted by name; the manifest left out."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise StorageError(
                "a symbolic link stands in the folder",
                where=str(path),
                rule="a stored folder holds plain files, so that its content cannot change from outside",
                fix="copy the file itself into the folder",
            )
        if path.is_file() and path != folder / MANIFEST:
            found.append(path)
    return found


def _describe(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_digest(path)}
        for path in _files(folder)
    }


def write_manifest(folder: Path) -> dict[str, str]:
    """Write ``manifest.json`` with size and SHA-256 of every file of the folder. Returns name → SHA-256."""
    with guarded(folder):
        files = _describe(folder)
        document = {"schema_version": 1, "digest": digest_of(files), "files": files}
        write_text(folder / MANIFEST, json.dumps(document, indent=1, sort_keys=True) + "\n")
    return {name: str(entry["sha256"]) for name, entry in files.items()}


def verify_folder(folder: Path) -> dict[str, str]:
    """Check every file of a folder against its manifest. Returns name → SHA-256.

    Raises:
        CorruptArtifactError: a file is missing, changed or not in the manifest, or the manifest is; names the file.
    """
    expected = read_manifest(folder)
    fix = "fetch or copy the folder again; what it holds cannot be trusted"
    with guarded(folder):
        for name, entry in expected.items():
            path = folder / name
            if not path.is_file():
                rule = "every file of the manifest is there"
                raise CorruptArtifactError("the file is missing", where=str(path), rule=rule, fix=fix)
            size, digest = path.stat().st_size, entry["sha256"]
            if size != entry["size"]:
                what = f"the file has {size:,} bytes, its manifest says {entry['size']:,}"
                raise CorruptArtifactError(what, where=str(path), rule="files keep their size", fix=fix)
            found = file_digest(path)
            if found != digest:
                what = f"the bytes changed: SHA-256 is {found[:12]}…, its manifest says {digest[:12]}…"
                raise CorruptArtifactError(what, where=str(path), rule="files keep their SHA-256", fix=fix)
        for path in _files(folder):
            if path.relative_to(folder).as_posix() not in expected:
                what, rule = "the file is not in the manifest", "nothing is added to a finished folder"
                raise CorruptArtifactError(what, where=str(path), rule=rule, fix="move it to another folder")
    return {name: str(entry["sha256"]) for name, entry in expected.items()}


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """File name → size and SHA-256, as the manifest of a folder states them.

    Raises:
        CorruptArtifactError: there is no manifest, or it was changed.
    """
    path = folder / MANIFEST
    fix = "fetch or copy the folder again; what it holds cannot be trusted"
    try:
        document = json.loads(path.read_bytes())
        files, digest = document["files"], document["digest"]
        intact = digest == digest_of(files)
    except FileNotFoundError:
        rule = "a stored folder has a manifest.json"
        raise CorruptArtifactError("the manifest is missing", where=str(path), rule=rule, fix=fix) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        rule = "manifest.json is written once, by the store"
        raise CorruptArtifactError(f"cannot be read: {error}", where=str(path), rule=rule, fix=fix) from None
    if not intact:
        what = "the manifest was changed: its list of files does not have the digest that it states"
        raise CorruptArtifactError(what, where=str(path), rule="manifests keep their content", fix=fix)
    return dict(files)


# --- files -----------------------------------------------------------------------------------------------------------


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file at once: it holds the old or the new content, never half of it. Folders are made as needed."""
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")
    with guarded(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file at once, like ``write_bytes``."""
    write_bytes(path, text.encode("utf-8"))


def copy_stream(source: IO[bytes], path: Path) -> None:
    """Write what a stream holds into a new file, piece by piece. For temporary files: nothing is flushed."""
    with guarded(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            shutil.copyfileobj(source, file, _CHUNK)


def copy_file(source: Path, path: Path) -> None:
    """Copy a file of any size into a new file of a folder that is being filled; its mode is not taken along."""
    with source.open("rb") as stream:
        copy_stream(stream, path)


def move_file(source: Path, target: Path) -> None:
    """Give a file another name on the same disk, for good: it is flushed first, and its folder afterwards."""
    with guarded(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        sync(source)
        os.replace(source, target)
        sync(target.parent)


def append_bytes(path: Path, data: bytes) -> None:
    """Append to a file of a folder that is being filled. Nothing is flushed: that is done when the folder is whole."""
    with guarded(path), path.open("ab") as file:
        file.write(data)


def append_line(path: Path, text: str) -> None:
    """Append one line to a log; see `append_lines`."""
    append_lines(path, [text])


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Append lines to a log, all in one write. A line that a crash cut short is closed first, so that only it is lost.

    Raises:
        ValueError: a text holds a line break.
    """
    if any("\n" in line for line in lines):
        raise ValueError("a log line holds no line break")
    with guarded(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # else the line that another process is writing looks torn
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            torn = end > 0 and file.read(1) != b"\n"
            text = (b"\n" if torn else b"") + "".join(f"{line}\n" for line in lines).encode("utf-8")
            if file.write(text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def open_log(path: Path) -> IO[bytes]:
    """A file that a child process appends its own output to; the caller closes it."""
    with guarded(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """Hold a lock file while the block runs, if nobody holds it: gives whether. A process that ends gives it back."""
    with guarded(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def make_folder(path: Path) -> None:
    """Make a folder and those above it; fine when it is there."""
    with guarded(path):
        path.mkdir(parents=True, exist_ok=True)


def require_writable(path: Path) -> None:
    """Refuse a place that could not be written, before work is spent on it. Makes nothing.

    Raises:
        StorageError: read-only, not permitted, or a part of the path is a file.
    """
    with guarded(path):
        place = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
        if not place.is_dir():
            raise OSError(errno.ENOTDIR, "")
        if os.statvfs(place).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, "")
        if not os.access(place, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, "")


def remove(path: Path) -> None:
    """Remove a file or a whole folder; fine when it is not there."""
    with guarded(path):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            return
        aside = path.with_name(f".{path.name}.gone-{secrets.token_hex(4)}")
        path.rename(aside)
        shutil.rmtree(aside)


def sync(path: Path) -> None:
    """Flush a file or the names in a folder to the device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder under a folder to the device, the folder included."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            sync(path)
    sync(folder)


# --- folders ---------------------------------------------------------------------------------------------------------


def finish(staging: Path) -> None:
    """The last step before a filled folder gets its name: modes as the umask wants them, and all of it on the device.

    Some libraries make files that only their owner may read (safetensors does), which would keep a colleague or the
    user of a service from weights that everything beside them is open to.
    """
    wanted = stat.S_IMODE(staging.stat().st_mode) & 0o666  # the folder was made here, so its mode is the umask's
    for path in staging.rglob("*"):
        if path.is_file() and not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) != wanted:
            with contextlib.suppress(PermissionError):  # some file systems have no modes; nothing is lost with them
                path.chmod(wanted)
    sync_tree(staging)


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A fresh folder to fill, which takes the place of ``target`` when the block ends without an error.

    The old folder goes aside, the new one takes its name, the old one is deleted; a crash between the two renames is
    mended when the target is staged again. On an error the target is untouched and what was written is deleted.

    Raises:
        StorageError: full, read-only or not writable; or the target is a folder that must not be replaced.
    """
    target = Path(os.path.realpath(target))
    _refuse_precious(target)
    staging = target.with_name(f".{target.name}.new-{os.getpid()}-{secrets.token_hex(4)}")
    with guarded(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _tidy(target)
        staging.mkdir()
    try:
        with filling(staging, target):
            yield staging
        with guarded(target):
            finish(staging)
            _swap(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


@contextlib.contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """A path to write, whose file takes the name ``target`` when the block ends without an error.

    It lies in a folder of its own beside the target, where other temporary things may be put; that folder goes away
    in any case. On an error the target is untouched.

    Raises:
        StorageError: full, read-only or not writable; or a folder stands there.
    """
    target = Path(os.path.realpath(target))
    staging = target.with_name(f".{target.name}.new-{os.getpid()}-{secrets.token_hex(4)}")
    with guarded(target):
        if target.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        target.parent.mkdir(parents=True, exist_ok=True)
        _tidy(target)
        staging.mkdir()
    try:
        with filling(staging, target):
            yield staging / target.name
        with guarded(target):
            finish(staging)
            os.replace(staging / target.name, target)
            sync(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file line by line, each line made when it is asked for; it appears whole or not at all.

    Raises:
        StorageError: full, read-only or not writable; the old content is still there.
    """
    with staged_file(path) as staging, staging.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


@contextlib.contextmanager
def filling(staging: Path, target: Path) -> Iterator[None]:
    """Code of others writes into ``staging``: its disk errors become ``StorageError`` about ``target``, others pass.

    Libraries in compiled code report a full disk as an error of their own; the number in its text gives it away.
    """
    try:
        yield
    except StorageError as error:
        place = error.where.replace(str(staging), str(target))
        raise StorageError(error.what, where=place, rule=error.rule, fix=error.fix) from error.__cause__
    except TunesmithError:
        raise
    except OSError as error:
        inside = str(error.filename or "").startswith(str(staging)) and error.errno in _REASONS
        if inside or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise _storage_error(target, error.errno or 0, error.strerror or str(error)) from error
        raise
    except Exception as error:
        match = re.search(r"(?:os error|code:) (\d+)", str(error))
        if match and int(match[1]) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise _storage_error(target, int(match[1]), str(error)) from error
        raise


def _refuse_precious(target: Path) -> None:
    """Replacing deletes what was there, so the folder one works in, home and their parents are refused."""
    starts = (Path(os.path.realpath(start)) for start in (Path.cwd(), Path.home()))
    precious = {path for start in starts for path in (start, *start.parents)}
    if target in precious or (target.exists() and not target.is_dir()):
        raise StorageError(
            "this folder is not ours to replace" if target.is_dir() else "a file stands there",
            where=str(target),
            rule="an output folder is replaced as a whole",
            fix="name a folder of its own, for example ./output",
        )


def _swap(staging: Path, target: Path) -> None:
    """Put ``staging`` in the place of ``target``; the last one wins when several processes do so at once."""
    aside = target.with_name(f".{target.name}.old-{os.getpid()}-{secrets.token_hex(4)}")
    for _ in range(100):
        with contextlib.suppress(FileNotFoundError):
            os.rename(target, aside)
        try:
            os.rename(staging, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                shutil.rmtree(aside, ignore_errors=True)
                continue
            with contextlib.suppress(OSError):
                os.rename(aside, target)
            raise
        sync(target.parent)
        shutil.rmtree(aside, ignore_errors=True)
        return
    raise StorageError(
        "other processes keep replacing the folder",
        where=str(target),
        rule="one run writes to one output folder",
        fix="give every run an output folder of its own",
    )


def _tidy(target: Path) -> None:
    """Mend what a process that died before or in the middle of ``_swap`` left beside the target."""
    name = glob.escape(target.name)
    for aside in target.parent.glob(f".{name}.old-*"):
        if not target.exists() and _owner_died(aside):
            with contextlib.suppress(OSError):
                os.rename(aside, target)
        elif _owner_died(aside) or is_stale(aside):
            shutil.rmtree(aside, ignore_errors=True)
    for staging in target.parent.glob(f".{name}.new-*"):
        # Its owner may live on another machine or in another container, so only age tells.
        if is_stale(staging):
            shutil.rmtree(staging, ignore_errors=True)


def _owner_died(path: Path) -> bool:
    """Whether the process whose id is in the name of a temporary folder is gone."""
    try:
        os.kill(int(path.name.split("-")[-2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, IndexError):
        return False
    return False


def is_stale(path: Path) -> bool:
    """Whether a temporary folder has not been touched for a day."""
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_ctime > STALE_SECONDS
    return False
