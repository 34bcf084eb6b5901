"""Which rows make up an epoch: weights, replay, and no hidden state."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

import pytest

from tests.train import job
from tunesmith.core.artifacts import SetShare
from tunesmith.curate import DataSet
from tunesmith.train import parts_of
from tunesmith.train.mix import as_planned, sentence, shares
from tunesmith.train.order import Order, Part


def epoch(order: Order, number: int) -> list[int]:
    first = number * order.steps_per_epoch
    return [row for step in range(first, first + order.steps_per_epoch) for row in order.step(step)]


def test_an_epoch_without_parts_shows_every_row_once_in_the_order_of_its_seed() -> None:
    order = Order(rows=10, per_step=4, seed=42)
    wanted = list(range(10))
    random.Random("42:3").shuffle(wanted)
    assert epoch(order, 3) == wanted
    assert epoch(Order(10, 4, 42, (Part("a", 6, 6), Part("b", 4, 4))), 3) == wanted, "weights of 1 change nothing"
    assert epoch(order, 3) != epoch(order, 2)
    assert [len(order.step(i)) for i in range(3)] == [4, 4, 2]


def test_a_weight_of_two_shows_rows_twice_an_epoch() -> None:
    order = Order(8, 4, 1, parts_of([DataSet("a", 3, weight=2), DataSet("b", 5)]))
    for number in range(3):
        assert Counter(epoch(order, number)) == {**dict.fromkeys(range(3), 2), **dict.fromkeys(range(3, 8), 1)}


def test_a_weight_of_a_half_shows_one_half_and_then_the_other() -> None:
    order = Order(18, 5, 7, parts_of([DataSet("a", 8), DataSet("b", 10, weight=0.5)]))
    halves = [{row for row in epoch(order, number) if row >= 8} for number in range(6)]
    assert all(len(half) == 5 for half in halves)
    for first, second in zip(halves[::2], halves[1::2], strict=True):
        assert first | second == set(range(8, 18))
    assert len({frozenset(half) for half in halves}) > 2, "another permutation after every pass"


@pytest.mark.parametrize("weight", [0.3, 0.7, 1.0, 1.5, 2.0, 2.3])
def test_no_row_is_seen_again_before_all_others(weight: float) -> None:
    order = Order(11, 3, 5, parts_of([DataSet("a", 11, weight=weight)]))
    for number in range(1, 9):
        seen = order.seen(number * order.steps_per_epoch)
        assert sum(seen) == number * order.per_epoch == number * round(11 * weight)
        assert max(seen) - min(seen) <= 1


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_replay_is_the_stated_share_of_an_epoch(share: float) -> None:
    parts = parts_of([DataSet("a", 100), DataSet("b", 50, weight=2), DataSet("old", 30, replay=share)])
    total = sum(part.per_epoch for part in parts)
    assert abs(Fraction(parts[2].per_epoch, total) - Fraction(share)) < Fraction(1, total)
    order = Order(180, 8, 0, parts)
    assert sum(row >= 150 for row in epoch(order, 0)) == parts[2].per_epoch


def test_sets_without_training_rows_are_left_out() -> None:
    assert parts_of([DataSet("held out", 0), DataSet("a", 4)]) == (Part("a", 4, 4),)
    assert parts_of([]) == ()


def test_a_step_follows_from_its_arguments_alone() -> None:
    parts = parts_of([DataSet("a", 20, weight=1.5), DataSet("old", 40, replay=0.25)])
    steps = list(range(60))
    forwards = {n: Order(60, 4, 3, parts).step(n) for n in steps}
    random.Random(0).shuffle(steps)
    assert {n: Order(60, 4, 3, parts).step(n) for n in steps} == forwards
    order = Order(60, 4, 3, parts)
    for upto in (0, 1, 7, order.steps_per_epoch, 25):
        counted = Counter(row for n in range(upto) for row in order.step(n))
        assert order.seen(upto) == [counted[row] for row in range(60)]


def test_shares_of_a_run_count_rows_and_tokens_of_each_set() -> None:
    rows = job.rows().train
    order = Order(len(rows), 4, 0, (Part("a.jsonl", 10, 20), Part("b.jsonl", 14, 7)))
    steps = order.steps_per_epoch + 2
    found = shares(order, rows, steps)
    taken = [i for step in range(steps) for i in order.step(step)]
    assert found[0].shown == sum(i < 10 for i in taken)
    assert found[1].tokens == sum(len(rows[i].tokens) for i in taken if i >= 10)
    assert found[1].target_tokens == sum(rows[i].trained_tokens for i in taken if i >= 10)
    assert "a.jsonl: " in sentence(found)
    tokens, targets = (sum(getattr(one, name) for one in found) for name in ("tokens", "target_tokens"))
    assert as_planned(found, tokens, targets).passed
    failed = as_planned(found, tokens - 1, targets)
    assert failed.passed is False
    assert "planned" in failed.detail


def test_the_sentence_names_shares() -> None:
    sets = (
        SetShare(path="a.jsonl", rows=10, shown=20, tokens=750, target_tokens=1),
        SetShare(path="b.jsonl", rows=4, shown=2, tokens=250, target_tokens=1),
    )
    assert sentence(sets) == (
        "a.jsonl: 20 rows shown, of 10; 750 tokens (75%); b.jsonl: 2 rows shown, of 4; 250 tokens (25%)"
    )
