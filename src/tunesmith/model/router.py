"""Which adapter answers for which tokens of the running forward; one router is shared by all layers of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

Tensor = torch.Tensor
BASE = ""
"""The adapter name that means: the base alone."""


@dataclass(frozen=True)
class Virtual:
    """Trained tokens that stand before every document: as keys and values of each layer, or as embeddings.

    ``count`` n; ``table`` (n, layers·2·K·D), each layer's keys and then its values (prefix tuning); ``embeddings``
    (n, W) (prompt tuning).
    """

    count: int
    table: Tensor | None = None
    embeddings: Tensor | None = None

    def keys_and_values(self, layer: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (n, K, D) of a layer, in the number format of the document's own (T, K, D)."""
        assert self.table is not None
        cells = self.table.view(self.count, -1, *like.shape[1:])
        return cells[:, 2 * layer].to(like.dtype), cells[:, 2 * layer + 1].to(like.dtype)


class Rows(Protocol):
    """Adds the updates of several adapters, one for each of some rows; see `tunesmith.model.stack`."""

    def apply(self, layer: Any, x: Tensor, out: Tensor) -> None:
        """Add to ``out`` (1, T, out) what the adapters of a layer make of x (1, T, in)."""
        ...


@dataclass
class Router:
    """``segments`` are (adapter name, start, end) over the T tokens of the packed row.

    ``training`` names the one adapter that is being trained, which then serves every token with gradients.
    ``virtual`` holds, by adapter name, the virtual tokens of those adapters that have some. ``stack`` serves rows that
    no segment names.
    """

    segments: Sequence[tuple[str, int, int]] = ()
    training: str | None = None
    virtual: dict[str, Virtual] = field(default_factory=dict)
    stack: Rows | None = None

    def virtual_count(self, adapter: str) -> int:
        """Positions that an adapter takes before each document."""
        found = self.virtual.get(adapter)
        return found.count if found else 0

    def virtual_parts(self, tokens: int) -> list[tuple[Virtual | None, int, int]]:
        """(virtual tokens or None, start, end) over the T tokens, neighbours with the same ones joined."""
        if self.training is not None:
            return [(self.virtual.get(self.training), 0, tokens)]
        parts: list[tuple[Virtual | None, int, int]] = []
        for name, start, end in self.segments:
            found = self.virtual.get(name)
            if parts and parts[-1][0] is found:
                parts[-1] = (found, parts[-1][1], end)
            else:
                parts.append((found, start, end))
        return parts or [(None, 0, tokens)]
