"""What fits into memory: rows at a time, recomputed layers, offload. Predicted, then measured on the longest rows.

The order of what is given up: first nothing, then rows at a time (that costs little, the global batch stays), then
memory for time (recompute, a quarter of the layers more each time), then offload, which helps on a GPU only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.core.errors import ConfigError, TrainingError
from tunesmith.core.records import TokenizedExample
from tunesmith.core.rows import lengths
from tunesmith.model import device
from tunesmith.model.batch import pack
from tunesmith.model.load import Base
from tunesmith.model.recompute import decoder_layers, set_recompute
from tunesmith.model.trainable import Trainable
from tunesmith.train import ranks
from tunesmith.train.config import LoopConfig
from tunesmith.train.loop import Loss, Plan, accumulate, refuse_hopeless
from tunesmith.train.optimiser import moment_bytes

ROOM = 0.95
"""Share of the free memory that a run may plan with."""


@dataclass(frozen=True)
class Fit:
    """A way to carry out a step, with the memory that it takes above what is held already, in bytes."""

    micro_batch: int
    recomputed: int
    offload: bool
    activations: int = 0


def candidates(micro_batch: int, layers: int, on_gpu: bool, config: LoopConfig) -> Iterator[Fit]:
    """Every way that the configuration allows, the fastest first.

    Raises:
        ConfigError: offload without recompute, or recompute in a model without a stack of layers.
    """
    wanted, offload = config.gradient_checkpointing, config.activation_offload
    if offload is True and wanted is False:
        raise ConfigError(
            "activation_offload needs gradient_checkpointing",
            where="activation_offload",
            rule="what moves to the host's memory are the inputs of recomputed layers",
            fix="set gradient_checkpointing: true, or activation_offload: false",
        )
    if (wanted is True or offload is True) and not layers:
        raise ConfigError(
            "the model has no stack of equal layers, so none can be recomputed",
            where="gradient_checkpointing",
            rule="recompute works on a list of layers of one class",
            fix="set gradient_checkpointing: false and a smaller per_device_train_batch_size",
        )
    sizes = [micro_batch]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    always = wanted is True or offload is True
    yield from (Fit(size, layers if always else 0, offload is True) for size in sizes)
    if wanted == "auto" and layers and not always:
        yield from (Fit(1, part, False) for part in sorted({-(-layers * quarter // 4) for quarter in (1, 2, 3, 4)}))
    if offload == "auto" and wanted is not False and layers and on_gpu:
        yield Fit(1, layers, True)


def activation_bytes(base: Base, tokens: int, recomputed: int = 0, offload: bool = False) -> int:
    """What the backward pass keeps for ``tokens`` packed tokens: 8·W + 4·F elements a layer, a token.

    A recomputed layer keeps its input only (W), an offloaded one nothing; one of them is unfolded at a time. A lower
    bound for refusing hopeless runs; what fits is measured.
    """
    config = base.config
    width, inner = config.hidden_size, getattr(config, "intermediate_size", 4 * config.hidden_size)
    layers, whole = config.num_hidden_layers, 8 * width + 4 * inner
    kept = (layers - recomputed + (recomputed > 0)) * whole + (0 if offload else recomputed * width)
    return int(tokens * kept * base.dtype.itemsize)


def later_bytes(trainable: Trainable, optim: str) -> int:
    """What a run takes after its first step beside activations: the optimiser's moments, the best weights."""
    return trainable.master.nbytes + moment_bytes(trainable, optim)


def checkpoint_bytes(trainable: Trainable, optim: str) -> int:
    """A checkpoint in the making: the present and the best weights, and the moments."""
    return 2 * trainable.master.nbytes + moment_bytes(trainable, optim)


def choose(
    base: Base, trainable: Trainable, loss: Loss, rows: Sequence[TokenizedExample], plan: Plan, config: LoopConfig
) -> Fit:
    """The fastest way whose longest micro-batch really ran; the model is left set to it.

    Raises:
        TrainingError: nothing fits; the message has the numbers. ConfigError: see `candidates`.
    """
    layers = len(decoder_layers(base.model))
    sizes = lengths(rows)
    ordered = [rows[i] for i in sorted(range(len(rows)), key=lambda i: -sizes[i])[: plan.micro_batch]]
    later = later_bytes(trainable, plan.optim)
    room = int(ranks.least(device.free_memory(base.device) * ROOM)) - later
    factor, least = 1.0, None
    for fit in candidates(plan.micro_batch, layers, base.device.type == "cuda", config):
        longest = ordered[: fit.micro_batch]
        tokens = sum(len(row.tokens) for row in longest)
        needed = int(factor * activation_bytes(base, tokens, fit.recomputed, fit.offload))
        least = min(least or needed, needed)
        if needed > room:
            continue
        set_recompute(base.model, fit.recomputed, fit.offload)
        if factor == 1.0 and len(longest) > 1 and needed > room // 8:  # close: look at one row before all of them
            alone = activation_bytes(base, len(longest[0].tokens), fit.recomputed, fit.offload)
            factor = max(1.0, (measured(base, trainable, loss, longest[:1]) or room) / max(1, alone))
            if factor * needed > room:
                continue
        used = measured(base, trainable, loss, longest)
        if used is not None:
            return Fit(fit.micro_batch, fit.recomputed, fit.offload, used)
    tokens = len(ordered[0].tokens)
    raise _nothing_fits(tokens, least or 0, room, later)


def measured(base: Base, trainable: Trainable, loss: Loss, rows: Sequence[TokenizedExample]) -> int | None:
    """Bytes that a forward and backward pass of these rows takes at its peak; None when memory ran out.

    Several processes all run these rows, and get the largest answer.
    """
    trainable.begin()
    base.model.train()
    before = device.used_memory(base.device)
    device.reset_peak_memory(base.device)
    used = math.inf
    try:
        accumulate(base, loss, [pack(rows, base.device, trainable.share)])
    except (RuntimeError, MemoryError) as error:
        refuse_hopeless(trainable, error)
        device.release_memory()
    else:
        used = max(0, device.peak_memory(base.device) - before)
    finally:
        trainable.grad.zero_()
    used = ranks.most(used)
    return None if math.isinf(used) else int(used)


def out_of_memory(error: MemoryError, checkpoints: Path) -> TrainingError:
    """What to say when not even one row at a time fits in the middle of a run."""
    written = "a checkpoint of the step before was written" if ranks.world() == 1 else "the last checkpoint stands"
    return TrainingError(
        f"memory ran out: {error}",
        where=str(checkpoints),
        rule=f"a row with its activations must fit; {written}",
        fix="free memory, or set gradient_checkpointing: true, and run the same command again to go on; "
        "or shorten the longest rows (max_length) and start again with --fresh",
    )


def _nothing_fits(tokens: int, needed: int, room: int, later: int) -> TrainingError:
    gib = 1024**3
    return TrainingError(
        f"the longest batch ({tokens} tokens) needs about {needed / gib:.2f} GiB, {max(0, room) / gib:.2f} GiB are "
        f"free beside {later / gib:.2f} GiB for the optimiser",
        where="per_device_train_batch_size",
        rule="activations, gradients and optimiser state must fit into memory, if need be one row at a time",
        fix="shorten the longest row (max_length with on_too_long: drop), set gradient_checkpointing: auto, "
        "take a smaller model or lora_r or optim: adamw_8bit, or free memory",
    )
