"""Fresh held-out rows over time: one model, a new sample every few weeks, and whether it still does what it did.

Each sample is compared with the first one. What people ask changes, so the rows differ; the comparison is unpaired.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

from tunesmith.core import stats
from tunesmith.core.artifacts import Verdict
from tunesmith.core.errors import DataError, InputError
from tunesmith.core.events import Emit, ignore
from tunesmith.core.protocols import Sampler
from tunesmith.core.records import SCHEMA_VERSION, Example, Record
from tunesmith.evaluate import wording
from tunesmith.evaluate.config import Config
from tunesmith.evaluate.evaluation import measure_rows

_DATE = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")


class Drift(Record):
    """A sample against the first one: later − first. ``smallest_visible``: what so many rows show in 80 % of cases."""

    difference: float
    low: float | None
    high: float | None
    p_value: float
    smallest_visible: float | None
    verdict: Verdict


class FreshSample(Record):
    """One model on one sample of fresh rows. ``counts`` are those of the metric, a line for each row or group."""

    schema_version: int = SCHEMA_VERSION
    model: str
    digest: str
    file: str
    content: str
    """Digest of the file."""
    collected: str
    """Last day on which rows of it were collected, as in the file's name."""
    metric: str
    config: Config
    ids: tuple[str, ...]
    refused: tuple[str, ...] = ()
    """Places of rows that were trained on, or stood in an earlier sample, and did not count."""
    counts: tuple[tuple[float, ...], ...]
    value: float
    low: float
    high: float
    drift: Drift | None = None
    """None for the first sample."""


class Trend(Record):
    """All samples of a model, first to last. Verdicts are corrected for the number of samples (Holm)."""

    schema_version: int = SCHEMA_VERSION
    model: str
    metric: str
    confidence: float
    samples: tuple[FreshSample, ...]
    verdict: Verdict | None
    """Of the last sample against the first; None while there is one sample."""
    sentence: str
    due: str
    """Day until which a new sample is expected."""
    overdue: bool


def collected_on(path: Path) -> date:
    """The last day that a file's name states.

    Raises:
        InputError: it states none.
    """
    for text in reversed(_DATE.findall(path.name)):
        try:
            return date.fromisoformat(text)
        except ValueError:
            continue
    raise InputError(
        f"{path.name} does not say when its rows were collected",
        where=str(path),
        rule="the name of a file of fresh rows holds the day on which its last row was collected, as YYYY-MM-DD",
        fix=f"rename it, for example {path.stem}-{date.today().isoformat()}{path.suffix}",
    )


def only_fresh(
    examples: Sequence[Example], trained: Iterable[str], earlier: Sequence[FreshSample]
) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """The rows that nobody trained on and no earlier sample had, and the places of the others.

    Raises:
        DataError: no row is left.
    """
    known = {*trained, *(id for sample in earlier for id in sample.ids)}
    fresh = tuple(example for example in examples if example.id not in known)
    refused = tuple(str(example.source) for example in examples if example.id in known)
    if not fresh:
        raise DataError(
            f"none of the {len(examples)} rows is fresh",
            where=refused[0] if refused else "",
            rule="a fresh row was neither trained on nor part of an earlier sample",
            fix="collect rows from after the last sample",
        )
    return fresh, refused


