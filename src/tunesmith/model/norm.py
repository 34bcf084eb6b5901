"""RMSNorm as one autograd function: bit-equal to transformers' module, with a third of its backward passes.

y = x / √(mean(x²) + ε) · w, in fp32 inside, over the last side (Zhang & Sennrich, arXiv 1910.07467). Architectures
differ in where they round and in whether w counts from 0 or from 1; which of these a class does is found by trying, on
random weights, at every load. A class that does something else keeps its own forward, and so does every pass without
gradients.

Shapes: x (…, W), w (W,).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Tensor = torch.Tensor
EPSILONS = ("variance_epsilon", "eps")
"""What transformers calls ε."""


@dataclass(frozen=True)
class Formula:
    """How a class multiplies by w.

    ``rounds_first``: the normalised x is rounded to w's dtype before; ``offset``: what is added to w.
    """

    rounds_first: bool
    offset: float = 0.0

    def scale(self, weight: Tensor) -> Tensor:
        """What the normalised x is multiplied by, in the dtype in which it is."""
        return weight if self.rounds_first else weight.float() + self.offset

    def apply(self, normal: Tensor, weight: Tensor) -> Tensor:
        """Normalised x in fp32 → y in w's dtype; may overwrite ``normal``."""
        if self.rounds_first:
            return normal.to(weight.dtype) * weight
        return normal.mul_(self.scale(weight)).to(weight.dtype)


FORMULAS = (Formula(True), Formula(False), Formula(False, 1.0))
"""Llama, Mistral, Qwen · OLMo 2, gpt-oss · Gemma."""


class FusedRMSNorm(torch.autograd.Function):
    """forward(x, w, ε, formula) → y. Kept for backward: x as it came, and one number for each row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, formula: Formula) -> Tensor:
        high = x.to(torch.float32, copy=True)
        inverse = high.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        ctx.formula = formula
        return formula.apply(high.mul_(inverse), weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, inverse = ctx.saved_tensors
        formula: Formula = ctx.formula
        grad_x = grad_weight = None
        if ctx.needs_input_grad[1]:
            normal = x.float() * inverse
            if formula.rounds_first:
                normal = normal.to(x.dtype)
            grad_weight = (grad * normal).flatten(0, -2).sum(0).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            high = x.float()
            scaled = (grad * formula.scale(weight)).to(torch.float32)
            along = (scaled * high).sum(-1, keepdim=True)
            along.mul_(inverse.pow(3)).div_(-x.shape[-1])
            grad_x = scaled.mul_(inverse).addcmul_(high, along).to(x.dtype)
        return grad_x, grad_weight, None, None


def fuse_norms(model: nn.Module) -> int:
    """Let every RMSNorm of a known formula train through `FusedRMSNorm`; how many there are."""
    found: dict[type[nn.Module], Formula | None] = {}
    count = 0
    for module in model.modules():
        epsilon = _epsilon(module)
        if epsilon is None:
            continue
        kind = type(module)
        if kind not in found:
            found[kind] = _formula(module, epsilon)
        formula = found[kind]
        if formula is not None:
            module.forward = _fused(module, module.forward, epsilon, formula)
            count += 1
    return count


def _epsilon(module: nn.Module) -> float | None:
    """ε of what may be an RMSNorm: a module that has one vector and nothing else."""
    if "RMSNorm" not in type(module).__name__ or [name for name, _ in module.named_parameters()] != ["weight"]:
        return None
    values = [getattr(module, name) for name in EPSILONS if hasattr(module, name)]
    plain = len(values) == 1 and isinstance(values[0], float) and not any(True for _ in module.buffers())
    return values[0] if plain and module.weight.dim() == 1 else None  # type: ignore[operator]


def _formula(module: nn.Module, epsilon: float) -> Formula | None:
    """The formula that gives the module's own output bit for bit, on random weights and rows of several sizes."""
    trial = copy.deepcopy(module)
    weight: Tensor = trial.weight  # type: ignore[assignment]
    generator = torch.Generator().manual_seed(0)
    weight.data = torch.randn(weight.shape, generator=generator).to(weight)
    sizes = torch.tensor([[10.0], [1.0], [epsilon**0.5]])
    x = (torch.randn(3, weight.shape[0], generator=generator) * sizes).to(weight)
    with torch.no_grad():
        try:
            wanted = trial(x)
        except (TypeError, RuntimeError):  # it wants more than x, such as a gate
            return None
        for formula in FORMULAS:
            if torch.equal(FusedRMSNorm.apply(x, weight, epsilon, formula), wanted):
                return formula
    return None


def _fused(module: nn.Module, plain: Callable[..., Tensor], epsilon: float, formula: Formula) -> Callable[..., Tensor]:
    def run(*arguments: Any, **options: Any) -> Tensor:
        weight: Tensor = module.weight  # type: ignore[assignment]
        alone = len(arguments) == 1 and not options  # some take a gate as well
        if not alone or arguments[0].dtype != weight.dtype or not torch.is_grad_enabled():
            return plain(*arguments, **options)
        return FusedRMSNorm.apply(arguments[0], weight, epsilon, formula)  # type: ignore[no-any-return]

    return run
