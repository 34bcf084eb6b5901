"""Weights of linear layers laid out anew for answering: as they are, as they are multiplied, or in 8 bits.

A token of an answer reads every weight once, so that memory decides its time. oneDNN multiplies bf16 weights that lie
as torch keeps them at half the speed at which they can be read; laid out in its own blocks they are read at full speed,
and the results are the same bit by bit, which is tried for every shape before it is used. In 8 bits half as much is
read: one scale for each row of weights, one for each token of x, products in int32. Then results differ, and by how
much is measured (`python -m benchmarks serving`). Passes with gradients see the weights as they are.

Shapes: T tokens, in/out widths of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from tunesmith.core.errors import ConfigError
from tunesmith.model import device
from tunesmith.model.load import Base

Tensor = torch.Tensor
Weights = Literal["auto", "plain", "packed", "int8"]
SHARE = 4
"""auto packs weights that take at most this part (1 / 4) of the free memory."""

TRIED = (1, 3, 16, 40)
"""Tokens with which packed weights are held against plain ones."""

INT8 = "-int8"
"""What the name of a format ends in when linear layers multiply in 8 bits."""


def lay_out(base: Base, weights: Weights) -> str:
    """Lay the weights of a base out for answering; says in words what was done.

    Raises:
        ConfigError: packed or int8 where the hardware, the number format or the base does not allow it.
    """
    if weights == "plain":
        return "weights as they are"
    layers = [m for m in base.model.modules() if isinstance(m, nn.Linear)]
    size = sum(layer.weight.nbytes for layer in layers)
    reason = _unfit(base)
    if weights == "auto":
        if reason or size > device.free_memory(base.device) // SHARE:
            return f"weights as they are ({reason or 'no memory for a second copy'})"
        weights = "packed"
    if reason:
        raise ConfigError(
            f"weights: {weights} cannot be had: {reason}",
            where="weights",
            rule="weights are laid out anew on a processor that multiplies bf16, for a base that is not in 4 bits",
            fix="use weights: auto, or leave it out",
        )
    if weights == "int8":
        for layer in layers:
            _answer_with(layer, _eight_bits(layer))
        base.layout = INT8
        return f"linear layers in 8 bits: {size >> 21} MiB read for a token"
    same: dict[tuple[int, int], bool] = {}
    done = 0
    for layer in layers:
        shape = (layer.out_features, layer.in_features)
        if shape not in same:
            same[shape] = _is_same(layer)
        if same[shape]:
            _answer_with(layer, _packed(layer))
            done += layer.weight.nbytes
    return f"weights packed: {done >> 20} of {size >> 20} MiB, with the same results"


def _unfit(base: Base) -> str:
    if base.device.type != "cpu":
        return f"it answers on {base.device}"
    if base.four_bit:
        return "the base is in 4 bits"
    if base.dtype != torch.bfloat16:
        return f"its weights are in {base.format}"
    return "" if device.has_fast_bf16(base.device) else "this processor does not multiply bf16"


def _answer_with(layer: nn.Linear, forward: Callable[[Tensor], Tensor]) -> None:
    plain = layer.forward

    def run(x: Tensor) -> Tensor:
        return plain(x) if torch.is_grad_enabled() else forward(x)

    layer.forward = run  # type: ignore[method-assign]


def _packed(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    blocks: Any = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
    multiply, bias = torch.ops.mkldnn._linear_pointwise, layer.bias
    return lambda x: multiply(x, blocks, bias, "none", [], "")


def _is_same(layer: nn.Linear) -> bool:
    """Whether packed weights give the very bits of plain ones, on random tokens."""
    forward, generator = _packed(layer), torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for count in TRIED:
            x = torch.randn(count, layer.in_features, generator=generator).to(layer.weight.dtype)
            if not torch.equal(forward(x), F.linear(x, layer.weight, layer.bias)):
                return False
    return True


def _eight_bits(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    """y ≈ (x₈·W₈ᵀ) · sₓ · s_w + b, W₈ and x₈ rounded to −127…127 by rows, and each row its own scale."""
    weight = layer.weight.detach().float()
    scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
    rounded = torch.round(weight / scale[:, None]).to(torch.int8).t()
    bias = layer.bias

    def forward(x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        narrow = flat.abs().amax(dim=1, keepdim=True).float().clamp_(min=1e-12).div_(127)
        short = torch.round(flat / narrow).to(torch.int8)
        y = torch._int_mm(short, rounded).mul(scale).mul_(narrow)
        y = y.to(x.dtype).view(*x.shape[:-1], -1)
        return y if bias is None else y + bias

    return forward
