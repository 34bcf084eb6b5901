"""The loop's arithmetic: accumulation, normalisation, schedules, order, fp32 state, divergence."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.model.conftest import rows
from tunesmith.core.errors import TrainingError
from tunesmith.model.batch import pack
from tunesmith.model.load import Base, load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.trainable import Options, Trainable, make_trainable
from tunesmith.train.loop import Plan, State, accumulate, make_optimiser, train
from tunesmith.train.order import Order, micro_batches
from tunesmith.train.schedule import auto_learning_rate, rate_at
from tunesmith.train.sft import loss


def prepared(model: Path, kind: str, dtype: torch.dtype = torch.float32) -> tuple[Base, Trainable]:
    base = load_base(model, dtype)
    trainable = make_trainable(kind, base, Options(LoRASpec(4, 8), 0, "tiny"))
    if kind == "lora":
        generator = torch.Generator().manual_seed(5)
        trainable.master.copy_(0.1 * torch.randn(trainable.master.shape, generator=generator))
    return base, trainable


def plan(count: int = 8, **changes: object) -> Plan:
    values: dict[str, object] = {
        "order": Order(count, 4, 0),
        "total_steps": 6,
        "micro_batch": 4,
        "learning_rate": 1e-2,
        "scheduler": "constant",
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "eval_steps": 100,
        "patience": 0,
    }
    return Plan(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_gradient_does_not_depend_on_the_split_into_micro_batches(tiny_model: Path, kind: str) -> None:
    base, trainable = prepared(tiny_model, kind)
    examples = rows(8)
    examples[4] = examples[4].model_copy(update={"weights": (0.0,) * len(examples[4].tokens)})
    gradients, losses = [], []
    for size in (8, 1, 2):
        trainable.begin()
        value, targets = accumulate(base, loss, [pack(part) for part in micro_batches(examples, size)])
        assert targets == sum(sum(w > 0 for w in e.weights[1:]) for e in examples)
        gradients.append(trainable.grad.clone())
        losses.append(value)
        trainable.grad.zero_()
    for other, value in zip(gradients[1:], losses[1:], strict=True):
        assert float((other - gradients[0]).norm() / gradients[0].norm()) <= 1e-6
        assert value == pytest.approx(losses[0], rel=1e-6)


def test_packed_loss_equals_the_mean_over_single_documents(tiny_model: Path) -> None:
    base, _ = prepared(tiny_model, "lora")
    examples = rows(5)
    base.router.training = None
    with torch.inference_mode():
        packed, nll = loss(base, pack(examples))
        single = [loss(base, pack([e])) for e in examples]
    torch.testing.assert_close(packed, sum(value for value, _ in single), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(nll, torch.cat([values for _, values in single]), rtol=1e-4, atol=1e-5)


def test_bf16_full_tuning_accumulates_in_fp32(tiny_model: Path) -> None:
    base, trainable = prepared(tiny_model, "full", torch.bfloat16)
    examples = rows(8)
    accumulate(base, loss, [pack(part) for part in micro_batches(examples, 1)])
    assert trainable.grad.dtype == torch.float32
    assert all(p.grad is None for p in trainable.parameters.values())
    assert float(trainable.grad.norm()) > 0


def test_tiny_steps_are_not_lost_in_rounding(tiny_model: Path) -> None:
    """A thousand steps at learning rate 1e-6 move the fp32 master weights as float64 would."""
    _, trainable = prepared(tiny_model, "lora", torch.bfloat16)
    optimiser = make_optimiser(trainable, plan(learning_rate=1e-6))
    start = trainable.master.clone().double()
    reference = start.clone().requires_grad_()
    exact = torch.optim.AdamW([reference], lr=1e-6, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(trainable.grad.shape, generator=generator)
    for _ in range(1000):
        trainable.grad.copy_(direction)
        reference.grad = direction.double()
        optimiser.step()
        exact.step()
    moved, wanted = trainable.master.double() - start, reference.detach() - start
    assert float((moved - wanted).abs().max() / wanted.abs().max()) < 0.02


def test_learning_goes_down_and_watches_for_divergence(tiny_model: Path) -> None:
    base, trainable = prepared(tiny_model, "full")
    examples = rows(8)
    settings = plan(total_steps=40)
    state = State()
    list(train(base, trainable, loss, examples, settings, make_optimiser(trainable, settings), state))
    assert state.losses[-1] < state.losses[0] - 0.5
    assert state.stopped == "finished"
    base, trainable = prepared(tiny_model, "full")
    wild = plan(total_steps=60, learning_rate=30.0)
    with pytest.raises(TrainingError, match="training diverged: loss") as error:
        list(train(base, trainable, loss, examples, wild, make_optimiser(trainable, wild), State()))
    assert "row" in error.value.where


def test_early_stopping_keeps_the_best(tiny_model: Path) -> None:
    base, trainable = prepared(tiny_model, "lora")
    settings = plan(total_steps=50, eval_steps=2, patience=3)
    values = iter([3.0, 2.0, 2.5, 2.6, 2.7, 1.0])
    state = State()
    optimiser = make_optimiser(trainable, settings)
    list(train(base, trainable, loss, rows(8), settings, optimiser, state, lambda: next(values)))
    assert state.best_step == 4
    assert state.step == 10
    assert state.stopped == "early stopping: 3 validations without a new best after step 4"


def test_schedule_shapes() -> None:
    cosine = [rate_at(step, 100, 1.0, "cosine", 0.1) for step in range(100)]
    assert cosine[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert cosine[10] == 1.0
    assert cosine[55] == pytest.approx(0.5)
    assert 0 < cosine[99] < 0.001
    assert rate_at(55, 100, 1.0, "linear", 0.1) == pytest.approx(0.5)
    assert rate_at(99, 100, 1.0, "constant", 0.1) == 1.0


def test_auto_learning_rate_follows_the_published_rule() -> None:
    rate, reason = auto_learning_rate(576, "lora")
    assert rate == pytest.approx(5e-4 * (2000 / 576) ** 0.781, rel=0.03)
    assert auto_learning_rate(576, "full")[0] == pytest.approx(rate / 10, rel=0.05)
    assert "576" in reason


def test_order_visits_every_row_once_an_epoch_and_differs_between_epochs() -> None:
    order = Order(10, 4, seed=1)
    assert order.steps_per_epoch == 3
    first = [i for step in range(3) for i in order.step(step)]
    second = [i for step in range(3, 6) for i in order.step(step)]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert order.total_steps(1.5, 0) == math.ceil(4.5)
    assert order.total_steps(1.5, 7) == 7


def test_tokens_of_a_shared_beginning_are_counted_for_every_row_and_computed_once(tiny_model: Path) -> None:
    base, trainable = prepared(tiny_model, "lora")
    start = tuple(range(10, 22))
    alike = [
        row.model_copy(update={"tokens": start + row.tokens, "weights": (0.0,) * 12 + row.weights}) for row in rows(4)
    ]
    steps = plan(4, total_steps=1, micro_batch=2)
    [event] = train(base, trainable, loss, alike, steps, make_optimiser(trainable, steps), state := State())
    assert event.tokens == sum(len(row.tokens) for row in alike)
    assert event.computed_tokens == event.tokens - 2 * 12  # two micro-batches of two rows
    assert (state.tokens, state.computed_tokens) == (event.tokens, event.computed_tokens)
