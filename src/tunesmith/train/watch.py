"""What a run notices about itself while it trains: a loss spike, a loss that ran away, overfitting. Rules, no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from tunesmith.core.errors import TrainingError
from tunesmith.core.events import RowLoss

DIVERGED = 3.0
"""A loss this many nats above the run's first one, three steps in a row, counts as diverged."""

SPIKE_WINDOW, SPIKE_LEAST, SPIKE_WIDTH, SPIKE_NATS = 50, 10, 6.0, 0.5
"""A spike: a loss more than 6 robust standard deviations (1.4826 × the median absolute deviation) and more than half a
nat above the median of the last 50 steps; at least 10 must be known."""

OVERFIT_SHARE, OVERFIT_TIMES = 0.02, 2
"""Overfitting: the validation loss is 2 % above its minimum for two validations while the training loss falls."""


def spike(losses: Sequence[float]) -> float | None:
    """The median of the steps before, if the last loss is a spike above it; None if it is not."""
    before = [loss for loss in losses[-1 - SPIKE_WINDOW : -1] if math.isfinite(loss)]
    if len(before) < SPIKE_LEAST:
        return None
    middle = statistics.median(before)
    deviation = 1.4826 * statistics.median(abs(loss - middle) for loss in before)
    return middle if losses[-1] > middle + max(SPIKE_WIDTH * deviation, SPIKE_NATS) else None


def spike_sentence(losses: Sequence[float], rows: Sequence[RowLoss], sources: Mapping[str, str]) -> str:
    """A spike in one sentence with the rows that made it; "" where the last step was none."""
    usual = spike(losses)
    if usual is None:
        return ""
    return (
        f"loss spike at step {len(losses)}: {losses[-1]:.3f}, where {usual:.3f} is usual; "
        f"highest of its rows: {worst_rows(rows, sources)}"
    )


def worst_rows(rows: Sequence[RowLoss], sources: Mapping[str, str], count: int = 3) -> str:
    """The rows of a step with the highest losses of their own, by file and line where that is known."""
    ordered = sorted(rows, key=lambda row: -row.loss if math.isfinite(row.loss) else -math.inf)
    return ", ".join(_row(row, sources) for row in ordered[:count])


def _row(row: RowLoss, sources: Mapping[str, str]) -> str:
    name = f"{sources[row.row]} (row {row.row}" if row.row in sources else f"row {row.row} ("
    separator = ", " if row.row in sources else ""
    return f"{name}{separator}loss {row.loss:.3g} over {row.tokens} tokens)"


def refuse_divergence(
    losses: Sequence[float], norm: float, rows: Sequence[RowLoss], sources: Mapping[str, str]
) -> None:
    """Stop a run whose last loss or gradient is not a number, or whose loss has run away.

    Raises:
        TrainingError: names the rows of the step with the highest losses.
    """
    recent = losses[-3:]
    ran_away = len(losses) > 5 and min(recent) > losses[0] + DIVERGED
    if not math.isfinite(losses[-1]) or not math.isfinite(norm) or ran_away:
        raise TrainingError(
            f"training diverged: loss {losses[-1]:.3g}, gradient norm {norm:.3g}",
            where=f"step {len(losses)}; highest of its rows: {worst_rows(rows, sources)}",
            rule="the loss must stay finite and near where it began",
            fix="use a smaller learning_rate (a third of it), and look at the named rows with `tunesmith data show`",
        )


def overfitting(losses: Sequence[float], validation: Mapping[int, float]) -> str:
    """Overfitting in one sentence, if the newest validation is the one that shows it; "" otherwise.

    Args:
        losses: training loss of step 1, 2, …
        validation: optimiser step → validation loss.
    """
    now = _overfits(losses, validation)
    earlier = dict(sorted(validation.items())[:-1])
    return "" if not now or _overfits(losses, earlier) else now


def _overfits(losses: Sequence[float], validation: Mapping[int, float]) -> str:
    steps = sorted(validation)
    if len(steps) <= OVERFIT_TIMES:
        return ""
    best = min(steps, key=lambda step: validation[step])
    later = [step for step in steps if step > best]
    limit = validation[best] * (1 + OVERFIT_SHARE)
    if len(later) < OVERFIT_TIMES or any(validation[step] <= limit for step in later[-OVERFIT_TIMES:]):
        return ""
    before, after = _mean_since(losses, steps, best), _mean_since(losses, steps, steps[-1])
    if not after < before:
        return ""
    last = validation[steps[-1]]
    return (
        f"overfitting from step {best} on: the validation loss rose from {validation[best]:.4f} to {last:.4f} "
        f"(+{100 * (last / validation[best] - 1):.1f} %) while the training loss fell from {before:.4f} to "
        f"{after:.4f}; the weights of step {best} are kept"
    )


def _mean_since(losses: Sequence[float], steps: Sequence[int], step: int) -> float:
    """Mean training loss of the steps between a validation and the one before it."""
    before = max((other for other in steps if other < step), default=0)
    return statistics.fmean(losses[before:step]) if before < step <= len(losses) else math.nan
