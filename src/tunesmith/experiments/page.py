"""Learning curve and selection arms as HTML pages that need no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tunesmith import curate
from tunesmith.core.stats import Interval
from tunesmith.text.page import fill

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 280, 70, 30, 18, 50

WORDS = {
    "more data will likely help": ("better", "▲"),
    "flat": ("same", "="),
    "cannot tell": ("unsure", "?"),
    "better": ("better", "▲"),
    "worse": ("worse", "▼"),
    "no visible difference": ("same", "="),
    "": ("same", "·"),
}
"""Word → its colour and its symbol."""

HEAD = """{% extends "frame" %}
{% block page %}
{%- macro mark(verdict) -%}
<span class="chip {{ verdict.kind }}">{{ verdict.symbol }} {{ verdict.word }}</span>
{%- endmacro %}
<header class="top"><span>{{ about }}</span><span>{{ model }}</span></header>
<section class="hero {{ verdict.kind }}">
<h1>{{ headline }}</h1>
<p class="lead">{{ sentence }}</p>
<p class="soft">Judged on {{ judged }} validation rows under {{ seeds }} seeds, in nats per target token, lower is
better. The test rows took no part.</p>
</section>
"""

CURVE = (
    HEAD
    + """
<h2>The curve</h2>
<p class="about">A small dot is a training, the line goes through their means. Under one seed a smaller share lies
inside every larger one; all trainings show each of their rows equally often.</p>
<div class="sheet">{{ plot }}</div>
<h2>Figures</h2>
<div class="sheet"><table>
<thead><tr><th>share</th><th>rows</th><th>validation loss</th><th>between seeds</th><th>trainings</th></tr></thead>
<tbody>{% for row in rows %}
<tr><th class="num">{{ row.share }}</th><td class="num">{{ row.rows }}</td><td class="num">{{ row.loss }}</td>
<td class="num">± {{ row.spread }}</td><td class="num">{{ row.each }}</td></tr>
{% endfor %}</tbody></table></div>
<h2>The last step</h2>
<div class="sheet"><dl>{% for name, value in facts %}<dt>{{ name }}</dt><dd class="num">{{ value }}</dd>{% endfor %}
</dl></div>
<footer>The interval covers other validation rows and other seeds. What lies beyond all rows was not measured.</footer>
{% endblock %}
"""
)

ARMS = (
    HEAD
    + """
