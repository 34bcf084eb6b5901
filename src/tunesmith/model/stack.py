"""Low-rank adapters of many rows at once: one token each, a handful of adapters, two products a layer for all of them.

Row by row, eight adapters would be sixteen small products in each of some two hundred layers, and calling costs more
than multiplying. Here the A of all adapters stand below each other, and so do the B: h = x·Aᵀ holds every row under
every adapter, a mask leaves each row its own, and y += h·B. Layers that are given the same x share the first product.
Adapters stay in their block until its place is needed, so that a set that changes little costs little.

Shapes: n rows, m blocks of width w, in/out widths of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tunesmith.model.adapted import AdaptedLinear, require_all_tokens
from tunesmith.model.lora import LowRank

Tensor = torch.Tensor
FEWEST, MOST = 4, 64
"""Blocks are made for 4, 8, 16, 32 or 64 adapters."""


@dataclass(eq=False)
class _Group:
    """Layers that are given the same x. ``a`` (layers·m·w, in), ``mask`` (n, layers·m·w)."""

    layers: list[AdaptedLinear]
    a: Tensor
    mask: Tensor | None = None


@dataclass(eq=False)
class _Part:
    """One layer's place in its group, and its ``b`` (m·w, out), each B times its adapter's scale."""

    group: _Group
    index: int
    b: Tensor


class Stack:
    """The adapters of the rows of one step, laid together; used by one thread."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.rows = (0, 0)
        """First row of the step that is served here, and the one after the last."""
        self.tokens = 0
        """Rows of the whole step."""
        self._blocks: list[tuple[str, object] | None] = []
        self._width = 0
        self._used: dict[int, int] = {}
        self._clock = 0
        self._groups: list[list[AdaptedLinear]] = []
        self._parts: dict[AdaptedLinear, _Part] = {}
        self._narrow: tuple[Tensor, _Group, Tensor] | None = None
        self._seen: list[tuple[AdaptedLinear, Tensor]] | None = None

    def arrange(self, keys: Sequence[str], start: int, tokens: int) -> None:
        """Make ready for a step of ``tokens`` rows, those from ``start`` on with these adapters."""
        layers = self._layers()
        wanted = {key: _mark(layers, key) for key in dict.fromkeys(keys)}
        known = {layer for group in self._groups for layer in group}
        room, rank = len(self._blocks), max(_rank(layers, key) for key in wanted)
        fits = FEWEST
        while fits < len(wanted):
            fits *= 2
        if fits > room or fits * 4 <= room or rank > self._width or known != set(layers):
            self._rebuild(layers, fits, rank)
        self._clock += 1
        for key, mark in wanted.items():
            self._used[self._block_of(key, mark, wanted)] = self._clock
        places = {block[0]: index for index, block in enumerate(self._blocks) if block}
        like = next(iter(self._parts.values())).b
        mask = torch.zeros(len(keys), len(self._blocks), self._width, dtype=like.dtype, device=like.device)
        mask[torch.arange(len(keys)), torch.tensor([places[key] for key in keys])] = 1
        for part in self._parts.values():
            if part.index == 0:
                part.group.mask = mask.view(len(keys), -1).repeat(1, len(part.group.layers))
        self.rows, self.tokens, self._narrow = (start, start + len(keys)), tokens, None

    def apply(self, layer: AdaptedLinear, x: Tensor, out: Tensor) -> None:
        """Add the updates of the rows served here to ``out`` (1, T, out) for x (1, T, in)."""
        part = self._parts.get(layer)
        if part is None:
            return
        require_all_tokens(x.shape[1], self.tokens)
        rows = slice(*self.rows)
        if self._seen is not None:
            self._seen.append((layer, x))
        if self._narrow is None or self._narrow[1] is not part.group or self._narrow[0] is not x:
            assert part.group.mask is not None
            self._narrow = (x, part.group, torch.mm(x[0, rows], part.group.a.t()).mul_(part.group.mask))
        width = part.b.shape[0]
        narrow = self._narrow[2][:, part.index * width : (part.index + 1) * width]
        out[0, rows].addmm_(narrow, part.b)

    def settle(self) -> None:
        """After a step: let go of its tensors; layers that were given the same x share a product from now on."""
        self._narrow = None
        if self._seen is None:
            return
        groups: list[tuple[Tensor, list[AdaptedLinear]]] = []
        for layer, x in self._seen:
            if groups and groups[-1][0] is x:
                groups[-1][1].append(layer)
            else:
                groups.append((x, [layer]))
        self._seen = None
        if any(len(group) > 1 for _, group in groups):
            self._groups, blocks = [group for _, group in groups], self._blocks
            self._lay_out(len(blocks), self._width)
            for index, block in enumerate(blocks):
                if block is not None:
                    self._fill(index, *block)

    def _layers(self) -> list[AdaptedLinear]:
        return [module for module in self.model.modules() if isinstance(module, AdaptedLinear) and module.adapters]

    def _rebuild(self, layers: list[AdaptedLinear], blocks: int, width: int) -> None:
        if {layer for group in self._groups for layer in group} != set(layers):
            self._groups = [[layer] for layer in layers]
            self._seen = []
        self._lay_out(blocks, max(width, self._width))

    def _lay_out(self, blocks: int, width: int) -> None:
        self._blocks, self._width, self._used, self._parts = [None] * blocks, width, {}, {}
        for layers in self._groups:
            like = layers[0].matrix()
            rows = blocks * width
            group = _Group(layers, like.new_zeros(len(layers) * rows, layers[0].shape[1]))
            for index, layer in enumerate(layers):
                self._parts[layer] = _Part(group, index, like.new_zeros(rows, layer.shape[0]))

    def _block_of(self, key: str, mark: object, wanted: dict[str, object]) -> int:
        for index, block in enumerate(self._blocks):
            if block is not None and block[0] == key and block[1] is mark:
                return index
        stale = [i for i, block in enumerate(self._blocks) if block is not None and block[0] == key]
        free = stale or [i for i, block in enumerate(self._blocks) if block is None or block[0] not in wanted]
        index = min(free, key=lambda i: (self._blocks[i] is not None, self._used.get(i, 0)))
        self._fill(index, key, mark)
        return index

    def _fill(self, index: int, key: str, mark: object) -> None:
        """Copy an adapter into a block."""
        start, width = index * self._width, self._width
        for layer, part in self._parts.items():
            update = layer.adapters.get(key)
            first = part.index * part.b.shape[0] + start
            part.group.a[first : first + width].zero_()
            part.b[start : start + width].zero_()
            if isinstance(update, LowRank):
                rank = update.a.shape[0]
                part.group.a[first : first + rank] = update.a
                part.b[start : start + rank] = update.b.t() * update.scale
        self._blocks[index] = (key, mark)


def _mark(layers: Sequence[AdaptedLinear], key: str) -> object:
    """What tells an adapter from another one that came under the same key later."""
    return next(layer.adapters[key] for layer in layers if key in layer.adapters)


def _rank(layers: Sequence[AdaptedLinear], key: str) -> int:
    updates = (layer.adapters.get(key) for layer in layers)
    return max(update.a.shape[0] for update in updates if isinstance(update, LowRank))
