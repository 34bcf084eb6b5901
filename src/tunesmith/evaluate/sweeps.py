"""A hyper-parameter search as one HTML page that needs no network, in the style of the report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.core.artifacts import SweepRecord, SweepTrial
from tunesmith.text.page import fill

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 230, 62, 16, 14, 44
MARKS = {"complete": ("better", "✓"), "pruned": ("same", "✂"), "failed": ("worse", "✗"), "cut": ("unsure", "…")}
SPIKE = 3.0
"""Losses above so many times the median are drawn at the upper edge."""

TEMPLATE = """{% extends "frame" %}
{% block style %}
svg.plot { min-width: 0; } .plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr));
gap: 14px; margin-top: 12px; } svg polyline.lead { stroke: var(--good); stroke-width: 2; }
{% endblock %}
{% block page %}
<header class="top"><span>Hyper-parameter search</span><span>{{ created_at }} · {{ record.trials|length }} trials,
{{ minutes }} minutes</span></header>
<section class="hero {{ 'better' if best else 'unsure' }}">
<h1>{{ headline }}</h1>
<p class="lead">{{ record.sentence }}</p>
<p class="soft">Judged by the validation loss alone (nats per target token, lower is better). The search ended:
{{ record.stopped }}.</p>
</section>

{% if plots %}
<h2>What was found</h2>
<p class="about">Each dot is a trial at its lowest validation loss: green was completed, grey was stopped because it was
they were behind. The line is the best so far. A knob whose dots form no slope matters little here.</p>
<div class="plots">{% for plot in plots %}<div class="sheet">{{ plot }}</div>{% endfor %}</div>
{% endif %}

<h2>Trials</h2>
<p class="about">Complete trials first, best on top.</p>
<div class="sheet"><table>
<thead><tr><th>trial</th><th>outcome</th><th>validation loss</th>{% for name in names %}<th>{{ name }}</th>{% endfor %}
<th>steps</th><th>seconds</th></tr></thead>
<tbody>
{% for row in rows %}
<tr{% if row.first %} class="primary"{% endif %}><td class="num">{{ row.number }}</td>
<td><span class="chip {{ row.kind }}">{{ row.symbol }} {{ row.state }}</span><small>{{ row.reason }}</small></td>
<td class="num">{{ row.loss }}</td>{% for value in row.knobs %}<td class="num">{{ value }}</td>{% endfor %}
<td class="num">{{ row.steps }}</td><td class="num">{{ row.seconds }}</td></tr>
{% endfor %}
</tbody></table></div>

<h2>Candidates</h2>
<div class="sheet"><dl>{% for name, words in record.space.items() %}<dt>{{ name }}</dt><dd><code>{{ words }}</code></dd>
{% endfor %}</dl></div>

<h2>Facts</h2>
<div class="sheet"><dl>
{% for name, value in record.identity.items() %}<dt>{{ name }}</dt><dd><code>{{ value }}</code></dd>
{% endfor %}</dl></div>
<footer>Trial 0 {{ "is the configuration as it stood" if record.has_own else "was drawn like the others" }}. Loss of a
trial that was not completed: the lowest until it ended; it takes no part in the ranking.</footer>
{% endblock %}
"""


def sweep_to_html(record: SweepRecord) -> str:
    """The page as one string."""
    from markupsafe import Markup

    best = record.ranking[0] if record.ranking else None
    values = ", ".join(f"{name} {value_text(value)}" for name, value in best.values.items()) if best else ""
    ranked = {trial.number: place for place, trial in enumerate(record.ranking)}
    ordered = sorted(record.trials, key=lambda trial: (ranked.get(trial.number, len(ranked)), trial.number))
    sections = {
        "record": record,
        "best": best,
        "headline": f"Best so far: {values}" if best else "No configuration can be recommended",
        "created_at": record.created_at.replace("T", " ").replace("+00:00", " UTC"),
        "minutes": f"{record.seconds / 60:.1f}",
        "names": list(record.space),
        "rows": [_row(trial, record, trial is best) for trial in ordered],
        "plots": [Markup(plot) for plot in _plots(record)],
    }
    return fill(TEMPLATE, sections)


def value_text(value: Any) -> str:
    """A knob's value as it is shown: numbers in few digits, words without quotes."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _row(trial: SweepTrial, record: SweepRecord, first: bool) -> dict[str, Any]:
    kind, symbol = MARKS[trial.state]
    return {
        "number": trial.number,
        "first": first,
        "kind": kind,
        "symbol": symbol,
        "state": trial.state,
        "reason": trial.reason,
        "loss": "–" if trial.loss is None else f"{trial.loss:.4f}",
        "knobs": [value_text(trial.values[name]) for name in record.space],
        "steps": f"{trial.steps:,}",
        "seconds": f"{trial.seconds:.0f}",
    }


