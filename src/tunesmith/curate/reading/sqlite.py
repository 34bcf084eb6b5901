"""Rows of a table of an SQLite database, opened for reading only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.core.registry import nearest
from tunesmith.curate.reading.place import Place

if TYPE_CHECKING:
    from tunesmith.curate.reading.lines import RawRow


def sqlite_rows(path: Path, table: str) -> Iterator[RawRow]:
    """Rows of a table or a view, numbered from 1. A column of bytes is refused when a row is made of it.

    Raises:
        DataError: no such file, no database, or no such table; several tables and none named.
    """
    place = Place(str(path))
    if not path.is_file():
        raise place.error(
            "there is no such database",
            code="no-such-file",
            rule="the file must be there: none is made",
            fix="check the path",
        )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            listed = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
            name = _table([str(row[0]) for row in listed if not str(row[0]).startswith("sqlite_")], table, place)
            cursor = connection.execute('SELECT * FROM "' + name.replace('"', '""') + '"')
            columns = [column[0] for column in cursor.description]
            for number, row in enumerate(cursor, start=1):
                yield Place(str(path), number), dict(zip(columns, row, strict=True))
    except sqlite3.Error as error:
        raise place.error(
            f"the database cannot be read: {error}",
            code="invalid-sqlite",
            rule="a .sqlite file is an SQLite 3 database",
            fix="check it with: sqlite3 FILE 'pragma integrity_check'",
        ) from error


def _table(names: Sequence[str], wanted: str, place: Place) -> str:
    if wanted in names or (not wanted and len(names) == 1):
        return wanted or names[0]
    near = nearest(wanted, names) if wanted else []
    raise place.error(
        f"has no table {wanted!r}" if wanted else f"has {len(names)} tables, and none is named",
        code="no-such-table",
        rule="rows are imported from one table or view",
        fix=f"did you mean {near[0]}?" if near else f"choose with --table: {', '.join(names) or '(there is none)'}",
    )
