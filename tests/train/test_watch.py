"""What a run notices about itself: spikes, overfitting, divergence; and the loss of every row."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from tests.model.conftest import rows
from tests.train.test_loop import plan, prepared
from tunesmith.core.errors import TrainingError
from tunesmith.core.events import Noticed, RowLoss, Step
from tunesmith.model.batch import pack
from tunesmith.model.load import Base
from tunesmith.train import row_losses, watch
from tunesmith.train.loop import State, make_optimiser, train
from tunesmith.train.sft import loss

CALM = [2.0 + 0.05 * (-1) ** i for i in range(20)]


def test_a_spike_is_far_above_the_median_of_what_is_usual() -> None:
    assert watch.spike([*CALM, 2.6]) == pytest.approx(2.0, abs=0.06)
    assert watch.spike([*CALM, 2.4]) is None  # less than half a nat
    assert watch.spike([2.0] * 9 + [9.0]) is None  # too few steps to know what is usual
    wild = [2.0 + (i % 5) for i in range(40)]
    assert watch.spike([*wild, 7.0]) is None  # steps differ that much here
    assert watch.spike([*CALM, math.nan]) is None  # divergence, which has a rule of its own


def test_a_spike_names_its_rows_by_their_own_loss() -> None:
    found = [RowLoss(row="a", loss=2.0, tokens=5), RowLoss(row="b", loss=11.5, tokens=3)]
    sentence = watch.spike_sentence([*CALM, 6.0], found, {"b": "rows.jsonl:12"})
    assert sentence.startswith("loss spike at step 21: 6.000, where 2.0")
    assert "rows: rows.jsonl:12 (row b, loss 11.5 over 3 tokens), row a (loss 2 over 5 tokens)" in sentence
    assert watch.spike_sentence(CALM, found, {}) == ""


def test_a_row_that_is_not_a_number_is_named_first() -> None:
    found = [RowLoss(row="a", loss=99.0, tokens=5), RowLoss(row="b", loss=math.nan, tokens=3)]
    with pytest.raises(TrainingError, match="training diverged: loss nan") as error:
        watch.refuse_divergence([2.0, math.nan], 1.0, found, {})
    assert "rows: row b (loss nan over 3 tokens), row a (loss 99" in error.value.where


def test_overfitting_is_two_validations_above_the_minimum_while_training_falls() -> None:
    falling = [3.0 - 0.1 * i for i in range(20)]
    values = {5: 2.0, 10: 1.5, 15: 1.54, 20: 1.6}
    assert watch.overfitting(falling, {5: 2.0, 10: 1.5, 15: 1.54}) == ""  # once
    sentence = watch.overfitting(falling, values)
    assert sentence.startswith("overfitting from step 10 on: the validation loss rose from 1.5000 to 1.6000 (+6.7 %)")
    assert "the training loss fell from 2.3000 to 1.3000; the weights of step 10 are kept" in sentence
    assert watch.overfitting(falling, {**values, 15: 1.52}) == ""  # within 2 %
    assert watch.overfitting([2.0] * 20, values) == ""  # training does not fall: something else is wrong
    assert watch.overfitting([*falling, *falling], {**values, 25: 1.7}) == ""  # said once


def train_all(base_and: tuple, count: int, poison: int | None = None) -> tuple[list[object], State]:
    base, trainable = base_and
    settings = plan(total_steps=count)
    examples = rows(8)

    def poisoned(base: Base, batch):  # type: ignore[no-untyped-def]
        value, each = loss(base, batch)
        bad = [i for i, name in enumerate(batch.example_ids) if name == "row3"]
        if poison is not None and bad and state.step >= poison:
            hit = batch.owners == bad[0]
            each = torch.where(hit, each + 40.0, each)
            value = value + 40.0 * hit.sum()
        return value, each

    state, events = State(), []
    sources = {"row3": "rows.jsonl:4"}
    for event in train(base, trainable, poisoned, examples, settings, make_optimiser(trainable, settings), state,
                       None, sources):  # fmt: skip
        events.append(event)
    return events, state


def test_every_row_of_a_step_has_its_own_loss(tiny_model: Path) -> None:
    events, _ = train_all(prepared(tiny_model, "lora"), 2)
    base, trainable = prepared(tiny_model, "lora")
    examples = {row.example_id: row for row in rows(8)}
    first = next(event for event in events if isinstance(event, Step))
    assert tuple(row.row for row in first.row_losses) == first.example_ids
    trainable.begin()
    for row in first.row_losses:
        _, each = loss(base, pack([examples[row.row]]))
        assert row.tokens == len(each)
        assert row.loss == pytest.approx(float(each.mean()), rel=1e-5)
    tokens = sum(row.tokens for row in first.row_losses)
    assert tokens == first.target_tokens
    assert sum(row.loss * row.tokens for row in first.row_losses) / tokens == pytest.approx(first.loss, rel=1e-5)


def test_a_planted_row_is_named_by_file_and_line(tiny_model: Path) -> None:
    events, state = train_all(prepared(tiny_model, "lora"), 24, poison=20)
    noticed = [event for event in events if isinstance(event, Noticed)]
    assert [event.what for event in noticed] == ["loss spike"] * len(noticed)
    assert "highest of its rows: rows.jsonl:4 (row row3, loss 4" in noticed[0].text
    assert state.noticed == [event.text for event in noticed]


def test_the_row_log_is_cut_back_to_a_step(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        row_losses.write(
            tmp_path, step, [RowLoss(row="a", loss=1.5, tokens=2), RowLoss(row="b", loss=math.nan, tokens=1)]
        )
    path = tmp_path / row_losses.FILE
    whole = path.read_text()
    assert json.loads(whole.splitlines()[0]) == {"step": 1, "row": "a", "loss": 1.5, "tokens": 2}
    row_losses.trim(path, 3)
    assert path.read_text() == whole
    path.write_text(whole + '{"step": 3, "ro')
    row_losses.trim(path, 3)
    assert path.read_text() == whole
    row_losses.trim(path, 1)
    assert path.read_text() == "".join(whole.splitlines(keepends=True)[:2])
    row_losses.trim(path, 0)
    assert path.read_text() == ""
    row_losses.trim(tmp_path / "no such file", 0)
