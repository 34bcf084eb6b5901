"""The one training loop. Loss, batches, validation and checkpoints are arguments; progress leaves as events.

It does not know methods, adapter kinds, files or consoles.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from tunesmith.core.errors import TrainingError
from tunesmith.core.events import Step, Validated
from tunesmith.core.records import TokenizedExample
from tunesmith.model.batch import Batch, pack
from tunesmith.model.load import Base
from tunesmith.model.trainable import Trainable
from tunesmith.train.order import Order, micro_batches
from tunesmith.train.schedule import rate_at

Tensor = torch.Tensor
Loss = Callable[[Base, Batch], tuple[Tensor, Tensor]]
DIVERGED = 3.0
"""A loss this many nats above the run's first one, three steps in a row, counts as diverged."""


@dataclass(frozen=True)
class Plan:
    """Everything that fixes the sequence of steps."""

    order: Order
    total_steps: int
    micro_batch: int
    learning_rate: float
    scheduler: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    eval_steps: int
    patience: int


@dataclass
class State:
    """What a checkpoint must hold besides the weights, the optimiser's state and the random generators."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    validation: dict[int, float] = field(default_factory=dict)
    best_step: int = 0
    tokens: int = 0
    target_tokens: int = 0
    seconds: float = 0.0
    stopped: str = ""

    @property
    def best_loss(self) -> float:
        """Lowest validation loss so far."""
        return self.validation.get(self.best_step, math.inf)


def make_optimiser(trainable: Trainable, plan: Plan) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov & Hutter, arXiv 1711.05101) on the flat fp32 buffer; betas 0.9, 0.999, eps 1e-8."""
    groups = [
        {"params": [parameter], "weight_decay": plan.weight_decay if group.decayed else 0.0, "rate": group.rate}
        for parameter, group in trainable.optimiser_parameters()
    ]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def accumulate(base: Base, loss: Loss, batches: Sequence[Batch]) -> tuple[float, int]:
    """Gradients of a global batch into ``trainable.grad``; mean loss per unit of target weight, and target tokens.

    Every micro-batch is divided by the total weight of all of them, so the split into micro-batches changes nothing.
    """
    total = sum(float(batch.weights.sum()) for batch in batches)
    value, targets = 0.0, 0
    for batch in batches:
        if batch.target_count == 0:
            continue
        micro_loss, _ = loss(base, batch)
        (micro_loss / total).backward()
        value += float(micro_loss.detach()) / total
        targets += batch.target_count
    return value, targets


def validation_loss(base: Base, trainable: Trainable, loss: Loss, rows: Sequence[TokenizedExample], size: int) -> float:
    """Mean loss over all target tokens of the validation rows, in nats, through the inference path."""
    trainable.publish()
    base.model.eval()
    weighted, weight = 0.0, 0.0
    with torch.inference_mode():
        for part in micro_batches(rows, size):
            batch = pack(part, base.device, trainable.share)
            base.router.segments = [(trainable.adapter, 0, batch.token_count)]
            weighted += float(loss(base, batch)[0])
            weight += float(batch.weights.sum())
    return weighted / weight


def train(
    base: Base,
    trainable: Trainable,
    loss: Loss,
    rows: Sequence[TokenizedExample],
    plan: Plan,
    optimiser: torch.optim.Optimizer,
    state: State,
    validate: Callable[[], float] | None = None,
) -> Iterator[Step | Validated]:
    """Run from ``state.step`` to the end, giving an event after every step and every validation.

    Between two events all state is consistent: the consumer may save a checkpoint then, or stop. A validation that is
    due comes before the next step, also when the run was stopped between the two.

    Raises:
        TrainingError: the loss is not a number, or it has run away.
    """
    while True:
        if validate and _validation_due(state, plan):
            yield _validated(state, plan, validate)
        if state.step >= plan.total_steps or state.stopped:
            break
        begin = time.perf_counter()
        trainable.begin()
        base.model.train()
        chosen = [rows[i] for i in plan.order.step(state.step)]
        batches = [pack(part, base.device, trainable.share) for part in micro_batches(chosen, plan.micro_batch)]
        value, targets = accumulate(base, loss, batches)
        norm = _step(trainable, plan, optimiser, state.step)
        tokens = sum(batch.document_tokens for batch in batches)
        state.step += 1
        state.losses.append(value)
        state.tokens += tokens
        state.target_tokens += targets
        seconds = time.perf_counter() - begin
        state.seconds += seconds
        _watch(state, norm, chosen)
        yield Step(
            step=state.step,
            total_steps=plan.total_steps,
            epoch=state.step / plan.order.steps_per_epoch,
            loss=value,
            learning_rate=optimiser.param_groups[0]["lr"] / optimiser.param_groups[0]["rate"],
            grad_norm=norm,
            tokens=tokens,
            target_tokens=targets,
            seconds=seconds,
            example_ids=tuple(row.example_id for row in chosen),
        )
    state.stopped = state.stopped or "finished"


def _validation_due(state: State, plan: Plan) -> bool:
    on_schedule = state.step % plan.eval_steps == 0 or state.step == plan.total_steps
    return state.step > 0 and on_schedule and state.step not in state.validation


def _step(trainable: Trainable, plan: Plan, optimiser: torch.optim.Optimizer, step: int) -> float:
    norm = float(trainable.grad.norm())
    if norm > plan.max_grad_norm:
        trainable.grad.mul_(plan.max_grad_norm / norm)
    rate = rate_at(step, plan.total_steps, plan.learning_rate, plan.scheduler, plan.warmup_ratio)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate"]
    if math.isfinite(norm):
        optimiser.step()
    trainable.grad.zero_()
    if not trainable.is_adapter:
        trainable.publish()
    return norm


def _watch(state: State, norm: float, rows: Sequence[TokenizedExample]) -> None:
    recent = state.losses[-3:]
    ran_away = len(state.losses) > 5 and min(recent) > state.losses[0] + DIVERGED
    if not math.isfinite(state.losses[-1]) or not math.isfinite(norm) or ran_away:
        raise TrainingError(
            f"training diverged: loss {state.losses[-1]:.3g}, gradient norm {norm:.3g}",
            where=f"step {state.step}, rows {', '.join(row.example_id for row in rows[:3])}",
            rule="the loss must stay finite and near where it began",
            fix="use a smaller learning_rate (a third of it), and look at the named rows with `tunesmith data show`",
        )


def _validated(state: State, plan: Plan, validate: Callable[[], float]) -> Validated:
    value = validate()
    best = value < state.best_loss
    state.validation[state.step] = value
    if best:
        state.best_step = state.step
    since = sum(step > state.best_step for step in state.validation)
    if plan.patience and since >= plan.patience and state.step < plan.total_steps:
        state.stopped = f"early stopping: {since} validations without a new best after step {state.best_step}"
    return Validated(step=state.step, loss=value, best=best)
