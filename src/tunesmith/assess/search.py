"""The best prompt for a stated budget of answers, by successive halving on validation rows.

Many plans are asked a few rows each, the better half twice as many, and so on. Rows are nested, so an answer counts
once. Source: Jamieson and Talwalkar, AISTATS 2016. Equal scores go to the shorter prompt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunesmith.assess.plans import Plan
from tunesmith.core.advice import Spent
from tunesmith.core.records import Example

FEWEST_ROWS = 8
"""Rows that a plan is asked at first, or all validation rows where there are fewer."""

Judge = Callable[[Sequence[Plan], Sequence[Example]], Sequence[tuple[float, float]]]
"""Scores of plans on rows: (score, higher is better; mean prompt tokens)."""


@dataclass(frozen=True)
class Found:
    """The winner and what finding it took; None where the budget allowed nothing."""

    plan: Plan | None
    score: float
    spent: Spent


def cost_of(plans: int, rows: int, first: int) -> int:
    """Answers that halving asks for."""
    asked, known = 0, 0
    while plans:
        now = min(rows, first)
        asked += plans * (now - known)
        if plans == 1 or now == rows:
            return asked
        known, first, plans = now, first * 2, (plans + 1) // 2
    return asked


def affordable(candidates: int, rows: int, budget: int) -> int:
    """How many plans the budget allows to enter."""
    first = min(rows, FEWEST_ROWS)
    return max((n for n in range(1, candidates + 1) if cost_of(n, rows, first) <= budget), default=0)


def best_plan(plans: Sequence[Plan], rows: Sequence[Example], judge: Judge, budget: int, seed: int) -> Found:
    """The winner of halving.

    Args:
        plans: the first always takes part; where the budget allows fewer than all, the others are drawn.
        rows: validation rows, in an order that follows from their content.
        judge: asks and scores; what it was asked before costs nothing anew.
    """
    entered = affordable(len(plans), len(rows), budget) if rows else 0
    if not entered:
        return Found(None, 0.0, Spent(allowed=budget, validation_rows=len(rows)))
    others = random.Random(seed).sample(list(plans[1:]), entered - 1)
    standing = [plans[0], *sorted(others, key=plans.index)]
    count, known, asked = min(len(rows), FEWEST_ROWS), 0, 0
    while True:
        scores = judge(standing, rows[:count])
        asked += len(standing) * (count - known)
        order = sorted(range(len(standing)), key=lambda i: (-scores[i][0], scores[i][1], i))
        if count == len(rows) or len(standing) == 1:
            break
        standing = [standing[i] for i in sorted(order[: (len(standing) + 1) // 2])]
        known, count = count, min(len(rows), count * 2)
    spent = Spent(allowed=budget, asked=asked, candidates=entered, validation_rows=count)
    return Found(standing[order[0]], scores[order[0]][0], spent)
