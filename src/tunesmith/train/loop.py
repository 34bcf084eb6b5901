"""The one training loop. Loss, batches, validation and checkpoints are arguments; progress leaves as events.

It does not know methods, adapter kinds, files or consoles.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from tunesmith.core.errors import TrainingError
from tunesmith.core.events import Noticed, RowLoss, Step, Validated
from tunesmith.core.ranks import place
from tunesmith.core.records import TokenizedExample
from tunesmith.model import device
from tunesmith.model.batch import Batch, pack
from tunesmith.model.load import Base
from tunesmith.model.trainable import Trainable
from tunesmith.train import ranks
from tunesmith.train.optimiser import Optimiser, make_adamw
from tunesmith.train.order import Order, dealt, micro_batches
from tunesmith.train.row_losses import Collector
from tunesmith.train.schedule import rate_at
from tunesmith.train.watch import overfitting, refuse_divergence, spike_sentence

Tensor = torch.Tensor
Loss = Callable[[Base, Batch], tuple[Tensor, Tensor]]


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
    optim: str = "adamw"


@dataclass
class Generation:
    """Task metrics by generation: how many validation rows (−1: not decided yet), the seconds spent, what came out."""

    rows: int = -1
    seconds: float = 0.0
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)


@dataclass
class State:
    """What a checkpoint must hold besides the weights, the optimiser's state and the random generators.

    ``seconds`` are those of the steps, ``validation_seconds`` those of the validation losses. ``micro_batch`` is what
    became of the plan's when memory ran short (0: it did not).
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    validation: dict[int, float] = field(default_factory=dict)
    best_step: int = 0
    tokens: int = 0
    target_tokens: int = 0
    computed_tokens: int = 0
    seconds: float = 0.0
    validation_seconds: float = 0.0
    stopped: str = ""
    micro_batch: int = 0
    noticed: list[str] = field(default_factory=list)
    generation: Generation = field(default_factory=Generation)

    @property
    def best_loss(self) -> float:
        """Lowest validation loss so far."""
        return self.validation.get(self.best_step, math.inf)

    @classmethod
    def restored(cls, counters: Mapping[str, Any]) -> State:
        """The state that `dataclasses.asdict` and JSON made into ``counters`` (JSON makes texts of step numbers)."""
        generation = dict(counters["generation"])
        generation["metrics"] = {int(step): values for step, values in generation["metrics"].items()}
        validation = {int(step): loss for step, loss in counters["validation"].items()}
        return cls(**{**counters, "validation": validation, "generation": Generation(**generation)})


def make_optimiser(trainable: Trainable, plan: Plan) -> Optimiser:
    """What moves the weights, as the plan wants it; see `optimiser`."""
    return make_adamw(trainable, plan.optim, plan.learning_rate, plan.weight_decay, plan.order.seed)


def accumulate(
    base: Base,
    loss: Loss,
    batches: Sequence[Batch],
    collector: Collector | None = None,
    total: float | None = None,
    together: bool = False,
) -> tuple[float, int]:
    """Gradients of a global batch into ``trainable.grad``; mean loss per unit of target weight, and target tokens.

    Every micro-batch is divided by the total weight of all of them, so the split into micro-batches changes nothing.

    Args:
        collector: gets the loss of every target.
        total: weight of the targets of all processes, where these batches are one's share.
        together: run micro-batches without targets too, as the other processes wait for this one at every layer.
    """
    total = sum(float(batch.weights.sum()) for batch in batches) if total is None else total
    collector = collector or Collector()
    value, targets = 0.0, 0
    for batch in batches:
        if batch.target_count == 0 and not together:
            collector.add(batch, batch.weights)
            continue
        micro_loss, losses = loss(base, batch)
        collector.add(batch, losses)
        (micro_loss / (total or 1.0)).backward()
        value += float(micro_loss.detach()) / (total or 1.0)
        targets += batch.target_count
    return value, targets


def validation_loss(base: Base, trainable: Trainable, loss: Loss, rows: Sequence[TokenizedExample], size: int) -> float:
    """Mean loss over all target tokens of the validation rows, in nats, through the inference path.

    Several processes divide the rows; all get the result.
    """
    trainable.publish()
    base.model.eval()
    weighted, weight = 0.0, 0.0
    with torch.inference_mode():
        for part in micro_batches(rows, size)[place().rank :: ranks.world()]:
            batch = pack(part, base.device, trainable.share)
            base.router.segments = [(trainable.adapter, 0, batch.token_count)]
            weighted += float(loss(base, batch)[0])
            weight += float(batch.weights.sum())
    weighted, weight = ranks.summed([weighted, weight])
    return weighted / weight


