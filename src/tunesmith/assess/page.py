"""The advice as one HTML page that needs no network."""

from __future__ import annotations

from tunesmith.assess.document import cells_of, share_text
from tunesmith.core.advice import Advice
from tunesmith.text.page import chip, fill

MOST_ITEMS = 300
"""Rows of the appendix; advice.json has all."""

TEMPLATE = """{% extends "frame" %}
{% block page %}
{%- macro mark(verdict) -%}
<span class="chip {{ verdict.kind }}">{{ verdict.symbol }} {{ verdict.word }}</span>
{%- endmacro %}
<header class="top"><span>Assessment</span><span>{{ created }} · {{ rows }}</span></header>
<section class="hero {{ kind }}">
<h1>{{ headline }}</h1>
<p class="lead">{{ advice.sentence }}</p>
<p class="soft">Rule: {{ advice.rule }}. Target: {{ target }} of the rows right.</p>
</section>

<h2>Arms</h2>
<p class="about">All answered the same held-out rows with the same decoding; prompts were chosen on validation rows
alone.</p>
<div class="sheet"><table>
<thead><tr><th>arm</th><th>right</th><th>{{ advice.metric }}</th><th>errors</th><th>search</th>
<th>1,000 answers</th></tr></thead>
<tbody>{% for arm, cells in arms %}
<tr><th scope="row">{{ arm.name }}<small class="wide">{{ arm.plan }}</small></th>
{% if cells %}{% for cell in cells %}<td class="num">{{ cell }}</td>{% endfor %}
{% else %}<td class="soft" colspan="5">not measured: {{ arm.reason }}</td>{% endif %}</tr>
{% endfor %}</tbody></table></div>

{% if verdicts %}<h2>One against another</h2>
<p class="about">Shares of right rows, exact McNemar on the same rows.</p>
<div class="sheet"><table><tbody>{% for verdict, word, text in verdicts %}
<tr><td class="narrow">{{ mark(word) }}</td><th scope="row">{{ verdict.candidate }} against {{ verdict.baseline }}
<small class="wide num">{{ text }}</small></th></tr>
{% endfor %}</tbody></table></div>{% endif %}

<h2>Why they fell short</h2>
<ul class="plain">{% for arm, cells in arms %}{% if cells %}
<li><b>{{ arm.name }}</b>: {{ arm.fell_short or "it did not: it surely reaches the target" }}</li>
{% endif %}{% endfor %}</ul>
<p class="about">{{ probe }}</p>

<h2>What would change this</h2>
<ul class="plain">{% for change in advice.would_change %}<li>{{ change }}</li>{% endfor %}</ul>

<h2>Rows</h2>
<details><summary>{{ items|length }} rows with every answer{% if left_out %}; {{ left_out }} more are in
advice.json{% endif %}</summary>
<div class="sheet"><table><tbody>{% for item in items %}
<tr><td>{{ item.prompt }}<small>{{ item.source }}</small></td><td>{{ item.reference }}</td>
{% for name, answer in item.answers.items() %}<td>{{ answer }}<small>{{ name }}:
{{ "right" if item.right[name] else item.errors[name]|join(", ") }}</small></td>{% endfor %}</tr>
{% endfor %}</tbody></table></div></details>
<ul class="plain">{% for note in advice.notes %}<li>{{ note }}</li>{% endfor %}</ul>
<footer>Advice {{ advice.advice_id }}, {{ advice.who or "nobody named" }}.</footer>
{% endblock %}
"""


def to_html(advice: Advice) -> str:
    """The page as one string; the same advice gives the same bytes."""
    probe = advice.probe
    known = "What the base knows was not probed."
    if probe is not None and probe.rows:
        known = f"Facts that no question gives away: {share_text(probe.sampled)} of rows had them in a sampled answer."
    values = {
        "headline": f"Advice: {advice.recommendation}",
        "kind": "unsure" if advice.recommendation in ("cannot tell", "collect more data") else "better",
        "created": advice.created_at[:10],
        "rows": ", ".join(f"{count} {name}" for name, count in advice.rows.items()),
        "target": f"{100 * advice.target:.0f} %",
        "advice": advice,
        "arms": [(arm, cells_of(arm) if arm.measured else None) for arm in advice.arms],
        "verdicts": [
            (
                found,
                chip(found.word),
                f"{found.gained} gained, {found.lost} lost of {found.n}; difference {100 * found.low:+.1f} to "
                f"{100 * found.high:+.1f} points, p = {found.p_value:.3f}",
            )
            for found in advice.verdicts
        ],
        "probe": known,
        "items": advice.items[:MOST_ITEMS],
        "left_out": max(0, len(advice.items) - MOST_ITEMS),
    }
    return fill(TEMPLATE, values)
