"""``tunesmith report``: a stored report again, as a page, as Markdown, or as JSON; no model is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import Console, JsonOption, session
from tunesmith.cli.train import show_verdict

if TYPE_CHECKING:
    from tunesmith.core.artifacts import Report
    from tunesmith.evaluate import BlindKey


def report(
    which: Annotated[str, typer.Argument(help="Id of a report, folder of a run, or a report.json.")] = "latest",
    html: Annotated[Path | None, typer.Option("--html", help="Write the page to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write Markdown to this file.")] = None,
    blind: Annotated[
        Path | None, typer.Option("--blind", help="Write a page on which people choose, not knowing which is which.")
    ] = None,
    judged: Annotated[
        list[Path] | None, typer.Option("--judged", help="Decisions that readers saved on that page; one file each.")
    ] = None,
    watch: Annotated[str, typer.Option("--watch", help="Show this series of fresh held-out rows over time.")] = "",
    json: JsonOption = False,
) -> None:
    """Show a report that was made before; the same report gives the same bytes, without any model or network."""
    with session(json) as console:
        from tunesmith import evaluate
        from tunesmith.core.store import write_text

        if watch:
            _trend(console, watch, html)
            return
        found = _find(which)
        if judged:
            _tell(console, found, judged)
            return
        if blind is not None:
            write_text(blind, evaluate.blind_page(found, _key(found, make=True)))
            console.print(f"open {blind} in a browser; each reader saves a file of decisions, then:")
            console.print(f"tunesmith report {which} --judged blind-….json --judged blind-….json")
            console.result({"report": found.report_id, "rows": len(found.items), "page": str(blind)})
            return
        show_verdict(console, found)
        if html is not None:
            write_text(html, evaluate.to_html(found))
            console.print("", f"page: {html}")
        if markdown is not None:
            write_text(markdown, evaluate.to_markdown(found))
            console.print("", f"Markdown: {markdown}")
        console.result(found)


def _trend(console: Console, series: str, page: Path | None) -> None:
    """The points and the trend of a series. Exit code 1 when it got worse, or a new sample is due."""
    from tunesmith import proof
    from tunesmith.core.store import Workspace, write_text

    found = proof.trend(series, Workspace.open())
    for point in found.points:
        score = f"{point.value:.4g} ({point.low:.4g} to {point.high:.4g})"
        console.print(f"{point.at[:10]}  {point.model}  {point.metric} {score}, {point.n} rows")
    console.print("", found.sentence)
    if found.due:
        console.print(f"the newest sample is {found.days} days old: collect fresh rows")
    if page is not None:
        write_text(page, proof.trend_page(found))
        console.print("", f"page: {page}")
    console.result(found)
    if found.due or found.verdict == "worse":
        raise typer.Exit(1)


def _tell(console: Console, found: Report, files: list[Path]) -> None:
    from tunesmith import evaluate

    result = evaluate.blind_result(found, _key(found, make=False), evaluate.read_decisions(files))
    console.print(result.sentence)
    for pair in result.agreements:
        kappa = "not defined: one choice throughout" if pair.kappa is None else f"{pair.kappa:.2f}"
        console.print(f"{' and '.join(pair.reviewers)}: equal on {pair.equal} of {pair.rows} rows, kappa {kappa}")
    console.result(result)


def _key(found: Report, make: bool) -> BlindKey:
    """What decides the sides of this report's page; made once.

    Raises:
        InputError: no page was written yet.
    """
    import secrets

    from tunesmith.core.errors import InputError
    from tunesmith.core.store import Workspace
    from tunesmith.evaluate import BlindKey

    workspace = Workspace.open()
    kept = [key for key in workspace.list("blind", BlindKey) if key.report_id == found.report_id]
    if not kept and not make:
        raise InputError(
            f"no blind page was written for report {found.report_id}",
            where="--judged",
            rule="the sides of a page are known in the workspace that wrote it",
            fix="use that workspace, or write a page with --blind and let people judge it",
        )
    key = kept[0] if kept else BlindKey(report_id=found.report_id, key=secrets.token_hex(32))
    workspace.put("blind", found.report_id, key)
    return key


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
