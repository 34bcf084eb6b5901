"""Attention strictly inside each document, for packed rows and for the key/value cache.

Many documents stand one behind the other in a single row of T tokens; there is no padding in the model's body. Only
inside attention are they laid side by side: documents of similar length form a padded block (B documents, S tokens),
on which one batched product, softmax and product runs. Short documents win by that against one call per document;
long ones go through the library's fused kernel. A GPU whose variable-length kernel has proved itself takes the row as
it lies (`tunesmith.model.varlen`).

Shapes: T tokens of the row, B documents of a block, S longest of them, H query heads, K key/value heads, D head size.

A `Layout` travels through the transformers forward as the keyword ``layout``; the function registered here under
``IMPLEMENTATION`` picks it up in every layer. Nothing is global.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from tunesmith.model import varlen
from tunesmith.model.router import Virtual

IMPLEMENTATION, WITNESSED = "tunesmith", "tunesmith witnessed"
"""The name of this attention in transformers, and of the same with every layer's mask shown to `Layout.witness`."""

LONG_DOCUMENT = 640
"""From this many tokens on the fused kernel is faster than the padded block (`python -m benchmarks attention`)."""

WASTE = 1.25
"""A block may hold at most this many times the squared tokens of its documents."""


@dataclass(frozen=True)
class Extras:
    """What a few architectures do to scores before the softmax.

    ``softcap`` c: scores become c·tanh(scores / c), 0 where they don't (Gemma 2). ``sinks`` (H,): a learned score for
    each head that takes its share of the softmax and gives no value (gpt-oss).
    """

    softcap: float = 0.0
    sinks: torch.Tensor | None = None

    def cap(self, scores: torch.Tensor) -> torch.Tensor:
        """Scaled scores, capped."""
        return torch.tanh(scores / self.softcap) * self.softcap if self.softcap else scores

    def weights(self, scores: torch.Tensor, groups: int) -> torch.Tensor:
        """Softmax in fp32 over the last side of (N, K, G, …, S), the sinks' share left out; H = K·G heads."""
        scores = scores.float()
        if self.sinks is None:
            return torch.softmax(scores, dim=-1)
        sinks = self.sinks.float().view(1, -1, groups, *(1,) * (scores.dim() - 4))
        sinks = sinks.expand(scores.shape[:-1]).unsqueeze(-1)
        return torch.softmax(torch.cat([scores, sinks], dim=-1), dim=-1)[..., :-1]


class Cache(Protocol):
    """Keys and values of running sequences; see `tunesmith.model.kv`."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int, extras: Extras | None
    ) -> Tensor:
        """Store the new keys and values, return the attention output of the new queries (T, H, D)."""
        ...


Tensor = torch.Tensor


@dataclass(frozen=True)
class Block:
    """Documents of similar length, padded to the longest.

    ``gather`` (B·S,) int64: the row's token for each cell, 0 where there is none; ``padding`` int64: those cells.
    ``before``: tokens at the row's beginning that every one of these documents begins with, and looks back to.
    """

    documents: int
    longest: int
    gather: Tensor
    padding: Tensor
    before: int = 0

    def stack(self, x: Tensor, heads: int | None = None, padding: bool = False) -> Tensor:
        """(T, H, D) of the row → (B, heads, H/heads·S, D), documents side by side; ``padding`` zeroes empty cells."""
        cells = x.index_select(0, self.gather)
        if padding and self.padding.numel():
            cells.index_fill_(0, self.padding, 0)
        count, size = x.shape[1], x.shape[2]
        side = cells.view(self.documents, self.longest, count, size).transpose(1, 2)
        return side.reshape(self.documents, heads or count, -1, size)

    def unstack(self, x: Tensor, heads: int) -> Tensor:
        """The way back: (B, *, *, D) → cells (B·S, heads, D)."""
        size = x.shape[-1]
        side = x.reshape(self.documents, heads, self.longest, size).transpose(1, 2)
        return side.reshape(self.documents * self.longest, heads, size)


@dataclass(frozen=True)
class Layout:
    """Where the documents of a packed row begin and end, prepared once a step and shared by all layers.

    ``cells`` (T,) int64: where each token of the row stands in the concatenated cells of all blocks. ``prefixes``: the
    trained keys and values that stand before each document; () where no document has any. ``witness``: called by every
    layer with its module, mask, window and options, under ``WITNESSED`` only.
    """

    lengths: tuple[int, ...]
    blocks: tuple[Block, ...]
    cells: Tensor
    masks: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)
    biases: dict[tuple[int, int, int, int, torch.dtype], Tensor] = field(default_factory=dict)
    cache: Cache | None = None
    prefixes: tuple[Virtual | None, ...] = ()
    witness: Callable[[torch.nn.Module, Any, int, dict[str, Any]], None] | None = None
    borders: list[Tensor] = field(default_factory=list)
    """What `tunesmith.model.varlen` wants to know of the documents' places, made once."""

    def mask(self, longest: int, window: int, before: int = 0) -> Tensor:
        """Boolean (S, before + S): True where a query (row) may not look at a key (column)."""
        key = (longest, window, before)
        if key not in self.masks:
            ones = torch.ones(longest, before + longest, dtype=torch.bool, device=self.cells.device)
            hidden = ones.triu(before + 1)
            self.masks[key] = hidden | ones.tril(before - window) if window else hidden
        return self.masks[key]

    def bias(self, block: Block, window: int, groups: int, dtype: torch.dtype) -> Tensor:
        """What is added to the scores of a block's heads (groups·S, before + S): −inf where `mask` hides, else 0."""
        key = (block.longest, window, block.before, groups, dtype)
        if key not in self.biases:
            hidden = self.mask(block.longest, window, block.before)
            bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))
            self.biases[key] = bias.repeat(groups, 1)
        return self.biases[key]


