"""How well a score tells two groups apart: area under the curve with its interval, and rates at few false alarms."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from tunesmith.core.stats import Interval, z_value

FEWEST_FOR_ONE_PERCENT, FEWEST_FOR_ONE_PER_MILLE = 1_000, 10_000
"""Unseen rows that a rate at 1 % (0.1 %) false alarms needs: ten of them have to lie above the threshold."""


def auc(members: Sequence[float], others: Sequence[float]) -> float:
    """Probability that a member scores higher than another row; equal scores count one half."""
    ordered = sorted(others)
    wins = sum(bisect_left(ordered, m) + bisect_right(ordered, m) for m in members)
    return wins / (2 * len(members) * len(others))


def auc_interval(value: float, members: int, others: int, confidence: float = 0.95) -> Interval:
    """Score interval of an area under the curve: never a single point, not even at 1.

    Its ends are the areas whose own standard error reaches the observed one. Source: Newcombe, Statistics in Medicine
    25 (2006), method 5, on the variance of Hanley and McNeil, Radiology 143 (1982).
    """
    z = z_value(0.5 + confidence / 2)
    middle = (members + others) / 2 - 1

    def error(a: float) -> float:
        spread = 1 + middle * ((1 - a) / (2 - a) + a / (1 + a))
        return math.sqrt(max(0.0, a * (1 - a) * spread / (members * others)))

    return Interval(_end(value, -z, error), _end(value, z, error))


def _end(value: float, z: float, error: Callable[[float], float]) -> float:
    """The area a with value = a − z·error(a), on the side of ``z``, by bisection."""
    low, high = (0.0, value) if z < 0 else (value, 1.0)
    for _ in range(80):
        a = (low + high) / 2
        inside = abs(value - a) <= abs(z) * error(a)
        if (z < 0) == inside:
            high = a
        else:
            low = a
    return (low + high) / 2


def rate_at(members: Sequence[float], others: Sequence[float], false_alarms: float) -> tuple[int, int] | None:
    """(members above the threshold, members), at a threshold that this share of the others passes; None: too few.

    A rate at 1 % needs 1,000 others, one at 0.1 % needs 10,000: fewer do not fix the threshold.
    """
    needed = FEWEST_FOR_ONE_PERCENT if false_alarms >= 0.01 else FEWEST_FOR_ONE_PER_MILLE
    if len(others) < needed:
        return None
    above = sorted(others, reverse=True)[int(false_alarms * len(others))]
    return sum(score > above for score in members), len(members)
