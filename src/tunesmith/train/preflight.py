"""Before the run: will it fit, and how long will it take? Measured with a few real steps on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

from tunesmith.core.artifacts import Estimate
from tunesmith.core.errors import TrainingError
from tunesmith.core.records import TokenizedExample
from tunesmith.core.rows import lengths
from tunesmith.model import device
from tunesmith.model.adapted import linear_layers, shape_of
from tunesmith.model.batch import pack
from tunesmith.model.load import Base
from tunesmith.model.trainable import Trainable
from tunesmith.train import mix
from tunesmith.train.loop import Loss, Plan, accumulate
from tunesmith.train.order import micro_batches

SPREAD = 0.15
"""Half-width of the stated ranges, as a share."""


def estimate(base: Base, trainable: Trainable, loss: Loss, rows: Sequence[TokenizedExample], plan: Plan) -> Estimate:
    """Time and memory of the whole run, from real forward and backward passes.

    The longest possible micro-batch runs first, so that a run that does not fit fails now and not after an hour.
    Weights, optimiser and random generators are left as they were.

    Raises:
        TrainingError: the longest batch cannot fit into the memory that is free; the message has the numbers.
    """
    sizes = lengths(rows)
    longest = [rows[i] for i in sorted(range(len(rows)), key=lambda i: -sizes[i])[: plan.micro_batch]]
    _require_room(base, trainable, sum(len(row.tokens) for row in longest))
    with torch.random.fork_rng():
        rate = _rate(base, trainable, loss, longest, rows, plan)
    trainable.grad.zero_()
    return _extrapolate(base, trainable, rows, plan, rate)


def _rate(
    base: Base,
    trainable: Trainable,
    loss: Loss,
    longest: Sequence[TokenizedExample],
    rows: Sequence[TokenizedExample],
    plan: Plan,
) -> float:
    """Tokens a second of forward and backward, the longest batch first and not timed."""
    trainable.begin()
    base.model.train()
    accumulate(base, loss, [pack(longest, base.device, trainable.share)])
    seconds, tokens = 0.0, 0
    for step in range(min(2, plan.total_steps)):
        for part in micro_batches([rows[i] for i in plan.order.step(step)], plan.micro_batch):
            batch = pack(part, base.device, trainable.share)
            begin = time.perf_counter()
            accumulate(base, loss, [batch])
            seconds += time.perf_counter() - begin
            tokens += batch.document_tokens
    return tokens / seconds


def _extrapolate(
    base: Base, trainable: Trainable, rows: Sequence[TokenizedExample], plan: Plan, rate: float
) -> Estimate:
    sets = mix.shares(plan.order, rows, plan.total_steps)
    tokens, targets = sum(one.tokens for one in sets), sum(one.target_tokens for one in sets)
    seconds = tokens / rate
    peak = device.peak_memory()
    return Estimate(
        steps=plan.total_steps,
        tokens=tokens,
        target_tokens=targets,
        flops=training_flops(base, trainable, tokens, targets),
        seconds=(seconds * (1 - SPREAD), seconds * (1 + SPREAD)),
        peak_memory_bytes=(peak, int(peak * (1 + SPREAD)) + reload_bytes(base)),
        tokens_per_second=rate,
        sets=sets,
    )


def reload_bytes(base: Base) -> int:
    """Weights that the reload check holds a second time, in a process of its own beside the run, for a moment."""
    return sum(parameter.numel() * parameter.element_size() for parameter in base.model.parameters())


def training_flops(base: Base, trainable: Trainable, tokens: int, targets: int) -> float:
    """Floating-point operations of the matrix products (a multiply-add counts 2), attention's squares left out.

    LoRA: 4·N a token (forward, input gradient) + 6·P a token (adapters) + 4·W·V a target (head).
    Full: 6·N a token + 6·W·V a target. N: weights of the linear layers, P: adapter weights, W·V: the head.
    """
    head = base.head.weight.numel()
    linear = sum(math.prod(shape_of(layer)) for _, layer in linear_layers(base.model))
    if not trainable.is_adapter:
        return 6.0 * linear * tokens + 6.0 * head * targets
    return (4.0 * linear + 6.0 * trainable.master.numel()) * tokens + 4.0 * head * targets


def activation_bytes(base: Base, tokens: int) -> int:
    """What the backward pass keeps for ``tokens`` packed tokens: 8·W + 4·F elements a layer, a token.

    A lower bound for refusing hopeless runs; the estimate itself is measured.
    """
    config = base.config
    width, inner = config.hidden_size, getattr(config, "intermediate_size", 4 * config.hidden_size)
    return int(tokens * config.num_hidden_layers * (8 * width + 4 * inner) * base.dtype.itemsize)


def _require_room(base: Base, trainable: Trainable, tokens: int) -> None:
    if base.device.type != "cpu":
        return
    needed = activation_bytes(base, tokens) + 2 * trainable.master.numel() * 4
    free = device.available_memory()
    if needed > free:
        gib = 1024**3
        raise TrainingError(
            f"the longest batch ({tokens} tokens) needs about {needed / gib:.1f} GiB, {free / gib:.1f} GiB are free",
            where="per_device_train_batch_size",
            rule="activations, gradients and optimiser state must fit into memory",
            fix="lower per_device_train_batch_size (and raise gradient_accumulation_steps), or shorten the rows",
        )
