"""The page of a series: how a model does on fresh rows over time. One document that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from tunesmith.core.artifacts import Verdict
from tunesmith.evaluate import plots, wording
from tunesmith.text.page import chip, fill

TEMPLATE = """{% extends "frame" %}
{% block page %}
<header class="top"><span>Fresh rows over time: {{ series }}</span><span>{{ rows|length }} samples</span></header>
<section class="hero {{ verdict.kind }}">
<span class="chip {{ verdict.kind }} big">{{ verdict.symbol }} {{ verdict.word }}</span>
<h1>{{ headline }}</h1>
{% if evidence %}<p class="lead">{{ evidence }}</p>{% endif %}
{% if due %}<p class="soft"><b>Due</b>: {{ due }}.</p>{% endif %}
<p class="soft"><b>{{ title }}</b>: {{ meaning }}.</p>
</section>
<h2>Trend</h2>
<p class="about">Each mark is a sample of other rows with its 95 % interval; the dashed line is the first one. A mark
whose interval crosses the line says little by itself: the verdict is about the first and the newest.</p>
<div class="sheet">{{ plot }}</div>
<h2>Samples</h2>
<p class="about">Every row of a sample stands in its report (<code>tunesmith report ID --html page.html</code>).</p>
<div class="sheet"><table>
<thead><tr><th>measured on</th><th>rows</th><th>{{ title }}</th><th>model</th><th>weights</th>
<th>report</th></tr></thead>
<tbody>{% for row in rows %}
<tr><th scope="row">{{ row.day }}</th><td class="num">{{ row.count }}</td>
<td class="num">{{ row.value }}<small>{{ row.range }}</small></td><td>{{ row.model }}</td>
<td><code>{{ row.digest }}</code>{% if row.changed %}<small>changed here</small>{% endif %}</td>
<td><code>{{ row.report }}</code></td></tr>
{% endfor %}</tbody></table></div>
{% endblock %}
"""


class TrendPoint(NamedTuple):
    """One sample: when, who, how well, on how many rows, and which report has them."""

    day: date
    model: str
    digest: str
    report_id: str
    rows: int
    value: float
    low: float
    high: float


def trend_to_html(
    series: str, metric: str, points: Sequence[TrendPoint], verdict: Verdict, sentence: str, due: str
) -> str:
    """The page as one string; the same points give the same page.

    Args:
        metric: what all points were measured by.
        points: in the order of their days.
        verdict: of the newest against the first.
        sentence: the verdict in words.
        due: what to say about a sample that is due; "" when none is.
    """
    from markupsafe import Markup

    headline, _, evidence = sentence.partition(": ")
    term = wording.term(metric)
    marks = [(point.day, point.value, point.low, point.high) for point in points]
    before = [points[0].digest, *(point.digest for point in points)]
    rows = [
        {
            "day": point.day.isoformat(),
            "count": f"{point.rows:,}",
            "value": wording.value_text(metric, point.value),
            "range": wording.range_text(metric, point.low, point.high),
            "model": point.model,
            "digest": point.digest[:12],
            "changed": point.digest != earlier,
            "report": point.report_id,
        }
        for point, earlier in zip(points, before, strict=False)
    ]
    values = {
        "headline": headline[:1].upper() + headline[1:],
        "evidence": evidence[:1].upper() + evidence[1:],
        "series": series,
        "verdict": chip(verdict),
        "title": term.title,
        "meaning": term.meaning,
        "due": due,
        "plot": Markup(plots.trend(term.title, marks, 100.0 if term.unit == "share" else 1.0)),
        "rows": rows,
    }
    return fill(TEMPLATE, values)
