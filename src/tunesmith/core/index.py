"""The index database of a workspace: which artifacts, records and releases there are.

SQLAlchemy Core over SQLite. The schema grows by numbered migrations, each in one transaction with its number, so a
database is always at exactly one version; one that is newer than this code is refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import sqlalchemy as sa

from tunesmith.core.database import Database
from tunesmith.core.errors import InputError

_version = sa.table("schema_version", sa.column("version"))
_contents = sa.table("contents", sa.column("digest"), sa.column("created_at"))
_labels = sa.table("labels", *map(sa.column, ("seq", "digest", "kind", "meta", "created_at")))
_records = sa.table("records", *map(sa.column, ("seq", "kind", "id", "body", "created_at")))
_releases = sa.table("releases", *map(sa.column, ("seq", "alias", "digest", "body", "created_at")))


def _first_schema(connection: sa.Connection) -> None:
    """Artifacts (content and the kinds that it is known as), JSON records, releases (a history)."""
    tables = sa.MetaData()
    sa.Table(
        "contents",
        tables,
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    sa.Table(
        "labels",
        tables,
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("digest", sa.ForeignKey("contents.digest"), nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("meta", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.UniqueConstraint("digest", "kind"),
    )
    sa.Table(
        "records",
        tables,
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.UniqueConstraint("kind", "id"),
    )
    sa.Table(
        "releases",
        tables,
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("alias", sa.String, nullable=False, index=True),
        sa.Column("digest", sa.ForeignKey("contents.digest"), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    tables.create_all(connection)


MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_first_schema,)
"""Migration number n (from 1) brings a database from version n - 1 to n. Only ever append."""


@final
class Index:
    """Rows in, rows out; knows nothing of files. Safe for several processes and threads."""

    def __init__(self, path: Path, migrations: Sequence[Callable[[sa.Connection], None]] = MIGRATIONS) -> None:
        self.path = path
        self._transaction = Database(sa.URL.create("sqlite", database=str(path))).transaction
        self._migrate(migrations)

    def add_artifact(self, digest: str, kind: str, meta: Mapping[str, Any]) -> None:
        """Note that a folder of this content exists and is a ``kind``. The first note stands."""
        with self._transaction(write=True) as connection:
            now = time.time()
            if not connection.scalar(sa.select(_contents.c.digest).where(_contents.c.digest == digest)):
                connection.execute(_contents.insert().values(digest=digest, created_at=now))
            same = sa.and_(_labels.c.digest == digest, _labels.c.kind == kind)
            if not connection.scalar(sa.select(_labels.c.digest).where(same)):
                row = {"digest": digest, "kind": kind, "meta": json.dumps(meta, sort_keys=True), "created_at": now}
                connection.execute(_labels.insert().values(row))

    def remove_artifact(self, digest: str) -> None:
        """Forget a content: what it is known as, and the releases that point at it."""
        with self._transaction(write=True) as connection:
            for table in (_releases, _labels, _contents):
                connection.execute(table.delete().where(table.c.digest == digest))

    def artifacts(self, *, prefix: str = "", kind: str | None = None) -> list[tuple[str, str, dict[str, Any]]]:
        """(digest, kind, meta) of the artifacts whose digest starts with ``prefix``, newest first."""
        query = sa.select(_labels.c.digest, _labels.c.kind, _labels.c.meta).order_by(_labels.c.seq.desc())
        query = query.where(sa.func.substr(_labels.c.digest, 1, len(prefix)) == prefix)
        query = query if kind is None else query.where(_labels.c.kind == kind)
        with self._transaction() as connection:
            return [(digest, label, json.loads(meta)) for digest, label, meta in connection.execute(query)]

    def put(self, kind: str, id: str, body: str) -> None:
        """Store a record; one with the same id is replaced and keeps its place in the order."""
        with self._transaction(write=True) as connection:
            same = sa.and_(_records.c.kind == kind, _records.c.id == id)
            if connection.scalar(sa.select(_records.c.seq).where(same)) is not None:
                connection.execute(_records.update().where(same).values(body=body))
            else:
                row = {"kind": kind, "id": id, "body": body, "created_at": time.time()}
                connection.execute(_records.insert().values(row))

    def get(self, kind: str, id: str) -> str | None:
        """The body of a record; None when there is none."""
        query = sa.select(_records.c.body).where(_records.c.kind == kind, _records.c.id == id)
        with self._transaction() as connection:
            body: str | None = connection.scalar(query)
        return body

    def records(self, kind: str) -> list[tuple[str, str]]:
        """(id, body) of all records of a kind, newest first."""
        query = sa.select(_records.c.id, _records.c.body).where(_records.c.kind == kind)
        with self._transaction() as connection:
            return [(id, body) for id, body in connection.execute(query.order_by(_records.c.seq.desc()))]

    def add_release(self, alias: str, digest: str, body: str) -> None:
        """Let an alias point at an artifact from now on; earlier releases stay in the history."""
        with self._transaction(write=True) as connection:
            row = {"alias": alias, "digest": digest, "body": body, "created_at": time.time()}
            connection.execute(_releases.insert().values(row))

    def releases(self) -> list[tuple[str, str]]:
        """(alias, body) of every release, newest first."""
        query = sa.select(_releases.c.alias, _releases.c.body).order_by(_releases.c.seq.desc())
        with self._transaction() as connection:
            return [(alias, body) for alias, body in connection.execute(query)]

    def _migrate(self, migrations: Sequence[Callable[[sa.Connection], None]]) -> None:
        with self._transaction() as connection:
            if self._read_version(connection, len(migrations)) == len(migrations):
                return
        with self._transaction(write=True) as connection:
            # Read again: another process may have migrated while this one waited for the lock.
            version = self._read_version(connection, len(migrations))
            if not sa.inspect(connection).has_table("schema_version"):
                sa.Table("schema_version", sa.MetaData(), sa.Column("version", sa.Integer)).create(connection)
                connection.execute(_version.insert().values(version=0))
            for number in range(version, len(migrations)):
                migrations[number](connection)
                connection.execute(_version.update().values(version=number + 1))

    def _read_version(self, connection: sa.Connection, known: int) -> int:
        if not sa.inspect(connection).has_table("schema_version"):
            return 0
        version = int(connection.scalar(sa.select(_version.c.version)) or 0)
        if version > known:
            raise InputError(
                f"the index of the workspace has version {version}",
                where=str(self.path),
                rule=f"this version of tunesmith reads versions up to {known}",
                fix="use a newer tunesmith, or another workspace (TUNESMITH_HOME)",
            )
        return version
