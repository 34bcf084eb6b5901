"""Low-rank adaptation of linear layers as one autograd function, and many adapters on one resident base.

y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ with W (out, in) frozen, A (r, in), B (out, r), s = alpha / r (Hu et al., arXiv 2106.09685).
In training the adapter's weights, gradients and optimiser state are fp32 over a bf16 base; the products run in the
base's dtype. In inference the order of rounding is PEFT's (scaled product, then sum), so that logits are equal.

Shapes: T tokens, in/out widths of the layer, r rank.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tunesmith.core.errors import ConfigError

Tensor = torch.Tensor
BASE = ""
"""The adapter name that means: the base alone."""


class FusedLoRA(torch.autograd.Function):
    """Linear layer plus low-rank update; W never gets a gradient, x·Aᵀ is kept, dY·B is computed once.

    forward(x (T, in), W (out, in), bias, A (r, in) fp32, B (out, r) fp32, s, dropout p) → (T, out) in x's dtype.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, dropout: float
    ) -> Tensor:
        a_low, b_low = a.to(x.dtype), b.to(x.dtype)
        keep = None
        if dropout > 0:
            keep = (torch.rand_like(x, dtype=torch.float32) >= dropout).to(x.dtype).div_(1 - dropout)
        dropped = x if keep is None else x * keep
        narrow = torch.matmul(dropped, a_low.t())
        y = nn.functional.linear(x, weight, bias)
        y.addmm_(narrow, b_low.t(), alpha=scale)
        ctx.save_for_backward(x, weight, a_low, b_low, narrow, keep)
        ctx.scale = scale
        ctx.dtype = a.dtype
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, a_low, b_low, narrow, keep = ctx.saved_tensors
        grad_narrow = torch.matmul(grad, b_low).mul_(ctx.scale)
        dropped = x if keep is None else x * keep
        grad_a = torch.matmul(grad_narrow.t(), dropped).to(ctx.dtype)
        grad_b = torch.matmul(grad.t(), narrow).to(ctx.dtype).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.matmul(grad, weight)
            if keep is None:
                grad_x.addmm_(grad_narrow, a_low)
            else:
                grad_x.add_(torch.matmul(grad_narrow, a_low).mul_(keep))
        return grad_x, None, None, grad_a, grad_b, None, None


@dataclass
class Router:
    """Which adapter answers for which tokens of the running forward; shared by all layers of one model.

    ``segments`` are (adapter name, start, end) over the T tokens of the packed row. ``training`` names the one adapter
    that is being trained, which then serves every token with gradients.
    """

    segments: Sequence[tuple[str, int, int]] = ()
    training: str | None = None


@dataclass(frozen=True)
class LowRank:
    """One adapter's weights for one layer. ``scale`` = alpha / r, or alpha / √r (rank-stabilised)."""

    a: Tensor
    b: Tensor
    scale: float


@dataclass(frozen=True)
class LoRASpec:
    """Rank, alpha and which layers. ``targets``: "all-linear", or names (suffixes) or a regular expression."""

    r: int
    alpha: float
    targets: str | tuple[str, ...] = "all-linear"
    dropout: float = 0.0
    rank_stabilised: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)

    def rank_of(self, name: str) -> int:
        """Rank of the layer ``name``."""
        return int(_by_pattern(self.rank_pattern, name, self.r))

    def scale_of(self, name: str) -> float:
        """s of the layer ``name``."""
        alpha, rank = _by_pattern(self.alpha_pattern, name, self.alpha), self.rank_of(name)
        return alpha / rank**0.5 if self.rank_stabilised else alpha / rank


def _by_pattern(patterns: Mapping[str, float], name: str, default: float) -> float:
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return default


class LoRALinear(nn.Module):
    """A frozen linear layer that carries any number of adapters; the shared `Router` says who applies where."""

    def __init__(self, base: nn.Linear, router: Router) -> None:
        super().__init__()
        self.base = base
        self.router = router
        self.adapters: dict[str, LowRank] = {}
        self.dropout = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """x (1, T, in) → (1, T, out)."""
        if self.router.training is not None:
            adapter = self.adapters.get(self.router.training)
            if adapter is None:
                return self.base(x)
            dropout = self.dropout if self.training else 0.0
            flat = x.reshape(-1, x.shape[-1])
            y = FusedLoRA.apply(flat, self.base.weight, self.base.bias, adapter.a, adapter.b, adapter.scale, dropout)
            return y.view(*x.shape[:-1], -1)
        y = self.base(x)
        for name, start, end in self.router.segments:
            adapter = self.adapters.get(name)
            if adapter is not None:
                part = x[:, start:end]
                update = nn.functional.linear(nn.functional.linear(part, adapter.a), adapter.b)
                y[:, start:end] += update * adapter.scale
        return y


def linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Every linear layer below the head, by name; layers that were wrapped already under their own name."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not head:
            yield name.removesuffix(".base"), module


def choose_targets(model: nn.Module, targets: str | tuple[str, ...]) -> list[str]:
    """Names of the linear layers that ``targets`` selects.

    Raises:
        ConfigError: when nothing matches; the message lists the names that there are.
    """
    names = [name for name, _ in linear_layers(model)]
    if targets == "all-linear":
        return names
    if isinstance(targets, str):
        chosen = [name for name in names if _pattern(targets).fullmatch(name)]
    else:
        chosen = [name for name in names if any(name == t or name.endswith(f".{t}") for t in targets)]
    if not chosen:
        endings = sorted({name.rsplit(".", 1)[-1] for name in names})
        raise ConfigError(
            f"lora_target_modules: {targets!r} matches no linear layer of this model",
            where="lora_target_modules",
            rule="at least one linear layer must match",
            fix=f'use "all-linear" or some of: {", ".join(endings)}',
        )
    return chosen


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(
            f"lora_target_modules: {text!r} is not a regular expression: {error}",
            where="lora_target_modules",
            rule="a string is all-linear or a regular expression over whole layer names",
            fix='use "all-linear", or a list of names such as [q_proj, v_proj]',
        ) from error


def wrap(model: nn.Module, names: Sequence[str], router: Router) -> dict[str, LoRALinear]:
    """Put a `LoRALinear` in place of each named linear layer (those wrapped before are kept); name → layer."""
    wrapped: dict[str, LoRALinear] = {}
    for name in names:
        parent_name, _, leaf = name.rpartition(".")
        parent = model.get_submodule(parent_name)
        module = parent.get_submodule(leaf)
        if not isinstance(module, LoRALinear):
            assert isinstance(module, nn.Linear), name
            module = LoRALinear(module, router)
            setattr(parent, leaf, module)
        wrapped[name] = module
    return wrapped


def initial_weights(layer: LoRALinear, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A (r, in) uniform as PEFT draws it (Kaiming with a = √5), B (out, r) zero; fp32.

    Raises:
        ConfigError: when the rank exceeds the smaller side of the layer.
    """
    out_features, in_features = layer.base.weight.shape
    if rank > min(out_features, in_features):
        raise ConfigError(
            f"lora_r: {rank} is larger than the smallest side of a {out_features}×{in_features} layer",
            where="lora_r",
            rule="the rank may not exceed the size of the matrix that it approximates",
            fix=f"use lora_r: {min(out_features, in_features)} or less",
        )
    bound = 1.0 / in_features**0.5
    a = torch.rand(rank, in_features, generator=generator).mul_(2 * bound).sub_(bound)
    return a, torch.zeros(out_features, rank)
