"""What the checks found, as files: every finding, the numbers of every check, and a page for people.

The same rows and options give the same bytes: nothing in here knows the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.core.artifacts import Check
from tunesmith.core.records import Finding, Record, digest_of
from tunesmith.core.store import write_lines, write_text

if TYPE_CHECKING:
    from tunesmith.curate.config import Config
    from tunesmith.curate.run import Examination

FINDINGS, REPORT, PAGE = "findings.jsonl", "curation_report.json", "curation.html"
MOST_LISTED = 20
"""Findings of one check that the page shows; ``findings.jsonl`` has all."""


class FileFacts(Record):
    """A file that was checked."""

    path: str
    format: str
    rows: int
    sha256: str


class CheckReport(Record):
    """A check: whether it passed (None: it did not run), what it says, how much it found, and its own numbers."""

    name: str
    passed: bool | None
    detail: str
    findings: Mapping[str, int] = {}
    """Severity → number."""
    repairable: int = 0
    """Findings for which a repair is proposed."""
    figures: Mapping[str, Any] = {}


class CurationReport(Record):
    """The aggregate of ``findings.jsonl``."""

    schema_version: int = 1
    digest: str
    """Identity of the files and of the options of the checks."""
    ok: bool
    """No finding at error level, and every row could be read."""
    files: tuple[FileFacts, ...]
    rows: int
    splits: Mapping[str, int]
    tokens: Mapping[str, int] | None
    """Counts of the rendered rows; null when no model was given."""
    unreadable: tuple[Mapping[str, Any], ...]
    checks: tuple[CheckReport, ...]


def summarise(found: Examination, config: Config, findings: Sequence[Finding]) -> CurationReport:
    """The numbers of every check; ``findings`` are those of the examination and what the caller added."""
    by_check: dict[str, Counter[str]] = {}
    repairable: Counter[str] = Counter()
    for finding in findings:
        by_check.setdefault(finding.check, Counter())[finding.severity] += 1
        repairable[finding.check] += finding.action is not None
    checks = [_about(check, by_check, repairable, found.inspection.figures) for check in found.inspection.checks]
    named = {check.name for check in checks}
    checks += [_about(_beside(name, n), by_check, repairable, {}) for name, n in by_check.items() if name not in named]
    splits = Counter(str(example.split) for example in found.kept)
    return CurationReport(
        digest=digest_of([dict(found.sources), config.model_dump(mode="json")]),
        ok=not found.unreadable and not any(finding.severity == "error" for finding in findings),
        files=tuple(
            FileFacts(path=spec.path, format=found.formats[spec.path], rows=rows, sha256=found.sources[spec.path])
            for spec, rows in zip(config.datasets, found.rows, strict=True)
        ),
        rows=len(found.examples),
        splits={
            name: splits[name] for name in ("train", "validation", "test", *(["vault"] if splits["vault"] else []))
        },
        tokens=found.inspection.tokens.model_dump() if found.inspection.tokens else None,
        unreadable=tuple(error.as_dict() for error in found.unreadable),
        checks=tuple(checks),
    )


def _beside(name: str, counts: Mapping[str, int]) -> Check:
    """The line of findings that belong to no check of the table."""
    detail = ", ".join(f"{number} {severity}" for severity, number in counts.items())
    return Check(name=name, passed="error" not in counts, detail=detail)


def _about(
    check: Check, counts: Mapping[str, Mapping[str, int]], repairable: Mapping[str, int], figures: Mapping[str, Any]
) -> CheckReport:
    return CheckReport(
        name=check.name,
        passed=check.passed,
        detail=check.detail,
        findings=counts.get(check.name, {}),
        repairable=repairable.get(check.name, 0),
        figures=figures.get(check.name, {}),
    )


def write_report(
    folder: Path,
    report: CurationReport,
    findings: Iterable[Finding],
    clean: Callable[[str], str] = str,
) -> tuple[Path, Path, Path]:
    """Write the three files, each at once or not at all; the paths of findings, numbers and page.

    Args:
        folder: made when it is missing.
        report: the numbers.
        findings: all of them; they are written one by one.
        clean: takes out of a text what a report must not hold.

    Raises:
        StorageError: full, read-only or not writable.
    """
    from tunesmith.curate.checks.page import to_html

    shown: list[Finding] = []
    listed: Counter[str] = Counter()
    paths = folder / FINDINGS, folder / REPORT, folder / PAGE

    def lines() -> Iterator[str]:
        for finding in findings:
            safe = finding.model_copy(update={"message": clean(finding.message), "evidence": clean(finding.evidence)})
            listed[finding.check] += 1
            shown.extend([safe] if listed[finding.check] <= MOST_LISTED else [])
            yield safe.model_dump_json()

    write_lines(paths[0], lines())
    write_text(paths[1], report.model_dump_json(indent=2) + "\n")
    write_text(paths[2], to_html(report, shown))
    return paths
