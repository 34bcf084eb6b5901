"""Attention strictly inside each document, for packed rows and for the key/value cache.

Many documents stand one behind the other in a single row of T tokens; there is no padding in the model's body. Only
inside attention are they laid side by side: documents of similar length form a padded block (B documents, S tokens),
on which one batched product, softmax and product runs. Short documents win by that against one call per document;
long ones go through the library's fused kernel.

Shapes: T tokens of the row, B documents of a block, S longest of them, H query heads, K key/value heads, D head size.

A `Layout` travels through the transformers forward as the keyword ``layout``; the function registered here under
``IMPLEMENTATION`` picks it up in every layer. Nothing is global.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

IMPLEMENTATION = "tunesmith"

LONG_DOCUMENT = 384
"""From this many tokens on the fused kernel is faster than the padded block (measured: docs/decisions)."""

WASTE = 1.25
"""A block may hold at most this many times the squared tokens of its documents."""


class Cache(Protocol):
    """Keys and values of running sequences; see `tunesmith.model.engine`."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int) -> Tensor:
        """Store the new keys and values, return the attention output of the new queries (T, H, D)."""
        ...


Tensor = torch.Tensor


@dataclass(frozen=True)
class Block:
    """Documents of similar length, padded to the longest. ``gather`` (B·S,) int64: the row's token for each cell."""

    documents: int
    longest: int
    gather: Tensor


@dataclass(frozen=True)
class Layout:
    """Where the documents of a packed row begin and end, prepared once a step and shared by all layers.

    ``cells`` (T,) int64: where each token of the row stands in the concatenated cells of all blocks.
    """

    lengths: tuple[int, ...]
    blocks: tuple[Block, ...]
    cells: Tensor
    masks: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    cache: Cache | None = None

    def mask(self, longest: int, window: int) -> Tensor:
        """Boolean (S, S): True where a query (row) may not look at a key (column)."""
        key = (longest, window)
        if key not in self.masks:
            ones = torch.ones(longest, longest, dtype=torch.bool, device=self.cells.device)
            hidden = ones.triu(1)
            self.masks[key] = hidden | ones.tril(-window) if window else hidden
        return self.masks[key]


def positions(lengths: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Position ids (1, T) int64 of a packed row: each document counts from 0."""
    return torch.cat([torch.arange(length, device=device) for length in lengths]).unsqueeze(0)


def plan_layout(lengths: Sequence[int], device: torch.device | None = None) -> Layout:
    """Group the documents of a packed row into blocks; ``lengths`` are their token counts in row order."""
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    blocks, cells, offset = [], torch.empty(starts[-1], dtype=torch.int64), 0
    for group in _groups(lengths):
        longest = lengths[group[0]]
        gather = torch.zeros(len(group), longest, dtype=torch.int64)
        for index, document in enumerate(group):
            length, start = lengths[document], starts[document]
            gather[index, :length] = torch.arange(start, start + length)
            cells[start : start + length] = torch.arange(length) + (offset + index * longest)
        offset += gather.numel()
        blocks.append(Block(len(group), longest, gather.view(-1).to(device)))
    return Layout(tuple(lengths), tuple(blocks), cells.to(device))


def _groups(lengths: Sequence[int]) -> list[list[int]]:
    """Documents, longest first, cut into groups whose padded squares stay within ``WASTE`` of the real ones."""
    groups: list[list[int]] = []
    real = 0
    for document in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        square = lengths[document] ** 2
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] ** 2 <= WASTE * (real + square):
            groups[-1].append(document)
            real += square
        else:
            groups.append([document])
            real = square
    return groups


class PaddedAttention(torch.autograd.Function):
    """softmax(q·kᵀ·scaling + mask)·v on a padded block; saves q, k, v and the probabilities only.

    q (B, K, G·S, D) with G query heads per key/value head, k and v (B, K, S, D); mask (S, S) boolean, True = hidden.
    The softmax runs in fp32 inside the kernel and is rounded to the input's dtype, as transformers' eager attention.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float) -> Tensor:
        batch, kv_heads, rows, _ = q.shape
        longest = k.shape[2]
        scores = torch.matmul(q, k.transpose(-1, -2)).mul_(scaling)
        scores.view(batch, kv_heads, rows // longest, longest, longest).masked_fill_(mask, float("-inf"))
        weights = torch.softmax(scores, dim=-1)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scaling = scaling
        return torch.matmul(weights, v)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, weights = ctx.saved_tensors
        grad_v = torch.matmul(weights.transpose(-1, -2), grad)
        grad_weights = torch.matmul(grad, v.transpose(-1, -2))
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype).mul_(ctx.scaling)
        grad_q = torch.matmul(grad_scores, k)
        grad_k = torch.matmul(grad_scores.transpose(-1, -2), q)
        return grad_q, grad_k, grad_v, None, None


def _attend_block(block: Block, layout: Layout, q: Tensor, k: Tensor, v: Tensor, scaling: float, window: int) -> Tensor:
    heads, kv_heads, size = q.shape[1], k.shape[1], q.shape[2]
    documents, longest, groups = block.documents, block.longest, heads // kv_heads

    def side_by_side(x: Tensor) -> Tensor:
        return x.index_select(0, block.gather).view(documents, longest, x.shape[1], size).transpose(1, 2)

    q_b, k_b, v_b = side_by_side(q), side_by_side(k), side_by_side(v)
    if longest >= LONG_DOCUMENT and not window:
        out = F.scaled_dot_product_attention(q_b, k_b, v_b, is_causal=True, scale=scaling, enable_gqa=groups > 1)
    else:
        stacked = q_b.reshape(documents, kv_heads, groups * longest, size)
        mask = layout.mask(longest, window)
        out = PaddedAttention.apply(stacked, k_b.contiguous(), v_b.contiguous(), mask, scaling)
        out = out.view(documents, heads, longest, size)
    return out.transpose(1, 2).reshape(documents * longest, heads, size)


def packed_attention(layout: Layout, q: Tensor, k: Tensor, v: Tensor, scaling: float, window: int = 0) -> Tensor:
    """Attention of a packed row: q (T, H, D), k and v (T, K, D) → (T, H, D), each document by itself."""
    outputs = [_attend_block(block, layout, q, k, v, scaling, window) for block in layout.blocks]
    padded = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return padded.index_select(0, layout.cells)


def _attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, _mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """The transformers attention interface: (1, heads, T, D) in, (1, T, H, D) out."""
    layout: Layout = options["layout"]
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise ValueError(f"attention option {name} is not supported by the packed path")
    window = int(options.get("sliding_window") or 0)
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    if layout.cache is not None:
        out = layout.cache.attend(module.layer_idx, q, k, v, scaling, window)  # type: ignore[arg-type]
    else:
        out = packed_attention(layout, q, k, v, scaling, window)
    return out.unsqueeze(0), None


def _no_mask(*_args: Any, **_options: Any) -> None:
    return None


AttentionInterface.register(IMPLEMENTATION, _attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, _no_mask)
