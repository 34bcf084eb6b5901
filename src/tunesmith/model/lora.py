"""Low-rank adaptation of linear layers as one autograd function: LoRA, rank-stabilised LoRA, LoRA+ and DoRA.

y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ with W (out, in) frozen, A (r, in), B (out, r), s = alpha / r (Hu et al., arXiv 2106.09685), or
alpha / √r (rank-stabilised, arXiv 2312.03732). LoRA+ trains B at a multiple of A's rate (arXiv 2402.12354). DoRA
(arXiv 2402.09353) scales each output by a trained magnitude over the norm of its row of W + s·B·A.

In training the adapter's weights, gradients and optimiser state are fp32 over a bf16 base; the products run in the
base's dtype. In inference the order of rounding is PEFT's (scaled product, then sum), so that logits are equal.

Shapes: T tokens, in/out widths of the layer, r rank.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from tunesmith.core.errors import ConfigError
from tunesmith.model.adapted import AdaptedLinear, choose_targets, linear_layers, portable_targets, shape_of, wrap
from tunesmith.model.load import Base

Tensor = torch.Tensor
A, B, MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"


class FusedLoRA(torch.autograd.Function):
    """Linear layer plus low-rank update; W never gets a gradient, x·Aᵀ is kept, dY·B is computed once.

    forward(x (T, in), matrix () → W (out, in), bias, A (r, in) fp32, B (out, r) fp32, s, dropout p) → (T, out) in x's
    dtype. The matrix is asked for in both directions, so that unpacked 4-bit weights live only while they multiply.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        matrix: Callable[[], Tensor],
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        dropout: float,
    ) -> Tensor:
        a_low, b_low = a.to(x.dtype), b.to(x.dtype)
        keep = None
        if dropout > 0:
            keep = (torch.rand_like(x, dtype=torch.float32) >= dropout).to(x.dtype).div_(1 - dropout)
        dropped = x if keep is None else x * keep
        narrow = torch.matmul(dropped, a_low.t())
        y = F.linear(x, matrix(), bias)
        y.addmm_(narrow, b_low.t(), alpha=scale)
        ctx.save_for_backward(x, a_low, b_low, narrow, keep)
        ctx.scale, ctx.dtype, ctx.matrix = scale, a.dtype, matrix
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, a_low, b_low, narrow, keep = ctx.saved_tensors
        grad_narrow = torch.matmul(grad, b_low).mul_(ctx.scale)
        dropped = x if keep is None else x * keep
        grad_a = torch.matmul(grad_narrow.t(), dropped).to(ctx.dtype)
        grad_b = torch.matmul(grad.t(), narrow).to(ctx.dtype).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.matmul(grad, ctx.matrix())
            if keep is None:
                grad_x.addmm_(grad_narrow, a_low)
            else:
                grad_x.add_(torch.matmul(grad_narrow, a_low).mul_(keep))
        return grad_x, None, None, grad_a, grad_b, None, None


@dataclass(frozen=True)
class LowRank:
    """One adapter's weights for one layer. ``scale`` = alpha / r, or alpha / √r (rank-stabilised)."""

    a: Tensor
    b: Tensor
    scale: float
    dropout: float = 0.0

    def train(self, layer: AdaptedLinear, x: Tensor) -> Tensor:
        dropout = self.dropout if layer.training else 0.0
        return FusedLoRA.apply(x, layer.matrix, layer.bias, self.a, self.b, self.scale, dropout)

    def apply(self, layer: AdaptedLinear, x: Tensor, y: Tensor) -> Tensor:
        return y + F.linear(F.linear(x, self.a), self.b) * self.scale


