"""Decoder layers compiled by torch.compile, held against the plain ones before the first step.

What a layer does between two products becomes one pass over memory. Attention stays as it is: it depends on the layout
of each step, so a layer is two graphs around it. Token counts are dynamic: a new count compiles nothing. Passes without
gradients run the plain layers, so what is judged and served never depends on a compiler.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from tunesmith.core.errors import ConfigError
from tunesmith.model import attention, device
from tunesmith.model.attention import plan_layout, positions
from tunesmith.model.load import Base
from tunesmith.model.recompute import COMPILED, decoder_layers, set_recompute
from tunesmith.model.trainable import Trainable

Tensor = torch.Tensor
LENGTHS = (96, 161)
"""Tokens of the trial documents: enough that the compiler plans for several threads, and 257 together, which is the
width of nothing; the compiler takes sizes that are equal at first for equal always."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""Largest difference of hidden states and gradients, as a share of their norm: rounding, in another order."""


def compile_layers(base: Base, trainable: Trainable) -> float:
    """Compile the forward and backward of all decoder layers for training; gives the seconds that it took.

    Weights, gradients and random generators are as before. Dropout draws the same numbers as in the plain layers.

    Raises:
        ConfigError: no compiler, a model whose layers cannot be compiled, or compiled ones that do not do the same.
    """
    begin = time.perf_counter()
    stack = _require_stack(base)
    _require_compiler(base.device)
    set_recompute(base.model, 0)
    wanted = _trial(base, trainable)
    from torch._dynamo.utils import counters

    attend = torch.compiler.disable(attention._attention)
    attention.AttentionInterface.register(attention.IMPLEMENTATION, attend)
    for layer in stack:
        setattr(layer, COMPILED, _in_training(layer.forward))
    counters["graph_break"].clear()
    try:
        set_recompute(base.model, 0)
        found = _trial(base, trainable)
        _require_whole(base, [text for text in counters["graph_break"] if attend.__name__ not in text])
        _require_same(base, found, wanted)
    except Exception as error:
        release_layers(base)
        if isinstance(error, ConfigError):
            raise
        lines = str(error).strip().splitlines() or [""]
        raise _refused(base, f"{type(error).__name__}: {lines[0]}") from error
    return time.perf_counter() - begin


def release_layers(base: Base) -> None:
    """Let all layers run as they came."""
    for layer in decoder_layers(base.model):
        vars(layer).pop(COMPILED, None)
    set_recompute(base.model, 0)


def _in_training(plain: Callable[..., Any]) -> Callable[..., Any]:
    compiled = torch.compile(plain, dynamic=True, options={"fallback_random": True})

    def run(*arguments: Any, **options: Any) -> Any:
        return (compiled if torch.is_grad_enabled() else plain)(*arguments, **options)

    return run


def _trial(base: Base, trainable: Trainable) -> tuple[Tensor, Tensor]:
    """Hidden states of two random documents (T, W), and all gradients in a row for a random direction of them; fp32."""
    state, training, routed = device.random_state(), base.model.training, base.router.training
    generator = torch.Generator().manual_seed(0)
    vocabulary = base.head.weight.shape[0]
    tokens = torch.randint(0, vocabulary, (1, sum(LENGTHS)), generator=generator).to(base.device)
    trainable.begin()
    base.model.train()
    try:
        # A copy, as a step has: the compiler tells a view from a tensor of its own, and would compile again.
        layout, at = plan_layout(LENGTHS, base.device), positions(LENGTHS, base.device).clone()
        hidden = base.hidden(tokens, at, layout)
        direction = torch.randn(hidden.shape, generator=generator).to(hidden)
        weights = list(trainable.parameters.values())
        found = torch.autograd.grad(hidden, weights, direction, allow_unused=True)
        return hidden.detach().float(), torch.cat([g.flatten().float() for g in found if g is not None])
    finally:
        device.set_random_state(state)
        base.model.train(training)
        base.router.training = routed


def _require_stack(base: Base) -> list[torch.nn.Module]:
    stack = decoder_layers(base.model)
    if base.way.alone:
        raise _refused(base, "its documents run one at a time")
    if not stack:
        raise _refused(base, "it has no stack of equal layers")
    return stack


def _require_compiler(where: torch.device) -> None:
    """torch writes C++ for a CPU, and Triton for a GPU."""
    try:
        if where.type == "cpu":
            from torch._inductor.cpp_builder import get_cpp_compiler

            get_cpp_compiler()
        else:
            import triton  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except Exception as error:
        tool = "C++ compiler" if where.type == "cpu" else "Triton"
        raise ConfigError(
            f"torch_compile: true, and no {tool} is found",
            where="torch_compile",
            rule="torch.compile writes source code and builds it on this machine",
            fix="install g++ (apt install g++) or leave torch_compile out; without it training is exact all the same",
        ) from error


def _require_whole(base: Base, breaks: list[str]) -> None:
    if breaks:
        raise _refused(base, f"its layers fall apart at: {breaks[0].splitlines()[0]}")


def _require_same(base: Base, found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    for what, ours, theirs in zip(("hidden states", "gradients"), found, wanted, strict=True):
        difference = float((ours - theirs).norm() / (theirs.norm() or 1.0))
        if not difference <= TOLERANCE[base.dtype]:
            raise _refused(base, f"compiled {what} differ by {difference:.2g} of their norm")


def _refused(base: Base, reason: str) -> ConfigError:
    return ConfigError(
        f"torch_compile: the architecture {base.config.model_type!r} cannot be compiled: {reason}",
        where="torch_compile",
        rule="compiled layers give the hidden states and gradients of plain ones, in two graphs around attention",
        fix="leave torch_compile out",
    )
