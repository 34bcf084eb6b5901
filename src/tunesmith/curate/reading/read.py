"""Files to examples: open, recognise the shape, build; one row at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.core.errors import DataError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Example, Message, Synthetic
from tunesmith.core.registry import nearest
from tunesmith.curate.checks.synthetic import MARK, read_mark
from tunesmith.curate.config import Config, DatasetSpec
from tunesmith.curate.reading.detect import detect
from tunesmith.curate.reading.files import raw_rows, require_file
from tunesmith.curate.reading.lines import RawRow
from tunesmith.curate.reading.place import Place, Report, shown, stop
from tunesmith.curate.reading.shapes import BUILDERS, FIELDS

Labels = Mapping[str, str]
"""Field of `Example` → column of the files that fills it: what is known of a row beside its content."""

NO_LABELS: Labels = {}


@dataclass(frozen=True)
class Reading:
    """A file whose shape is known; ``examples`` reads on as it is consumed."""

    format: str
    unused: tuple[str, ...]
    """Fields of the first row that are not read: the model will not see what they say."""
    examples: Iterator[Example]


@dataclass(frozen=True)
class RowReading:
    """Like `Reading`, with the fields of each row (under the names of the file) beside its example."""

    format: str
    unused: tuple[str, ...]
    rows: Iterator[tuple[Mapping[str, Any], Example]]


NO_ROWS = "no-rows"
"""Code of the error of a file of which no row can be read."""


def read(spec: DatasetSpec, progress: Progress | None = None) -> Iterator[Example]:
    """The examples of a file, in order; ``progress`` counts bytes.

    Raises:
        DataError: the first row that cannot be read, with file, line and field.
    """
    return open_reading(spec, progress=progress).examples


def labels_of(config: Config) -> Labels:
    """The columns by which a configuration groups or orders its rows."""
    named = {"group": config.group_by, "time": config.split_by_time}
    return {field: column for field, column in named.items() if column}


def require_files(config: Config) -> None:
    """Refuse a configuration with a file that cannot be opened, without reading any.

    Raises:
        DataError: a file is missing, not permitted, a folder, or of no kind that is read.
    """
    for spec in config.datasets:
        require_file(spec.path)


def read_file(path: str) -> tuple[Example, ...]:
    """All examples of a file in any known shape.

    Raises:
        DataError: as in ``read``.
    """
    return tuple(read(DatasetSpec(path=str(path))))


def open_reading(
    spec: DatasetSpec, *, report: Report = stop, progress: Progress | None = None, labels: Labels = NO_LABELS
) -> Reading:
    """Open a file and recognise its shape. Bad rows go to ``report``; when it returns, reading goes on without them.

    Raises:
        DataError: the file cannot be read, is empty, or its shape is unknown, ambiguous or of another task.
    """
    named = (*labels.values(), *filter(None, [subject_column(spec)]))
    wanted = (*spec.columns.values(), *named) if spec.columns else ()
    opened = open_rows(spec, wanted=wanted, report=report, progress=progress, labels=labels)
    return Reading(opened.format, opened.unused, (example for _, example in opened.rows))


def open_rows(
    spec: DatasetSpec,
    *,
    wanted: Sequence[str] = (),
    report: Report = stop,
    progress: Progress | None = None,
    labels: Labels = NO_LABELS,
) -> RowReading:
    """The same with the fields of each row; ``wanted`` names the columns that are needed, nothing means all.

    Raises:
        DataError: as in `open_reading`.
    """
    rows = raw_rows(spec.path, wanted=wanted, sample_by=spec.sample_by, report=report, progress=progress)
    first = next(rows, None)
    if first is None:
        raise Place(spec.path).error(
            "has no rows",
            code=NO_ROWS,
            rule="a data file has at least one row (a table also has a header)",
            fix="check that the file was written to its end, and that its first rows can be read",
        )
    shape = spec.format if spec.format != "auto" else detect(_mapped(first[1], spec, first[0]), first[0])
    if shape == "text" and spec.system:
        raise Place(spec.path).error(
            "is plain text, and has a system message",
            code="system-on-text",
            field="system",
            rule="plain text is trained as it stands; only conversations have a system message",
            fix="remove system from this data set",
        )
    read_anyway = {*FIELDS[shape], MARK, *labels.values(), subject_column(spec)}
    unused = () if spec.columns else tuple(str(name) for name in first[1] if name not in read_anyway)
    return RowReading(shape, unused, _examples(first, rows, spec, shape, report, labels))


def _examples(
    first: RawRow, rows: Iterator[RawRow], spec: DatasetSpec, shape: str, report: Report, labels: Labels
) -> Iterator[tuple[Mapping[str, Any], Example]]:
    build = BUILDERS[shape]
    row: RawRow | None = first
    while row is not None:
        place, fields = row
        try:
            example = build(_mapped(fields, spec, place), place)
            origin = _origin(fields, spec, place)
            mark = read_mark(fields, spec.split, place)
        except DataError as error:
            report(error)
        else:
            yield fields, _marked(_with_labels(_with_spec(example, spec, origin), fields, labels), mark)
        row = next(rows, None)


def _mapped(row: Mapping[str, Any], spec: DatasetSpec, place: Place) -> Mapping[str, Any]:
    """The row under our field names, when columns are named."""
    if not spec.columns:
        return row
    for column in spec.columns.values():
        if column not in row:
            near = nearest(column, row)
            raise place.error(
                f"has no column {shown(column)}; its columns are {', '.join(map(str, row)) or '(none)'}",
                code="missing-column",
                rule="every column that columns names must be there",
                fix=f"did you mean {near[0]}?" if near else "correct columns, or add the column to the file",
            )
    return {ours: row[theirs] for ours, theirs in spec.columns.items()}


def subject_column(spec: DatasetSpec) -> str:
    """The column that says whom a row is about; "" where the data set names none."""
    return spec.provenance.subject_column if spec.provenance else ""


def _origin(row: Mapping[str, Any], spec: DatasetSpec, place: Place) -> dict[str, str]:
    """Licence and subject of a row, from what the data set says of itself."""
    if spec.provenance is None:
        return {}
    column = spec.provenance.subject_column
    if column and column not in row:
        near = nearest(column, row)
        raise place.error(
            f"has no column {shown(column)} that says whom it is about",
            code="missing-column",
            rule="provenance.subject_column names a column that is in every row",
            fix=f"did you mean {near[0]}?" if near else "correct subject_column, or leave it out",
        )
    subject = row[column] if column else None
    return {"licence": spec.provenance.licence, "subject": "" if subject is None else str(subject)}


def _with_spec(example: Example, spec: DatasetSpec, origin: Mapping[str, str]) -> Example:
    """The split, the system message and the origin that the configuration gives to the rows of this file."""
    split = "train" if spec.replay is not None else spec.split
    change: dict[str, Any] = {"split": split, **origin} if split else {**origin}
    if spec.system and (not example.messages or example.messages[0].role != "system"):
        change["messages"] = (Message(role="system", content=spec.system), *example.messages)
    return example.model_copy(update=change) if change else example


def _with_labels(example: Example, row: Mapping[str, Any], labels: Labels) -> Example:
    """The row with what the named columns say about it; a row without them stays as it is."""
    found = {field: row.get(column) for field, column in labels.items()}
    change = {field: str(value) for field, value in found.items() if value is not None}
    return example.model_copy(update=change) if change else example


def _marked(example: Example, mark: Synthetic | None) -> Example:
    """The row with its mark; a synthetic row trains."""
    return example.model_copy(update={"synthetic": mark, "split": "train"}) if mark else example