def positions(lengths: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Position ids (1, T) int64 of a packed row: each document counts from 0."""
    return torch.cat([torch.arange(length, device=device) for length in lengths]).unsqueeze(0)


def plan_layout(lengths: Sequence[int], device: torch.device | None = None, shared: bool = False) -> Layout:
    """Group the documents of a packed row into blocks; ``lengths`` are their token counts in row order.

    ``shared``: the first document is what all the others begin with; they hold only what comes after it.
    """
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    blocks, cells, offset = [], torch.empty(starts[-1], dtype=torch.int64), 0
    groups = [[0], *_groups(lengths, range(1, len(lengths)))] if shared else _groups(lengths, range(len(lengths)))
    for number, group in enumerate(groups):
        longest = lengths[group[0]]
        gather = torch.full((len(group), longest), -1, dtype=torch.int64)
        for index, document in enumerate(group):
            length, start = lengths[document], starts[document]
            gather[index, :length] = torch.arange(start, start + length)
            cells[start : start + length] = torch.arange(length) + (offset + index * longest)
        offset += gather.numel()
        padding = (gather.view(-1) < 0).nonzero().squeeze(1)
        before = lengths[0] if shared and number else 0
        blocks.append(Block(len(group), longest, gather.view(-1).clamp(min=0).to(device), padding.to(device), before))
    return Layout(tuple(lengths), tuple(blocks), cells.to(device))


def _groups(lengths: Sequence[int], documents: Sequence[int]) -> list[list[int]]:
    """Documents, longest first, cut into groups whose padded squares stay within ``WASTE`` of the real ones."""
    groups: list[list[int]] = []
    real = 0
    for document in sorted(documents, key=lambda i: -lengths[i]):
        square = lengths[document] ** 2
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] ** 2 <= WASTE * (real + square):
            groups[-1].append(document)
            real += square
        else:
            groups.append([document])
            real = square
    return groups


class PackedAttention(torch.autograd.Function):
    """Attention of a packed row whose documents are short: softmax(q·kᵀ·scaling)·v on padded blocks, as one node.

    q (T, H, D), k and v (T, K, D) → (T, H, D). Every token stands in exactly one cell, so both directions are gathers
    and nothing is scattered. Kept for backward: the padded q, k, v and the probabilities of each block. The softmax
    runs in fp32 and is rounded to the input's dtype, as in transformers' eager attention. Scale and mask are part of
    the product; each would be a pass over all scores, and filling by a mask is slower than the product itself.

    Documents that begin alike have that beginning once, at the row's start: its keys and values stand before their
    own, and its gradient is the sum over them.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, layout: Layout, scaling: float, window: int) -> Tensor:
        outputs, kept = [], []
        for block in layout.blocks:
            queries, keys, values = (
                x.flatten(0, 1) for x in (block.stack(q, k.shape[1]), _behind(block, k), _behind(block, v))
            )
            bias = layout.bias(block, window, q.shape[1] // k.shape[1], q.dtype)
            scores = torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=scaling)
            weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
            kept += [queries, keys, values, weights]
            outputs.append(block.unstack(torch.bmm(weights, values), q.shape[1]))
        ctx.save_for_backward(*kept)
        ctx.layout, ctx.scaling = layout, scaling
        return _join(outputs, layout)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        layout, kept = ctx.layout, ctx.saved_tensors
        grads: tuple[list[Tensor], ...] = ([], [], [])
        shared: tuple[list[Tensor], ...] = ([], [])
        for index, block in enumerate(layout.blocks):
            queries, keys, values, weights = kept[4 * index : 4 * index + 4]
            heads = keys.shape[0] // block.documents
            grad_out = block.stack(grad, heads, padding=True).flatten(0, 1)
            grad_weights = torch.bmm(grad_out, values.transpose(1, 2))
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grads[0].append(block.unstack(_scaled_product(grad_scores, keys, ctx.scaling), grad.shape[1]))
            grad_keys = _scaled_product(grad_scores.transpose(1, 2), queries, ctx.scaling)
            grad_values = torch.bmm(weights.transpose(1, 2), grad_out)
            for own, start, whole in zip(grads[1:], shared, (grad_keys, grad_values), strict=True):
                sides = whole.unflatten(0, (block.documents, heads))
                own.append(block.unstack(sides[:, :, block.before :], heads))
                if block.before:
                    start.append(sides[:, :, : block.before].sum(0, dtype=torch.float32).transpose(0, 1))
        joined = [_join(parts, layout) for parts in grads]
        for whole, start in zip(joined[1:], shared, strict=True):
            if start:
                first = whole[: start[0].shape[0]]
                first.copy_(sum(start, first.float()))
        return (*joined, None, None, None)


