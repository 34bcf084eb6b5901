"""Before the run: will it fit, and how long will it take? Measured with a few real steps on this machine.

And after the run: what became of the estimate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.core.artifacts import Estimate, Outturn
from tunesmith.core.records import TokenizedExample
from tunesmith.core.rows import lengths
from tunesmith.model import device
from tunesmith.model.adapted import linear_layers, shape_of
from tunesmith.model.load import Base
from tunesmith.model.recompute import decoder_layers
from tunesmith.model.trainable import Trainable
from tunesmith.train import mix, ranks
from tunesmith.train.config import LoopConfig
from tunesmith.train.fit import Fit, checkpoint_bytes, choose, later_bytes
from tunesmith.train.loop import Loss, Plan, accumulate, share_of, validation_loss
from tunesmith.train.optimiser import update_passes

SPREAD = 0.15
"""Half-width of the stated ranges, as a share."""

TIMED_STEPS, TIMED_SECONDS = 3, 3.0
"""Steps that are timed at most, and the seconds after which no other one begins."""


@dataclass(frozen=True)
class _Rates:
    """Seconds: of a token forward and backward, of a weight update, of a token of validation.

    ``computed``: share of the tokens that is computed; below 1 where rows share a beginning.
    """

    token: float
    update: float
    validation_token: float
    computed: float


def estimate(
    base: Base,
    trainable: Trainable,
    loss: Loss,
    rows: Sequence[TokenizedExample],
    validation: Sequence[TokenizedExample],
    plan: Plan,
    config: LoopConfig,
) -> Estimate:
    """Time and memory of the whole run, from real forward and backward passes.

    Several processes plan together and divide the timed steps, as the run does; memory is that of one of them.

    The longest possible micro-batch runs first, so that a run that does not fit fails now and not after an hour; where
    it does not fit as configured, smaller micro-batches, recompute and offload are tried. The model is left set to
    what was chosen; weights, optimiser and random generators are as they were.

    Raises:
        TrainingError: nothing fits; the message has the numbers.
    """
    where = base.device
    earlier, held, free = device.peak_memory(where), device.used_memory(where), device.free_memory(where)
    generators = device.random_state()
    fit = choose(base, trainable, loss, rows, plan, config)
    rates = _rates(base, trainable, loss, rows, validation, plan, fit)
    # The steps just timed count too: the allocator keeps more than the longest batch alone has shown.
    used = max(held + fit.activations, device.peak_memory(where))
    device.set_random_state(generators)
    later = later_bytes(trainable, plan.optim)
    writing = checkpoint_bytes(trainable, plan.optim) if where.type == "cpu" else 0
    peak = later + max(used, held + writing)
    sets = mix.shares(plan.order, rows, plan.total_steps)
    tokens, targets = sum(one.tokens for one in sets), sum(one.target_tokens for one in sets)
    validations = plan.total_steps // plan.eval_steps + (plan.total_steps % plan.eval_steps > 0)
    validation_tokens = validations * sum(lengths(validation))
    steps = tokens * rates.token + plan.total_steps * rates.update
    seconds = steps + validation_tokens * rates.validation_token
    return Estimate(
        steps=plan.total_steps,
        tokens=tokens,
        target_tokens=targets,
        flops=training_flops(base, trainable, int(tokens * rates.computed), targets),
        seconds=(seconds * (1 - SPREAD), seconds * (1 + SPREAD)),
        peak_memory_bytes=(int(peak * (1 - SPREAD)), int(peak * (1 + SPREAD))),
        tokens_per_second=tokens / steps,
        validations=validations,
        micro_batch=fit.micro_batch,
        layers=len(decoder_layers(base.model)),
        recomputed_layers=fit.recomputed,
        activation_offload=fit.offload,
        free_memory_bytes=free,
        earlier_peak_bytes=earlier,
        reload_bytes=reload_bytes(base),
        gemm_flops=device.gemm_speed(base.device, base.dtype) * ranks.world(),
        sets=sets,
    )


def _rates(
    base: Base,
    trainable: Trainable,
    loss: Loss,
    rows: Sequence[TokenizedExample],
    validation: Sequence[TokenizedExample],
    plan: Plan,
    fit: Fit,
) -> _Rates:
    """Speeds from the run's own first steps; the longest micro-batch went before, so nothing is cold."""
    seconds, tokens, computed = 0.0, 0, 0
    for step in range(min(TIMED_STEPS, plan.total_steps)):
        trainable.begin()
        base.model.train()
        begin = time.perf_counter()
        chosen = [rows[i] for i in plan.order.step(step)]
        batches = share_of(base, trainable, chosen, fit.micro_batch)
        accumulate(base, loss, batches, together=trainable.shards is not None)
        device.synchronise(base.device)
        seconds += ranks.most(time.perf_counter() - begin)
        tokens += sum(batch.document_tokens for batch in batches)
        computed += sum(batch.token_count for batch in batches)
        if seconds > TIMED_SECONDS:
            break
    update = update_passes(trainable, plan.optim) * device.fastest(lambda: float(trainable.grad.norm()), 3)
    trainable.grad.zero_()
    tokens, computed = map(int, ranks.summed([tokens, computed]))
    begin = time.perf_counter()
    part = validation[: fit.micro_batch * ranks.world()]
    validation_loss(base, trainable, loss, part, fit.micro_batch)
    each = (time.perf_counter() - begin) / sum(len(row.tokens) for row in part)
    return _Rates(seconds / tokens, update, each, computed / tokens)


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


def sentence(planned: Estimate, wanted_micro_batch: int) -> str:
    """The plan in one line, with what had to be given up to fit."""
    low, high = (seconds / 60 for seconds in planned.seconds)
    least, most = (size / 1024**3 for size in planned.peak_memory_bytes)
    extras = []
    if planned.micro_batch != wanted_micro_batch:
        rows = device.counted(planned.micro_batch, "row")
        extras.append(f"{rows} at a time instead of {wanted_micro_batch}, to fit the memory")
    if planned.recomputed_layers:
        where = ", their inputs in the host's memory" if planned.activation_offload else ""
        extras.append(f"{planned.recomputed_layers} of {planned.layers} layers recomputed{where}")
    return "; ".join(
        [
            f"plan: {planned.steps} steps, {planned.tokens:,} tokens, {planned.flops:.2g} floating-point operations, "
            f"{low:.1f} to {high:.1f} minutes, peak memory {least:.1f} to {most:.1f} GiB, "
            f"and {planned.reload_bytes / 1024**3:.1f} GiB for a moment in the process that loads the saved weights "
            "again",
            *extras,
        ]
    )


def outturn(planned: Estimate, steps: int, seconds: float, peak: int) -> Outturn:
    """What a run of ``steps`` steps really took, beside its estimate; one that stopped early counts by its steps."""
    expected = sum(planned.seconds) / 2 * steps / planned.steps
    memory = sum(planned.peak_memory_bytes) / 2
    time_share, memory_share = seconds / expected - 1, peak / memory - 1
    gib = 1024**3
    return Outturn(
        seconds=seconds,
        seconds_share=time_share,
        peak_memory_bytes=peak,
        peak_memory_share=memory_share,
        sentence=f"the plan said {expected:.0f} s and {memory / gib:.2f} GiB; it was {seconds:.0f} s "
        f"({100 * time_share:+.0f} %) and {peak / gib:.2f} GiB ({100 * memory_share:+.0f} %)",
    )
