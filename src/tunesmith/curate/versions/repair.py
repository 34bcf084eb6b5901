"""What repairing does to which row: the proposed actions of findings, brought together and their conflicts decided.

The rules, in the order in which they decide:

1. A row that leaves is not edited as well: quarantine goes before every edit.
2. Who keeps a group together may leave too. Then the first row of the group that is still there takes its place, and
   stays.
3. Of edits that touch the same characters, that of the graver finding is made, then the one that begins first, then
   the longer one. The others are not made, and counted.
4. What a person restored stays: the same check does not put the row aside again.

Nothing depends on the order in which findings come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tunesmith.core.records import Edit, Finding, Source

_RANK = {"error": 0, "warning": 1, "info": 2}

Leaving = dict[Source, list[Finding]]

Kept = Callable[[Source, str], bool]
"""(row, check) → whether a person has restored the row after this check put it aside."""


@dataclass(frozen=True)
class Decision:
    """What becomes of the rows that are touched."""

    leaving: Mapping[Source, tuple[Finding, ...]]
    """Row → why it goes to quarantine, the gravest reason first."""
    edited: Mapping[Source, tuple[tuple[Edit, Finding], ...]]
    """Row → its edits and why, in the order of the text; they do not overlap."""
    left_undone: tuple[Finding, ...] = ()
    """Findings of which an edit was not made, because another one of the same characters was."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.leaving and not self.edited


def proposed(findings: Iterable[Finding], kinds: Sequence[str] | None = None) -> list[Finding]:
    """The findings that propose an action, of these checks (None: of all), the gravest first and then by place."""
    wanted = [f for f in findings if f.action is not None and (kinds is None or f.check in kinds)]
    return sorted(wanted, key=_order)


def decide(findings: Iterable[Finding], kept: Kept = lambda row, check: False) -> Decision:
    """What is done to which row when all actions of these findings are taken."""
    leaving: Leaving = {}
    ordered = proposed(findings)
    groups: list[Finding] = []
    for finding in ordered:
        assert finding.action is not None
        if finding.action.kind == "quarantine" and finding.source in finding.action.rows:
            _leave(finding, finding.action.rows, leaving, kept)
        elif finding.action.kind == "quarantine":
            groups.append(finding)
    for finding in groups:
        assert finding.action is not None
        _leave(finding, _without_heir(finding, finding.action.rows, leaving), leaving, kept)
    edits, undone = _edits(ordered, leaving, kept)
    rows = sorted(leaving.items(), key=lambda item: (item[0].path, item[0].line))
    return Decision({row: tuple(reasons) for row, reasons in rows}, edits, undone)


def _order(finding: Finding) -> tuple[object, ...]:
    place = (finding.source.path, finding.source.line)
    return (_RANK[finding.severity], *place, finding.check, finding.message, finding.model_dump_json())


def _leave(finding: Finding, rows: Iterable[Source], leaving: Leaving, kept: Kept) -> None:
    for row in dict.fromkeys(rows):
        if not kept(row, finding.check):
            leaving.setdefault(row, []).append(finding)


def _without_heir(finding: Finding, rows: Sequence[Source], leaving: Leaving) -> Sequence[Source]:
    """The rows of a group that leave: when the one that keeps it together has left, the first of the others stays."""
    heir = next((row for row in rows if row not in leaving), None) if finding.source in leaving else None
    return [row for row in rows if row != heir]


def _edits(
    findings: Sequence[Finding], gone: Mapping[Source, object], kept: Kept
) -> tuple[dict[Source, tuple[tuple[Edit, Finding], ...]], tuple[Finding, ...]]:
    """The edits of every row that stays, without those that overlap a graver one."""
    asked: dict[Source, list[tuple[Edit, Finding]]] = {}
    for finding in findings:
        if finding.action is None or finding.action.kind != "edit" or finding.source in gone:
            continue
        if not kept(finding.source, finding.check):
            asked.setdefault(finding.source, []).extend((edit, finding) for edit in finding.action.edits)
    made: dict[Source, tuple[tuple[Edit, Finding], ...]] = {}
    undone: list[Finding] = []
    for row in sorted(asked, key=lambda row: (row.path, row.line)):
        own: list[tuple[Edit, Finding]] = []
        for edit, finding in sorted(asked[row], key=_first_wins):
            if any(_touches(edit, other) for other, _ in own):
                undone += [] if any(edit == other for other, _ in own) else [finding]
            else:
                own.append((edit, finding))
        made[row] = tuple(sorted(own, key=lambda pair: (pair[0].turn, _call(pair[0]), pair[0].start)))
    return made, tuple(dict.fromkeys(undone))


def _first_wins(pair: tuple[Edit, Finding]) -> tuple[object, ...]:
    edit, finding = pair
    return (
        _RANK[finding.severity],
        edit.turn,
        _call(edit),
        edit.start,
        -edit.end,
        edit.text,
        finding.check,
        finding.message,
    )


def _call(edit: Edit) -> int:
    return -1 if edit.call is None else edit.call


def _touches(one: Edit, other: Edit) -> bool:
    """Whether two edits change the same characters, or both insert at the same place."""
    if (one.turn, one.call) != (other.turn, other.call):
        return False
    return (one.start < other.end and other.start < one.end) or one.start == other.start
