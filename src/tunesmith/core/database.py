"""Databases of a workspace, through SQLAlchemy Core: SQLite that survives a crash at any moment, or PostgreSQL by URL.

A transaction is there as a whole or not at all. Writers of SQLite take its lock at their start and wait for each
other; what is committed is on the device (``synchronous=FULL``).
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import final

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from tunesmith.core.disk import staged_file
from tunesmith.core.errors import ConfigError, CorruptArtifactError, InputError, StorageError

BUSY_SECONDS = 30
"""How long a writer waits for another one."""


@final
class Database:
    """Transactions on one database. Safe for several processes and threads.

    Args:
        url: of SQLAlchemy; ``sqlite:///path`` or ``postgresql+psycopg://…``.

    Raises:
        ConfigError: of another kind, or its driver is not installed.
    """

    def __init__(self, url: sa.URL) -> None:
        self.name = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            # Every transaction has a connection of its own, so nothing has to be closed and forks are harmless.
            self._engine = sa.create_engine(url, poolclass=sa.NullPool)
            sa.event.listen(self._engine, "connect", _configure)
            sa.event.listen(self._engine, "begin", _begin)
        else:
            self._engine = _other(url)

    @contextlib.contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sa.Connection]:
        """A transaction, committed when the block ends without an error.

        Raises:
            StorageError: full, read-only, locked for too long, out of reach. CorruptArtifactError: no database.
        """
        try:
            with self._engine.connect().execution_options(immediate=write) as connection, connection.begin():
                yield connection
        except sa.exc.IntegrityError:
            raise
        except sa.exc.DatabaseError as error:
            raise _translate(str(self.name), str(error.orig)) from error

    def backup(self, target: Path) -> None:
        """Write a copy of an SQLite database as it is at one moment, while others write to it.

        A plain copy of the file may miss what still stands in the log beside it, or mix two moments.

        Raises:
            InputError: PostgreSQL has its own tools for it. StorageError: no room.
        """
        if not self.is_sqlite:
            raise InputError(
                "this copies SQLite databases only",
                where=str(self.name),
                rule="a server of databases has its own tools",
                fix="use pg_dump",
            )
        with (
            staged_file(target) as staging,
            contextlib.closing(sqlite3.connect(str(self.name))) as source,
            contextlib.closing(sqlite3.connect(staging)) as copy,
        ):
            source.backup(copy)


def parse_url(text: str) -> sa.URL:
    """The URL of a database as SQLAlchemy has it; ``postgresql://`` means the driver psycopg.

    Raises:
        ConfigError: no URL, or of a database that is not supported.
    """
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        url = None
    if url is None or url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(
            f"{text!r} is not the URL of a database that is supported",
            where="database",
            rule="jobs are kept in SQLite or PostgreSQL",
            fix="for example sqlite:////srv/tunesmith/jobs.sqlite3 or postgresql://user@host/tunesmith",
        )
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _other(url: sa.URL) -> sa.Engine:
    try:
        return sa.create_engine(url, poolclass=sa.NullPool)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the package {error.name} is not installed",
            where="database",
            rule="PostgreSQL needs its driver",
            fix="pip install 'tunesmith[postgres]'",
        ) from error


def _configure(connection: DBAPIConnection, _record: object) -> None:
    """Settings of every new connection; transactions are begun by ``_begin`` alone, not by the driver."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _switch_to_wal(cursor: DBAPICursor) -> None:
    """SQLite gives up at once, whatever its timeout, when two processes switch a new database at the same moment."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin(connection: sa.Connection) -> None:
    # A writer takes the lock at its start: one that upgrades half-way can fail although it waited.
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _translate(name: str, text: str) -> StorageError | CorruptArtifactError:
    """An error of the database in our words."""
    known: dict[str, tuple[str, str, str]] = {
        "disk is full": ("the disk is full", "there is room for the index", "free some space"),
        "disk I/O error": ("the disk reports an error", "the disk can be read and written", "check the disk"),
        "readonly database": ("no permission to write the index", "the workspace is writable", "change its owner"),
        "unable to open": ("the index cannot be opened", "the workspace is writable", "check its path and its owner"),
        "locked": (
            f"another process has held the index for more than {BUSY_SECONDS} seconds",
            "one process writes at a time",
            "wait for it to end, then run the command again",
        ),
        "connection": ("the database is out of reach", "its server answers", "start it, or correct its URL"),
    }
    for mark, (what, rule, fix) in known.items():
        if mark in text:
            return StorageError(what, where=name, rule=rule, fix=f"{fix}, or set TUNESMITH_HOME to another folder")
    return CorruptArtifactError(
        f"the index cannot be read: {text}",
        where=name,
        rule="the index is an SQLite database that only the store writes",
        fix="restore it from a backup, or set TUNESMITH_HOME to a new folder",
    )
