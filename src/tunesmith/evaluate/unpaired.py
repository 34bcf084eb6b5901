"""Two samples of different rows: has the same model become better or worse on what people ask now?

Nothing is paired here, so much larger samples are needed than for two models on the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunesmith.core import stats
from tunesmith.core.artifacts import Verdict
from tunesmith.core.stats import Interval
from tunesmith.evaluate import statistics
from tunesmith.evaluate.config import Config
from tunesmith.evaluate.metrics import Array, Metric


@dataclass(frozen=True)
class Change:
    """Later − earlier. ``interval`` None: neither sample has any spread to judge by."""

    earlier: float
    later: float
    interval: Interval | None
    p_value: float
    smallest: float | None
    verdict: Verdict


def change_between(metric: Metric, before: Array, after: Array, config: Config) -> Change:
    """What two samples of counts, (n, k) and (m, k), say about a change between them.

    Right-or-wrong scores get Newcombe's interval and Fisher's exact test, others a two-sample BCa bootstrap and a
    permutation test. Sources: Newcombe, Statistics in Medicine 17 (1998), method 10; Efron 1987.
    """
    values = [float(metric.value(rows.sum(axis=0))) for rows in (before, after)]
    if metric.binary:
        interval, p_value, error = _shares(before, after, config)
    else:
        interval, p_value, error = _scores(metric, before, after, config)
    alpha, n = 1.0 - config.confidence, min(len(before), len(after))
    freedom = max(1, len(before) + len(after) - 2)
    reach = stats.student_t(1 - alpha / 2, freedom) + stats.student_t(stats.POWER, freedom)
    verdict: Verdict = "cannot tell"
    if interval is not None:
        margin = config.equivalence_margin * (values[0] if metric.scale is None else metric.scale)
        higher = bool(metric.higher_is_better)
        verdict = stats.decide(interval, p_value, n=n, margin=margin, higher_is_better=higher, alpha=alpha)
    return Change(*values, interval, p_value, reach * error if error > 0 else None, verdict)


def shuffled_sums(rows: Array, size: int, samples: int, seed: int) -> Array:
    """Column sums of ``size`` of the rows, drawn without replacement, ``samples`` times."""
    n = len(rows)
    random = np.random.default_rng([seed, 3])
    chunk = max(1, statistics.CHUNK // n)
    parts = []
    for start in range(0, samples, chunk):
        keys = random.random((min(chunk, samples - start), n))
        chosen = np.zeros(keys.shape)
        np.put_along_axis(chosen, np.argpartition(keys, size - 1, axis=1)[:, :size], 1.0, axis=1)
        parts.append(chosen @ rows)
    return np.concatenate(parts)


def newcombe_interval(before: tuple[int, int], after: tuple[int, int], confidence: float) -> Interval:
    """Interval of the difference of two independent shares, each given as (successes, n)."""
    (low0, high0), (low1, high1) = (stats.wilson_interval(*pair, confidence) for pair in (before, after))
    share0, share1 = before[0] / before[1], after[0] / after[1]
    difference = share1 - share0
    down = ((share1 - low1) ** 2 + (high0 - share0) ** 2) ** 0.5
    up = ((high1 - share1) ** 2 + (share0 - low0) ** 2) ** 0.5
    return Interval(difference - down, difference + up)


def _shares(before: Array, after: Array, config: Config) -> tuple[Interval, float, float]:
    from scipy.stats import fisher_exact  # type: ignore[import-untyped]

    pairs = [(int(rows[:, 0].sum()), len(rows)) for rows in (before, after)]
    table = [[right, n - right] for right, n in pairs]
    pooled = sum(right for right, _ in pairs) / sum(n for _, n in pairs)
    error = (pooled * (1 - pooled) * sum(1 / n for _, n in pairs)) ** 0.5
    return newcombe_interval(pairs[0], pairs[1], config.confidence), float(fisher_exact(table).pvalue), error


def _scores(metric: Metric, before: Array, after: Array, config: Config) -> tuple[Interval | None, float, float]:
    sides = (before, after)
    values = [float(metric.value(rows.sum(axis=0))) for rows in sides]
    observed = values[1] - values[0]
    seeds = (2 * config.evaluation_seed, 2 * config.evaluation_seed + 1)  # the two samples are drawn independently
    drawn = [
        metric.value(statistics.bootstrap_sums(rows, config.bootstrap_samples, seed))
        for rows, seed in zip(sides, seeds, strict=True)
    ]
    left_out = [statistics.leave_one_out(rows, metric.value) if len(rows) > 1 else np.zeros(1) for rows in sides]
    influence = np.concatenate([-(left_out[0] - left_out[0].mean()), left_out[1] - left_out[1].mean()])
    z = statistics.expanded_z(min(len(rows) for rows in sides), config.confidence)
    interval = statistics.bca_interval(observed, drawn[1] - drawn[0], influence, z)
    everything, total = np.concatenate(sides), before.sum(axis=0) + after.sum(axis=0)
    first = shuffled_sums(everything, len(before), config.bootstrap_samples, config.evaluation_seed)
    p_value = statistics.swap_test(observed, metric.value(total - first) - metric.value(first))
    errors = [(len(part) - 1) * float(part.std(ddof=1)) / len(part) ** 0.5 for part in left_out if len(part) > 1]
    return interval, p_value, sum(error**2 for error in errors) ** 0.5