def _scaled_product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """scale · left·right of batches of matrices, in one call."""
    return torch.baddbmm(left.new_empty(1, 1, 1), left, right, beta=0, alpha=scale)


def _behind(block: Block, x: Tensor) -> Tensor:
    """Keys or values (T, K, D) of a block's documents behind those of their beginning: (B, K, before + S, D)."""
    own = block.stack(x)
    if not block.before:
        return own
    start = x[: block.before].transpose(0, 1).expand(block.documents, -1, -1, -1)
    return torch.cat([start, own], dim=2)


def _join(blocks: list[Tensor], layout: Layout) -> Tensor:
    """Cells of all blocks (cells, heads, D) → tokens of the row (T, heads, D)."""
    return (blocks[0] if len(blocks) == 1 else torch.cat(blocks)).index_select(0, layout.cells)


def packed_attention(
    layout: Layout,
    layer: int,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scaling: float,
    window: int = 0,
    extras: Extras | None = None,
) -> Tensor:
    """Attention of a packed row: q (T, H, D), k and v (T, K, D) → (T, H, D), each document by itself."""
    if any(layout.prefixes):
        return _behind_prefixes(layout, layer, q, k, v, scaling, window, extras)
    if extras is not None:
        return _step_by_step(layout, None, layer, q, k, v, scaling, window, extras)
    if not any(block.before for block in layout.blocks) and varlen.usable(q, k, v, layout.lengths, window):
        if not layout.borders:
            layout.borders.append(varlen.borders_of(layout.lengths, q.device))
        return varlen.attend(layout.lengths, layout.borders[0], q, k, v, scaling, window)
    if window or max(layout.lengths) < LONG_DOCUMENT:
        return PackedAttention.apply(q, k, v, layout, scaling, window)
    outputs = []
    for block in layout.blocks:
        parts = (block.stack(q), _behind(block, k), _behind(block, v))
        seen = ~layout.mask(block.longest, 0, block.before) if block.before else None
        grouped = q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(
            *parts, attn_mask=seen, is_causal=seen is None, scale=scaling, enable_gqa=grouped
        )
        outputs.append(block.unstack(out, q.shape[1]))
    return _join(outputs, layout)


