"""Versions of a data file: what repairing made of it, step by step, with everything that was put aside.

A version is an immutable artifact of the workspace, and three plain files that need no workspace to be read:

    NAME.jsonl              the rows; every command reads them
    NAME.quarantine.jsonl   what was put aside: each row as it stood, where, and the findings that were the reason
    NAME.version.json       this record: the parent, and the chain of steps

Rows are counted from 0 over all rows of the file that the first version was made of, whether they stand in the data or
in quarantine; so a row that is restored comes back to its place, whatever happened before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from tunesmith.core import store
from tunesmith.core.errors import DataError, InputError
from tunesmith.core.records import SCHEMA_VERSION, Finding, Record, Source, digest_of
from tunesmith.core.store import Artifact, Workspace

KIND = "data version"
"""What the artifact is called in the workspace."""

ROWS, ASIDE, RECORD, IDS = "rows.jsonl", "quarantine.jsonl", "version.json", "rows.txt"

_PIECE = 1 << 20


class SetAside(Record):
    """A row that left, or the row that stood where an edited one stands: a line of the quarantine file."""

    id: str
    """`Example.id` of the row as it stood."""
    position: int
    """Its number, from 0, among all rows."""
    source: Source
    """File name and line where it stood first."""
    action: Literal["quarantine", "edit"]
    reason: str
    findings: tuple[Finding, ...]
    row: str
    """The row as it stood, to the byte."""
    became: str = ""
    """`Example.id` of the edited row; "" for one in quarantine."""


class Step(Record):
    """One transformation. ``chain`` is a hash over the step and the chain of the step before it."""

    action: Literal["quarantine", "edit", "restore"]
    check: str
    rows: int
    content: str
    """SHA-256 of which rows were touched, and what became of them."""
    chain: str = ""


class Restored(Record):
    """A decision of a person: this check is not to put this row aside again."""

    position: int
    check: str


class DataVersion(Record):
    """What a version of a data file is and how it came to be. ``digest`` is empty inside the artifact itself."""

    schema_version: int = SCHEMA_VERSION
    digest: str = ""
    parent: str = ""
    """Digest of the version before; "" when this one was made of a file that is none."""
    origin: str
    """Name of the file that the first version was made of."""
    origin_sha256: str
    format: str
    rows: int
    in_quarantine: int
    sha256: str = ""
    """SHA-256 of the rows' file."""
    quarantine_sha256: str = ""
    steps: tuple[Step, ...] = ()
    restored: tuple[Restored, ...] = ()

    @property
    def all_rows(self) -> int:
        """Rows in the data and in quarantine together."""
        return self.rows + self.in_quarantine


class Found(Record):
    """A version as it was read: its record and what was put aside, by position."""

    version: DataVersion
    aside: tuple[SetAside, ...]


def chained(before: Sequence[Step], new: Iterable[Step]) -> tuple[Step, ...]:
    """The steps with their hashes, each over its own content and the step before it."""
    steps = list(before)
    for step in new:
        last = steps[-1].chain if steps else ""
        content = step.model_dump(exclude={"chain"})
        steps.append(step.model_copy(update={"chain": digest_of([last, content])}))
    return tuple(steps)


def is_intact(steps: Sequence[Step]) -> bool:
    """Whether no step was changed, taken out or put in since the chain was made."""
    return chained((), steps) == tuple(steps)


def beside(data: Path, what: str) -> Path:
    """The path of a file that belongs to a data file: ``a.jsonl`` → ``a.quarantine.jsonl``."""
    return data.with_name(stem_of(data) + f".{what}")


def stem_of(path: Path) -> str:
    """A data file's name without the suffixes that say its kind."""
    name = path.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name


def version_of(data: Path, workspace: Workspace) -> Found | None:
    """The version that a file is; None for a file without a version file beside it.

    Raises:
        DataError: the files do not belong together, and the workspace does not know the data either.
    """
    record = beside(data, RECORD)
    if not data.is_file() or not record.is_file():
        return None
    digest, aside = store.file_digest(data), beside(data, ASIDE)
    version = _parse(record)
    if version.sha256 == digest and aside.is_file() and version.quarantine_sha256 == store.file_digest(aside):
        return Found(version=version, aside=tuple(_aside(aside)))
    # a command that was stopped between the files leaves them apart; the workspace has all of each version
    if known := _stored(digest, workspace):
        return read_version(workspace.artifact(known.digest))
    raise DataError(
        "the files of this version do not belong together",
        where=str(data),
        rule=f"{record.name} names the rows and {aside.name} by their hashes",
        fix=f"put the files back as they were, or remove {record.name} to begin a new history with the file as it is",
    )


