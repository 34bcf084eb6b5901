"""Intervals, paired tests, sample sizes and the rule that turns them into a verdict.

Standard library only, exact where exact is possible; evaluation adds the resampling methods on top of it.
Shares lie between 0 and 1; ``confidence`` 0.95 means a two-sided 95 % interval. In a paired comparison of two models on
the same rows, *gains* are the rows that only the candidate gets right and *losses* those that only the baseline does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, fmean, variance
from typing import NamedTuple

from tunesmith.core.artifacts import Verdict

SMALLEST_SAMPLE = 8
"""Fewer rows than this never give a verdict: an exact paired test needs at least six rows that all go one way."""

POWER = 0.8
"""Probability of seeing a true difference that "smallest visible" figures are stated for."""


class Interval(NamedTuple):
    """Lower and upper end; both may be equal."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0.0 or self.high < 0.0


def proportion_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Exact (Clopper–Pearson) interval of a share; 0 of 32 gives 0 to 0.109, never a single point.

    Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if successes == 0 else _bisect(lambda p: _beta_cdf(p, successes, n - successes + 1) - tail, 0.0, 1.0)
    high = 1.0 if successes == n else _bisect(lambda p: _beta_cdf(p, successes + 1, n - successes) - 1 + tail, 0.0, 1.0)
    return Interval(low, high)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a share: narrower than the exact one, for rates that are described, not promised.

    Source: Wilson, Journal of the American Statistical Association 22 (1927). Without observations it is 0 to 1.
    """
    if not n:
        return Interval(0.0, 1.0)
    z, share = z_value(0.5 + confidence / 2), successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def constant_interval(value: float, n: int, lowest: float, highest: float, confidence: float = 0.95) -> Interval:
    """Interval of a mean when all ``n`` rows have the same value, on a scale from ``lowest`` to ``highest``.

    The rows show no spread, but other rows may: as many of them as an exact interval for "0 of n" allows may lie
    anywhere on the scale.
    """
    others = proportion_interval(0, n, confidence).high
    return Interval(value - others * (value - lowest), value + others * (highest - value))


def exact_mcnemar(gains: int, losses: int) -> float:
    """Two-sided p-value of the exact McNemar test: a binomial test of gains against losses at one half.

    Source: McNemar, Psychometrika 12 (1947). Without any discordant row the p-value is 1.
    """
    n = gains + losses
    term = total = 1
    for i in range(min(gains, losses)):
        term = term * (n - i) // (i + 1)
        total += term
    return min(1.0, 2 * total / (1 << n))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many there are, in the same order: Holm's step-down, which keeps the family's rate.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def paired_share_interval(gains: int, losses: int, n: int, confidence: float = 0.95) -> Interval:
    """Interval of the difference of two shares that were measured on the same ``n`` rows.

    Tango's score interval, which keeps its coverage in small and one-sided samples, widened to the exact interval
    given the number of discordant rows. So it lies on one side of 0 only when the exact McNemar test agrees.
    Source: Tango, Statistics in Medicine 17 (1998).
    """
    score = _tango(gains, losses, n, confidence)
    discordant = gains + losses
    if not discordant:
        return score
    exact = proportion_interval(gains, discordant, confidence)
    low, high = ((2 * end - 1) * discordant / n for end in exact)
    return Interval(min(score.low, low), max(score.high, high))


def smallest_share_difference(n: int, both_ways: float, alpha: float = 0.05, power: float = POWER) -> float | None:
    """Smallest true difference of two shares that ``n`` paired rows show with the given power.

    Args:
        both_ways: share of rows that differ without adding to the difference (twice the rarer direction): the noise.

    Returns None when no difference at all could be seen in so few rows.
    """

    def surplus(difference: float) -> float:
        return n - _share_rows(difference, min(1.0, both_ways + difference), alpha, power)

    return _bisect(surplus, 1e-9, 1.0) if n and surplus(1.0) >= 0 else None


def decide(
    interval: Interval, p_value: float, *, n: int, margin: float, higher_is_better: bool, alpha: float = 0.05
) -> Verdict:
    """Verdict on a paired difference (candidate − baseline).

    *Equivalent* when the interval lies inside ± ``margin``; *better* or *worse* when the interval lies on one side of
    0 and the test confirms it; *cannot tell* otherwise, and always below ``SMALLEST_SAMPLE`` rows.
    """
    if n < SMALLEST_SAMPLE:
        return "cannot tell"
    if -margin <= interval.low and interval.high <= margin:
        return "equivalent"
    if not interval.excludes_zero or p_value >= alpha:
        return "cannot tell"
    return "better" if (interval.low > 0.0) == higher_is_better else "worse"


@dataclass(frozen=True)
class Crossed:
    """The mean of values that were measured on the same rows under several seeds, and how far it may be off.

    ``row_error`` and ``seed_error`` are its standard errors over other rows and over other seeds; ``spread`` is the
    standard deviation of the seeds' means.
    """

    mean: float
    row_error: float
    seed_error: float
    spread: float
    rows: int
    seeds: int

    def interval(self, confidence: float = 0.95) -> Interval:
        """Interval of the mean: Student's reaches over rows and over seeds, joined by their squares.

        It is never narrower than either of them alone, so a spread over two or three seeds that is small by chance
        makes no false claim. Source: Zou and Donner, Statistics in Medicine 27 (2008).
        """
        reach = self._reach(0.5 + confidence / 2)
        return Interval(self.mean - reach, self.mean + reach)

    def smallest_visible(self, confidence: float = 0.95, power: float = POWER) -> float:
        """Smallest true mean whose interval excludes 0 with about the given power."""
        return self._reach(0.5 + confidence / 2) + self._reach(power)

    def _reach(self, probability: float) -> float:
        over_rows = student_t(probability, self.rows - 1) * self.row_error
        return math.hypot(over_rows, student_t(probability, self.seeds - 1) * self.seed_error)


def crossed(values: Sequence[Sequence[float]]) -> Crossed:
    """The mean of ``values[seed][row]`` when both the rows and the seeds are a sample of what might have been.

    Its variance is that of the rows' means over the number of rows plus that of the seeds' means over the number of
    seeds: what rows and seeds share is counted twice, so it errs on the wide side.
    Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), section 4.

    Raises:
        ValueError: fewer than two seeds or two rows.
    """
    seeds, rows = len(values), len(values[0]) if values else 0
    if seeds < 2 or rows < 2:
        raise ValueError(f"{seeds} seeds and {rows} rows: a spread needs two of each")
    by_seed = [fmean(row) for row in values]
    by_row = [fmean(column) for column in zip(*values, strict=True)]
    spread = math.sqrt(variance(by_seed))
    row_error = math.sqrt(variance(by_row) / rows)
    return Crossed(fmean(by_seed), row_error, spread / math.sqrt(seeds), spread, rows, seeds)


@lru_cache(maxsize=64)  # a simulation asks for the same few thousands of times
def student_t(probability: float, freedom: float) -> float:
    """Quantile of Student's t distribution, for any freedom above 0 (DLMF 8.17; the normal one from 10,000 on)."""
    if freedom >= 1e4:
        return z_value(probability)
    tail = 2 * min(probability, 1 - probability)
    if tail >= 1.0:
        return 0.0
    # The tail of both sides is the incomplete beta function at x = freedom / (freedom + t²).
    x = _bisect(lambda x: _beta_cdf(x, freedom / 2, 0.5) - tail, 0.0, 1.0)
    t = math.sqrt(freedom * (1 - x) / max(x, 1e-300))
    return t if probability > 0.5 else -t