<h2>Arms</h2>
<p class="about">Every arm but “all” has equally many rows. The difference is the loss of the random arm minus that of
the arm, on the same rows: above 0 is better than chance.</p>
<div class="sheet"><table>
<thead><tr><th>arm</th><th>rows</th><th>validation loss</th><th>between seeds</th><th>against chance</th>
<th>difference</th><th>interval</th></tr></thead>
<tbody>{% for row in rows %}
<tr{% if row.first %} class="primary"{% endif %}><th>{{ row.name }}<small>{{ row.about }}</small></th>
<td class="num">{{ row.rows }}</td>
<td class="num">{{ row.loss }}</td><td class="num">± {{ row.spread }}</td>
<td>{% if row.mark %}{{ mark(row.mark) }}{% else %}the measure of the others{% endif %}</td>
<td class="num">{{ row.difference }}</td><td class="num">{{ row.interval }}{{ row.bar }}</td></tr>
{% endfor %}</tbody></table></div>
<footer>The intervals hold for all arms together (95 %, Bonferroni). Nothing is chosen by default: the arms are an
experiment, and a training on the chosen rows is judged on the test rows like any other.</footer>
{% endblock %}
"""
)

ABOUT = {
    "random": "by chance, another draw under each seed",
    "ifd": "the hardest by IFD, without those above 1",
    "diversity": "hard, and far from each other",
    "all": "every row, for comparison",
}


def _mark(word: str) -> dict[str, str]:
    kind, symbol = WORDS[word]
    return {"kind": kind, "symbol": symbol, "word": word}


def curve_page(growth: curate.Growth, rows: Sequence[int], losses: Sequence[Sequence[float]], model: str) -> str:
    """The learning curve.

    Args:
        rows: training rows of each share.
        losses: share → seed → mean loss.
    """
    from markupsafe import Markup

    shown = [
        {
            "share": curate.percent(point.share),
            "rows": f"{count:,}",
            "loss": f"{point.loss:.4f}",
            "spread": f"{point.spread:.4f}",
            "each": ", ".join(f"{loss:.4f}" for loss in each),
        }
        for point, count, each in zip(growth.curve, rows, losses, strict=True)
    ]
    values = {
        "about": "How much data",
        "model": model,
        "verdict": _mark(growth.answer),
        "headline": growth.answer[0].upper() + growth.answer[1:],
        "sentence": growth.sentence,
        "judged": growth.rows,
        "seeds": growth.seeds,
        "plot": Markup(curve_plot(rows, losses)),
        "rows": shown,
        "facts": _facts(growth),
    }
    return fill(CURVE, values)


def _facts(growth: curate.Growth) -> list[tuple[str, str]]:
    def number(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.4f}"

    return [
        ("fall of the loss", number(growth.gain)),
        ("95 % interval", span(growth.interval)),
        ("smallest visible", number(growth.smallest_visible)),
        ("smallest that counts", number(growth.margin)),
        ("as large a step once more", span(growth.expected) if growth.expected else "not visible from these shares"),
    ]


def span(interval: Interval | None) -> str:
    """An interval in words; "–" where there is none."""
    return "–" if interval is None else f"{interval.low:+.4f} to {interval.high:+.4f}"


def curve_plot(rows: Sequence[int], losses: Sequence[Sequence[float]]) -> str:
    """Losses over the number of rows (logarithmic): a dot for each training, a line through the means."""
    at = [math.log2(count) for count in rows]
    flat = [loss for some in losses for loss in some]
    x = _scale(at[0], at[-1], LEFT + 20, WIDTH - RIGHT - 20)
    y = _scale(min(flat), max(flat), HEIGHT - BOTTOM - 10, TOP + 10)
    parts = []
    for level in (min(flat), (min(flat) + max(flat)) / 2, max(flat)):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(level) + 4:.1f}" text-anchor="end">{level:.3f}</text>')
    bottom = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    for place, count in zip(at, rows, strict=True):
        parts.append(f'<text x="{x(place):.1f}" y="{bottom + 18}" text-anchor="middle">{count:,}</text>')
    means = [(place, sum(some) / len(some)) for place, some in zip(at, losses, strict=True)]
    path = " ".join(f"{x(place):.1f},{y(mean):.1f}" for place, mean in means)
    parts.append(f'<polyline class="validation" points="{path}"/>')
    for place, some in zip(at, losses, strict=True):
        parts += [f'<circle cx="{x(place):.1f}" cy="{y(loss):.1f}" r="3"/>' for loss in some]
    parts += [f'<circle class="validation" cx="{x(p):.1f}" cy="{y(mean):.1f}" r="4.5"/>' for p, mean in means]
    centre = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="label" x="{centre:.0f}" y="{HEIGHT - 8}" text-anchor="middle">training rows</text>')
    words = "Validation loss over training rows"
    view = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}"'
    return f'<svg class="plot" {view}><title>{words}</title>{"".join(parts)}</svg>'


def arms_page(comparison: curate.Comparison, model: str) -> str:
    """The selection arms."""
    from markupsafe import Markup

    ends = [end for arm in comparison.arms if arm.interval for end in arm.interval]
    reach = max([abs(end) for end in ends], default=1.0) or 1.0
    rows, best = [], comparison.best
    for arm in comparison.arms:
        known = arm.interval is not None and arm.difference is not None
        rows.append(
            {
                "name": arm.name,
                "about": ABOUT[arm.name],
                "first": arm.name == best,
                "rows": f"{arm.rows:,}",
                "loss": f"{arm.loss:.4f}",
                "spread": f"{arm.spread:.4f}",
                "mark": _mark(arm.word) if arm.word else None,
                "difference": "–" if arm.difference is None else f"{arm.difference:+.4f}",
                "interval": span(arm.interval),
                "bar": Markup(_bar(arm, reach) if known else ""),
            }
        )
    values: dict[str, Any] = {
        "about": "Selection of rows",
        "model": model,
        "verdict": _mark("better" if best else ""),
        "headline": _headline(comparison),
        "sentence": comparison.sentence,
        "judged": comparison.validation_rows,
        "seeds": comparison.seeds,
        "rows": rows,
    }
    return fill(ARMS, values)


def _headline(comparison: curate.Comparison) -> str:
    if comparison.best:
        return f"Better than chance: {comparison.best}"
    if {arm.name for arm in comparison.arms} <= {"random", "all"}:
        return "All rows against a random part of them"
    return "No choice is visibly better than chance"


def _bar(arm: curate.Arm, reach: float) -> str:
    assert arm.interval is not None
    assert arm.difference is not None
    interval, value, kind = arm.interval, arm.difference, WORDS[arm.word or ""][0]
    x = _scale(-reach, reach, 8, 152)
    return (
        '<svg class="interval" viewBox="0 0 160 20" aria-hidden="true">'
        f'<line class="zero" x1="{x(0.0):.1f}" x2="{x(0.0):.1f}" y1="1" y2="19"/>'
        f'<line class="whisker {kind}" x1="{x(interval.low):.1f}" x2="{x(interval.high):.1f}" y1="10" y2="10"/>'
        f'<circle class="{kind}" cx="{x(value):.1f}" cy="10" r="4"/></svg>'
    )


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    if high <= low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) * (end - start) / (high - low)
