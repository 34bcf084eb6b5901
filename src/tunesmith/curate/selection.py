"""Ways to choose some of the training rows, and which of them is better than chance.

Each way is an arm of an experiment. IFD (instruction-following difficulty; Li et al. 2023, arXiv:2308.12032) is the
loss of an answer behind its question over its loss alone, both by the base: near 1 the question tells the base nothing
yet, above 1 it misleads, which mostly means that question and answer do not belong together. The diverse arm goes
through the rows greedily, as DEITA does (Liu et al. 2023, arXiv:2312.15685): the next row has the largest product of
IFD and distance to what is chosen already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from tunesmith.core.errors import DataError
from tunesmith.core.protocols import Progress, Sampler
from tunesmith.core.records import Example, Message, Record, Reply, Score
from tunesmith.core.stats import SMALLEST_SAMPLE, Interval, crossed
from tunesmith.curate.checks.vectors import space_of
from tunesmith.curate.keys import normalise, rank

ARMS = ("random", "ifd", "diversity", "all")
"""random: by chance. ifd: the hardest that are not above 1. diversity: hard and far apart. all: every row."""

MOST = 1.0
"""Rows with a higher IFD are left out: the question makes the answer less likely."""

Word = Literal["better", "worse", "no visible difference", "cannot tell"]


class Difficulty(Record):
    """The IFD of rows, in order; ``key`` says of which base and data. None: it cannot be stated."""

    key: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Arm:
    """What became of an arm: rows, the mean validation loss, the seeds' spread, and the difference to chance.

    ``difference`` is the loss of the random arm minus this one's: above 0 is better than chance.
    """

    name: str
    rows: int
    loss: float
    spread: float
    word: Word | None = None
    difference: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class Comparison:
    """All arms, the random one first, and what follows in words."""

    arms: tuple[Arm, ...]
    sentence: str
    best: str
    validation_rows: int
    seeds: int
    confidence: float

    def document(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "arms": [
                {
                    "arm": arm.name,
                    "rows": arm.rows,
                    "loss": arm.loss,
                    "spread": arm.spread,
                    "against_random": arm.word,
                    "difference": arm.difference,
                    "interval": list(arm.interval) if arm.interval else None,
                }
                for arm in self.arms
            ],
            "sentence": self.sentence,
            "best": self.best or None,
            "validation_rows": self.validation_rows,
            "seeds": self.seeds,
            "confidence": self.confidence,
        }


def measure_difficulty(
    examples: Sequence[Example], sampler: Sampler, key: str, progress: Progress | None = None
) -> Difficulty:
    """The IFD of every row by a sampler, which is the untuned base.

    The answer alone stands behind an empty question, so that both losses are over the same tokens.

    Raises:
        DataError: plain texts have no question.
    """
    plain = next((example for example in examples if example.is_document), None)
    if plain is not None:
        raise DataError(
            "plain text has no question whose help could be measured",
            where=str(plain.source),
            rule="the arms ifd and diversity compare an answer with its question and without",
            fix="take --arms random,all",
        )
    both = [*examples, *(_alone(example) for example in examples)]
    scores = sampler.score(both, progress)
    found = zip(scores[: len(examples)], scores[len(examples) :], strict=True)
    return Difficulty(key=key, values=tuple(_ifd(*pair) for pair in found))


def _alone(example: Example) -> Example:
    assert isinstance(example.target, Reply)
    return Example(messages=(Message(role="user", content=""),), target=example.target, source=example.source)  # type: ignore[arg-type]


def _ifd(behind: Score, alone: Score) -> float | None:
    if not behind.logprobs or not alone.logprobs:
        return None
    without = -alone.total / len(alone.logprobs)
    value = -behind.total / len(behind.logprobs) / without if without > 0 else math.inf
    return value if math.isfinite(value) else None


def hard_rows(examples: Sequence[Example], difficulty: Difficulty) -> list[int]:
    """Numbers of the rows by IFD, the hardest first; without those above 1."""
    kept = [(value, number) for number, value in enumerate(difficulty.values) if value is not None and value <= MOST]
    return [number for value, number in sorted(kept, key=lambda pair: (-pair[0], rank(examples[pair[1]].id)))]


def diverse_rows(
    examples: Sequence[Example],
    difficulty: Difficulty,
    count: int,
    tell: Callable[[int, int], None] | None = None,
) -> list[int]:
    """Numbers of ``count`` rows: hard ones, each as far as possible from those before it (TF-IDF), in that order."""
    import numpy as np

    hard = hard_rows(examples, difficulty)
    if not hard:
        return []
    texts = [normalise(" ".join([*(m.text for m in examples[i].messages), examples[i].target.text])) for i in hard]
    vectors = space_of(texts).vectors
    quality = np.array([difficulty.values[i] for i in hard], np.float32)
    nearest = np.zeros(len(hard), np.float32)  # the largest cosine to a chosen row
    left = np.ones(len(hard), bool)
    chosen: list[int] = []
    while len(chosen) < min(count, len(hard)):
        worth = np.where(left, quality * (1 - nearest), -1)
        best = int(worth.argmax())
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, np.clip(vectors @ vectors[best], 0, 1))
        if tell and len(chosen) % 100 == 0:
            tell(len(chosen), count)
    return [hard[i] for i in chosen]


def compare_arms(losses: Mapping[str, Sequence[Sequence[float]]], rows: Mapping[str, int]) -> Comparison:
    """Each arm against the random one, on the same validation rows and under the same seeds.

    The intervals hold for all arms together (Bonferroni): 95 % that none of them misses.

    Args:
        losses: arm → seed → loss of each validation row; with "random" among them.
        rows: arm → rows that it was trained on.
    """
    chance = losses["random"]
    others = [name for name in losses if name != "random"]
    confidence = 1 - 0.05 / max(1, len(others))
    seeds, judged = len(chance), len(chance[0])
    arms = [_arm("random", rows["random"], chance)]
    for name in others:
        arm = _arm(name, rows[name], losses[name])
        if seeds < 2 or judged < SMALLEST_SAMPLE:
            arms.append(_with(arm, "cannot tell"))
            continue
        falls = [[r - a for r, a in zip(*pair, strict=True)] for pair in zip(chance, losses[name], strict=True)]
        found = crossed(falls)
        interval = found.interval(confidence)
        word: Word = "better" if interval.low > 0 else "worse" if interval.high < 0 else "no visible difference"
        arms.append(_with(arm, word, found.mean, interval))
    better = [arm for arm in arms if arm.word == "better" and arm.name != "all"]
    best = min(better, key=lambda arm: arm.loss, default=None)
    sentence = _sentence(arms, best, seeds, judged)
    return Comparison(tuple(arms), sentence, best.name if best else "", judged, seeds, confidence)


def _arm(name: str, rows: int, losses: Sequence[Sequence[float]]) -> Arm:
    means = [fmean(row) for row in losses]
    return Arm(name, rows, fmean(means), stdev(means) if len(means) > 1 else math.nan)


def _with(arm: Arm, word: Word, difference: float | None = None, interval: Interval | None = None) -> Arm:
    return Arm(arm.name, arm.rows, arm.loss, arm.spread, word, difference, interval)


def _sentence(arms: Sequence[Arm], best: Arm | None, seeds: int, judged: int) -> str:
    if seeds < 2:
        return "Cannot tell: one seed does not show by how much trainings differ by chance; take --seeds 3."
    if judged < SMALLEST_SAMPLE:
        return f"Cannot tell: {judged} validation rows are too few, {SMALLEST_SAMPLE} are the least. Raise val_size."
    whole = next((arm for arm in arms if arm.name == "all"), None)
    beside = ""
    if whole is not None:
        told = "visibly better" if whole.word == "better" else "not visibly better"
        beside = f" All {whole.rows} rows reach {whole.loss:.4f}, which is {told} than the random part."
    if best is None or best.interval is None:
        tried = " or ".join(arm.name for arm in arms if arm.name not in ("random", "all"))
        if not tried:
            return beside.strip()
        return f"Choosing by {tried} is not visibly better than choosing as many rows by chance.{beside}"
    low, high = best.interval
    return (
        f"Choosing {best.rows} rows by {best.name} beats choosing as many by chance: the validation loss is "
        f"{best.difference:.4f} lower (interval {low:.4f} to {high:.4f}).{beside} It was chosen on the validation "
        "rows; the verdict of a training with it, on the test rows, decides."
    )