def z_value(probability: float) -> float:
    """Quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(probability)


def probability(z: float) -> float:
    """Probability that a standard normal value lies below ``z``."""
    return NormalDist().cdf(z)


def _share_rows(difference: float, discordant: float, alpha: float, power: float) -> float:
    """Rows that a paired comparison of two shares needs to see ``difference`` when ``discordant`` of them differ.

    Normal approximation of the McNemar test; the exact test needs some 7–10 % more rows.
    Source: Miettinen, Biometrics 24 (1968).
    """
    spread = math.sqrt(max(0.0, discordant - difference * difference))
    return (z_value(1 - alpha / 2) * math.sqrt(discordant) + z_value(power) * spread) ** 2 / (difference * difference)


def _tango(gains: int, losses: int, n: int, confidence: float) -> Interval:
    """Ends where the score statistic of a hypothetical difference reaches the normal quantile."""
    limit = z_value((1 + confidence) / 2)
    seen = (gains - losses) / n

    def statistic(difference: float) -> float:
        # Largest root of the score equation: the likeliest share of losses if `difference` were the truth.
        slope = (2 * n - gains + losses) * difference - gains - losses
        root = slope**2 + 8 * n * losses * difference * (1 - difference)
        share_lost = (math.sqrt(max(0.0, root)) - slope) / (4 * n)
        variance = n * (2 * share_lost + difference * (1 - difference))
        return (gains - losses - n * difference) / math.sqrt(max(variance, 1e-300))

    low = -1.0 if seen == -1.0 else _bisect(lambda d: limit - statistic(d), -1.0, seen)
    high = 1.0 if seen == 1.0 else _bisect(lambda d: -limit - statistic(d), seen, 1.0)
    return Interval(low, high)


def _bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses 0 between ``low`` and ``high``, to the last bits."""
    for _ in range(100):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def _beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, by its continued fraction (DLMF 8.17.22, Lentz's method)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta_cdf(1.0 - x, b, a)
    scale = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = fraction
        for step in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + step * d)
            c = _away_from_zero(1.0 + step / c)
            fraction *= c * d
        if abs(fraction - before) < 1e-16 * abs(fraction):
            break
    return scale * fraction


def _away_from_zero(value: float) -> float:
    return value if abs(value) > 1e-300 else 1e-300
