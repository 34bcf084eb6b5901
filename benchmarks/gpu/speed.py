"""Speed and memory of training steps on a device: tokens a second, how busy the GPU is, share of its peak, memory.

Steps go through the loop that users run. A step's time ends when the GPU has done it, as the loop reads the norm of
the gradient and the loss. The first steps are not timed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.made import Shape, documents, model_flops
from benchmarks.results import Result, judged, not_measured
from tunesmith.core.events import Step
from tunesmith.core.records import TokenizedExample
from tunesmith.model import device
from tunesmith.model.adapted import AdaptedLinear
from tunesmith.model.load import Base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.recompute import decoder_layers, set_recompute
from tunesmith.model.trainable import Options, make_trainable
from tunesmith.train.loop import Plan, State, make_optimiser, train
from tunesmith.train.sft import loss

WARM_UP, PROFILED = 2, 2
RANK = 16
H200_PEAK = 989e12
"""Dense bf16 operations a second by the datasheet of H100 and H200; a share of it is what the field calls MFU."""


@dataclass(frozen=True)
class Timed:
    """Steps that were carried out: seconds of each after the warm-up, the share of the time in which kernels ran."""

    seconds: tuple[float, ...]
    tokens: int
    targets: int
    peak_bytes: int
    busy: float | None

    @property
    def rate(self) -> float:
        """Tokens a second, by the median step."""
        return self.tokens / median(self.seconds)


@dataclass(frozen=True)
class AsGiven:
    """The order of a run that takes its rows as they stand, so that every step is the same work."""

    rows: int
    per_step: int
    seed: int = 0
    """Of stochastic rounding, as in a run's own order."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps until the rows begin again."""
        return self.rows // self.per_step

    def step(self, number: int) -> list[int]:
        """The rows of a step."""
        first = number % self.steps_per_epoch * self.per_step
        return list(range(first, first + self.per_step))


def run_steps(base: Base, rows: Sequence[TokenizedExample], per_step: int, steps: int, micro: int = 0) -> Timed:
    """LoRA of rank 16 on all linear layers; every step has ``per_step`` rows, ``micro`` of them at a time (0: all)."""
    trainable = make_trainable("lora", base, Options(LoRASpec(RANK, 2.0 * RANK), 0, "benchmark"))
    plan = Plan(
        AsGiven(len(rows), per_step),
        WARM_UP + steps + PROFILED,
        micro or per_step,
        2e-4,
        "constant",
        0.0,
        0.0,
        1.0,
        WARM_UP + steps + PROFILED + 1,
        0,
    )
    device.synchronise(base.device)
    device.reset_peak_memory(base.device)
    events = train(base, trainable, loss, rows, plan, make_optimiser(trainable, plan), State())
    done = [_step(events) for _ in range(WARM_UP + steps)][WARM_UP:]
    busy = profiled(events, base.device)
    peak = device.peak_memory(base.device)
    tokens, targets = (round(median(getattr(e, name) for e in done)) for name in ("tokens", "target_tokens"))
    return Timed(tuple(e.seconds for e in done), tokens, targets, peak, busy)


def _step(events: Iterable[Any]) -> Step:
    event = next(iter(events))
    assert isinstance(event, Step), f"the loop gave {type(event).__name__}: a benchmark must not stumble"
    return event


def detach(base: Base) -> None:
    """Take the adapters off the base and give their memory back."""
    for module in base.model.modules():
        if isinstance(module, AdaptedLinear):
            module.adapters.clear()
    base.router.training = None
    gc.collect()
    device.release_memory()


def profiled(events: Iterable[Any], where: torch.device) -> float | None:
    """Share of the time of a few steps in which the GPU ran a kernel or a copy, in percent; None without a GPU."""
    if where.type != "cuda":
        for _ in range(PROFILED):
            _step(events)
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(PROFILED):
            _step(events)
        torch.cuda.synchronize(where)
    kernels = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    return busy_share([(e.time_range.start, e.time_range.end) for e in kernels])


def busy_share(spans: Iterable[tuple[float, float]]) -> float | None:
    """Percent of the time between the first begin and the last end that is covered by spans; they may overlap."""
    covered, end, first = 0.0, float("-inf"), None
    for begin, until in sorted(spans):
        first = begin if first is None else first
        covered += max(0.0, until - max(begin, end))
        end = max(end, until)
    return None if first is None or end <= first else 100 * covered / (end - first)


def describe(
    name: str, shape: Shape, timed: Timed, lengths: Sequence[int], peak_flops: float | None, goal: float | None = None
) -> list[Result]:
    """What a run was, as results; ``peak_flops`` None: shares of the peak are not stated."""
    spread = (
        f"{len(timed.seconds)} steps of {timed.tokens:,} tokens, {min(timed.seconds):.3f} to {max(timed.seconds):.3f} s"
    )
    rate = timed.rate
    found = [
        judged(f"{name}: speed", rate, "tokens/s", at_least=goal, note=spread, details={"seconds": timed.seconds}),
        judged(f"{name}: peak memory of tensors", timed.peak_bytes / 1024**3, "GiB"),
    ]
    if timed.busy is None:
        found.append(not_measured(f"{name}: GPU busy", "no kernels were seen", "≥ 95 %"))
    else:
        found.append(judged(f"{name}: GPU busy", timed.busy, "%", at_least=95.0, note="by torch's profiler"))
    if peak_flops:
        done = model_flops(shape, lengths, timed.targets, RANK) / median(timed.seconds)
        note = f"{done / 1e12:.0f} of {peak_flops / 1e12:.0f} TFLOP/s; recomputed work does not count"
        found.append(judged(f"{name}: model-FLOP utilisation", 100 * done / peak_flops, "%", note=note))
    return found


def measure(
    name: str,
    base: Base,
    shape: Shape,
    lengths: Sequence[int],
    steps: int,
    recompute: bool = False,
    offload: bool = False,
    goal: float | None = None,
) -> list[Result]:
    """Steps of rows with these lengths; what does not fit is not measured, and says so."""
    rows = documents(tuple(lengths) * 4, shape.vocabulary)
    set_recompute(base.model, len(decoder_layers(base.model)) if recompute else 0, offload)
    on_gpu = base.device.type == "cuda"
    try:
        timed = run_steps(base, rows, len(lengths), steps)
    except (MemoryError, RuntimeError) as error:
        if not device.is_out_of_memory(error) and not isinstance(error, MemoryError):
            raise
        return [not_measured(f"{name}: speed", f"it does not fit into the memory: {error}")]
    finally:
        set_recompute(base.model, 0)
        detach(base)
    return describe(name, shape, timed, lengths, H200_PEAK if on_gpu else None, goal)
