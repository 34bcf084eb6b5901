"""Resampling: intervals and tests for any score that is a function of sums over rows.

Rows are drawn together with all their columns, so every model and every metric sees the same resamples: that is what
makes differences paired. Work goes in chunks, so memory does not grow with rows times resamples.

Arrays: ``rows`` (n, k) counts per row; ``resamples`` (b, k) sums of each resample.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tunesmith.core import stats
from tunesmith.core.stats import Interval
from tunesmith.evaluate.metrics import Array

CHUNK = 4_000_000
"""Random numbers in memory at a time."""


def bootstrap_sums(rows: Array, samples: int, seed: int) -> Array:
    """Column sums of ``samples`` resamples of the rows, drawn with replacement."""
    n = len(rows)
    random = np.random.default_rng([seed, 1])
    chunk = max(1, CHUNK // n)
    parts = []
    for start in range(0, samples, chunk):
        size = min(chunk, samples - start)
        drawn = random.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        parts.append(np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(float) @ rows)
    return np.concatenate(parts)


def swap_sums(differences: Array, samples: int, seed: int) -> Array:
    """Sums of the differences over random halves of the rows: what moves when the labels of two models are swapped."""
    n = len(differences)
    random = np.random.default_rng([seed, 2])
    chunk = max(1, CHUNK // n)
    parts = []
    for start in range(0, samples, chunk):
        size = min(chunk, samples - start)
        parts.append(random.integers(0, 2, (size, n), dtype=np.int8).astype(float) @ differences)
    return np.concatenate(parts)


def bca_interval(observed: float, resampled: Array, jackknife: Array, z: float) -> Interval | None:
    """Bias-corrected and accelerated bootstrap interval (Efron 1987).

    Args:
        resampled: the score of each resample.
        jackknife: the score without each row in turn.
        z: normal quantile of the ends; 1.96 gives the textbook's 95 % interval, `expanded_z` allows for few rows.

    Returns None when the resamples show no spread, so that there is nothing to take an interval from.
    """
    resampled, jackknife = resampled[np.isfinite(resampled)], jackknife[np.isfinite(jackknife)]
    if not len(resampled) or np.ptp(resampled) <= 1e-12 * max(1.0, abs(observed)):
        return None
    below = float(np.mean(resampled < observed) + np.mean(resampled <= observed)) / 2.0
    pull = jackknife.mean() - jackknife
    spread = float(np.sum(pull**2))
    if not 0.0 < below < 1.0 or spread == 0.0:
        return Interval(*np.quantile(resampled, [stats.probability(-z), stats.probability(z)]).tolist())
    bias, acceleration = stats.z_value(below), float(np.sum(pull**3)) / (6.0 * spread**1.5)
    ends = []
    for end in (-z, z):
        shifted = bias + (bias + end) / max(1e-9, 1.0 - acceleration * (bias + end))
        ends.append(stats.probability(shifted))
    return Interval(*np.quantile(resampled, ends).tolist())


def expanded_z(n: int, confidence: float) -> float:
    """Normal quantile with which a bootstrap interval over ``n`` rows covers as often as it promises.

    Resamples of few rows vary too little: by the factor √((n−1)/n), and as a normal distribution does where Student's
    belongs. Source: Hesterberg, What teachers should know about the bootstrap (2015), expanded percentile interval.
    """
    return _student(n - 1, (1.0 + confidence) / 2.0) * (n / (n - 1)) ** 0.5 if n > 1 else float("inf")


def swap_test(observed: float, swapped: Array) -> float:
    """Two-sided p-value of the permutation test: how often swapped labels give as large a difference as observed."""
    swapped = swapped[np.isfinite(swapped)]
    as_large = np.abs(swapped) >= abs(observed) * (1.0 - 1e-9) - 1e-12
    return (1.0 + float(as_large.sum())) / (1.0 + len(swapped))


def leave_one_out(rows: Array, value: Callable[[Array], Array]) -> Array:
    """The score without each row in turn, shape (n,)."""
    return value(rows.sum(axis=0) - rows)


def smallest_difference(jackknife: Array, alpha: float) -> float | None:
    """Smallest true difference that these rows show with 80 % power, from the spread of the rows' influence.

    For a mean the influences are the paired differences themselves, so this is the usual sample-size formula of the
    paired t-test. None when all rows are equally influential.
    """
    n = len(jackknife)
    if n < 2:
        return None
    influence = (n - 1) * (jackknife.mean() - jackknife)
    error = float(influence.std(ddof=1)) / n**0.5
    return error * (_student(n - 1, 1 - alpha / 2) + _student(n - 1, stats.POWER)) if error > 1e-12 else None


def _student(freedom: int, probability: float) -> float:
    """Quantile of Student's t distribution."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    return float(stdtrit(freedom, probability))
