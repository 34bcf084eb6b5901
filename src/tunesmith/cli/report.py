"""``tunesmith report``: a stored report again, as a page, as Markdown, or as JSON; no model is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import JsonOption, session
from tunesmith.cli.train import show_verdict

if TYPE_CHECKING:
    from tunesmith.core.artifacts import Report


def report(
    which: Annotated[str, typer.Argument(help="Id of a report, folder of a run, or a report.json.")] = "latest",
    html: Annotated[Path | None, typer.Option("--html", help="Write the page to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write Markdown to this file.")] = None,
    json: JsonOption = False,
) -> None:
    """Show a report that was made before; the same report gives the same bytes, without any model or network."""
    with session(json) as console:
        from tunesmith import evaluate
        from tunesmith.core.store import write_text

        found = _find(which)
        show_verdict(console, found)
        if html is not None:
            write_text(html, evaluate.to_html(found))
            console.print("", f"page: {html}")
        if markdown is not None:
            write_text(markdown, evaluate.to_markdown(found))
            console.print("", f"Markdown: {markdown}")
        console.result(found)


def _find(which: str) -> Report:
    """The report that a name means.

    Raises:
        InputError: there is none, or more than one begins like this.
    """
    from pydantic import ValidationError

    from tunesmith.core.artifacts import Report
    from tunesmith.core.errors import InputError
    from tunesmith.core.store import Workspace

    path = Path(which) / "report.json" if Path(which).is_dir() else Path(which)
    if path.is_file():
        try:
            return Report.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise InputError(
                f"{path} is no report: {error.errors()[0]['msg']}",
                where=str(path),
                rule="a report is what eval, compare or train wrote with --json, or a run's report.json",
                fix="give the folder of a run, or the id of a report",
            ) from error
    kept = sorted(Workspace.open().list("report", Report), key=lambda report: report.created_at)
    matches = kept[-1:] if which == "latest" else [report for report in kept if report.report_id.startswith(which)]
    if len(matches) != 1:
        known = ", ".join(report.report_id for report in kept[-5:]) or "none yet"
        raise InputError(
            f"{len(matches)} reports are called {which}" if kept else "there is no report yet",
            where="report",
            rule="a report is named by its id, the folder of its run, or latest",
            fix=f"the last ones: {known}" if kept else "make one with tunesmith eval or tunesmith compare",
        )
    return matches[0]
