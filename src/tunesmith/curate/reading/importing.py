"""Rows of others become examples: a file, a table of a database, a data set of the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from tunesmith.core import fetch
from tunesmith.core.errors import ConfigError, InputError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Example
from tunesmith.core.registry import nearest
from tunesmith.curate.checks.synthetic import read_mark
from tunesmith.curate.config import FIELD_NAMES, DatasetSpec
from tunesmith.curate.reading.detect import detect
from tunesmith.curate.reading.files import raw_rows
from tunesmith.curate.reading.lines import RawRow
from tunesmith.curate.reading.place import Place
from tunesmith.curate.reading.shapes import BUILDERS
from tunesmith.curate.reading.sqlite import sqlite_rows
from tunesmith.curate.reading.templates import Template, parse

HUB = "hf:"
"""Before the name of a data set of the hub; a split may follow: ``hf:owner/name:train``."""

SHAPES: Mapping[str, str] = {
    "openai": "chat",
    "chat": "chat",
    "alpaca": "alpaca",
    "sharegpt": "sharegpt",
    "prompt-completion": "prompt-completion",
    "text": "text",
}
"""What people call a shape → our name of it."""

KINDS: Mapping[str, tuple[str, ...]] = {
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "sqlite": (".sqlite", ".sqlite3", ".db"),
    "hf": (),
}
"""Kinds of sources, which say nothing of the shape → suffixes."""

TEXT_FIELDS = ("prompt", "completion", "system", "instruction", "input", "output", "text")
"""Fields that a template may fill."""


@dataclass(frozen=True)
class Import:
    """What to read and how. ``format`` is a shape, a kind of source, or auto."""

    source: str
    format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our field → column."""
    templates: Mapping[str, Template] = field(default_factory=dict)
    """Our field → text over columns."""
    table: str = ""
    """Of a database."""


def wanted(source: str, format: str, columns: Sequence[str], templates: Sequence[str], table: str = "") -> Import:
    """An import from the words of the command line: ``ours=theirs`` and ``ours=text {column}``.

    Raises:
        ConfigError: an unknown format, a pair without an equals sign, an unknown field, a field given twice.
    """
    if format not in ("auto", *SHAPES, *KINDS):
        near = nearest(format, [*SHAPES, *KINDS])
        raise ConfigError(
            f"--format does not know {format!r} as something to import",
            where="--format",
            rule=f"formats are auto, {', '.join([*SHAPES, *KINDS])}",
            fix=f"did you mean {near[0]}?" if near else "leave it out: the fields of the first row say it",
        )
    mapping = DatasetSpec(path=source, columns=dict(_pair(c, "--column", "prompt=question") for c in columns)).columns
    texts = dict(_pair(t, "--template", 'prompt="Where is {city}?"') for t in templates)
    for name in texts:
        if name not in TEXT_FIELDS or name in mapping:
            raise ConfigError(
                f"--template fills the field {name}, "
                + ("and --column too" if name in mapping else "which is no text"),
                where="--template",
                rule=f"a template fills one of {', '.join(TEXT_FIELDS)}, each field once",
                fix='for example --template prompt="{question}" --column completion=answer',
            )
    return Import(source, format, mapping, {name: parse(text) for name, text in texts.items()}, table)


def _pair(given: str, option: str, example: str) -> tuple[str, str]:
    ours, sign, theirs = given.partition("=")
    if not sign:
        raise ConfigError(
            f"{option} {given} has no equals sign",
            where=option,
            rule="it is given as our field=yours",
            fix=f"for example {option} {example}; our fields are {', '.join(FIELD_NAMES)}",
        )
    return ours, theirs


def read_import(asked: Import, progress: Progress | None = None) -> tuple[str, Iterator[Example]]:
    """The shape of the rows, and the examples, read as they are consumed.

    Raises:
        DataError: the source or a row cannot be read. ConfigError: options that do not fit the source.
        OfflineError: a data set of the hub, and downloads are switched off.
    """
    rows = _rows(asked, progress)
    first = next(rows, None)
    if first is None:
        raise Place(asked.source).error(
            "has no rows to import",
            code="no-rows",
            rule="a source has at least one row",
            fix="check the name of the file, the table or the split",
        )
    shape = SHAPES.get(asked.format) or detect(mapped(first[1], asked, first[0]), first[0])
    return shape, (_example(row, asked, shape, place) for place, row in chain([first], rows))


def _example(row: Mapping[str, Any], asked: Import, shape: str, place: Place) -> Example:
    """The example of a row; one that a model made keeps its mark."""
    example = BUILDERS[shape](mapped(row, asked, place), place)
    mark = read_mark(row, None, place)
    return example.model_copy(update={"synthetic": mark}) if mark else example


def mapped(row: Mapping[str, Any], asked: Import, place: Place) -> Mapping[str, Any]:
    """The row under our names: columns as they are, templates filled; without either the row itself."""
    if not asked.columns and not asked.templates:
        return row
    for column in asked.columns.values():
        if column not in row:
            near = nearest(column, row)
            raise place.error(
                f"has no column {column} to import; its columns are {', '.join(map(str, row))}",
                code="missing-column",
                rule="every column that --column names must be there",
                fix=f"did you mean {near[0]}?" if near else "correct --column, or add the column",
            )
    fields = {ours: row[theirs] for ours, theirs in asked.columns.items()}
    return fields | {ours: template.fill(row, place) for ours, template in asked.templates.items()}


def kind_of_source(asked: Import) -> Literal["file", "sqlite", "hf"]:
    """Where the rows come from.

    Raises:
        ConfigError: the format names a kind that the source is not.
    """
    name, suffixes = asked.source, KINDS.get(asked.format)
    if asked.format == "hf" or name.startswith(HUB):
        return "hf"
    plain = name.lower().removesuffix(".gz")
    if suffixes is not None and not plain.endswith(suffixes):
        raise ConfigError(
            f"--format {asked.format} does not fit the source {name}",
            where="--format",
            rule=f"such a file ends in {' or '.join(suffixes)}",
            fix="leave --format out, or rename the file",
        )
    return "sqlite" if plain.endswith(KINDS["sqlite"]) else "file"


def _rows(asked: Import, progress: Progress | None) -> Iterator[RawRow]:
    kind = kind_of_source(asked)
    if asked.table and kind != "sqlite":
        raise ConfigError(
            f"--table {asked.table} is for databases only",
            where="--table",
            rule="a file has one table: itself",
            fix="leave --table out, or name a .sqlite file",
        )
    if kind == "hf":
        return _hub_rows(asked.source.removeprefix(HUB))
    if kind == "sqlite":
        return sqlite_rows(Path(asked.source), asked.table)
    return raw_rows(asked.source, progress=progress)


def _hub_rows(name: str) -> Iterator[RawRow]:
    repo, _, split = name.partition(":")
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise InputError(
            f"{name!r} is not the name of a data set of the hub",
            where="SOURCE",
            rule="it is owner/name, with :split behind it where that is not train",
            fix="for example hf:owner/name:train",
        )
    for number, row in enumerate(fetch.hub_rows(repo, split or "train"), start=1):
        yield Place(f"{HUB}{name}", number), row
