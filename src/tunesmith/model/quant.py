"""A frozen base in 4 bits: NF4 with double quantisation (Dettmers et al., arXiv 2305.14314), through bitsandbytes.

Weights are unpacked into the model's number format for each product and dropped again. bitsandbytes' own linear layer
is not used: on a processor its first forward in evaluation mode repacks the weights, after which gradients are wrong.
Here training and inference unpack the same bytes with the same code.

Shapes: in/out widths of a layer. A block is 64 weights with one scale; 256 scales share one more.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tunesmith.core.errors import ConfigError

Tensor = torch.Tensor


def _functional() -> Any:
    """bitsandbytes' functions. Its import would fetch native code from a hub where the package `kernels` is there."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # says that it could not
    hidden = {} if "bitsandbytes" in sys.modules else {"kernels": None}
    try:
        with without_modules(hidden):
            from bitsandbytes import functional
    except ImportError as error:
        raise ConfigError(
            "method: qlora needs bitsandbytes, which is not installed",
            where="method",
            rule="4-bit weights are packed and unpacked by bitsandbytes",
            fix="run `pip install 'tunesmith[qlora]'`, or use method: lora",
        ) from error
    return functional


@contextmanager
def without_modules(hidden: Mapping[str, None]) -> Iterator[None]:
    """Modules that cannot be imported inside the block."""
    before = {name: sys.modules.pop(name, None) for name in hidden}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


class Linear4(nn.Module):
    """A frozen linear layer whose weights W (out, in) are stored in 4 bits.

    Args:
        dense: the layer to pack; its bias stays as it is.
    """

    def __init__(self, dense: nn.Linear | Conv1D) -> None:
        super().__init__()
        weight = dense.weight.detach()
        weight = (weight.t() if isinstance(dense, Conv1D) else weight).contiguous()
        self.out_features, self.in_features = weight.shape
        self.transposed = isinstance(dense, Conv1D)
        self.bias = dense.bias
        self.packed, self.state = _functional().quantize_4bit(
            weight, blocksize=64, compress_statistics=True, quant_type="nf4"
        )

    def dense(self) -> Tensor:
        """W (out, in) in the number format that the layer had."""
        return _functional().dequantize_4bit(self.packed, self.state)

    def unpacked(self) -> nn.Linear | Conv1D:
        """A plain layer of the kind that was packed, with the weights that multiply here."""
        weight = self.dense()
        if self.transposed:
            plain: nn.Linear | Conv1D = Conv1D(self.out_features, self.in_features)
            plain.bias = self.bias  # type: ignore[assignment]
        else:
            plain = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
            plain.bias = self.bias
        plain.weight = nn.Parameter(weight.t().contiguous() if self.transposed else weight, requires_grad=False)
        return plain

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) → (…, out)."""
        y = _Product.apply(x, self)
        return y if self.bias is None else y + self.bias

    @property
    def stored_bytes(self) -> int:
        """Bytes of the packed weights and their scales."""
        scales = [self.state.absmax, self.state.state2.absmax]
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.packed, *scales))


class _Product(torch.autograd.Function):
    """x·Wᵀ that keeps the packed weights for backward, not the unpacked ones. W never gets a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Linear4) -> Tensor:
        ctx.layer = layer
        return torch.matmul(x, layer.dense().t())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return torch.matmul(grad, ctx.layer.dense()), None


def quantise(model: nn.Module, where: torch.device | None = None) -> None:
    """Pack every linear layer below the head into 4 bits, in place. Embeddings, norms and the head stay as they are.

    Args:
        where: the device that packs and then holds the packed weights. Layers go there one at a time, so that a base
            fits which would not fit whole; the rest of the model stays where it is.

    Raises:
        ConfigError: bitsandbytes is not installed.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    linear = (nn.Linear, Conv1D)
    parents = [module for module in model.modules() if not isinstance(module, linear)]  # whose weights would live on
    for parent in parents:
        for name, child in parent.named_children():
            if isinstance(child, linear) and child is not head:
                setattr(parent, name, Linear4(child if where is None else child.to(where)))