def measure_fresh(
    config: Config, sampler: Sampler, examples: Sequence[Example], first: FreshSample | None, emit: Emit = ignore
) -> FreshSample:
    """A sample whose file and date are still empty; compared with the ``first`` one if there is one.

    Raises:
        see `run`. ConfigError: the metric of the first sample does not fit these rows.
    """
    import numpy as np

    from tunesmith.evaluate.unpaired import change_between

    if first is not None:
        config = first.config
    found = measure_rows(config, sampler, examples, emit)
    drift = None
    if first is not None:
        change = change_between(found.metric, np.array(first.counts), found.counts, config)
        low, high = change.interval or (None, None)
        drift = Drift(
            difference=change.later - change.earlier,
            low=low,
            high=high,
            p_value=change.p_value,
            smallest_visible=change.smallest,
            verdict=change.verdict,
        )
    return FreshSample(
        model=sampler.name,
        digest=sampler.digest,
        file="",
        content="",
        collected="",
        metric=found.metric.name,
        config=config.model_copy(update={"primary_metric": found.metric.name}),
        ids=tuple(example.id for example in examples),
        counts=tuple(map(tuple, found.counts.tolist())),
        value=found.value,
        low=found.low,
        high=found.high,
        drift=drift,
    )


def trend_of(samples: Sequence[FreshSample], today: date) -> Trend:
    """All samples of one model as a trend, the first one measured being what the others are held against."""
    first = next((sample for sample in samples if sample.drift is None), samples[0])
    config, others = first.config, [sample for sample in samples if sample is not first]
    p_values = stats.holm([sample.drift.p_value for sample in others if sample.drift])
    alpha, judged = 1.0 - config.confidence, [first]
    for sample, p_value in zip(others, p_values, strict=True):
        assert sample.drift is not None
        lost = sample.drift.verdict in ("better", "worse") and p_value >= alpha
        changes = {"p_value": p_value} | ({"verdict": "cannot tell"} if lost else {})
        judged.append(sample.model_copy(update={"drift": sample.drift.model_copy(update=changes)}))
    judged.sort(key=lambda sample: sample.collected)
    last = judged[-1]
    due = date.fromisoformat(last.collected) + timedelta(days=config.fresh_days)
    return Trend(
        model=first.model,
        metric=first.metric,
        confidence=config.confidence,
        samples=tuple(judged),
        verdict=last.drift.verdict if last.drift else None,
        sentence=_sentence(first, last, config),
        due=due.isoformat(),
        overdue=today > due,
    )


def _sentence(first: FreshSample, last: FreshSample, config: Config) -> str:
    title, value = wording.term(first.metric).title, wording.value_text(first.metric, last.value)
    if last.drift is None:
        interval = wording.range_text(first.metric, last.low, last.high)
        return (
            f"First sample of {first.model}, {first.collected}: {title} {value} "
            f"({wording.percent(config.confidence)} interval {interval}); later ones are held against it."
        )
    drift = last.drift
    words = {
        "better": f"{first.model} does better on {title} than at first",
        "worse": f"{first.model} does worse on {title} than at first",
        "equivalent": f"{first.model} does as well on {title} as at first",
        "cannot tell": f"Cannot tell whether {first.model} does better or worse on {title} than at first",
    }
    change = wording.difference_text(first.metric, drift.difference)
    interval = wording.difference_range_text(first.metric, drift.low, drift.high) or "none"
    smallest = wording.difference_text(first.metric, drift.smallest_visible, sign=False)
    return (
        f"{words[drift.verdict]}: {wording.value_text(first.metric, first.value)} on {first.collected} → {value} on "
        f"{last.collected}, {change} ({wording.percent(config.confidence)} interval {interval}, "
        f"{wording.p_text(drift.p_value)}). Samples of {len(first.ids)} and {len(last.ids)} other rows show a true "
        f"change of {smallest}."
    )


def trend_table(trend: Trend) -> list[list[str]]:
    """Rows of text, the head first."""
    title = wording.term(trend.metric).title
    rows = [["collected", "rows", title, f"{wording.percent(trend.confidence)} interval", "since the first", "verdict"]]
    for sample in trend.samples:
        drift = sample.drift
        rows.append(
            [
                sample.collected,
                str(len(sample.ids)),
                wording.value_text(trend.metric, sample.value),
                wording.range_text(trend.metric, sample.low, sample.high),
                wording.difference_text(trend.metric, drift.difference) if drift else "",
                drift.verdict if drift else "",
            ]
        )
    return rows
