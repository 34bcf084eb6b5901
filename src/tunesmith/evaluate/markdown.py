"""The report as Markdown: for a merge request, a wiki, or a document that somebody signs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tunesmith.core.artifacts import Report
from tunesmith.evaluate import wording
from tunesmith.evaluate.evidence import figure_text


def to_markdown(report: Report) -> str:
    """The decision, the table, slices and gates; the rows are in the JSON of the report."""
    lines = [f"# {report.sentence.partition(': ')[0]}", "", report.sentence, ""]
    if report.standing is not None:
        lines += [f"**{report.standing.kind.capitalize()}**: {report.standing.reason}.", ""]
    lines += [*_table(wording.table(report)), ""]
    lines += [f"- Not measured: {', '.join(names)}: {reason}." for reason, names in wording.not_measured(report)]
    if report.slices:
        lines += ["", "## Parts of the rows", ""]
        lines += [f"- {part.name}: {found.sentence}" for part in report.slices for found in part.comparisons]
    if report.gates:
        lines += ["", "## Gates", ""]
        for gate in report.gates:
            lines.append(f"- **{gate.name}: {gate.verdict}**. {gate.sentence}")
            lines += [f"  - {figure.name}: {figure_text(figure)}" for figure in gate.figures]
            lines += [f"  - {note}" for note in gate.notes]
    lines += ["", "## How to read this", "", *(f"- {note}" for note in report.notes), ""]
    models = ", ".join(f"{model.name} ({model.digest[:12] or 'no digest'})" for model in report.models)
    lines += [f"Report {report.report_id}, {report.created_at}, {len(report.items)} rows. Models: {models}."]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    head, *body = [[_cell(cell) for cell in row] for row in rows]
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in body:
        yield f"| {' | '.join(row)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
