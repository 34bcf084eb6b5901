"""``tunesmith data card``: what a data set is, for people and for machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import Console, JsonOption, SetOption, session
from tunesmith.cli.data.request import ColumnOption, FilesArgument, FormatOption, data_config

if TYPE_CHECKING:
    from tunesmith.curate import AuditResult, CardNotes, Config, CurationReport

OutOption = Annotated[Path, typer.Option("--out", help="Folder for card.md, card.croissant.json and card.json.")]
NotesOption = Annotated[Path | None, typer.Option("--notes", help="YAML with what only people can say.")]
ReportOption = Annotated[
    Path | None, typer.Option("--report", help="Report of data check; else data-check/curation_report.json if it fits.")
]
AuditOption = Annotated[list[Path] | None, typer.Option("--audit", help="Journal of data audit; may be repeated.")]
USUAL_REPORT = Path("data-check/curation_report.json")


def card(
    files: FilesArgument,
    out: OutOption = Path("data-card"),
    notes: NotesOption = None,
    report: ReportOption = None,
    audit: AuditOption = None,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    set: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Write the card of a data set: Markdown, Croissant, and all facts as JSON. What nobody said is MISSING."""
    with session(json) as console:
        from tunesmith import curate
        from tunesmith.core.store import Workspace, write_text

        config = data_config(files, format, column or [], set or [])
        facts = curate.describe(
            config,
            _notes(notes),
            Workspace.open(),
            _report(console, config, report),
            _audit(config, audit or []),
            console.emit,
        )
        page = curate.to_markdown(facts)
        write_text(out / "card.md", page)
        write_text(out / "card.croissant.json", curate.to_croissant(facts))
        write_text(out / "card.json", facts.model_dump_json(indent=2) + "\n")
        absent = page.count(curate.MISSING)
        console.print(
            f"{out}/card.md, card.croissant.json, card.json: {facts.rows:,} rows, {absent} statements missing"
        )
        console.result({"path": str(out), "rows": facts.rows, "digest": facts.digest, "missing": absent})


def _notes(path: Path | None) -> CardNotes:
    from tunesmith.core import config as configuration
    from tunesmith.curate import CardNotes

    if path is None:
        return CardNotes()
    return configuration.load(path, {"notes": CardNotes}, ()).stage("notes", CardNotes)


def _report(console: Console, config: Config, path: Path | None) -> CurationReport | None:
    """The report that was named, or the usual one when it is about these files."""
    from tunesmith import curate

    if path is not None:
        return curate.reported(path)
    if not USUAL_REPORT.is_file():
        return None
    found = curate.reported(USUAL_REPORT)
    wanted = {curate.content_digest(Path(spec.path)) for spec in config.datasets}
    if {file.sha256 for file in found.files} == wanted:
        return found
    console.print(f"not used: {USUAL_REPORT} is about other files")
    return None


def _audit(config: Config, journals: list[Path]) -> AuditResult | None:
    from tunesmith import curate
    from tunesmith.core.errors import DataError

    if not journals:
        return None
    sample, decisions = curate.gather(journals)
    if {*sample.data.values()} != {curate.content_digest(Path(spec.path)) for spec in config.datasets}:
        raise DataError(
            "the audit was of other files",
            where=", ".join(map(str, journals)),
            rule="a card cites an audit of the very files that it describes, by their hashes",
            fix="audit these files, or leave --audit out",
        )
    return curate.audit_result(sample, decisions)
