"""Choosing rows: IFD from scores, hard and diverse rows, and each arm against chance."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.curate.helpers import example
from tunesmith.core.errors import DataError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Document, Example, Score
from tunesmith.curate import Difficulty, compare_arms, diverse_rows, hard_rows, measure_difficulty


class Scorer:
    """Scores an answer by a table: behind its question and alone."""

    name = digest = "table"

    def __init__(self, behind: float, alone: float) -> None:
        self.behind, self.alone = behind, alone
        self.seen: list[Example] = []

    def sample(self, *_: object) -> list[object]:
        raise AssertionError("nothing is answered")

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        self.seen += examples
        each = [self.behind if row.messages[-1].text else self.alone for row in examples]
        return [Score(example_id=row.id, logprobs=(-x, -x)) for row, x in zip(examples, each, strict=True)]


def test_ifd_is_the_loss_with_the_question_over_the_loss_without() -> None:
    scorer = Scorer(0.5, 2.0)
    rows = [example("What is the capital of France?", "Paris"), example("And of Spain?", "Madrid")]
    found = measure_difficulty(rows, scorer, "k")  # type: ignore[arg-type]
    assert found.values == (0.25, 0.25)
    assert [row.target.text for row in scorer.seen] == ["Paris", "Madrid", "Paris", "Madrid"]
    assert measure_difficulty(rows, Scorer(1.0, 0.0), "k").values == (None, None)  # type: ignore[arg-type]


def test_plain_text_has_no_ifd() -> None:
    row = Example(messages=(), target=Document(text="A text."))
    with pytest.raises(DataError, match="plain text has no question") as caught:
        measure_difficulty([row], Scorer(1, 1), "k")  # type: ignore[arg-type]
    assert caught.value.fix == "take --arms random,all"


def test_rows_above_1_are_left_out_and_the_hardest_come_first() -> None:
    rows = [example(f"question {i}", f"answer {i}") for i in range(4)]
    assert hard_rows(rows, Difficulty(key="", values=(0.2, 1.5, 0.9, None))) == [2, 0]


def test_diverse_rows_are_far_from_each_other() -> None:
    kinds = [
        "How do I bake sourdough bread with rye?",
        "Which gear ratio suits a mountain bicycle?",
        "Who was Napoleon?",
    ]
    rows = [example(f"{kind} ({i})", "…") for kind in kinds for i in range(20)]
    values = tuple(0.9 if i < 20 else 0.8 for i in range(60))  # by hardness alone all would be of the first kind
    difficulty = Difficulty(key="", values=values)
    assert {i // 20 for i in hard_rows(rows, difficulty)[:3]} == {0}
    assert {i // 20 for i in diverse_rows(rows, difficulty, 3)} == {0, 1, 2}
    assert len(set(diverse_rows(rows, difficulty, 100))) == 60
    assert diverse_rows(rows, Difficulty(key="", values=(None,) * 60), 3) == []


def losses(rng: random.Random, shift: float, rows: int = 60, seeds: int = 3) -> list[list[float]]:
    return [[1 + shift + rng.gauss(0, 0.05) for _ in range(rows)] for _ in range(seeds)]


def test_an_arm_that_is_better_is_named() -> None:
    rng = random.Random(1)
    counts = {"random": 30, "ifd": 30, "diversity": 30, "all": 100}
    found = compare_arms(
        {name: losses(rng, by) for name, by in (("random", 0), ("ifd", -0.2), ("diversity", 0.2), ("all", -0.4))},
        counts,
    )
    assert [(arm.name, arm.word) for arm in found.arms] == [
        ("random", None),
        ("ifd", "better"),
        ("diversity", "worse"),
        ("all", "better"),
    ]
    assert found.best == "ifd"
    assert found.sentence.startswith(
        "Choosing 30 rows by ifd beats choosing as many by chance: the validation loss is 0."
    )
    assert "All 100 rows reach 0." in found.sentence
    assert found.confidence == pytest.approx(1 - 0.05 / 3)


def test_chance_alone_rarely_names_an_arm() -> None:
    rng, times = random.Random(2), 200
    counts = {"random": 30, "ifd": 30, "diversity": 30}
    named = sum(
        bool(compare_arms({name: losses(rng, rng.gauss(0, 0.01), 30) for name in counts}, counts).best)
        for _ in range(times)
    )
    assert named / times <= 0.05 + 2 * (0.05 * 0.95 / times) ** 0.5


def test_too_little_to_tell() -> None:
    rng = random.Random(3)
    counts = {"random": 3, "ifd": 3}
    few = compare_arms({name: losses(rng, 0, rows=7) for name in counts}, counts)
    assert few.sentence == "Cannot tell: 7 validation rows are too few, 8 are the least. Raise val_size."
    assert few.arms[1].word == "cannot tell"
    assert few.best == ""
    one = compare_arms({name: losses(rng, 0, seeds=1) for name in counts}, counts)
    assert one.sentence.startswith("Cannot tell: one seed does not show")
    none = compare_arms({name: losses(rng, 0) for name in counts}, counts)
    assert none.sentence == "Choosing by ifd is not visibly better than choosing as many rows by chance."
