"""From the counts of each row to scores with intervals, and from two models to a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunesmith.core import stats
from tunesmith.core.artifacts import Comparison, Summary, Verdict
from tunesmith.core.stats import Interval
from tunesmith.evaluate import statistics, wording
from tunesmith.evaluate.config import Config
from tunesmith.evaluate.metrics import Array, Metric
from tunesmith.evaluate.wording import NO_ROW_DIFFERS, OTHER_TOKENS, SAME_MODEL


@dataclass(frozen=True)
class Scored:
    """One model: for each metric that was measured an array (n, k) of counts, for the others the reason why not."""

    name: str
    digest: str
    counts: Mapping[str, Array]
    missing: Mapping[str, str]
    notes: Mapping[str, str]


@dataclass(frozen=True)
class _Pair:
    """Counts of baseline and candidate on one metric, with their resampled and swapped sums."""

    metric: Metric
    before: Array
    after: Array
    before_resampled: Array
    after_resampled: Array
    swapped: Array


@dataclass(frozen=True)
class _Difference:
    """What the rows say about candidate − baseline. ``interval`` None: the two cannot be subtracted."""

    interval: Interval | None
    p_value: float | None
    test: str
    smallest: float | None


def judge(
    models: Sequence[Scored],
    metrics: Sequence[Metric],
    config: Config,
    primary: str = "",
    clusters: Sequence[str] = (),
) -> tuple[tuple[Summary, ...], tuple[Comparison, ...]]:
    """Scores of every model, and every other model against the first.

    Args:
        primary: the metric that was chosen to decide; all others are corrected for how many they are (Holm).
        clusters: for each row what it hangs together with (a customer, a document); rows of one cluster are drawn and
            swapped together, since they are not evidence of their own. () when each row stands alone.
    """
    rows = len(next(iter(models[0].counts.values()), ()))
    if len(set(clusters)) < len(clusters):
        models = [replace(model, counts=gathered(model.counts, clusters)) for model in models]
        metrics = [replace(metric, binary=False) for metric in metrics]  # no exact test knows of clusters
    resampled = _together([model.counts for model in models], statistics.bootstrap_sums, config)
    summaries = [_summary(model, m, resampled[i], config, rows) for i, model in enumerate(models) for m in metrics]
    comparisons: list[Comparison] = []
    for i, candidate in enumerate(models[1:], start=1):
        differences = {
            name: candidate.counts[name] - rows for name, rows in models[0].counts.items() if name in candidate.counts
        }
        swapped = _together([differences], statistics.swap_sums, config)[0]
        for metric in metrics:
            name = metric.name
            if metric.higher_is_better is None or name not in swapped:
                continue
            before, after = models[0].counts[name], candidate.counts[name]
            pair = _Pair(metric, before, after, resampled[0][name], resampled[i][name], swapped[name])
            comparisons.append(_compare(models[0], candidate, pair, config, rows))
    return tuple(summaries), corrected(comparisons, metrics, config, primary)


def corrected(
    comparisons: Sequence[Comparison], metrics: Sequence[Metric], config: Config, spared: str = ""
) -> tuple[Comparison, ...]:
    """The comparisons with Holm's p-values, and the verdicts that follow from them; one metric may be ``spared``.

    Each candidate's comparisons are a family of their own.
    """
    known = {metric.name: metric for metric in metrics}
    result = list(comparisons)
    for candidate in dict.fromkeys(found.candidate for found in comparisons):
        family = [
            (i, found.p_value)
            for i, found in enumerate(comparisons)
            if found.candidate == candidate and found.metric != spared and found.p_value is not None
        ]
        for (i, _), p_value in zip(family, stats.holm([p for _, p in family]), strict=True):
            found = comparisons[i].model_copy(update={"p_value": p_value})
            if p_value >= 1.0 - config.confidence and found.verdict in ("better", "worse"):
                found = found.model_copy(update={"verdict": "cannot tell"})
                margin = margin_of(known[found.metric], found.baseline_value or 0.0, config)
                found = found.model_copy(update={"sentence": wording.sentence(found, margin, config.confidence)})
            result[i] = found
    return tuple(result)


def gathered(counts: Mapping[str, Array], clusters: Sequence[str]) -> dict[str, Array]:
    """Sums of the counts of each cluster, in the order of their first rows."""
    places = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    at = np.array([places[name] for name in clusters])
    gathered = {}
    for name, rows in counts.items():
        sums = np.zeros((len(places), rows.shape[1]))
        np.add.at(sums, at, rows)
        gathered[name] = sums
    return gathered


def margin_of(metric: Metric, baseline: float, config: Config) -> float:
    """Differences within it count as equal: a share of the scale or unit, or of the baseline without either."""
    whole = metric.scale if metric.unit is None else metric.unit
    return config.equivalence_margin * (baseline if whole is None else whole)


def _together(
    groups: Sequence[Mapping[str, Array]], resample: Callable[[Array, int, int], Array], config: Config
) -> list[dict[str, Array]]:
    """Resample the columns of all groups as one matrix, so that all see the same rows, and give each its own back."""
    tables = [table for group in groups for table in group.values()]
    if not tables:
        return [{} for _ in groups]
    sums = resample(np.hstack(tables), config.bootstrap_samples, config.evaluation_seed)
    parts = iter(np.split(sums, np.cumsum([table.shape[1] for table in tables])[:-1], axis=1))
    return [{name: next(parts) for name in group} for group in groups]


def _summary(model: Scored, metric: Metric, resampled: Mapping[str, Array], config: Config, n: int) -> Summary:
    name = metric.name
    if name not in model.counts:
        return Summary(model=model.name, metric=name, value=None, note=model.missing[name])
    rows = model.counts[name]
    value = float(metric.value(rows.sum(axis=0)))
    if metric.binary:
        interval = stats.proportion_interval(int(rows[:, 0].sum()), len(rows), config.confidence)
    else:
        left_out = statistics.leave_one_out(rows, metric.value)
        found = statistics.bca_interval(
            value, metric.value(resampled[name]), left_out, statistics.expanded_z(len(rows), config.confidence)
        )
        interval = found or _without_spread(metric, value, len(rows), 0.0, config)
    note = model.notes.get(name, "")
    return Summary(model=model.name, metric=name, value=value, low=interval.low, high=interval.high, n=n, note=note)


def _compare(before: Scored, after: Scored, pair: _Pair, config: Config, rows: int) -> Comparison:
    metric, n = pair.metric, len(pair.before)
    values = [float(metric.value(counts.sum(axis=0))) for counts in (pair.before, pair.after)]
    margin = margin_of(metric, values[0], config)
    found = _difference(pair, bool(before.digest) and before.digest == after.digest, config)
    higher = bool(metric.higher_is_better)
    verdict: Verdict = "cannot tell"
    if found.test == SAME_MODEL:
        verdict = "equivalent"
    elif found.interval is not None and found.p_value is not None:
        verdict = stats.decide(
            found.interval, found.p_value, n=n, margin=margin, higher_is_better=higher, alpha=1.0 - config.confidence
        )
    result = Comparison(
        metric=metric.name,
        baseline=before.name,
        candidate=after.name,
        baseline_value=values[0],
        candidate_value=values[1],
        difference=None if found.interval is None else values[1] - values[0],
        low=None if found.interval is None else found.interval.low,
        high=None if found.interval is None else found.interval.high,
        p_value=found.p_value,
        test=found.test,
        smallest_visible=found.smallest,
        higher_is_better=higher,
        n=rows,
        verdict=verdict,
        sentence="",
    )
    return result.model_copy(update={"sentence": wording.sentence(result, margin, config.confidence)})


def _difference(pair: _Pair, same_model: bool, config: Config) -> _Difference:
    metric, n = pair.metric, len(pair.before)
    if same_model:
        return _Difference(Interval(0.0, 0.0), 1.0, SAME_MODEL, 0.0)
    if metric.name == "perplexity" and (pair.before[:, 1] != pair.after[:, 1]).any():
        return _Difference(None, None, OTHER_TOKENS, None)
    if (pair.before == pair.after).all():
        interval = _without_spread(metric, 0.0, n, -(metric.scale or 0.0), config)
        return _Difference(interval, 1.0, NO_ROW_DIFFERS, _one_way(metric, n, config))
    return _shares(pair, config) if metric.binary else _scores(pair, config)


def _shares(pair: _Pair, config: Config) -> _Difference:
    n = len(pair.before)
    before, after = pair.before[:, 0] > 0, pair.after[:, 0] > 0
    gains, losses = int((after & ~before).sum()), int((before & ~after).sum())
    return _Difference(
        stats.paired_share_interval(gains, losses, n, config.confidence),
        stats.exact_mcnemar(gains, losses),
        f"exact McNemar, {gains} gained, {losses} lost",
        stats.smallest_share_difference(n, 2 * min(gains, losses) / n, 1.0 - config.confidence),
    )


def _scores(pair: _Pair, config: Config) -> _Difference:
    metric, n = pair.metric, len(pair.before)
    before, after = pair.before.sum(axis=0), pair.after.sum(axis=0)
    observed = float(metric.value(after) - metric.value(before))
    resampled = metric.value(pair.after_resampled) - metric.value(pair.before_resampled)
    left_out = [statistics.leave_one_out(rows, metric.value) for rows in (pair.after, pair.before)]
    influence = left_out[0] - left_out[1]
    interval = statistics.bca_interval(observed, resampled, influence, statistics.expanded_z(n, config.confidence))
    swapped = metric.value(after - pair.swapped) - metric.value(before + pair.swapped)
    smallest = statistics.smallest_difference(influence, 1.0 - config.confidence)
    return _Difference(
        interval or _without_spread(metric, observed, n, -(metric.scale or 0.0), config),
        statistics.swap_test(observed, swapped),
        f"paired permutation, {len(swapped):,} swaps",
        _one_way(metric, n, config) if smallest is None else smallest,
    )


def _one_way(metric: Metric, n: int, config: Config) -> float | None:
    """Smallest visible difference when rows show no noise: a share of them changes from one end to the other."""
    share = stats.smallest_share_difference(n, 0.0, 1.0 - config.confidence)
    return None if share is None or metric.scale is None else share * metric.scale


def _without_spread(metric: Metric, value: float, n: int, lowest: float, config: Config) -> Interval:
    """Interval when all rows say the same; a metric without a scale leaves nothing to go by."""
    if metric.scale is None:
        return Interval(value, value)
    return stats.constant_interval(value, n, lowest, metric.scale, config.confidence)
