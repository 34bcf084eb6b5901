"""Bottleneck adapters in series after attention and after the MLP of each block (Houlsby et al., arXiv 1902.00751).

h ← h + U·gelu(D·h + d) + u with D (size, W), U (W, size); U begins as zeros, so that training starts at the base.
There is no format for them in PEFT: ``peft_type`` says so, and PEFT refuses the folder by that name.

Shapes: T tokens, W width of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from tunesmith.model import roles
from tunesmith.model.adapted import AdaptedLinear, linear_layers, shape_of, wrap
from tunesmith.model.load import Base

Tensor = torch.Tensor
PARTS = (".down", ".down_bias", ".up", ".up_bias")


@dataclass(frozen=True)
class Bottleneck:
    """One layer's weights."""

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor

    def train(self, layer: AdaptedLinear, x: Tensor) -> Tensor:
        y = layer.base(x)
        return self.apply(layer, x, y)

    def apply(self, layer: AdaptedLinear, x: Tensor, y: Tensor) -> Tensor:
        down, down_bias, up, up_bias = (part.to(y.dtype) for part in (self.down, self.down_bias, self.up, self.up_bias))
        return y + F.linear(F.gelu(F.linear(y, down, down_bias)), up, up_bias)


@dataclass(frozen=True)
class BottleneckSpec:
    """``size``: width of the narrow middle."""

    size: int

    peft_type = "BOTTLENECK"
    prefixed = True

    def initial(self, base: Base, generator: torch.Generator) -> dict[str, Tensor]:
        """D normal with deviation 0.02, all else zero; fp32.

        Raises:
            ConfigError: a model whose ways out of attention and MLP go by unknown names.
        """
        names = roles.layers_of(base.model, roles.ATTENTION_OUT, "way out of attention")
        names += roles.layers_of(base.model, roles.MLP_OUT, "way out of the MLP")
        weights: dict[str, Tensor] = {}
        for name in names:
            width, _ = shape_of(base.model.get_submodule(name))
            down = torch.randn(self.size, width, generator=generator).mul_(0.02)
            parts = (down, torch.zeros(self.size), torch.zeros(width, self.size), torch.zeros(width))
            weights |= {name + part: tensor for part, tensor in zip(PARTS, parts, strict=True)}
        return weights

    def place(self, base: Base, adapter: str, weights: Mapping[str, Tensor], training: bool = False) -> None:
        """Put the weights on the base under the name ``adapter``; copies in the base's dtype unless in training."""
        names = [name.removesuffix(".down") for name in weights if name.endswith(".down")]
        for name, layer in wrap(base.model, names, base.router).items():
            parts = [weights[name + part] for part in PARTS]
            if not training:
                parts = [part.detach().to(base.device, base.dtype, copy=True) for part in parts]
            layer.adapters[adapter] = Bottleneck(*parts)

    def misfits(self, base: Base, weights: Mapping[str, Tensor]) -> list[str]:
        """What does not fit this base, in words; [] when all does."""
        layers = {name for name, _ in linear_layers(base.model)}
        found = []
        for name in sorted({key.rpartition(".")[0] for key in weights}):
            parts = [weights.get(name + part) for part in PARTS]
            if any(part is None for part in parts):
                found.append(f"{name} lacks a part")
            elif name not in layers:
                found.append(name)
            else:
                width, _ = shape_of(base.model.get_submodule(name))
                wanted = [(self.size, width), (self.size,), (width, self.size), (width,)]
                if [tuple(part.shape) for part in parts if part is not None] != wanted:
                    found.append(f"{name} is {width} wide, the adapter is for another width or size")
        return found

    def rate_of(self, _name: str) -> float:
        """The learning rate of a weight as a multiple of the run's."""
        return 1.0

    def to_peft(self, _base: Base) -> dict[str, Any]:
        """What ``adapter_config.json`` says of this kind."""
        return {"size": self.size, "activation": "gelu"}

    @classmethod
    def from_peft(cls, config: Mapping[str, Any]) -> BottleneckSpec:
        """What ``adapter_config.json`` says."""
        return cls(int(config["size"]))
