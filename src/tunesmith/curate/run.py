"""The verb: read, split by content, check, and refuse or describe."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.core.artifacts import DatasetCard
from tunesmith.core.errors import DataError
from tunesmith.core.events import Emit, Note, Tick, ignore
from tunesmith.core.protocols import Progress, Renderer
from tunesmith.core.records import Example, Finding, Source, digest_of
from tunesmith.curate.check import Inspection, inspect
from tunesmith.curate.config import Config, Dataset
from tunesmith.curate.place import count
from tunesmith.curate.read import open_reading
from tunesmith.curate.split import assign, must_have_rows

MAX_UNREADABLE = 20
"""After so many rows that cannot be read, reading stops: the file is something else."""

KEPT_FINDINGS = 50
"""How many findings of each check a card keeps; the rest is counted."""


@dataclass(frozen=True)
class Examination:
    """What is in the files: the rows with their splits, what the checks found, and the rows that cannot be read."""

    examples: tuple[Example, ...]
    formats: Mapping[str, str]
    """Path → shape that was recognised."""
    sources: Mapping[str, str]
    """Path → SHA-256 of the file."""
    inspection: Inspection
    unused: Mapping[str, tuple[str, ...]]
    """Path → fields that are not read."""
    unreadable: tuple[DataError, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the checks found, and which fields are not read."""
        more = [
            Finding(
                check="fields that are not read",
                severity="info",
                message=f"the model will not see {', '.join(names)}",
                source=Source(path=path),
                fix="if they belong to the question or the answer, put them there, or name the columns",
            )
            for path, names in self.unused.items()
            if names
        ]
        return (*self.inspection.findings, *more)

    @property
    def kept(self) -> tuple[Example, ...]:
        """The rows without those that are left out for their length."""
        return tuple(example for example in self.examples if example.id not in self.inspection.left_out)


def run(
    config: Config,
    renderer: Renderer | None = None,
    max_length: int | None = None,
    emit: Emit = ignore,
    context: int | None = None,
) -> Dataset:
    """The data set that a configuration describes: read, split by content, checked.

    Args:
        config: the files and the shares of the splits.
        renderer: makes tokens of the rows; without it lengths and trained tokens are not checked.
        max_length: longest row in tokens.
        emit: receives progress.
        context: longest row that the model could take, in tokens; for advice.

    Raises:
        DataError: a file or a row cannot be read, a finding at error level stands (the worst are listed), or a split
            gets no row.
    """
    found = examine(config, renderer, max_length, emit, context)
    if found.unreadable:
        raise _together(found.unreadable)
    findings = found.findings
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise _refusal(errors, len(found.examples))
    left_out = len(found.examples) - len(found.kept)
    if left_out:
        emit(Note(text=f"left out {count(left_out, 'row')} longer than max_length {max_length}", level="warning"))
    must_have_rows(found.kept, config)
    rows = Counter(str(example.split) for example in found.kept)
    card = DatasetCard(
        digest=digest_of([[example.id, example.split] for example in found.kept]),
        sources=found.sources,
        formats=found.formats,
        rows={name: rows[name] for name in ("train", "validation", "test")},
        findings=capped(findings),
    )
    return Dataset(card=card, examples=found.kept)


def examine(
    config: Config,
    renderer: Renderer | None = None,
    max_length: int | None = None,
    emit: Emit = ignore,
    context: int | None = None,
) -> Examination:
    """Read and check everything, and judge nothing: errors of rows come back in the result.

    Raises:
        DataError: a file cannot be read at all, or ``MAX_UNREADABLE`` of its rows cannot.
    """
    examples: list[Example] = []
    formats: dict[str, str] = {}
    sources: dict[str, str] = {}
    unused: dict[str, tuple[str, ...]] = {}
    unreadable: list[DataError] = []

    def report(error: DataError) -> None:
        unreadable.append(error)
        if len(unreadable) >= MAX_UNREADABLE:
            raise _together(unreadable)

    for spec in config.datasets:
        reading = open_reading(spec, report=report, progress=_ticks(emit, f"reading {Path(spec.path).name}"))
        formats[spec.path], unused[spec.path] = reading.format, reading.unused
        examples += reading.examples
        with Path(spec.path).open("rb") as file:
            sources[spec.path] = hashlib.file_digest(file, "sha256").hexdigest()
    placed = assign(examples, config)
    ticks = _ticks(emit, "checking rows")
    inspection = inspect(placed, renderer, max_length, on_too_long=config.on_too_long, context=context, progress=ticks)
    return Examination(placed, formats, sources, inspection, unused, tuple(unreadable))


def _ticks(emit: Emit, task: str) -> Progress:
    return lambda done, total: emit(Tick(task=task, done=done, total=total))


def capped(findings: Sequence[Finding], limit: int = KEPT_FINDINGS) -> tuple[Finding, ...]:
    """At most ``limit`` findings of each check, and one line for the rest."""
    seen: Counter[str] = Counter()
    kept = []
    for finding in findings:
        seen[finding.check] += 1
        if seen[finding.check] <= limit:
            kept.append(finding)
    more = {check: n - limit for check, n in seen.items() if n > limit}
    return (*kept, *(Finding(check=name, severity="info", message=f"{n} more") for name, n in more.items()))


def _together(errors: Sequence[DataError]) -> DataError:
    """The first error, and where the others are."""
    first = errors[0]
    if len(errors) == 1:
        return first
    others = ", ".join(error.where for error in errors[1:4]) + (", …" if len(errors) > 4 else "")
    more = "at least " if len(errors) >= MAX_UNREADABLE else ""
    what = f"{first.what}\n  ({more}{count(len(errors) - 1, 'more row')} cannot be read: {others})"
    return DataError(what, where=first.where, rule=first.rule, fix=first.fix)


def _refusal(errors: Sequence[Finding], rows: int) -> DataError:
    """One error for all findings at error level; the worst stand first."""
    counts = Counter(finding.check for finding in errors)
    what = f"{len(errors)} of {rows} rows have errors: " + ", ".join(f"{name} ({n})" for name, n in counts.items())
    shown = errors[:5]
    lines = [f"\n  {finding.source} {finding.check}: {finding.message}" for finding in shown]
    more = f"\n  … and {len(errors) - len(shown)} more: tunesmith data check" if len(errors) > len(shown) else ""
    fixes = list(dict.fromkeys(finding.fix for finding in errors))
    return DataError(
        what + "".join(lines) + more,
        where=str(errors[0].source),
        rule="no row with an error is trained or judged on",
        fix="; ".join(fixes[:3]),
    )
