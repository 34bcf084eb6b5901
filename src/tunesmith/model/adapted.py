"""A linear layer of the base that carries any number of adapters, and the choice of the layers that do.

Shapes: T tokens, in/out widths of the layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tunesmith.core.errors import AdapterError, ConfigError
from tunesmith.model.quant import Linear4
from tunesmith.model.router import Router

Tensor = torch.Tensor
Linear = nn.Linear | Conv1D | Linear4
LINEAR = (nn.Linear, Conv1D, Linear4)


class Update(Protocol):
    """What one adapter does at one linear layer."""

    def train(self, layer: AdaptedLinear, x: Tensor) -> Tensor:
        """The layer's output (T, out) for x (T, in), with gradients for the adapter and for x."""
        ...

    def apply(self, layer: AdaptedLinear, x: Tensor, y: Tensor) -> Tensor:
        """The layer's output (1, T, out) for x (1, T, in), where y is the base's own output for it."""
        ...


class AdaptedLinear(nn.Module):
    """A frozen linear layer and its adapters by name; the shared `Router` says who applies where."""

    def __init__(self, base: Linear, router: Router) -> None:
        super().__init__()
        self.base = base
        self.router = router
        self.adapters: dict[str, Update] = {}

    def matrix(self) -> Tensor:
        """The base's weights W (out, in) as they multiply; unpacked anew at each call where they are quantised."""
        if isinstance(self.base, Linear4):
            return self.base.dense()
        return self.base.weight.t() if isinstance(self.base, Conv1D) else self.base.weight

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        return shape_of(self.base)

    @property
    def bias(self) -> Tensor | None:
        """(out,), where there is one."""
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        """x (1, T, in) → (1, T, out); some architectures leave the 1 out.

        Raises:
            AdapterError: x has other rows than the T tokens of the step, so that nobody knows whose they are.
        """
        if self.router.training is not None:
            update = self.adapters.get(self.router.training)
            if update is None:
                return self.base(x)
            return update.train(self, x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)
        y = self.base(x)
        if x.dim() != 3:
            x = x.reshape(1, -1, x.shape[-1])
        out = y.view(1, -1, y.shape[-1])
        for name, start, end in self.router.segments:
            update = self.adapters.get(name)
            if update is not None:
                require_all_tokens(x.shape[1], self.router.segments[-1][2])
                out[:, start:end] = update.apply(self, x[:, start:end], out[:, start:end])
        if self.router.stack is not None:
            self.router.stack.apply(self, x, out)
        return y


def close(layer: nn.Module) -> None:
    """Say of a linear layer that an adapter on it would be passed by; see `tunesmith.model.exact.close_layers`."""
    layer.tunesmith_closed = True  # type: ignore[assignment]


def is_closed(layer: nn.Module) -> bool:
    """Whether an adapter on this layer would be passed by."""
    return "tunesmith_closed" in vars(layer)


def require_all_tokens(rows: int, tokens: int) -> None:
    """Raise AdapterError when an adapted layer is given other rows than those of the step."""
    if rows != tokens:
        raise AdapterError(
            f"an adapted layer is given {rows} of {tokens} tokens",
            where="lora_target_modules",
            rule="an adapter knows its tokens by their place in the row, so each layer must see the whole row",
            fix="leave the layers of single experts out of lora_target_modules",
        )


def shape_of(layer: nn.Module) -> tuple[int, int]:
    """(out, in) of a linear layer, adapted or not."""
    if isinstance(layer, AdaptedLinear):
        layer = layer.base
    if isinstance(layer, Linear4):
        return layer.out_features, layer.in_features
    weight: Tensor = layer.weight  # type: ignore[assignment]
    shape = weight.shape[::-1] if isinstance(layer, Conv1D) else weight.shape
    return int(shape[0]), int(shape[1])


def linear_layers(model: nn.Module) -> Iterator[tuple[str, Linear]]:
    """Every linear layer below the head, by name; layers that were wrapped already under their own name."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    for name, module in model.named_modules():
        if isinstance(module, LINEAR) and module is not head:
            yield name.removesuffix(".base"), module


def choose_targets(model: nn.Module, targets: str | tuple[str, ...]) -> list[str]:
    """Names of the linear layers that ``targets`` selects.

    Raises:
        ConfigError: when nothing matches; the message lists the names that there are.
    """
    layers = dict(linear_layers(model))
    names = list(layers)
    if targets == "all-linear":  # a single number for each token, such as a gate, has no rank to lower
        return [name for name, layer in layers.items() if not is_closed(layer) and min(shape_of(layer)) > 1]
    if isinstance(targets, str):
        chosen = [name for name in names if _pattern(targets).fullmatch(name)]
    else:
        chosen = [name for name in names if matches(name, targets)]
    if not chosen:
        endings = sorted({name.rsplit(".", 1)[-1] for name in names})
        raise ConfigError(
            f"lora_target_modules: {targets!r} matches no linear layer of this model",
            where="lora_target_modules",
            rule="at least one linear layer must match",
            fix=f'use "all-linear" or some of: {", ".join(endings)}',
        )
    return chosen


def matches(name: str, targets: Sequence[str]) -> bool:
    """PEFT's rule: a layer is meant by its whole name or by a dotted ending of it."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def portable_targets(model: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """The shortest list of names that selects exactly ``names`` by PEFT's rule."""
    endings = sorted({name.rsplit(".", 1)[-1] for name in names})
    if sorted(choose_targets(model, tuple(endings))) == sorted(names):
        return tuple(endings)
    return tuple(sorted(names))


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


def wrap(model: nn.Module, names: Sequence[str], router: Router) -> dict[str, AdaptedLinear]:
    """Put an `AdaptedLinear` in place of each named linear layer (those wrapped before are kept); name → layer.

    Raises:
        ConfigError: a layer that the model passes by.
    """
    wrapped: dict[str, AdaptedLinear] = {}
    for name in names:
        parent_name, _, leaf = name.rpartition(".")
        parent = model.get_submodule(parent_name)
        module = parent.get_submodule(leaf)
        if is_closed(module):
            raise ConfigError(
                f"lora_target_modules: {name} cannot carry an adapter in this architecture",
                where="lora_target_modules",
                rule="every token must pass through the layer; here its weights are used without it, or by some tokens",
                fix='use method: lora with lora_target_modules: "all-linear", which leaves such layers out',
            )
        if not isinstance(module, AdaptedLinear):
            assert isinstance(module, LINEAR), name
            module = AdaptedLinear(module, router)
            setattr(parent, leaf, module)
        wrapped[name] = module
    return wrapped
