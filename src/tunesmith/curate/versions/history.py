"""From one version of a data file to the next: rows leave, are edited, or come back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count as numbers
from pathlib import Path

from tunesmith.core.errors import DataError, InputError
from tunesmith.core.events import Emit, ignore, ticking
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding, Source, digest_of
from tunesmith.core.registry import nearest
from tunesmith.core.store import Workspace
from tunesmith.curate.config import DatasetSpec
from tunesmith.curate.reading.stored import StoredRow, as_line, stored_rows
from tunesmith.curate.run import content_digest
from tunesmith.curate.versions.amend import amended, rebuilt
from tunesmith.curate.versions.repair import Decision, Kept
from tunesmith.curate.versions.version import DataVersion, Found, Restored, SetAside, Step, chained, publish


@dataclass
class _Next:
    """The next version while it is made. Positions count all rows, those in quarantine included."""

    aside: dict[int, SetAside]
    changed: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Position → text and example id of the row that stands there from now on."""
    gone: set[int] = field(default_factory=set)
    touched: list[tuple[str, str, tuple[object, ...]]] = field(default_factory=list)
    """(action, check, what became of the row) of every row that was touched."""
    rows: int = 0
    format: str = ""


def kept_by(found: Found | None) -> Kept:
    """Which rows a person restored: the checks that put them aside leave them alone."""
    restored = {(entry.position, entry.check) for entry in found.version.restored} if found else set()
    if found is None or not restored:
        return lambda row, check: False
    positions = list(_positions(found))
    # the rows of a version stand one a line
    return lambda row, check: (positions[row.line - 1], check) in restored


def repair(
    spec: DatasetSpec,
    before: Found | None,
    decision: Decision,
    workspace: Workspace,
    emit: Emit = ignore,
) -> DataVersion | None:
    """The version of a file in which a decision is carried out, stored; None when it touches no row of the file.

    Raises:
        DataError: no row would be left, or an edit does not fit.
    """
    work = _Next({entry.position: entry for entry in before.aside} if before else {})
    for position, row in _placed(spec, before, ticking(emit, f"repairing {Path(spec.path).name}")):
        work.rows, work.format = work.rows + 1, row.shape
        if reasons := decision.leaving.get(row.example.source):
            _put_aside(work, position, row, reasons)
        elif edits := decision.edited.get(row.example.source):
            _edit(work, position, row, edits)
    if not work.touched:
        return None
    if len(work.gone) == work.rows:
        raise DataError(
            f"no row would be left: all {work.rows} rows would go to quarantine",
            where=spec.path,
            rule="a version has at least one row",
            fix="choose fewer findings with --kind, or correct the rows by hand",
        )
    return _publish(spec, before, work, workspace, (), emit)


def restore(
    spec: DatasetSpec,
    before: Found,
    wanted: Sequence[SetAside],
    workspace: Workspace,
    emit: Emit = ignore,
) -> DataVersion:
    """The version in which rows stand again as they stood first, at their places."""
    work = _Next({entry.position: entry for entry in before.aside})
    for entry in wanted:
        del work.aside[entry.position]
        work.changed[entry.position] = (entry.row, entry.id)
        work.touched.append(("restore", entry.findings[0].check, (entry.position, entry.id)))
    work.rows = before.version.rows
    work.format = before.version.format
    marks = [Restored(position=entry.position, check=f.check) for entry in wanted for f in entry.findings]
    return _publish(spec, before, work, workspace, marks, emit)


def chosen_entries(found: Found, ids: Sequence[str], kinds: Sequence[str], where: str) -> list[SetAside]:
    """What was put aside under these row ids (16 hex digits, or the first of them), or by these checks.

    Raises:
        InputError: nothing was put aside under such a name.
    """
    entries = [e for e in found.aside if any(e.id.startswith(id) for id in ids)]
    entries += [e for e in found.aside if e not in entries and any(f.check in kinds for f in e.findings)]
    for id in ids:
        if not any(entry.id.startswith(id) for entry in found.aside):
            near = nearest(id, [entry.id for entry in found.aside], 3)
            raise InputError(
                f"no row {id} was put aside",
                where=where,
                rule="--restore takes the id of a row in the quarantine file",
                fix=f"did you mean {' or '.join(near)}?" if near else f"it holds {_listed(found)}",
            )
    known = {finding.check for entry in found.aside for finding in entry.findings}
    for kind in kinds:
        if kind not in known:
            raise InputError(
                f"nothing was put aside by {kind!r}",
                where=where,
                rule="--restore-kind takes the name of a check",
                fix=f"there are {', '.join(sorted(known))}" if known else "the quarantine file is empty",
            )
    return sorted(entries, key=lambda entry: entry.position)


