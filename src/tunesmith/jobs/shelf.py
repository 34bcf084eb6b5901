"""Files and tuned models of a workspace: rows in the jobs' database, bytes beside it.

The bytes of a file are named by their SHA-256 and kept once; they go when the last row that names them goes. Both
happen under the database's write lock, so that a file that is added while its twin is deleted keeps its bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import sqlalchemy as sa

from tunesmith.core import store
from tunesmith.core.database import Database
from tunesmith.core.registry import nearest
from tunesmith.core.store import Workspace
from tunesmith.jobs import schema
from tunesmith.jobs.errors import JobError
from tunesmith.jobs.places import Place
from tunesmith.jobs.records import ENDS, Body, StoredFile, TunedModel

PURPOSES = ("fine-tune", "evals", "user_data")
"""What may be uploaded: rows to train or to judge on."""

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")
SHORTEST_LIFE, LONGEST_LIFE = 3600, 2_592_000
"""Seconds that ``expires_after`` may say."""

FILES_LOCK = 7_461_994
"""Any number: the name of PostgreSQL's lock for the bytes of files."""


@final
class Shelf:
    """See the module. Safe for several processes and threads."""

    def __init__(self, database: Database, workspace: Workspace) -> None:
        schema.migrate(database)
        self._database, self.workspace = database, workspace
        self._folder = workspace.root / "files"

    # --- files -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def receiving(self) -> Iterator[Path]:
        """A path for the bytes of an upload while they come in; gone afterwards unless they were added."""
        path = self.workspace.root / "tmp" / f"{os.getpid()}-upload-{secrets.token_hex(8)}"
        try:
            yield path
        finally:
            store.remove(path)

    def add(
        self,
        tenant: str,
        filename: str,
        purpose: str,
        received: Path,
        *,
        seconds: int | None = None,
        id: str = "",
        check: Callable[[Path], Mapping[str, Any]] | None = None,
    ) -> StoredFile:
        """Keep what was received.

        Args:
            tenant: whose it is.
            filename: as the sender calls it; its ending says how rows are read.
            purpose: what for.
            received: the bytes, on the disk of the workspace; they are moved away.
            seconds: how long it is kept; None: until it is deleted.
            id: of a file that the server makes, so that making it again makes no second one.
            check: looks at the file in its place and reports.

        Raises:
            StorageError: no room.
        """
        digest, size = store.file_digest(received), received.stat().st_size
        now = time.time()
        with self._locked() as connection:
            if id and (row := connection.execute(sa.select(schema.files).where(schema.files.c.id == id)).first()):
                return _file(row)
            path = self._bytes(digest, filename)
            if not path.exists():
                store.move_file(received, path)
            values: dict[str, Any] = {
                "id": id or f"file-{secrets.token_hex(12)}",
                "tenant": tenant,
                "filename": filename,
                "purpose": purpose,
                "bytes": size,
                "sha256": digest,
                "created_at": now,
                "expires_at": None if seconds is None else now + seconds,
                "report": None,
            }
            connection.execute(schema.files.insert().values(values))
        if check is not None:
            report = json.dumps(dict(check(path)))
            with self._database.transaction(write=True) as connection:
                mine = schema.files.c.id == values["id"]
                connection.execute(schema.files.update().where(mine).values(report=report))
        return self.file(values["id"], tenant)

    def file(self, id: str, tenant: str | None, param: str = "file_id", any_age: bool = False) -> StoredFile:
        """A file; ``any_age``: also one whose time is over, which a job may still be reading.

        Raises:
            JobError: there is none with this id, or it is somebody else's, or its time is over.
        """
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(schema.files).where(schema.files.c.id == id)).first()
        is_over = row is not None and not any_age and row.expires_at and row.expires_at < time.time()
        if row is None or is_over or tenant not in (None, row.tenant):
            raise JobError(
                f"there is no file {id[:80]!r}",
                rule="a file is named by the id that its upload answered with",
                fix="upload it, and use the id of the answer",
                param=param,
                code="file_not_found",
                status=404,
            )
        return _file(row)

    def files(
        self, tenant: str, after: str = "", limit: int = 10_000, ascending: bool = False, purpose: str = ""
    ) -> tuple[list[StoredFile], bool]:
        """Files of a tenant and whether more follow.

        Raises:
            JobError: there is no file with the id ``after``.
        """
        table = schema.files
        query = sa.select(table).where(table.c.tenant == tenant).limit(limit + 1)
        query = query.where(sa.or_(table.c.expires_at.is_(None), table.c.expires_at > time.time()))
        query = query.order_by(table.c.seq if ascending else table.c.seq.desc())
        if purpose:
            query = query.where(table.c.purpose == purpose)
        with self._database.transaction() as connection:
            if after:
                self.file(after, tenant, "after")
                last = connection.scalar(sa.select(table.c.seq).where(table.c.id == after))
                query = query.where(table.c.seq > last if ascending else table.c.seq < last)
            found = [_file(row) for row in connection.execute(query)]
        return found[:limit], len(found) > limit

    def path(self, file: StoredFile) -> Path:
        """Where the bytes of a file stand."""
        return self._bytes(file.sha256, file.filename)

    def delete_file(self, id: str, tenant: str) -> None:
        """Delete a file, and its bytes unless another file has the same.

        Raises:
            JobError: no such file, or a job that has not ended needs it.
        """
        file = self.file(id, tenant)
        with self._locked() as connection:
            job = self._needed(connection).get(id)
            if job is not None:
                raise JobError(
                    f"the file {id} is needed by the job {job}",
                    rule="a file stays until the jobs that read it have ended",
                    fix=f"cancel {job}, or wait for its end",
                    param="file_id",
                    code="file_in_use",
                )
            self._forget(connection, file)

    def remove_expired(self) -> int:
        """Delete the files whose time is over and that no job needs; returns how many."""
        table = schema.files
        with self._locked() as connection:
            needed = self._needed(connection)
            rows = connection.execute(sa.select(table).where(table.c.expires_at < time.time())).all()
            gone = [_file(row) for row in rows if row.id not in needed]
            for file in gone:
                self._forget(connection, file)
        return len(gone)

    def _needed(self, connection: sa.Connection) -> dict[str, str]:
        """File → a job that has not ended and reads it."""
        query = sa.select(schema.jobs.c.id, schema.jobs.c.body).where(schema.jobs.c.state.not_in(ENDS))
        found = {}
        for job, body in connection.execute(query):
            spec = Body.model_validate_json(body).spec
            for id in filter(None, (spec.training_file, spec.validation_file, spec.test_file)):
                found[id] = job
        return found

    def _forget(self, connection: sa.Connection, file: StoredFile) -> None:
        table = schema.files
        connection.execute(table.delete().where(table.c.id == file.id))
        left = connection.execute(sa.select(table.c.filename).where(table.c.sha256 == file.sha256)).scalars()
        if self.path(file) not in [self._bytes(file.sha256, name) for name in left]:
            store.remove(self.path(file))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[sa.Connection]:
        with self._database.transaction(write=True) as connection:
            if not self._database.is_sqlite:  # SQLite's writers wait for each other anyway
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(FILES_LOCK)))
            yield connection

    def _bytes(self, digest: str, filename: str) -> Path:
        return self._folder / (digest + ending_of(filename))

    # --- tuned models ------------------------------------------------------------------------------------------------

    def models(self, tenant: str | None = None) -> list[TunedModel]:
        """The tuned models, newest first."""
        query = sa.select(schema.models).order_by(schema.models.c.seq.desc())
        if tenant is not None:
            query = query.where(schema.models.c.tenant == tenant)
        with self._database.transaction() as connection:
            return [_model(row) for row in connection.execute(query)]

    def models_version(self) -> tuple[int, int]:
        """Another pair of numbers whenever a tuned model came or went; cheap."""
        table = schema.models
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(sa.func.count(), sa.func.max(table.c.seq)).select_from(table)).one()
        return int(row[0]), int(row[1] or 0)

    def model(self, name: str, tenant: str | None = None) -> TunedModel | None:
        """A tuned model by its name; None where there is none, or it is somebody else's."""
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(schema.models).where(schema.models.c.name == name)).first()
        return None if row is None or tenant not in (None, row.tenant) else _model(row)

    def delete_model(self, name: str, tenant: str) -> list[str]:
        """Delete a tuned model with its bytes; a job's final model takes the job's checkpoints and folder along.

        Returns the names that are gone.

        Raises:
            JobError: there is no such model.
        """
        model = self.model(name, tenant)
        if model is None:
            near = nearest(name, [known.name for known in self.models(tenant)])
            raise JobError(
                f"there is no fine-tuned model {name[:200]!r}",
                rule="only fine-tuned models can be deleted",
                fix=f"did you mean {near[0]!r}?" if near else "list the models, and take a name from there",
                param="model",
                code="model_not_found",
                status=404,
            )
        table = schema.models
        gone = [model] if model.step is not None else [other for other in self.models(tenant) if other.job == model.job]
        with self._database.transaction(write=True) as connection:
            for each in gone:
                connection.execute(table.delete().where(table.c.name == each.name))
            used = set(connection.scalars(sa.select(table.c.artifact)))
        for digest in {each.artifact for each in gone} - used:
            self.workspace.discard(digest)
        if model.step is None:
            store.remove(Place(self.workspace.root, model.job).folder)
        return [each.name for each in gone]


def ending_of(filename: str) -> str:
    """By which the readers know how rows are written; ``.jsonl`` where the name does not say."""
    lower = filename.lower()
    return next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if lower.endswith(ending)), ".jsonl")


def _file(row: Any) -> StoredFile:
    return StoredFile(
        id=row.id,
        tenant=row.tenant,
        filename=row.filename,
        purpose=row.purpose,
        bytes=row.bytes,
        sha256=row.sha256,
        created_at=row.created_at,
        expires_at=row.expires_at,
        report=None if row.report is None else json.loads(row.report),
    )


def _model(row: Any) -> TunedModel:
    return TunedModel(**{name: row._mapping[name] for name in TunedModel.model_fields})
