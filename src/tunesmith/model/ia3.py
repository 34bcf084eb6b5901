"""(IA)³: trained vectors that scale keys, values and the inner activations of the MLP (Liu et al., arXiv 2205.05638).

A vector begins as ones, so that training starts at the base. PEFT's rounding: the product is made in fp32.
Shapes: T tokens, in/out widths of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tunesmith.model import roles
from tunesmith.model.adapted import (
    AdaptedLinear,
    choose_targets,
    linear_layers,
    matches,
    portable_targets,
    shape_of,
    wrap,
)
from tunesmith.model.load import Base

Tensor = torch.Tensor
VECTOR = ".ia3_l"


@dataclass(frozen=True)
class Scale:
    """One layer's vector: (in,) on what enters a feed-forward layer, (out,) on what leaves any other one; fp32."""

    vector: Tensor
    feedforward: bool

    def train(self, layer: AdaptedLinear, x: Tensor) -> Tensor:
        if self.feedforward:
            return layer.base((x * self.vector).to(x.dtype))
        y = layer.base(x)
        return (y * self.vector).to(y.dtype)

    def apply(self, layer: AdaptedLinear, x: Tensor, y: Tensor) -> Tensor:
        return self.train(layer, x) if self.feedforward else (y * self.vector).to(y.dtype)


@dataclass(frozen=True)
class IA3Spec:
    """Which layers, by PEFT's names or endings; ``feedforward`` are those scaled on what enters. () is automatic."""

    targets: tuple[str, ...] = ()
    feedforward: tuple[str, ...] = ()

    peft_type = "IA3"
    prefixed = True

    def initial(self, base: Base, _generator: torch.Generator) -> dict[str, Tensor]:
        """Ones: (1, in) or (out, 1) as PEFT shapes them; fp32.

        Raises:
            ConfigError: a model whose keys, values or MLP output go by unknown names.
        """
        spec = self._resolved(base)
        weights = {}
        for name in choose_targets(base.model, spec.targets):
            out_features, in_features = shape_of(base.model.get_submodule(name))
            inside = matches(name, spec.feedforward)
            weights[name + VECTOR] = torch.ones((1, in_features) if inside else (out_features, 1))
        return weights

    def _resolved(self, base: Base) -> IA3Spec:
        if self.targets:
            return self
        keys = roles.layers_of(base.model, roles.KEYS_AND_VALUES, "keys and values")
        inner = roles.layers_of(base.model, roles.MLP_OUT, "way out of the MLP")
        return IA3Spec(portable_targets(base.model, keys + inner), portable_targets(base.model, inner))

    def place(self, base: Base, adapter: str, weights: Mapping[str, Tensor], training: bool = False) -> None:
        """Put the vectors on the base under the name ``adapter``; they stay fp32."""
        names = [name.removesuffix(VECTOR) for name in weights]
        feedforward = self._resolved(base).feedforward
        for name, layer in wrap(base.model, names, base.router).items():
            vector = weights[name + VECTOR].flatten()
            if not training:
                vector = vector.detach().to(base.device, torch.float32, copy=True)
            layer.adapters[adapter] = Scale(vector, matches(name, feedforward))

    def misfits(self, base: Base, weights: Mapping[str, Tensor]) -> list[str]:
        """What does not fit this base, in words; [] when all does."""
        layers = {name for name, _ in linear_layers(base.model)}
        found = []
        for key, vector in sorted(weights.items()):
            name = key.removesuffix(VECTOR)
            if name not in layers or name == key:
                found.append(name)
                continue
            size = shape_of(base.model.get_submodule(name))[matches(name, self.feedforward)]
            if vector.numel() != size:
                found.append(f"{name} has {size} channels, the adapter is for {vector.numel()}")
        return found

    def rate_of(self, _name: str) -> float:
        """The learning rate of a weight as a multiple of the run's."""
        return 1.0

    def to_peft(self, base: Base) -> dict[str, Any]:
        """What ``adapter_config.json`` says of this kind."""
        spec = self._resolved(base)
        return {
            "target_modules": list(spec.targets),
            "feedforward_modules": list(spec.feedforward),
            "fan_in_fan_out": False,
            "init_ia3_weights": True,
            "modules_to_save": None,
        }

    @classmethod
    def from_peft(cls, config: Mapping[str, Any]) -> IA3Spec:
        """What ``adapter_config.json`` says."""
        return cls(tuple(sorted(config["target_modules"])), tuple(sorted(config.get("feedforward_modules") or ())))
