"""What stands behind the verdict on the page: parts of the rows, gates, and every row with its answers."""

from __future__ import annotations

from typing import Any

from tunesmith.core.artifacts import Report
from tunesmith.core.gates import Figure
from tunesmith.evaluate import wording
from tunesmith.text.page import chip

MOST_ITEMS = 500
"""Rows of the appendix; the JSON of the report has all."""

LONGEST = 400


def sections(report: Report) -> dict[str, Any]:
    """The template's values for slices, gates and the appendix."""
    return {
        "standing": None
        if report.standing is None
        else {"kind": report.standing.kind, "reason": report.standing.reason, "spec": report.standing.spec},
        "slices": [
            {
                "name": part.name.replace("=", ": ", 1),
                "rows": found.n,
                "candidate": found.candidate,
                "change": f"{wording.value_text(found.metric, found.baseline_value)} → "
                f"{wording.value_text(found.metric, found.candidate_value)}",
                "range": wording.difference_range_text(found.metric, found.low, found.high),
                "verdict": chip(found.verdict),
            }
            for part in report.slices
            for found in part.comparisons
        ],
        "gates": [
            {
                "name": gate.name,
                "verdict": chip(_WORDS.get(gate.verdict, gate.verdict)),
                "sentence": gate.sentence,
                "figures": [(figure.name, figure_text(figure)) for figure in gate.figures],
                "notes": gate.notes,
            }
            for gate in report.gates
        ],
        "appendix": [_item(report, number) for number in range(min(len(report.items), MOST_ITEMS))],
        "left_out": max(0, len(report.items) - MOST_ITEMS),
    }


_WORDS = {"pass": "passed", "fail": "failed"}


def figure_text(figure: Figure) -> str:
    """A gate's number with unit, interval and count."""
    if figure.value is None:
        return f"not measured{f' ({figure.note})' if figure.note else ''}"
    text = _number(figure, figure.value)
    if figure.low is not None and figure.high is not None:
        low = _number(figure, figure.low).removesuffix(" %").removesuffix(" points")
        text += f" ({low} to {_number(figure, figure.high)})"
    text += f", n = {figure.n:,}" if figure.n else ""
    return text + (f" ({figure.note})" if figure.note else "")


def _number(figure: Figure, value: float) -> str:
    if figure.unit == "share":
        return f"{100 * value:.1f} %"
    if figure.unit == "points":
        return f"{100 * value:+.1f} points"
    return f"{value:.3g}" + (f" {figure.unit}" if figure.unit else "")


def _item(report: Report, number: int) -> dict[str, Any]:
    item, metric = report.items[number], report.primary_metric
    return {
        "anchor": anchor(item.example_id),
        "number": number + 1,
        "source": item.source,
        "question": _clip(" ".join(item.prompt.split())),
        "wanted": _clip(item.reference),
        "voices": [
            {
                "name": model.name,
                "score": wording.value_text(metric, item.scores[model.name].get(metric)),
                "answer": _clip(item.answers.get(model.name, "")),
            }
            for model in report.models
        ],
    }


def anchor(example_id: str) -> str:
    """Where a row stands in the appendix."""
    return f"row-{example_id}"


def _clip(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,} characters more)"
