"""Plots as inline SVG: axes with labels, colours from the page's style, no script, nothing fetched."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date

WIDTH, HEIGHT = 1000, 320
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 14, 46

MOST_POINTS = 400
"""Training steps drawn; longer runs are averaged in groups."""

SPIKE = 3.0
"""Losses above so many times the usual largest one are outside the frame."""

Points = list[tuple[float, float]]
Scale = Callable[[float], float]


def loss_curves(train: Sequence[float], validation: Mapping[int, float], best_step: int) -> str:
    """Training loss of each step with its running mean, validation losses, and the step that was kept.

    Args:
        train: loss of optimiser step 1, 2, … in nats per target token.
        validation: optimiser step → loss.

    Returns "" when there is nothing finite to draw.
    """
    steps = [(i + 1.0, loss) for i, loss in enumerate(train) if math.isfinite(loss)]
    checks = [(float(step), loss) for step, loss in sorted(validation.items()) if math.isfinite(loss)]
    if not steps and not checks:
        return ""
    points = _thin(steps)
    smooth = _running_mean(points)
    losses = sorted(loss for _, loss in points + checks)
    usual = losses[math.ceil(0.97 * len(losses)) - 1]
    # A single spike must not flatten the rest: it leaves the frame.
    levels_y = _ticks(losses[0], losses[-1] if losses[-1] <= SPIKE * usual else usual)
    levels_x = _ticks(0.0, max(step for step, _ in steps + checks), whole=True)
    x = _scale(0.0, max(step for step, _ in steps + checks), LEFT, WIDTH - RIGHT)
    y = _scale(levels_y[0], levels_y[-1], HEIGHT - BOTTOM, TOP)
    parts = [
        _axes(x, y, levels_x, levels_y, "loss (nats per target token)"),
        _line(points, x, y, "raw"),
        _line(smooth, x, y, "train"),
    ]
    parts += [_line(checks, x, y, "validation")]
    parts += [f'<circle class="validation" cx="{x(s):.1f}" cy="{y(v):.1f}" r="3.5"/>' for s, v in checks]
    if math.isfinite(validation.get(best_step, math.nan)):
        parts.append(_best_step(best_step, validation[best_step], x))
    title = f"Loss over {int(max(step for step, _ in steps + checks))} optimiser steps"
    clip = f'<clipPath id="frame"><rect x="{LEFT}" y="0" width="{WIDTH - LEFT}" height="{HEIGHT - BOTTOM}"/></clipPath>'
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f"<title>{title}</title>{clip}{''.join(parts)}</svg>"
    )


def metric_curve(title: str, values: Mapping[int, float], steps: int, scale: float | None) -> str:
    """A task metric over the run, on the same steps as the loss curves above it.

    Args:
        title: name of the metric.
        values: optimiser step → value.
        steps: length of the run.
        scale: largest value of the metric; None when there is none.

    Returns "" when there is nothing finite to draw.
    """
    points = [(float(step), value) for step, value in sorted(values.items()) if math.isfinite(value)]
    if not points:
        return ""
    found = [value for _, value in points]
    levels_y = _ticks(0.0, scale) if scale else _ticks(min(found), max(found))
    levels_x = _ticks(0.0, float(steps), whole=True)
    x = _scale(0.0, float(steps), LEFT, WIDTH - RIGHT)
    y = _scale(levels_y[0], levels_y[-1], HEIGHT - BOTTOM, TOP)
    name = html.escape(title)
    parts = [_axes(x, y, levels_x, levels_y, name), _line(points, x, y, "validation")]
    parts += [f'<circle class="validation" cx="{x(s):.1f}" cy="{y(v):.1f}" r="3.5"/>' for s, v in points]
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name} over {steps} optimiser steps">'
        f"<title>{name} over {steps} optimiser steps</title>{''.join(parts)}</svg>"
    )


def trend(title: str, points: Sequence[tuple[date, float, float, float]], factor: float) -> str:
    """A score with its interval on the days of its samples; a dashed line at the first one.

    Args:
        title: name of the metric.
        points: (day, value, low, high), in order.
        factor: what values are multiplied by: 100 for shares, to show per cent.
    """
    days = [float(day.toordinal()) for day, *_ in points]
    values = [tuple(factor * part for part in numbers) for _, *numbers in points]
    spare = max(1.0, (days[-1] - days[0]) * 0.05)
    levels = _ticks(min(low for _, low, _ in values), max(high for _, _, high in values))
    x = _scale(days[0] - spare, days[-1] + spare, LEFT, WIDTH - RIGHT)
    y = _scale(levels[0], levels[-1], HEIGHT - BOTTOM, TOP)
    name = html.escape(title + (" (%)" if factor == 100.0 else ""))
    start = y(values[0][0])
    parts = [
        _axes(x, y, [], levels, name, "measured on"),
        f'<line class="zero" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{start:.1f}" y2="{start:.1f}"/>',
        _line([(day, value) for day, (value, _, _) in zip(days, values, strict=True)], x, y, "train"),
    ]
    apart = -math.inf
    for (day, *_), at, (value, low, high) in zip(points, days, values, strict=True):
        parts.append(f'<line class="whisker" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>')
        parts.append(f'<circle class="validation" cx="{x(at):.1f}" cy="{y(value):.1f}" r="5"/>')
        if x(at) - apart >= 90:  # names that would overlap are left out; the table has all of them
            apart = x(at)
            parts.append(f'<text x="{apart:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{day}</text>')
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name} over {len(points)} samples">'
        f"<title>{name} over {len(points)} samples</title>{''.join(parts)}</svg>"
    )


def interval_bar(low: float, high: float, value: float, reach: tuple[float, float], kind: str) -> str:
    """A difference with its interval, on a scale over ``reach``, which holds 0; ``kind`` is a CSS class."""
    x = _scale(*reach, 8, 152)
    return (
        '<svg class="interval" viewBox="0 0 160 20" aria-hidden="true">'
        f'<line class="zero" x1="{x(0.0):.1f}" x2="{x(0.0):.1f}" y1="1" y2="19"/>'
        f'<line class="whisker {kind}" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="10" y2="10"/>'
        f'<circle class="{kind}" cx="{x(value):.1f}" cy="10" r="4"/></svg>'
    )


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    """A linear map from data to pixels."""
    factor = (end - start) / (high - low if high > low else 1.0)
    return lambda value: start + (value - low) * factor


def _axes(
    x: Scale, y: Scale, levels_x: Sequence[float], levels_y: Sequence[float], label: str, below: str = "optimiser step"
) -> str:
    bottom, middle = HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2
    parts = []
    for level in levels_y:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(level) + 4:.1f}" text-anchor="end">{level:.6g}</text>')
    for level in levels_x:
        parts.append(f'<line class="axis" x1="{x(level):.1f}" x2="{x(level):.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
        parts.append(f'<text x="{x(level):.1f}" y="{bottom + 18}" text-anchor="middle">{level:,.0f}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    centre = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="label" x="{centre:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{below}</text>')
    parts.append(
        f'<text class="label" transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">{label}</text>'
    )
    return "".join(parts)


def _best_step(step: int, loss: float, x: Scale) -> str:
    at = x(step)
    left = at > WIDTH * 0.75
    return (
        f'<line class="best" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="mark" x="{at - 8 if left else at + 8:.1f}" y="{TOP + 10}" '
        f'text-anchor="{"end" if left else "start"}">kept: step {step}, loss {loss:.3f}</text>'
    )


def _line(points: Points, x: Scale, y: Scale, kind: str) -> str:
    path = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in points)
    return f'<polyline class="{kind}" clip-path="url(#frame)" points="{path}"/>' if len(points) > 1 else ""


def _thin(points: Points) -> Points:
    group = math.ceil(len(points) / MOST_POINTS)
    chunks = [points[i : i + group] for i in range(0, len(points), group)] if group else []
    return [(chunk[-1][0], math.fsum(loss for _, loss in chunk) / len(chunk)) for chunk in chunks]


def _running_mean(points: Points) -> Points:
    """Mean over a window around each point, a twentieth of the run to either side, so that it does not lag."""
    reach = max(1, len(points) // 20)
    result = []
    for i, (step, _) in enumerate(points):
        side = min(reach, i, len(points) - 1 - i)
        window = points[i - side : i + side + 1]
        result.append((step, math.fsum(loss for _, loss in window) / len(window)))
    return result


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Round numbers that reach beyond both ends; ``whole`` ones stay inside."""
    span, most = high - low or abs(high) or 1.0, 10 if whole else 5
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * k for k in (1, 2, 5, 10) if power * k * most >= span)
    if whole:
        step = max(1.0, math.ceil(step))
        return [step * i for i in range(int(high // step) + 1)]
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * i, 12) for i in range(first, max(last, first + 1) + 1)]
