"""One model on fresh held-out rows again and again: a series with a trend, that refuses rows somebody has seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime

from tunesmith import evaluate
from tunesmith.core.artifacts import Report, Verdict
from tunesmith.core.errors import DataError, InputError
from tunesmith.core.records import SCHEMA_VERSION, Example, Record
from tunesmith.core.stats import Interval, z_value
from tunesmith.core.store import Workspace
from tunesmith.held_out import TRAINED_ROWS

FRESH_DAYS = 90
"""Age of the newest sample from which on a new one is due."""


class Point(Record):
    """One look: the first model's score on the deciding metric, on rows that no earlier point of the series has."""

    schema_version: int = SCHEMA_VERSION
    series: str
    at: str
    report_id: str
    model: str
    model_digest: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    higher_is_better: bool
    rows: tuple[str, ...]
    """Ids (hashes of the content) of the rows."""


class Trend(Record):
    """A series as it stands. ``verdict`` is about the newest point against the first one of the same metric."""

    series: str
    points: tuple[Point, ...]
    verdict: Verdict
    sentence: str
    days: int
    """Age of the newest point."""
    due: bool
    """Whether a new sample should be collected."""


def require_fresh(series: str, examples: Sequence[Example], workspace: Workspace) -> None:
    """Refuse rows that any run of this workspace was trained on, or that the series has used before.

    Raises:
        DataError: naming the first of them.
    """
    trained: set[str] = set()
    for artifact in workspace.artifacts("adapter"):
        known = artifact.path / TRAINED_ROWS
        if known.is_file():
            trained.update(known.read_text(encoding="utf-8").split())
    used = {row for point in points_of(series, workspace) for row in point.rows}
    for what, ids in (("were trained on by a run of this workspace", trained), (f"were in {series} before", used)):
        seen = [example for example in examples if example.id in ids]
        if seen:
            places = ", ".join(str(example.source) for example in seen[:3])
            raise DataError(
                f"{len(seen)} of {len(examples)} rows {what}: {places}",
                where=str(seen[0].source),
                rule="a series over time takes rows that nothing has seen yet",
                fix="take them out of the file, or collect new ones",
            )


def add_point(series: str, report: Report, workspace: Workspace) -> Trend:
    """Note a report as the next point of a series.

    Raises:
        InputError: the deciding metric was not measured.
    """
    judged = report.models[0]
    found = next((s for s in report.summaries if (s.model, s.metric) == (judged.name, report.primary_metric)), None)
    if found is None or found.value is None or found.low is None or found.high is None:
        raise InputError(
            f"{judged.name} has no {report.primary_metric} to note",
            where="--watch",
            rule="a point of a series is a measured score with its interval",
            fix="choose a primary_metric that fits these rows",
        )
    count = len(points_of(series, workspace))
    point = Point(
        series=series,
        at=report.created_at,
        report_id=report.report_id,
        model=judged.name,
        model_digest=judged.digest,
        metric=report.primary_metric,
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        higher_is_better=report.primary_metric != "perplexity",
        rows=tuple(item.example_id for item in report.items),
    )
    workspace.put("watch", f"{series}-{count + 1}", point)
    return trend(series, workspace)


def points_of(series: str, workspace: Workspace) -> list[Point]:
    """The points of a series, oldest first."""
    return sorted((p for p in workspace.list("watch", Point) if p.series == series), key=lambda point: point.at)


def trend(series: str, workspace: Workspace, now: datetime | None = None) -> Trend:
    """The series as it stands today.

    Raises:
        InputError: there is no such series.
    """
    points = points_of(series, workspace)
    if not points:
        known = ", ".join(sorted({point.series for point in workspace.list("watch", Point)})) or "none yet"
        raise InputError(
            f"there is no series called {series}",
            where="--watch",
            rule="a series begins with tunesmith eval MODEL --data FILE --watch NAME",
            fix=f"series of this workspace: {known}",
        )
    days = ((now or datetime.now(UTC)) - datetime.fromisoformat(points[-1].at)).days
    verdict, sentence = _judge(points)
    return Trend(
        series=series, points=tuple(points), verdict=verdict, sentence=sentence, days=days, due=days > FRESH_DAYS
    )


def trend_page(found: Trend) -> str:
    """The series as an HTML page, with the points that were measured by the newest one's metric."""
    metric = found.points[-1].metric
    points = [
        evaluate.TrendPoint(
            date.fromisoformat(point.at[:10]),
            point.model,
            point.model_digest,
            point.report_id,
            point.n,
            point.value,
            point.low,
            point.high,
        )
        for point in found.points
        if point.metric == metric
    ]
    due = f"the newest sample is {found.days} days old; collect fresh rows" if found.due else ""
    return evaluate.trend_to_html(found.series, metric, points, found.verdict, found.sentence, due)


def _judge(points: Sequence[Point]) -> tuple[Verdict, str]:
    """Newest against first, on different rows: an interval of the difference from the two intervals.

    Each half is carried over from the score's own interval (Newcombe's method, Statistics in Medicine 17, 1998), so
    that skewed intervals stay skewed.
    """
    last = points[-1]
    first = next(point for point in points if point.metric == last.metric)
    if first is last:
        return "cannot tell", f"one point of {last.metric} so far: a trend takes two"
    interval = _difference(first, last)
    text = (
        f"{last.metric} {first.value:.3g} → {last.value:.3g} "
        f"(difference {last.value - first.value:+.3g}, 95 % interval {interval.low:+.3g} to {interval.high:+.3g}; "
        f"{first.n} and {last.n} rows)"
    )
    if not interval.excludes_zero:
        visible = (z_value(0.975) + z_value(0.8)) * _error(interval)
        return "cannot tell", f"no change that these rows could show: {text}; smaller than {visible:.2g} stays unseen"
    rose = interval.low > 0
    verdict: Verdict = "better" if rose == last.higher_is_better else "worse"
    return verdict, f"{verdict} than at the beginning: {text}"


def _difference(first: Point, last: Point) -> Interval:
    down = math.hypot(last.value - last.low, first.high - first.value)
    up = math.hypot(last.high - last.value, first.value - first.low)
    change = last.value - first.value
    return Interval(change - down, change + up)


def _error(interval: Interval) -> float:
    return (interval.high - interval.low) / (2 * z_value(0.975))