@dataclass
class DoRA:
    """A low-rank update with a trained magnitude (out,) for each output; ``norm`` is kept once weights stand still."""

    a: Tensor
    b: Tensor
    magnitude: Tensor
    scale: float
    dropout: float = 0.0
    norm: Tensor | None = None

    def train(self, layer: AdaptedLinear, x: Tensor) -> Tensor:
        dropout = self.dropout if layer.training else 0.0
        plain = F.linear(x, layer.matrix())
        narrow_in = F.dropout(x, dropout)
        directed = plain if dropout == 0 else F.linear(narrow_in, layer.matrix())
        a, b = self.a.to(x.dtype), self.b.to(x.dtype)
        ratio = (self.magnitude / self._norm(layer, x.dtype)).to(x.dtype)
        update = F.linear(F.linear(narrow_in, a), b) * self.scale
        y = plain + (ratio - 1) * directed + ratio * update
        return y if layer.bias is None else y + layer.bias

    def apply(self, layer: AdaptedLinear, x: Tensor, y: Tensor) -> Tensor:
        if self.norm is None:
            self.norm = self._norm(layer, x.dtype)
        ratio = self.magnitude / self.norm
        plain = y if layer.bias is None else y - layer.bias
        return y + ((ratio - 1) * plain + ratio * F.linear(F.linear(x, self.a), self.b) * self.scale)

    def _norm(self, layer: AdaptedLinear, dtype: torch.dtype) -> Tensor:
        """Norm of each row of W + s·B·A, a constant to the gradient (section 4.3 of the paper)."""
        with torch.no_grad():
            return row_norms(layer.matrix().to(dtype) + self.scale * (self.b @ self.a).to(dtype))


def row_norms(weight: Tensor) -> Tensor:
    """Euclidean norm of each row of W (out, in), in its dtype."""
    return torch.linalg.norm(weight, dim=1).to(weight.dtype)


