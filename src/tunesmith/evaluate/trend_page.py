"""The page of a trend: how a model does on fresh rows over time. One document that needs no network."""

from __future__ import annotations

from datetime import date

from tunesmith.evaluate import plots, wording
from tunesmith.evaluate.fresh import Trend
from tunesmith.text.page import chip, fill

TEMPLATE = """{% extends "frame" %}
{% block page %}
{%- macro chip(verdict, big=false) -%}
<span class="chip {{ verdict.kind }}{{ ' big' if big }}">{{ verdict.symbol }} {{ verdict.word }}</span>
{%- endmacro %}
<header class="top"><span>Fresh rows over time</span><span>{{ rows|length }} samples, until {{ last }}</span></header>
<section class="hero {{ verdict.kind }}">
{{ chip(verdict, true) }}
<h1>{{ headline }}</h1>
{% if evidence %}<p class="lead">{{ evidence }}</p>{% endif %}
<p class="soft"><b>{{ title }}</b>: {{ meaning }}.</p>
<p class="soft">{% if overdue %}<b>Overdue</b>: a new sample was expected
{% else %}The next sample is expected{% endif %} by {{ due }}.</p>
</section>
<h2>Trend</h2>
<p class="about">Each mark is a sample of other rows with its {{ confidence }} interval; the dashed line is the first
one.</p>
<div class="sheet">{{ plot }}</div>
<h2>Samples</h2>
<p class="about">Verdicts are against the first sample, corrected for their number. Rows that were trained on, or
stood in an earlier sample, did not count.</p>
<div class="sheet"><table>
<thead><tr><th>collected until</th><th>rows</th><th>{{ title }}</th><th>since the first</th><th>smallest visible</th>
<th>verdict</th><th>weights</th></tr></thead>
<tbody>{% for row in rows %}
<tr><th scope="row">{{ row.collected }}<small>{{ row.file }}</small></th>
<td class="num">{{ row.count }}{% if row.refused %}<small>{{ row.refused }} did not count</small>{% endif %}</td>
<td class="num">{{ row.value }}<small>{{ row.range }}</small></td>
<td class="num">{{ row.change }}<small>{{ row.change_range }}</small></td><td class="num">{{ row.smallest }}</td>
<td>{% if row.verdict %}{{ chip(row.verdict) }}<small>{{ row.p_value }}</small>{% endif %}</td>
<td><code>{{ row.digest }}</code></td></tr>
{% endfor %}</tbody></table></div>
<footer>Model {{ model }}.</footer>
{% endblock %}
"""


def trend_to_html(trend: Trend) -> str:
    """The page as one string; the same trend gives the same page."""
    from markupsafe import Markup

    headline, _, evidence = trend.sentence.partition(": ")
    metric, term = trend.metric, wording.term(trend.metric)
    points = [(date.fromisoformat(s.collected), s.value, s.low, s.high) for s in trend.samples]
    rows = []
    for sample in trend.samples:
        drift = sample.drift
        rows.append(
            {
                "collected": sample.collected,
                "file": sample.file,
                "count": f"{len(sample.ids):,}",
                "refused": len(sample.refused),
                "value": wording.value_text(metric, sample.value),
                "range": wording.range_text(metric, sample.low, sample.high),
                "change": wording.difference_text(metric, drift.difference) if drift else "",
                "change_range": wording.difference_range_text(metric, drift.low, drift.high) if drift else "",
                "smallest": wording.difference_text(metric, drift.smallest_visible, sign=False) if drift else "",
                "verdict": chip(drift.verdict) if drift else None,
                "p_value": wording.p_text(drift.p_value) if drift else "",
                "digest": sample.digest[:12],
            }
        )
    values = {
        "headline": headline,
        "evidence": evidence,
        "verdict": chip(trend.verdict or "no verdict"),
        "title": term.title,
        "meaning": term.meaning,
        "confidence": wording.percent(trend.confidence),
        "overdue": trend.overdue,
        "due": trend.due,
        "last": trend.samples[-1].collected,
        "plot": Markup(plots.trend(term.title, points, {"share": 100.0}.get(term.unit, 1.0))),
        "rows": rows,
        "model": trend.model,
    }
    return fill(TEMPLATE, values)
