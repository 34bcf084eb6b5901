"""The card of a data set: what it is, where it comes from, what is known of its quality, and what is not said.

Everything on it is taken from the files, from the configuration, from what people wrote into notes, and from reports
that belong to the same files. What nobody said is MISSING; nothing is made up. The same inputs give the same bytes:
there is no clock in here, and no path of a machine.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from tunesmith.core.errors import DataError
from tunesmith.core.events import Emit, ignore, ticking
from tunesmith.core.records import SCHEMA_VERSION, Example, Record, digest_of
from tunesmith.core.spool import Spool
from tunesmith.core.store import Workspace
from tunesmith.curate.checks.report import CheckReport, CurationReport
from tunesmith.curate.config import Config
from tunesmith.curate.corpus import Row
from tunesmith.curate.provenance import Provenance, missing
from tunesmith.curate.reading.read import labels_of, open_rows
from tunesmith.curate.reading.shapes import FIELDS
from tunesmith.curate.run import content_digest
from tunesmith.curate.split import assign
from tunesmith.curate.versions.audit import AuditResult
from tunesmith.curate.versions.version import Step, version_of


class CardNotes(Record):
    """What only people can say about a data set; empty means that nobody has."""

    name: str = Field(default="", description="What the data set is called.")
    description: str = Field(default="", description="What it holds, in a sentence or two.")
    url: str = Field(default="", description="Where it is described or kept.")
    published: str = Field(default="", description="Day of this state, as in 2026-05-17.")
    purpose: str = Field(default="", description="What it is meant for, and what it is not.")
    design_choices: str = Field(default="", description="Why these rows, this form, this amount.")
    assumptions: str = Field(default="", description="What the data are supposed to measure and represent.")
    suitability: str = Field(default="", description="Whether there are enough rows of the right kind.")
    biases: str = Field(default="", description="What was examined, and what was found.")
    mitigation: str = Field(default="", description="What was done about biases.")
    gaps: str = Field(default="", description="What is known to be absent, and what is done about it.")
    setting: str = Field(default="", description="Places, languages, groups and situations of intended use.")


class SourceFacts(Record):
    """One file of the data set."""

    name: str
    sha256: str
    size: int
    """Bytes."""
    format: str
    columns: tuple[str, ...]
    """The columns that are read, under the names of the file."""
    rows: int
    split: str
    """That the whole file is given to; "" where rows are split one by one."""
    provenance: Provenance | None
    missing: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    """What `data repair` did to it."""
    in_quarantine: int = 0


class DataCard(Record):
    """All facts on a card; the pages are written from it."""

    schema_version: int = SCHEMA_VERSION
    digest: str
    """Identity of the rows and their splits."""
    notes: CardNotes
    sources: tuple[SourceFacts, ...]
    splits: Mapping[str, int]
    subjects: int
    """Different persons that rows are about, where a column says so."""
    question_characters: tuple[int, int]
    """Median and longest."""
    answer_characters: tuple[int, int]
    checks: tuple[CheckReport, ...] | None = None
    """What `data check` said of the same files; None when no report was given."""
    audit: AuditResult | None = None

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(source.rows for source in self.sources)


class _Read(NamedTuple):
    examples: Spool[Example]
    facts: list[dict[str, Any]]


def describe(
    config: Config,
    notes: CardNotes,
    workspace: Workspace,
    report: CurationReport | None = None,
    audit: AuditResult | None = None,
    emit: Emit = ignore,
) -> DataCard:
    """The card of a configuration's data.

    Raises:
        DataError: a row cannot be read, or the report is about other files.
    """
    examples, facts = _read(config, workspace, emit)
    known = {fact["sha256"] for fact in facts}
    if report is not None and {file.sha256 for file in report.files} != known:
        raise DataError(
            "the report is about other files",
            where=", ".join(Path(file.path).name for file in report.files),
            rule="a card cites a report of the very files that it describes, by their hashes",
            fix="run tunesmith data check on them again, or leave --report out",
        )
    splits = assign(examples, config)
    lengths = [(len(row.question), len(row.answer)) for row in map(Row, range(len(examples)), examples)]
    return DataCard(
        digest=digest_of([[example.id, split] for example, split in zip(examples, splits, strict=True)]),
        notes=notes,
        sources=tuple(SourceFacts.model_validate(fact) for fact in facts),
        splits=dict(sorted(Counter(map(str, splits)).items())),
        subjects=len({example.subject for example in examples if example.subject}),
        question_characters=_middle_and_longest([question for question, _ in lengths]),
        answer_characters=_middle_and_longest([answer for _, answer in lengths]),
        checks=report.checks if report else None,
        audit=audit,
    )


def _middle_and_longest(lengths: Sequence[int]) -> tuple[int, int]:
    return (statistics.median_low(lengths), max(lengths)) if lengths else (0, 0)


def _read(config: Config, workspace: Workspace, emit: Emit) -> _Read:
    """The rows, and the facts of each file."""
    examples: Spool[Example] = Spool(Example)
    facts = []
    for spec in config.datasets:
        path = Path(spec.path)
        reading = open_rows(spec, progress=ticking(emit, f"reading {path.name}"), labels=labels_of(config))
        before, columns = len(examples), list(spec.columns.values())
        for fields, example in reading.rows:
            columns = columns or [str(name) for name in fields if name in FIELDS[reading.format]]
            examples.append(example)
        found = version_of(path, workspace)
        facts.append(
            {
                "name": path.name,
                "sha256": content_digest(path),
                "size": path.stat().st_size,
                "format": reading.format,
                "columns": tuple(columns),
                "rows": len(examples) - before,
                "split": "train" if spec.replay is not None else spec.split or "",
                "provenance": spec.provenance,
                "missing": missing(spec.provenance),
                "steps": found.version.steps if found else (),
                "in_quarantine": found.version.in_quarantine if found else 0,
            }
        )
    return _Read(examples, facts)


def reported(path: Path) -> CurationReport:
    """A report that `data check` wrote.

    Raises:
        DataError: no such file, or not such a report.
    """
    try:
        return CurationReport.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"this is no report of data check: {type(error).__name__}",
            where=str(path),
            rule="--report takes the curation_report.json that tunesmith data check wrote",
            fix="run tunesmith data check on the same files",
        ) from error