@dataclass(frozen=True)
class LoRASpec:
    """Rank, alpha and which layers. ``targets``: "all-linear", or names (suffixes) or a regular expression.

    ``plus_ratio``: how many times faster B learns than A (1: plain LoRA). Patterns are PEFT's: an expression for the
    end of a layer's name → its own rank or alpha.
    """

    r: int
    alpha: float
    targets: str | tuple[str, ...] = "all-linear"
    dropout: float = 0.0
    rank_stabilised: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    magnitude: bool = False
    plus_ratio: float = 1.0

    peft_type = "LORA"
    prefixed = True

    def rank_of(self, name: str) -> int:
        """Rank of the layer ``name``."""
        return int(_by_pattern(self.rank_pattern, name, self.r))

    def scale_of(self, name: str) -> float:
        """s of the layer ``name``."""
        alpha, rank = _by_pattern(self.alpha_pattern, name, self.alpha), self.rank_of(name)
        return alpha / rank**0.5 if self.rank_stabilised else alpha / rank

    def initial(self, base: Base, generator: torch.Generator) -> dict[str, Tensor]:
        """A (r, in) uniform as PEFT draws it (Kaiming with a = √5), B (out, r) zero, magnitudes the norms of W; fp32.

        Raises:
            ConfigError: no layer matches, or the rank exceeds the smaller side of one.
        """
        weights: dict[str, Tensor] = {}
        names = choose_targets(base.model, self.targets)
        _require_used(self, names)
        for name, layer in wrap(base.model, names, base.router).items():
            rank, (out_features, in_features) = self.rank_of(name), layer.shape
            _require_rank(rank, out_features, in_features)
            bound = 1.0 / in_features**0.5
            weights[name + A] = torch.rand(rank, in_features, generator=generator).mul_(2 * bound).sub_(bound)
            weights[name + B] = torch.zeros(out_features, rank)
            if self.magnitude:
                weights[name + MAGNITUDE] = row_norms(layer.matrix()).float().cpu()
        return weights

    def place(self, base: Base, adapter: str, weights: Mapping[str, Tensor], training: bool = False) -> None:
        """Put the weights on the base under the name ``adapter``; copies in the base's dtype unless in training."""
        names = [name.removesuffix(A) for name in weights if name.endswith(A)]
        dropout = self.dropout if training else 0.0
        for name, layer in wrap(base.model, names, base.router).items():
            parts = [weights[name + part] for part in ((A, B, MAGNITUDE) if self.magnitude else (A, B))]
            if not training:
                parts = [part.detach().to(base.device, base.dtype, copy=True) for part in parts]
            kind = DoRA if self.magnitude else LowRank
            layer.adapters[adapter] = kind(*parts, scale=self.scale_of(name), dropout=dropout)

    def misfits(self, base: Base, weights: Mapping[str, Tensor]) -> list[str]:
        """What does not fit this base, in words; [] when all does."""
        layers = {name: base.model.get_submodule(name) for name, _ in linear_layers(base.model)}
        found = []
        names = {re.sub(r"\.lora_(A\.weight|B\.weight|magnitude_vector)$", "", key) for key in weights}
        for name in sorted(names):
            a, b, magnitude = (weights.get(name + part) for part in (A, B, MAGNITUDE))
            if a is None or b is None or (magnitude is None) == self.magnitude:
                found.append(f"{name} lacks a part")
            elif name not in layers:
                found.append(name)
            elif (b.shape[0], a.shape[1]) != shape_of(layers[name]) or a.shape[0] != b.shape[1]:
                shape = shape_of(layers[name])
                found.append(f"{name} is {shape}, the adapter is for {(b.shape[0], a.shape[1])}")
        return found

    def rate_of(self, name: str) -> float:
        """The learning rate of a weight as a multiple of the run's."""
        return self.plus_ratio if name.endswith(B) else 1.0

    def to_peft(self, base: Base) -> dict[str, Any]:
        """What ``adapter_config.json`` says of this kind."""
        targets = portable_targets(base.model, choose_targets(base.model, self.targets))
        return {
            "r": self.r,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": list(targets),
            "rank_pattern": dict(self.rank_pattern),
            "alpha_pattern": dict(self.alpha_pattern),
            "use_rslora": self.rank_stabilised,
            "use_dora": self.magnitude,
            "bias": "none",
            "fan_in_fan_out": False,
            "init_lora_weights": True,
            "modules_to_save": None,
        }

    @classmethod
    def from_peft(cls, config: Mapping[str, Any]) -> LoRASpec:
        """What ``adapter_config.json`` says."""
        targets = config["target_modules"]
        return cls(
            r=int(config["r"]),
            alpha=float(config["lora_alpha"]),
            targets=targets if isinstance(targets, str) else tuple(sorted(targets)),
            dropout=float(config.get("lora_dropout", 0.0)),
            rank_stabilised=bool(config.get("use_rslora", False)),
            rank_pattern=config.get("rank_pattern") or {},
            alpha_pattern=config.get("alpha_pattern") or {},
            magnitude=bool(config.get("use_dora", False)),
        )


def _by_pattern(patterns: Mapping[str, float], name: str, default: float) -> float:
    for pattern, value in patterns.items():
        if _fits(pattern, name):
            return value
    return default


def _fits(pattern: str, name: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", name) is not None


def _require_used(spec: LoRASpec, names: list[str]) -> None:
    """A pattern that fits no adapted layer is a slip of the pen, not a wish."""
    for knob, patterns in (("rank_pattern", spec.rank_pattern), ("alpha_pattern", spec.alpha_pattern)):
        for pattern in patterns:
            try:
                unused = not any(_fits(pattern, name) for name in names)
            except re.error as error:
                unused, pattern = True, f"{pattern} (not a regular expression: {error})"
            if unused:
                raise ConfigError(
                    f"{knob}: {pattern} fits no adapted layer",
                    where=knob,
                    rule="every pattern is the end of a layer's name, or an expression for it",
                    fix=f"use an ending such as {names[0].rsplit('.', 1)[-1]}, or take the pattern out",
                )


def _require_rank(rank: int, out_features: int, in_features: int) -> None:
    if rank > min(out_features, in_features):
        raise ConfigError(
            f"lora_r: {rank} is larger than the smallest side of a {out_features}×{in_features} layer",
            where="lora_r",
            rule="the rank may not exceed the size of the matrix that it approximates",
            fix=f"use lora_r: {min(out_features, in_features)} or less",
        )