def train(
    base: Base,
    trainable: Trainable,
    loss: Loss,
    rows: Sequence[TokenizedExample],
    plan: Plan,
    optimiser: Optimiser,
    state: State,
    validate: Callable[[], float] | None = None,
    sources: Mapping[str, str] | None = None,
) -> Iterator[Step | Validated | Noticed]:
    """Run from ``state.step`` to the end, giving an event after every step and every validation.

    Between two events all state is consistent: the consumer may save a checkpoint then, or stop. A validation that is
    due comes before the next step, also when the run was stopped between the two. What is noticed about a step comes
    before the step's own event, so that a checkpoint made at that event holds it. A step for which memory runs out is
    done again with half the micro-batch, to the same gradient.

    Args:
        validate: measures the validation loss.
        sources: row id → file and line, for messages.

    Raises:
        TrainingError: the loss is not a number, or it has run away.
        MemoryError: not even one row at a time fits; everything is as it was before the step.
    """
    sources = sources or {}
    while True:
        if validate and _validation_due(state, plan):
            yield from _validated(state, plan, validate)
        if state.step >= plan.total_steps or state.stopped:
            break
        begin = time.perf_counter()
        chosen = [rows[i] for i in plan.order.step(state.step)]
        work = yield from _gradients(base, trainable, loss, chosen, plan, state)
        norm = _step(trainable, plan, optimiser, state.step)
        state.step += 1
        state.losses.append(work.loss)
        state.tokens += work.tokens
        state.target_tokens += work.targets
        state.computed_tokens += work.computed
        seconds = time.perf_counter() - begin
        state.seconds += seconds
        yield from _notice(state, "loss spike", spike_sentence(state.losses, work.rows, sources))
        yield Step(
            step=state.step,
            total_steps=plan.total_steps,
            epoch=state.step / plan.order.steps_per_epoch,
            loss=work.loss,
            learning_rate=optimiser.param_groups[0]["lr"] / optimiser.param_groups[0]["rate"],
            grad_norm=norm,
            tokens=work.tokens,
            target_tokens=work.targets,
            computed_tokens=work.computed,
            seconds=seconds,
            example_ids=tuple(row.example_id for row in chosen),
            row_losses=work.rows,
        )
        refuse_divergence(state.losses, norm, work.rows, sources)
    state.stopped = state.stopped or "finished"


@dataclass(frozen=True)
class _Work:
    """What the forward and backward passes of a step gave besides the gradient."""

    loss: float
    targets: int
    tokens: int
    computed: int
    rows: tuple[RowLoss, ...]


def _gradients(
    base: Base, trainable: Trainable, loss: Loss, chosen: Sequence[TokenizedExample], plan: Plan, state: State
) -> Generator[Noticed, None, _Work]:
    """The gradient of a step, with smaller and smaller micro-batches while memory runs out."""
    if ranks.world() > 1:
        device.seed_step(plan.order.seed, state.step, place().rank)
    generators = device.random_state()
    while True:
        size = state.micro_batch or plan.micro_batch
        work = _attempt(base, trainable, loss, chosen, size)
        if ranks.world() > 1:
            work = _joint(trainable, work, chosen, size)
        if work is not None:
            return work
        _forget(trainable)
        device.set_random_state(generators)
        if size == 1:
            raise MemoryError(f"step {state.step + 1} does not fit, even with one row at a time")
        state.micro_batch = min(size, len(chosen)) // 2 or 1
        text = (
            f"memory ran out in step {state.step + 1} with {size} rows at a time: from here on it is "
            f"{state.micro_batch}, with the same {plan.order.per_step} rows in a step, so the result stays the same"
        )
        yield from _notice(state, "out of memory", text, state.step + 1)


def _attempt(
    base: Base, trainable: Trainable, loss: Loss, chosen: Sequence[TokenizedExample], size: int
) -> _Work | None:
    """One try at a step's gradient; None when memory ran out on the way."""
    collector = Collector()
    try:
        trainable.begin()
        base.model.train()
        batches = share_of(base, trainable, chosen, size)
        total = target_weight(chosen) if ranks.world() > 1 else None
        value, targets = accumulate(base, loss, batches, collector, total, together=trainable.shards is not None)
        tokens, computed = (sum(getattr(b, name) for b in batches) for name in ("document_tokens", "token_count"))
        return _Work(value, targets, tokens, computed, collector.rows())
    except (RuntimeError, MemoryError) as error:
        refuse_hopeless(trainable, error)
    return None


