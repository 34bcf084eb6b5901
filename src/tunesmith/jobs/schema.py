"""The tables of the queue, and how they grow.

``jobs.fence`` is what makes two attempts harmless: every change that an attempt makes names the fence that it was
claimed with. ``events`` are numbered within their job by ``jobs.event_seq``, in the transaction of the change that they
tell of, so a number is neither missing nor there twice.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from tunesmith.core.database import Database
from tunesmith.core.errors import InputError

META = sa.MetaData()
version = sa.Table("jobs_schema_version", META, sa.Column("version", sa.Integer, nullable=False))
jobs = sa.Table(
    "jobs",
    META,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("tenant", sa.String(128), nullable=False, index=True),
    sa.Column("state", sa.String(32), nullable=False, index=True),
    sa.Column("wish", sa.String(16), nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("beat", sa.Integer, nullable=False),
    sa.Column("owner", sa.Text, nullable=True),
    sa.Column("request", sa.String(64), nullable=False, index=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("event_seq", sa.Integer, nullable=False),
    sa.Column("log_offset", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
events = sa.Table(
    "events",
    META,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("job", sa.String(64), nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("level", sa.String(8), nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=True),
    sa.UniqueConstraint("job", "seq"),
)
checkpoints = sa.Table(
    "checkpoints",
    META,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("job", sa.String(64), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("model", sa.String(512), nullable=False),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.UniqueConstraint("job", "step"),
)
files = sa.Table(
    "files",
    META,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("tenant", sa.String(128), nullable=False, index=True),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("purpose", sa.String(32), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, index=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=True),
    sa.Column("report", sa.Text, nullable=True),
    sqlite_autoincrement=True,
)
models = sa.Table(
    "tuned_models",
    META,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(512), nullable=False, unique=True),
    sa.Column("tenant", sa.String(128), nullable=False, index=True),
    sa.Column("job", sa.String(64), nullable=False, index=True),
    sa.Column("artifact", sa.String(64), nullable=False, index=True),
    sa.Column("adapter_digest", sa.String(64), nullable=False),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("base_fingerprint", sa.String(128), nullable=False),
    sa.Column("step", sa.Integer, nullable=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)


def _first_schema(connection: sa.Connection) -> None:
    META.create_all(connection, tables=[jobs, events, checkpoints, files, models])


MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_first_schema,)
"""Migration number n (from 1) brings a database from version n - 1 to n. Only ever append."""


def migrate(database: Database) -> None:
    """Bring a database up to date, whichever version it has.

    Raises:
        InputError: a newer version of tunesmith wrote it.
    """
    with database.transaction() as connection:
        if _version(connection) == len(MIGRATIONS):
            return
    with database.transaction(write=True) as connection:
        if not database.is_sqlite:  # SQLite's writers wait for each other anyway
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        known = _version(connection)  # again: another process may have migrated while this one waited
        if known > len(MIGRATIONS):
            raise InputError(
                f"the queue of jobs has version {known}",
                where=str(database.name),
                rule=f"this version of tunesmith reads versions up to {len(MIGRATIONS)}",
                fix="use a newer tunesmith, or another database",
            )
        if known == 0:
            META.create_all(connection, tables=[version])
            connection.execute(version.delete())
            connection.execute(version.insert().values(version=0))
        for number in range(known, len(MIGRATIONS)):
            MIGRATIONS[number](connection)
            connection.execute(version.update().values(version=number + 1))


MIGRATION_LOCK = 7_461_993
"""Any number: the name of PostgreSQL's lock for migrations."""


def _version(connection: sa.Connection) -> int:
    if not sa.inspect(connection).has_table(version.name):
        return 0
    return int(connection.scalar(sa.select(version.c.version)) or 0)
