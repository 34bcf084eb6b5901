"""An adapter's change becomes part of the base's own weights, so that nothing but the base is left to run.

Products and sums are made in fp32 and rounded once, to the base's number format. A base in 4 bits is unpacked first:
those are the weights that the adapter was trained on, and the full ones are another model.

    LoRA   W' = W + s·B·A        DoRA   W' = m / ‖W + s·B·A‖ · (W + s·B·A)        (norm of each row)
    (IA)³  W' = l·W, b' = l·b on what leaves a layer;  W' = W·l on what enters one

Shapes: W (out, in), b (out,), A (r, in), B (out, r), m and l (out,), or l (in,) on what enters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tunesmith.core.errors import AdapterError
from tunesmith.model.adapted import AdaptedLinear, matches
from tunesmith.model.adapters import Adapter, require_fit
from tunesmith.model.ia3 import VECTOR, IA3Spec
from tunesmith.model.load import Base
from tunesmith.model.lora import MAGNITUDE, A, B, LoRASpec
from tunesmith.model.quant import Linear4

Tensor = torch.Tensor
Change = tuple[Tensor, Tensor | None]
"""The weights and the bias of one layer, fp32."""

CANNOT: Mapping[str, str] = {
    "PREFIX_TUNING": "its trained keys and values stand before the text and belong to no weight of the base",
    "PROMPT_TUNING": "its trained embeddings stand before the text and belong to no weight of the base",
    "BOTTLENECK": "its layers bend what passes through them, and no single matrix does that",
}
"""Kind of adapter (PEFT's name) → why it cannot be merged."""


def refuse_unmergeable(kind: str, where: str) -> None:
    """Raise AdapterError for a kind of adapter (PEFT's name) that cannot become part of the base's weights."""
    if kind in CANNOT:
        raise AdapterError(
            f"an adapter of the kind {kind} cannot be merged: {CANNOT[kind]}",
            where=where,
            rule="only what multiplies or is added to a weight can become part of it: LoRA with its kin, and (IA)³",
            fix="serve it as it is with `tunesmith serve --model`, or train with method: lora",
        )


def merge_into(base: Base, adapter: Adapter) -> int:
    """Put an adapter's change into the base's own weights, in place; no adapter is left on it, and no 4-bit layer.

    Returns:
        The number of layers that were changed.

    Raises:
        AdapterError: a kind that cannot be merged, another base, or weights that are not finite.
    """
    refuse_unmergeable(adapter.spec.peft_type, str(adapter.folder))
    require_fit(base, adapter)
    _take_off(base)
    if isinstance(adapter.spec, LoRASpec):
        names = [name.removesuffix(A) for name in adapter.weights if name.endswith(A)]
    else:
        names = [name.removesuffix(VECTOR) for name in adapter.weights]
    change = _CHANGES[type(adapter.spec)]
    weights = {name: tensor.to(base.device, torch.float32) for name, tensor in adapter.weights.items()}
    with torch.no_grad():
        for name in names:
            layer = base.model.get_submodule(name)
            weight, bias = _fp32(layer)
            _put(name, layer, change(adapter.spec, name, weights, (weight, bias)), adapter)
    return len(names)


def _lora(spec: LoRASpec, name: str, weights: Mapping[str, Tensor], layer: Change) -> Change:
    weight, bias = layer
    merged = torch.addmm(weight, weights[name + B], weights[name + A], alpha=spec.scale_of(name))
    if spec.magnitude:
        merged *= (weights[name + MAGNITUDE] / torch.linalg.norm(merged, dim=1))[:, None]
    return merged, bias


def _ia3(spec: IA3Spec, name: str, weights: Mapping[str, Tensor], layer: Change) -> Change:
    weight, bias = layer
    vector = weights[name + VECTOR].flatten()
    if matches(name, spec.feedforward):
        return weight * vector, bias
    return weight * vector[:, None], None if bias is None else bias * vector


_CHANGES: Mapping[type, Callable[[Any, str, Mapping[str, Tensor], Change], Change]] = {
    LoRASpec: _lora,
    IA3Spec: _ia3,
}
"""Settings of a kind → the weights and the bias of one layer after the merge."""


def _fp32(layer: nn.Module) -> Change:
    weight, bias = layer.weight.detach().float(), layer.bias  # type: ignore[union-attr, operator]
    weight = weight.t() if isinstance(layer, Conv1D) else weight
    return weight, None if bias is None else bias.detach().float()  # type: ignore[union-attr, operator, return-value]


def _put(name: str, layer: nn.Module, change: Change, adapter: Adapter) -> None:
    weight, bias = change
    if not bool(torch.isfinite(weight).all()):
        raise AdapterError(
            f"merging gives numbers that are not finite in {name}",
            where=str(adapter.folder),
            rule="every merged weight is a number",
            fix="the adapter holds NaN or infinity, or an output of magnitude 0: train it again",
        )
    layer.weight.data.copy_(weight.t() if isinstance(layer, Conv1D) else weight)  # type: ignore[union-attr, operator]
    if bias is not None:
        layer.bias.data.copy_(bias)  # type: ignore[union-attr, operator]


def _take_off(base: Base) -> None:
    """Every layer as it was before any adapter came, and unpacked."""
    for parent in list(base.model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, AdaptedLinear):
                child = child.base
            if isinstance(child, Linear4):
                child = child.unpacked()
            if child is not parent.get_submodule(name):
                setattr(parent, name, child)
    base.router.virtual.clear()
    base.router.training, base.router.segments, base.four_bit = None, (), False