def share_of(base: Base, trainable: Trainable, chosen: Sequence[TokenizedExample], size: int) -> list[Batch]:
    """The micro-batches of a step that this process runs.

    Where weights are divided, all processes run as many: one that has no row left runs the shortest without targets.
    """
    places = dealt([len(row.tokens) for row in chosen], size, ranks.world(), place().rank)
    parts = [[chosen[i] for i in part] for part in places]
    if trainable.shards is not None:
        shortest = min(chosen, key=lambda row: len(row.tokens))
        idle = shortest.model_copy(update={"weights": (0.0,) * len(shortest.tokens)})
        parts = [part or [idle] for part in parts]
    return [pack(part, base.device, trainable.share) for part in parts if part]


def target_weight(rows: Sequence[TokenizedExample]) -> float:
    """Total weight of the targets of rows; a first token is no target."""
    return sum(sum(row.weights[1:]) for row in rows)


def refuse_hopeless(trainable: Trainable, error: BaseException) -> None:
    """Raise an error again, unless it says that memory ran out and a smaller try may follow.

    Raises:
        TrainingError: memory ran out, and the other processes are in the middle of a layer.
    """
    if not device.is_out_of_memory(error):
        raise error
    if trainable.shards is not None:
        raise TrainingError(
            f"memory ran out: {error}",
            where=f"rank {place().rank} of {ranks.world()}",
            rule="divided weights are needed by all processes at once, so none can try again alone",
            fix="set gradient_checkpointing: true, or start more processes, and run the same command to go on from the "
            "last checkpoint; or start again with --fresh and a smaller per_device_train_batch_size",
        ) from error


def _joint(trainable: Trainable, work: _Work | None, chosen: Sequence[TokenizedExample], size: int) -> _Work | None:
    """What all processes did in a step, with the sum of their gradients; None when memory ran out in one of them."""
    count = len(chosen)
    numbers = [1.0] + [0.0] * (3 + 2 * count)
    if work is not None:
        numbers[:4] = [0.0, work.loss, work.targets, work.computed]
        mine = dealt([len(row.tokens) for row in chosen], size, ranks.world(), place().rank)
        for at, row in zip((i for part in mine for i in part), work.rows, strict=False):
            numbers[4 + at], numbers[4 + count + at] = row.loss, row.tokens
    failed, value, *rest = ranks.summed(numbers)
    if failed:
        return None
    if trainable.shards is None:
        ranks.add_up(trainable.grad)
    targets, computed, losses = int(rest[0]), int(rest[1]), rest[2:]
    tokens = sum(len(row.tokens) for row in chosen)  # without the row of a process that had none of its own
    rows = tuple(
        RowLoss(row=row.example_id, loss=losses[i], tokens=int(losses[count + i])) for i, row in enumerate(chosen)
    )
    return _Work(value, targets, tokens, computed, rows)


def _forget(trainable: Trainable) -> None:
    """Drop what an interrupted backward pass left: half a gradient, and bf16 gradients on their way to fp32."""
    trainable.grad.zero_()
    for parameter in trainable.parameters.values():
        if parameter.grad is not None and parameter.grad.dtype != trainable.grad.dtype:
            parameter.grad = None
    device.release_memory()


def _notice(
    state: State, what: Literal["loss spike", "overfitting", "out of memory"], text: str, step: int | None = None
) -> Iterator[Noticed]:
    if text:
        state.noticed.append(text)
        yield Noticed(step=state.step if step is None else step, what=what, text=text)


def _validation_due(state: State, plan: Plan) -> bool:
    on_schedule = state.step % plan.eval_steps == 0 or state.step == plan.total_steps
    return state.step > 0 and on_schedule and state.step not in state.validation


def _step(trainable: Trainable, plan: Plan, optimiser: Optimiser, step: int) -> float:
    norm = _norm(trainable)
    if norm > plan.max_grad_norm:
        trainable.grad.mul_(plan.max_grad_norm / norm)
    rate = rate_at(step, plan.total_steps, plan.learning_rate, plan.scheduler, plan.warmup_ratio)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate"]
    if math.isfinite(norm):
        optimiser.step()
    trainable.grad.zero_()
    return norm


def _norm(trainable: Trainable) -> float:
    """Norm of the whole gradient."""
    norm = float(trainable.grad.norm())
    return norm if trainable.shards is None else math.sqrt(ranks.summed([norm * norm])[0])


def _validated(state: State, plan: Plan, validate: Callable[[], float]) -> Iterator[Noticed | Validated]:
    begin = time.perf_counter()
    value = validate()
    state.validation_seconds += time.perf_counter() - begin
    best = value < state.best_loss
    state.validation[state.step] = value
    if best:
        state.best_step = state.step
    since = sum(step > state.best_step for step in state.validation)
    if plan.patience and since >= plan.patience and state.step < plan.total_steps:
        state.stopped = f"early stopping: {since} validations without a new best after step {state.best_step}"
    yield from _notice(state, "overfitting", overfitting(state.losses, state.validation))
    yield Validated(step=state.step, loss=value, best=best)
