"""``tunesmith data check``: what is wrong with the examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import JsonOption, SetOption, session
from tunesmith.cli.data.request import (
    ColumnOption,
    FilesArgument,
    FormatOption,
    ModelOption,
    Request,
    request,
    styled,
    tagger_of,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from tunesmith.core.artifacts import Check
    from tunesmith.core.records import Finding
    from tunesmith.curate import CurationReport, Examination

OutOption = Annotated[
    Path, typer.Option("--out", help="Folder for findings.jsonl, curation_report.json and curation.html.")
]
LISTED = 5
"""How many findings of each check are listed for people; the JSON document has all."""


def check(
    files: FilesArgument,
    model: ModelOption = "",
    max_length: Annotated[int | None, typer.Option("--max-length", min=1, help="Longest row in tokens.")] = None,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", help="File of another evaluation that no row may give away; may be repeated."),
    ] = None,
    out: OutOption = Path("data-check"),
    set: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Say what is wrong with the examples. Exit code 1 when an error stands, 2 when rows cannot be read.

    A long check that was interrupted goes on from the parts that were finished, when the same command is given again.
    """
    with session(json) as console:
        from tunesmith import curate
        from tunesmith.core.store import Workspace, require_writable

        require_writable(out)  # known before minutes of work are spent on it
        asked = request(console, files, model, max_length, format, column or [], set or [])
        config = curate.compared_with(asked.config, against or [])
        tagger = tagger_of(config)
        limits = (asked.renderer, asked.max_length, console.emit, asked.context)
        found = curate.examine(config, *limits, tagger=tagger, resume=Workspace.open)
        findings = [*found.findings, *([] if found.unreadable else _too_few_rows(found, asked))]
        errors = sum(finding.severity == "error" for finding in findings)
        report = curate.summarise(found, asked.config, findings)
        paths = curate.write_report(out, report, findings)
        console.print(*_report(found, findings, asked), f"every finding: {paths[0]}; a page to read: {paths[2]}")
        console.result(_document(found, findings, report, paths))
        if found.unreadable:
            raise typer.Exit(max(console.fail(error) for error in found.unreadable))
        if errors:
            raise typer.Exit(1)


def _too_few_rows(found: Examination, asked: Request) -> Iterator[Finding]:
    """A split that would get no row: an error for a configuration, worth knowing for plain files."""
    from tunesmith.core.errors import DataError
    from tunesmith.core.records import Finding
    from tunesmith.curate import must_have_rows

    try:
        must_have_rows(found.kept, asked.config)
    except DataError as error:
        severity = "error" if asked.is_config else "info"
        yield Finding(check="split", severity=severity, message=error.what, fix=error.fix)  # type: ignore[arg-type]


def _document(
    found: Examination, findings: Sequence[Finding], report: CurationReport, paths: Sequence[Path]
) -> dict[str, object]:
    error = {"error": found.unreadable[0].as_dict()} if found.unreadable else {}
    return {
        **report.model_dump(mode="json"),
        **error,
        "findings": list(findings),
        "written": [str(path) for path in paths],
    }


def _splits(found: Examination) -> dict[str, int]:
    counts = Counter(str(example.split) for example in found.kept)
    names = ("train", "validation", "test", *(["vault"] if counts["vault"] else []))
    return {name: counts[name] for name in names}


def _report(found: Examination, findings: Sequence[Finding], asked: Request) -> Iterator[RenderableType]:
    """Everything that people read, top to bottom."""
    for spec, rows in zip(asked.config.datasets, found.rows, strict=True):
        path, format = spec.path, found.formats[spec.path]
        yield f"{path}: {rows:,} rows, format {format}"
    if found.inspection.tokens:
        tokens = found.inspection.tokens
        share = f"{tokens.trained:,} of {tokens.total:,} trained ({tokens.trained / tokens.total:.0%})"
        yield f"tokens: {share}; a row has {tokens.median} (median), at most {tokens.longest}"
    yield "split: " + ", ".join(f"{n:,} {name}" for name, n in _splits(found).items())
    yield ""
    yield _table(found.inspection.checks)
    for group in _groups(findings):
        yield ""
        yield from _listed(group)
    yield ""
    yield _verdict(found, findings)


def _table(checks: Sequence[Check]) -> RenderableType:
    from rich.table import Table

    words = {True: "ok", False: "ERROR", None: "–"}
    styles = {True: "green", False: "bold red", None: "yellow"}
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        warned = check.passed and "warning" in check.detail
        mark = styled("warning" if warned else words[check.passed], "yellow" if warned else styles[check.passed])
        table.add_row(mark, check.name, check.detail)
    return table


def _groups(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """The findings of each check and severity, errors first."""
    for severity in ("error", "warning", "info"):
        of_severity = sorted((f for f in findings if f.severity == severity), key=lambda f: f.check)
        for _, group in groupby(of_severity, lambda f: f.check):
            yield list(group)


def _listed(findings: Sequence[Finding]) -> Iterator[RenderableType]:
    styles = {"error": "bold red", "warning": "yellow", "info": "cyan"}
    yield styled(f"{findings[0].check} ({findings[0].severity})", styles[findings[0].severity])
    for finding in findings[:LISTED]:
        source = finding.source if finding.source.line else finding.source.path
        where = f"{source}: " if finding.source.path else ""
        yield f"  {where}{finding.message}"
    if len(findings) > LISTED:
        yield f"  … and {len(findings) - LISTED:,} more in findings.jsonl"
    for fix in dict.fromkeys(finding.fix for finding in findings[:LISTED] if finding.fix):
        yield f"  fix: {fix}"


def _verdict(found: Examination, findings: Sequence[Finding]) -> Text:
    counts = Counter(finding.severity for finding in findings)
    skipped = sum(check.passed is None for check in found.inspection.checks)
    more = f"; {skipped} checks did not run" if skipped else ""
    if found.unreadable:
        return styled(f"rows that cannot be read: {len(found.unreadable)}; correct them first", "bold red")
    if counts["error"]:
        return styled(f"errors: {counts['error']}, warnings: {counts['warning']}{more}", "bold red")
    return styled(f"no errors, warnings: {counts['warning']}{more}", "bold green")