def _stored(sha256: str, workspace: Workspace) -> DataVersion | None:
    """The newest version in the workspace whose rows are these."""
    return next((version for version in workspace.list(KIND, DataVersion) if version.sha256 == sha256), None)


def read_version(artifact: Artifact) -> Found:
    """A version from the workspace."""
    version = _parse(artifact.path / RECORD).model_copy(update={"digest": artifact.digest})
    return Found(version=version, aside=tuple(_aside(artifact.path / ASIDE)))


def _parse(path: Path) -> DataVersion:
    try:
        version = DataVersion.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise DataError(
            f"the version cannot be read: {type(error).__name__}",
            where=str(path),
            rule="a version file is written by tunesmith data repair and left as it is",
            fix="put it back, or remove it to begin a new history with the data file as it is",
        ) from error
    if not is_intact(version.steps):
        raise DataError(
            "the chain of steps is broken",
            where=str(path),
            rule="every step is hashed together with the one before it",
            fix="put the file back; a history that was changed proves nothing",
        )
    return version


def _aside(path: Path) -> Iterator[SetAside]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield SetAside.model_validate_json(line)


def publish(
    version: DataVersion, lines: Iterable[tuple[str, str]], aside: Sequence[SetAside], workspace: Workspace
) -> DataVersion:
    """Store a version. ``lines`` gives (text, example id) of its rows, in order; hashes are filled in here."""
    made = version

    def fill(folder: Path) -> None:
        nonlocal made
        held: tuple[list[str], list[str]] = ([], [])
        size = 0
        for text, id in lines:
            held[0].append(text + "\n")
            held[1].append(id + "\n")
            size += len(text)
            if size > _PIECE:
                _flush(folder, held)
                size = 0
        _flush(folder, held)
        store.write_text(folder / ASIDE, "".join(entry.model_dump_json() + "\n" for entry in aside))
        hashes = {"sha256": store.file_digest(folder / ROWS), "quarantine_sha256": store.file_digest(folder / ASIDE)}
        made = version.model_copy(update=hashes)
        store.write_text(folder / RECORD, made.model_dump_json(indent=2) + "\n")

    artifact = workspace.publish(KIND, fill)
    made = made.model_copy(update={"digest": artifact.digest})
    workspace.put(KIND, made.digest, made)
    return made


def _flush(folder: Path, held: tuple[list[str], list[str]]) -> None:
    for name, part in zip((ROWS, IDS), held, strict=True):
        store.append_bytes(folder / name, "".join(part).encode("utf-8"))
        part.clear()


def write_out(version: DataVersion, workspace: Workspace, out: Path) -> None:
    """The plain files of a stored version, each whole or not at all; the rows come last."""
    folder = workspace.artifact(version.digest, verify=False).path
    with store.staged_file(beside(out, ASIDE)) as staging:
        store.copy_file(folder / ASIDE, staging)
    store.write_text(beside(out, RECORD), version.model_dump_json(indent=2) + "\n")
    with store.staged_file(out) as staging:
        store.copy_file(folder / ROWS, staging)


def refuse_overwriting(out: Path, inputs: Sequence[Path], workspace: Workspace) -> None:
    """Refuse a target that is an input, or a file that the workspace could not give back.

    Raises:
        InputError: as said; nothing was written.
    """
    if any(out.resolve() == path.resolve() for path in inputs):
        raise InputError(
            "the output is the input",
            where=str(out),
            rule="a version is a new file; the rows that it was made of stay as they are",
            fix="give another name with --out",
        )
    if out.is_file() and _stored(store.file_digest(out), workspace) is None:
        raise InputError(
            "a file stands there that is no version of this workspace",
            where=str(out),
            rule="only what the workspace can give back is replaced",
            fix="give another name with --out, or move the file away",
        )
