"""Whether more data will likely help: a decision on the losses of trainings on nested shares of the rows.

Pure arithmetic on ``losses[share][seed][row]``. The question is put to the last step, from the second largest share to
all rows: by how much did the loss of the same validation rows fall? Its interval covers other validation rows and other
seeds, that is, other draws of the rows and other runs. What the step gave is measured; what the next one would give is
a guess, which is shown only where the curve flattens visibly, and then with its interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from tunesmith.core.stats import SMALLEST_SAMPLE, Crossed, Interval, crossed

Answer = Literal["more data will likely help", "flat", "cannot tell"]
Losses = Sequence[Sequence[Sequence[float]]]
"""Loss per target token of each validation row: share, from small to large → seed → row."""

MARGIN = 0.02
"""A gain below this share of the loss is not worth collecting rows for."""

LEAST_MARGIN = 0.005
"""The same in nats, where the loss itself is next to nothing."""


@dataclass(frozen=True)
class Share:
    """One point of the curve: the mean loss over rows and seeds, and the standard deviation of the seeds' means."""

    share: float
    loss: float
    spread: float


@dataclass(frozen=True)
class Growth:
    """What the curve says. ``gain`` is the loss before the last step minus that after it: above 0 is better."""

    answer: Answer
    sentence: str
    curve: tuple[Share, ...]
    rows: int
    seeds: int
    margin: float
    gain: float | None = None
    interval: Interval | None = None
    smallest_visible: float | None = None
    expected: Interval | None = None
    """Interval of what as large a step once more would give; None where the curve does not say."""

    def document(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "answer": self.answer,
            "sentence": self.sentence,
            "curve": [{"share": p.share, "loss": p.loss, "spread": p.spread} for p in self.curve],
            "validation_rows": self.rows,
            "seeds": self.seeds,
            "margin": self.margin,
            "gain": self.gain,
            "interval": list(self.interval) if self.interval else None,
            "smallest_visible": self.smallest_visible,
            "expected_of_the_next_step": list(self.expected) if self.expected else None,
        }


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.3g} %"


def judge_growth(shares: Sequence[float], losses: Losses, margin: float = MARGIN, still_falling: float = 0.0) -> Growth:
    """More data, flat, or cannot tell.

    Args:
        shares: of the training rows, ascending, the last one 1.
        losses: of the same validation rows at each share.
        margin: share of the loss that a gain must reach to matter.
        still_falling: by how much the loss fell at the very end of the trainings on the second largest share.
    """
    seeds, rows = len(losses[-1]), len(losses[-1][0])
    curve = tuple(_point(share, found) for share, found in zip(shares, losses, strict=True))
    least = max(LEAST_MARGIN, margin * curve[-1].loss)
    if seeds < 2 or rows < SMALLEST_SAMPLE:
        return Growth("cannot tell", _too_few(rows, seeds), curve, rows, seeds, least)
    last = crossed(_fall(losses[-2], losses[-1]))
    interval = last.interval()
    answer = _answer(interval, least)
    expected = _expected(shares, losses) if answer == "more data will likely help" else None
    sentence = _sentence(answer, shares, last, least, expected)
    if answer == "more data will likely help" and still_falling > least:
        sentence += (
            f" But the trainings on {percent(shares[-2])} were not done: their loss still fell by {still_falling:.4f} "
            "at the end, so more epochs may give what more rows seem to give. Raise num_train_epochs and ask again."
        )
    visible = last.smallest_visible()
    return Growth(answer, sentence, curve, rows, seeds, least, last.mean, interval, visible, expected)


def _answer(interval: Interval, margin: float) -> Answer:
    if interval.high <= margin:
        return "flat"
    return "more data will likely help" if interval.low > 0.0 else "cannot tell"


def _point(share: float, found: Sequence[Sequence[float]]) -> Share:
    means = [fmean(row) for row in found]
    return Share(share, fmean(means), stdev(means) if len(means) > 1 else math.nan)


def _fall(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> list[list[float]]:
    """By how much each row's loss fell under each seed."""
    return [[b - a for b, a in zip(one, two, strict=True)] for one, two in zip(before, after, strict=True)]


def _expected(shares: Sequence[float], losses: Losses) -> Interval | None:
    """What the next step of the same ratio would give if gains shrink as they did: gain² / the gain before.

    None where the shares are not of one ratio, the gains do not shrink visibly, or more would be gained than is left.
    The interval is made on the logarithm, by the delta method over rows and seeds.
    """
    if len(shares) < 3 or not math.isclose(shares[-2] ** 2, shares[-1] * shares[-3], rel_tol=0.05):
        return None
    first, second = _fall(losses[-3], losses[-2]), _fall(losses[-2], losses[-1])
    before, after = crossed(first), crossed(second)
    if before.interval().low <= 0 or after.interval().low <= 0 or after.mean >= before.mean:
        return None
    slopes = [
        [2 * b / after.mean - a / before.mean for a, b in zip(one, two, strict=True)]
        for one, two in zip(first, second, strict=True)
    ]
    log = crossed(slopes).interval()
    reach = (log.high - log.low) / 2
    middle = after.mean**2 / before.mean
    found = Interval(middle * math.exp(-reach), middle * math.exp(reach))
    return found if found.high < fmean(fmean(row) for row in losses[-1]) else None


def _too_few(rows: int, seeds: int) -> str:
    if seeds < 2:
        return "Cannot tell: one seed does not show by how much trainings differ by chance. Take --seeds 3."
    return (
        f"Cannot tell: {rows} validation rows are too few, {SMALLEST_SAMPLE} are the least and some hundred are "
        "better. Raise val_size."
    )


def _sentence(answer: Answer, shares: Sequence[float], last: Crossed, margin: float, expected: Interval | None) -> str:
    low, high = last.interval()
    step = f"From {percent(shares[-2])} to {percent(shares[-1])} of the rows"
    found = f"the validation loss fell by {last.mean:.4f} (95 % interval {low:.4f} to {high:.4f}, {last.seeds} seeds)"
    if last.mean < 0:
        found = f"the validation loss rose by {-last.mean:.4f} (95 % interval {-high:.4f} to {-low:.4f})"
    if answer == "flat":
        more = "The loss even rose: look at the rows and at the number of epochs. " if high < 0 else ""
        return (
            f"Flat: {step.lower()} {found}, at most {max(0.0, high):.4f}, which is below {margin:.4f}, the least that "
            f"counts. {more}More rows like these will hardly help; better rows or rows of another kind may."
        )
    if answer == "cannot tell":
        return (
            f"Cannot tell: {step.lower()} {found}. A step of less than about {last.smallest_visible():.4f} is not "
            "visible here; more seeds or more validation rows would show smaller ones."
        )
    guess = "How much more the next rows give is not visible from these shares."
    if expected is not None:
        guess = f"As large a step once more would give {expected.low:.4f} to {expected.high:.4f}, if gains go on so."
    return f"More data will likely help: {step.lower()} {found}. {guess}"
