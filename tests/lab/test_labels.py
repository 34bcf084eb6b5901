"""Labels that were flipped are found, and the rows that the ranking puts first are the right ones."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.lab.look import look, real
from tunesmith.core.records import Finding
from tunesmith.curate.checks.labels import LABELS
from tunesmith.curate.lab.labels import flip_labels
from tunesmith.curate.lab.planted import Planted, measured, row
from tunesmith.curate.lab.shop import text_rows, ticket_rows


def precision_at_k(planted: Planted, findings: Sequence[Finding]) -> float:
    """Share of faulty rows among the first k reported, k being the number of planted faults."""
    faulty = {planted.rows[number].source for number in planted.truth}
    k = len(planted.truth)
    return sum(found.source in faulty for found in findings[:k]) / k


def test_flipped_labels_stand_first() -> None:
    planted = flip_labels(ticket_rows(1000, random.Random(1)), 0.1, random.Random(2))
    findings, outcome = look(LABELS, planted.rows)
    assert precision_at_k(planted, findings) >= 3 * 0.1
    result = measured(planted, findings)
    assert result.recall >= 0.9, result
    assert result.precision >= 0.9, result
    assert outcome.figures["labels"] == 4


def test_right_labels_are_left_alone() -> None:
    findings, outcome = look(LABELS, ticket_rows(1000, random.Random(3)))
    assert len(findings) <= 2
    assert outcome.figures["suspect"] == len(findings)


def test_the_order_of_the_rows_does_not_matter() -> None:
    planted = flip_labels(ticket_rows(400, random.Random(4)), 0.1, random.Random(5))
    shuffled = random.Random(6).sample(planted.rows, len(planted.rows))
    first = {found.source for found in look(LABELS, planted.rows)[0]}
    assert first == {found.source for found in look(LABELS, shuffled)[0]}


def test_every_row_is_judged_when_only_some_are_fitted() -> None:
    planted = flip_labels(ticket_rows(1500, random.Random(7)), 0.1, random.Random(8))
    findings, outcome = look(LABELS, planted.rows, labels={"fitted": 300})
    assert outcome.figures["fitted"] == 300
    assert measured(planted, findings).recall >= 0.7


def test_answers_in_sentences_are_not_checked() -> None:
    _, outcome = look(LABELS, text_rows(200, random.Random(9)))
    assert outcome.not_checked.startswith("the answers are no labels")


def test_labels_that_follow_from_nothing_are_not_checked() -> None:
    rng = random.Random(10)
    rows = [row(f"word{rng.randint(0, 50)} word{rng.randint(0, 50)}", rng.choice(("yes", "no")), i) for i in range(500)]
    _, outcome = look(LABELS, rows)
    assert outcome.not_checked.startswith("the labels do not follow from the words")


def test_ten_percent_flipped_in_real_questions_with_77_labels() -> None:
    rows = [row(item["text"], item["label"], i) for i, item in enumerate(real("banking77/train.jsonl.gz"))]
    planted = flip_labels(rows, 0.1, random.Random(0))
    findings, _ = look(LABELS, planted.rows)
    assert precision_at_k(planted, findings) >= 0.5