def _plots(record: SweepRecord) -> list[str]:
    """The losses in the order of the trials, then over each knob."""
    shown = [trial for trial in record.trials if trial.loss is not None and trial.state in ("complete", "pruned")]
    if not shown:
        return []
    plots = [_plot("trial", shown, [float(trial.number) for trial in shown], {}, lead=True)]
    for name in record.space:
        raw = [trial.values[name] for trial in shown]
        numbers = [value for value in raw if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) == len(raw):
            plots.append(_plot(name, shown, [float(value) for value in numbers], {}))
        else:
            words = {json.dumps(value): place for place, value in enumerate(raw)}
            places = {word: float(place) for place, word in enumerate(sorted(words))}
            labels = {place: value_text(json.loads(word)) for word, place in places.items()}
            plots.append(_plot(name, shown, [places[json.dumps(value)] for value in raw], labels))
    return plots


def _plot(
    title: str, trials: Sequence[SweepTrial], at: Sequence[float], labels: Mapping[float, str], lead: bool = False
) -> str:
    """Losses over one quantity, logarithmic where that spans more than a power of ten."""
    losses = [trial.loss for trial in trials if trial.loss is not None]
    top = min(max(losses), SPIKE * sorted(losses)[len(losses) // 2])
    low, high = min(losses), top if top > min(losses) else min(losses) + 1e-3
    logarithmic = min(at) > 0 and max(at) > 10 * min(at) and not labels and not lead
    place = [math.log10(value) for value in at] if logarithmic else list(at)
    x = _scale(min(place), max(place), LEFT + 14, WIDTH - RIGHT - 14)
    y = _scale(low, high, HEIGHT - BOTTOM - 8, TOP + 8)
    marks = labels or {value: value_text(value) if not lead else f"{value:.0f}" for value in (min(at), max(at))}
    parts = [_axes(y, low, high, title)]
    for value, text in marks.items():
        where = x(math.log10(value) if logarithmic else value)
        parts.append(f'<text x="{where:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{_escape(text)}</text>')
    if lead:
        done = [(p, t.loss) for p, t in zip(place, trials, strict=True) if t.state == "complete" and t.loss is not None]
        path, best = [], math.inf
        for p, loss in done:
            best = min(best, loss)
            path.append(f"{x(p):.1f},{y(min(best, high)):.1f}")
        parts.append(f'<polyline class="lead" points="{" ".join(path)}"/>')
    for p, trial in zip(place, trials, strict=True):
        kind = MARKS[trial.state][0]
        loss = trial.loss if trial.loss is not None else high
        parts.append(
            f'<circle class="{kind}" cx="{x(p):.1f}" cy="{y(min(loss, high)):.1f}" r="4">'
            f"<title>trial {trial.number}: {loss:.4f}</title></circle>"
        )
    words = f"Validation loss over {_escape(title)}"
    view = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}"'
    return f'<svg class="plot" {view}><title>{words}</title>{"".join(parts)}</svg>'


def _axes(y: Callable[[float], float], low: float, high: float, title: str) -> str:
    parts = []
    for level in (low, (low + high) / 2, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(level) + 4:.1f}" text-anchor="end">{level:.3f}</text>')
    bottom, centre = HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text class="label" x="{centre:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{_escape(title)}</text>')
    return "".join(parts)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    if high <= low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) * (end - start) / (high - low)


def _escape(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))
