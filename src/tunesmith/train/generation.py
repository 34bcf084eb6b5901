"""Task metrics while training: the model answers a fixed few validation rows at every validation.

What "answers" and "metrics" mean is handed in (`Measure`); here is decided how many rows that may cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tunesmith.core.events import Emit, Note
from tunesmith.model import device
from tunesmith.train.config import LoopConfig
from tunesmith.train.loop import State

Measure = Callable[[str, int], Mapping[str, float]]
"""(adapter name, number of rows) → metric → value. The rows are the same ones whenever the number is the same."""

SHARE = 0.1
"""Most of the training time that ``eval_generate_rows: auto`` may take."""

MOST_ROWS, LEAST_ROWS, PILOT_ROWS = 32, 4, 2
"""Rows that auto takes at most; fewer than the second say nothing; the third are answered to learn what a row costs."""


def measure_answers(
    state: State,
    measure: Measure,
    config: LoopConfig,
    adapter: str,
    training_seconds: float,
    validations: int,
    emit: Emit,
) -> Mapping[str, float]:
    """Metrics of the present weights, stored in ``state`` too; {} when none are wanted or affordable.

    Random generators are left as they were, so that training goes on with the same bits.
    """
    wanted, done = config.eval_generate_rows, state.generation
    generators = device.random_state()
    budget = SHARE * training_seconds
    if done.rows < 0:
        done.rows = wanted if isinstance(wanted, int) else _affordable(measure, adapter, budget / validations, state)
        if wanted == "auto":
            emit(Note(text=_said(done.rows, budget)))
    each = done.seconds / max(1, len(done.metrics))
    metrics: Mapping[str, float] = {}
    if done.rows and (wanted != "auto" or done.seconds + each <= budget):
        begin = time.perf_counter()
        metrics = dict(measure(adapter, done.rows))
        done.seconds += time.perf_counter() - begin
        done.metrics[state.step] = dict(metrics)
    device.set_random_state(generators)
    return metrics


def _affordable(measure: Measure, adapter: str, seconds: float, state: State) -> int:
    """Rows that can be answered in so many seconds at each validation, judged by a few of them."""
    begin = time.perf_counter()
    measure(adapter, PILOT_ROWS)
    used = time.perf_counter() - begin
    state.generation.seconds += used
    rows = min(MOST_ROWS, int(PILOT_ROWS * seconds / used))
    return rows if rows >= LEAST_ROWS else 0


def _said(rows: int, budget: float) -> str:
    if rows:
        return f"{rows} validation rows are answered at every validation, within a tenth of the training time"
    return (
        f"no validation rows are answered while training: {LEAST_ROWS} of them would take more than a tenth of the "
        f"training time ({budget:.1f} s in all); eval_generate_rows: N asks for them all the same"
    )