def _behind_prefixes(
    layout: Layout, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float, window: int, extras: Extras | None
) -> Tensor:
    """Neighbouring documents with the same prefix make one part; each part attends to its prefix and to itself."""
    outputs, start = [], 0
    for prefix, group in groupby(zip(layout.prefixes, layout.lengths, strict=True), key=lambda pair: pair[0]):
        lengths = [length for _, length in group]
        rows = slice(start, start + sum(lengths))
        start = rows.stop
        part = plan_layout(lengths, q.device)
        if prefix is None:
            outputs.append(packed_attention(part, layer, q[rows], k[rows], v[rows], scaling, window, extras))
        else:
            own = (q[rows], k[rows], v[rows])
            outputs.append(_step_by_step(part, prefix, layer, *own, scaling, 0, extras or Extras()))
    return torch.cat(outputs)


def _step_by_step(
    layout: Layout,
    prefix: Virtual | None,
    layer: int,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scaling: float,
    window: int,
    extras: Extras,
) -> Tensor:
    """The general case, one operation after the other: scores may be capped, have sinks, or keys of a prefix.

    Every query sees the whole prefix, and of its own document what came before it, within the window.
    """
    outputs, groups = [], q.shape[1] // k.shape[1]
    for block in layout.blocks:
        queries, keys, values, count = block.stack(q, k.shape[1]), _behind(block, k), _behind(block, v), block.before
        if prefix is not None:
            trained, count = prefix.keys_and_values(layer, k), prefix.count
            keys, values = (
                torch.cat([x.transpose(0, 1).expand(block.documents, -1, -1, -1), own], dim=2)
                for x, own in zip(trained, (keys, values), strict=True)
            )
        scores = extras.cap(torch.matmul(queries, keys.transpose(-1, -2)) * scaling)
        square = scores.view(block.documents, k.shape[1], groups, block.longest, count + block.longest)
        square = square.masked_fill(layout.mask(block.longest, window, count), float("-inf"))
        weights = extras.weights(square, groups).to(q.dtype).view(scores.shape)
        outputs.append(block.unstack(torch.matmul(weights, values), q.shape[1]))
    return _join(outputs, layout)


@dataclass
class Carrier:
    """Hands the layout to the attention layers of a model that does not pass keywords on to them."""

    layout: Layout | None = None


def carry(model: torch.nn.Module) -> Carrier:
    """A carrier from which every attention layer of ``model`` takes its layout."""
    carrier = Carrier()
    for module in model.modules():
        if hasattr(module, "layer_idx"):
            module.tunesmith_carrier = carrier  # type: ignore[assignment]
    return carrier


def _layout_of(module: torch.nn.Module, options: dict[str, Any]) -> Layout:
    layout = options.get("layout")
    if layout is None and hasattr(module, "tunesmith_carrier"):
        layout = module.tunesmith_carrier.layout
    if layout is None:
        raise KeyError("layout")
    return layout  # type: ignore[no-any-return]


def _attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, _mask: Any, **options: Any
) -> tuple[Tensor, None]:
    """The transformers attention interface: (1, heads, T, D) in, (1, T, H, D) out."""
    layout = _layout_of(module, options)
    window = int(options.get("sliding_window") or 0)
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    extras = None
    if options.get("softcap") is not None or options.get("s_aux") is not None:
        extras = Extras(options.get("softcap") or 0.0, options.get("s_aux"))
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    if layout.cache is not None:
        out = layout.cache.attend(layer, q, k, v, scaling, window, extras)
    else:
        out = packed_attention(layout, layer, q, k, v, scaling, window, extras)
    return out.unsqueeze(0), None


def _no_mask(*_args: Any, **_options: Any) -> None:
    return None


@dataclass(frozen=True)
class Mask:
    """What transformers would let a layer see: ``sees(batch, head, query, key)`` on index tensors."""

    sees: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

    def __getitem__(self, _index: Any) -> Mask:
        return self


def _witnessed_mask(*_args: Any, **options: Any) -> Mask:
    return Mask(options["mask_function"])


def _witnessed(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any
) -> tuple[Tensor, None]:
    witness = _layout_of(module, options).witness
    assert witness is not None
    witness(module, mask, int(options.get("sliding_window") or 0), options)
    return _attention(module, query, key, value, None, **options)


AttentionInterface.register(IMPLEMENTATION, _attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, _no_mask)
AttentionInterface.register(WITNESSED, _witnessed)
ALL_MASK_ATTENTION_FUNCTIONS.register(WITNESSED, _witnessed_mask)