def _listed(found: Found) -> str:
    return ", ".join(entry.id for entry in found.aside[:5]) + (", …" if len(found.aside) > 5 else "") or "no row"


def _placed(
    spec: DatasetSpec, before: Found | None, progress: Progress | None = None
) -> Iterator[tuple[int, StoredRow]]:
    """The rows of a file, each with its position among all rows."""
    yield from zip(_positions(before), stored_rows(spec, progress), strict=False)


def _positions(before: Found | None) -> Iterable[int]:
    if before is None:
        return numbers()
    out = {entry.position for entry in before.aside if entry.action == "quarantine"}
    return (position for position in range(before.version.all_rows) if position not in out)


def _put_aside(work: _Next, position: int, row: StoredRow, reasons: Sequence[Finding]) -> None:
    entry = work.aside.get(position) or _entry(position, row)
    change = {"action": "quarantine", "reason": reasons[0].message, "became": ""}
    work.aside[position] = entry.model_copy(update={**change, "findings": (*entry.findings, *_told(reasons))})
    work.gone.add(position)
    work.touched.append(("quarantine", reasons[0].check, (position, row.example.id)))


def _edit(work: _Next, position: int, row: StoredRow, edits: Sequence[tuple[object, Finding]]) -> None:
    fields = amended(row.fields, row.shape, row.example, [edit for edit, _ in edits])  # type: ignore[misc]
    reasons = list(dict.fromkeys(finding for _, finding in edits))
    text, id = as_line(fields), rebuilt(fields, row.shape, row.example).id
    entry = work.aside.get(position) or _entry(position, row)
    change = {"reason": reasons[0].message, "became": id, "findings": (*entry.findings, *_told(reasons))}
    work.aside[position] = entry.model_copy(update=change)
    work.changed[position] = (text, id)
    work.touched.append(("edit", reasons[0].check, (position, row.example.id, id)))


def _entry(position: int, row: StoredRow) -> SetAside:
    source = row.example.source
    return SetAside(
        id=row.example.id,
        position=position,
        source=Source(path=Path(source.path).name, line=source.line),
        action="edit",
        reason="",
        findings=(),
        row=row.text,
    )


def _told(reasons: Sequence[Finding]) -> tuple[Finding, ...]:
    """The reasons as they are kept: without what was done (the entry says it) and without folders."""

    def named(source: Source) -> Source:
        return Source(path=Path(source.path).name, line=source.line)

    return tuple(
        f.model_copy(update={"action": None, "others": (), "source": named(f.source)}) for f in dict.fromkeys(reasons)
    )


def _publish(
    spec: DatasetSpec,
    before: Found | None,
    work: _Next,
    workspace: Workspace,
    marks: Sequence[Restored],
    emit: Emit,
) -> DataVersion:
    old = before.version if before else None
    aside = [work.aside[position] for position in sorted(work.aside)]
    away = sum(entry.action == "quarantine" for entry in aside)
    total = old.all_rows if old else work.rows
    version = DataVersion(
        parent=old.digest if old else "",
        origin=old.origin if old else Path(spec.path).name,
        origin_sha256=old.origin_sha256 if old else content_digest(Path(spec.path)),
        format=work.format,
        rows=total - away,
        in_quarantine=away,
        steps=chained(old.steps if old else (), _steps(work)),
        restored=_marks(old, marks),
    )
    progress = ticking(emit, "writing the version")
    return publish(version, _lines(spec, before, work, progress), aside, workspace)


def _marks(old: DataVersion | None, new: Sequence[Restored]) -> tuple[Restored, ...]:
    marks = {(mark.position, mark.check): mark for mark in (*(old.restored if old else ()), *new)}
    return tuple(marks[key] for key in sorted(marks))


def _steps(work: _Next) -> Iterator[Step]:
    """One step for each action and check, in a fixed order."""
    counts = Counter((action, check) for action, check, _ in work.touched)
    for action, check in sorted(counts):
        content = sorted(detail for a, c, detail in work.touched if (a, c) == (action, check))  # type: ignore[type-var]
        yield Step.model_validate(
            {"action": action, "check": check, "rows": counts[action, check], "content": digest_of(content)}
        )


def _lines(spec: DatasetSpec, before: Found | None, work: _Next, progress: Progress) -> Iterator[tuple[str, str]]:
    """(text, id) of every row of the new version: those that came back stand at their places."""
    back = sorted(work.changed)
    at = 0
    for position, row in _placed(spec, before, progress):
        while at < len(back) and back[at] < position:
            yield work.changed[back[at]]
            at += 1
        if at < len(back) and back[at] == position:
            yield work.changed[position]
            at += 1
        elif position not in work.gone:
            yield row.text, row.example.id
    for position in back[at:]:
        yield work.changed[position]
