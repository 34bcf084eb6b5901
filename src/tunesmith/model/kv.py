"""Keys and values of running sequences, and the attention of one step over them.

A running sequence has one row, in one piece: a kernel on a CPU would have to copy scattered pages together in every
step and every layer, which costs more than the attention itself. Rows of like length stand side by side in a slab, so
that one batched product serves all of them. What sequences share are pages (`tunesmith.model.pages`): copied into a row
when it begins, and out of it when they are complete. Slabs and pages together keep within one budget.

Shapes: T tokens of a step, n decoding sequences, H query heads, K key/value heads, D head size, S slots, L row length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from tunesmith.model.attention import Extras, Layout, packed_attention, plan_layout, positions
from tunesmith.model.pages import PAGE, Chain, Page, PageCache
from tunesmith.model.router import Virtual

if TYPE_CHECKING:
    from tunesmith.model.load import Base

Tensor = torch.Tensor
SMALLEST = 64
"""Length of the shortest rows, in tokens; longer ones are 1, 1.5, 2, 3, 4, 6, … times as long."""

QUERIES = 512
"""Queries of a long prompt that look back at a time: scores of 512 × 8,192 in fp32 are 16 MB a head."""

WASTE = 4096
"""Cells of padding in a block of decoding rows that cost as much as one more block."""


@dataclass(frozen=True)
class Shapes:
    """Sizes of keys and values: ``sizes`` the distinct (K, D); ``places`` for each layer, of keys and of values, which
    size and the how-manieth tensor of that size."""

    sizes: tuple[tuple[int, int], ...]
    places: tuple[tuple[tuple[int, int], tuple[int, int]], ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def counts(self) -> list[int]:
        """Tensors of each size."""
        used = [size for pair in self.places for size, _ in pair]
        return [used.count(index) for index in range(len(self.sizes))]

    @property
    def position_bytes(self) -> int:
        """Bytes of one token in all layers."""
        cells = sum(n * heads * width for n, (heads, width) in zip(self.counts, self.sizes, strict=True))
        return cells * self.dtype.itemsize


class Recorder:
    """Stands in for a cache, and keeps the keys and values (n, K, D) of each layer of one document."""

    def __init__(self, document: Layout) -> None:
        self.document = document
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int, extras: Extras | None
    ) -> Tensor:
        """Plain attention within the document."""
        self.keys.append(key)
        self.values.append(value)
        return packed_attention(self.document, layer, query, key, value, scaling, window, extras)

    def shapes(self) -> Shapes:
        """What a cache for this model looks like."""
        sizes: list[tuple[int, int]] = []
        counts: list[int] = []
        places = []
        for pair in zip(self.keys, self.values, strict=True):
            place = []
            for tensor in pair:
                size = (tensor.shape[1], tensor.shape[2])
                if size not in sizes:
                    sizes.append(size)
                    counts.append(0)
                index = sizes.index(size)
                place.append((index, counts[index]))
                counts[index] += 1
            places.append((place[0], place[1]))
        return Shapes(tuple(sizes), tuple(places), self.keys[0].dtype, self.keys[0].device)


def record(base: Base, tokens: Tensor) -> Recorder:
    """The keys and values that the base alone makes of one document (1, T)."""
    recorder = Recorder(plan_layout([tokens.shape[1]], base.device))
    layout = Layout((), (), torch.empty(0, dtype=torch.int64), cache=recorder)
    segments, base.router.segments = base.router.segments, ()
    try:
        base.body(layout=layout, position_ids=positions([tokens.shape[1]], base.device), input_ids=tokens)
    finally:
        base.router.segments = segments
    return recorder


def row_length(need: int) -> int:
    """Length of the row for a sequence of ``need`` tokens."""
    length = SMALLEST
    while length < need:
        if length * 3 // 2 >= need:
            return length * 3 // 2
        length *= 2
    return length


class Slab:
    """Rows of one length: for each size of keys and values a tensor (layers, S, K, L, D), zero where never written."""

    def __init__(self, shapes: Shapes, length: int) -> None:
        self.shapes, self.length = shapes, length
        self.slots = 0
        self.taken: set[int] = set()
        self.tensors: list[Tensor] = []
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.length * self.shapes.position_bytes

    def grow(self, slots: int) -> None:
        """Have this many slots; rows that are taken are kept."""
        old = self.tensors
        self.tensors = []
        for index, (count, (heads, width)) in enumerate(zip(self.shapes.counts, self.shapes.sizes, strict=True)):
            size = (count, slots, heads, self.length, width)
            fresh = torch.zeros(size, dtype=self.shapes.dtype, device=self.shapes.device)
            if old:
                fresh[:, : self.slots] = old[index]
            self.tensors.append(fresh)
        self.slots = slots
        self.keys, self.values = (
            [self.tensors[place[side][0]][place[side][1]] for place in self.shapes.places] for side in (0, 1)
        )


@dataclass(frozen=True, eq=False)
class Row:
    """Where the keys and values of one sequence stand."""

    slab: Slab
    slot: int

    def read(self, start: int, end: int) -> Page:
        """A copy of the positions ``start``..``end``."""
        return tuple(tensor[:, self.slot, :, start:end].clone() for tensor in self.slab.tensors)

    def write(self, start: int, page: Page) -> None:
        """Put a page at ``start``."""
        for tensor, part in zip(self.slab.tensors, page, strict=True):
            tensor[:, self.slot, :, start : start + part.shape[2]] = part

    def write_trained(self, prefix: Virtual) -> None:
        """Put trained keys and values at the row's beginning."""
        for layer, sides in enumerate(zip(self.slab.keys, self.slab.values, strict=True)):
            like = sides[0][self.slot].transpose(0, 1)
            for side, trained in zip(sides, prefix.keys_and_values(layer, like), strict=True):
                side[self.slot, :, : prefix.count] = trained.transpose(0, 1)


class Store:
    """All rows and pages of an engine, within ``room`` bytes."""

    def __init__(self, shapes: Shapes, room: int) -> None:
        self.shapes, self.room = shapes, room
        self.pages = PageCache()
        self.slabs: dict[int, Slab] = {}

    @property
    def rows(self) -> int:
        """Rows that are taken."""
        return sum(len(slab.taken) for slab in self.slabs.values())

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.pages.size + sum(slab.slots * slab.row_bytes for slab in self.slabs.values())

    def fits(self, need: int) -> bool:
        """Whether a sequence of ``need`` tokens can ever have a row."""
        return row_length(need) * self.shapes.position_bytes <= self.room

    def take(self, need: int) -> Row | None:
        """A row for ``need`` tokens, or None while there is no room for it."""
        length = row_length(need)
        slab = self.slabs.get(length) or Slab(self.shapes, length)
        if len(slab.taken) == slab.slots and not self._make_room(slab):
            return None
        self.slabs[length] = slab
        slot = next(i for i in range(slab.slots) if i not in slab.taken)
        slab.taken.add(slot)
        return Row(slab, slot)

    def _make_room(self, slab: Slab) -> bool:
        """Give a full slab more slots: twice as many where that fits, at least one. Pages and empty slabs give way."""
        others = sum(s.slots * s.row_bytes for s in self.slabs.values() if s.taken or s is slab)
        more = min(max(1, slab.slots), (self.room - others) // slab.row_bytes)
        if more < 1:
            return False
        if self.size + more * slab.row_bytes > self.room:
            self._drop_idle(slab)
            self.pages.shrink(self.room - others - more * slab.row_bytes)
        slab.grow(slab.slots + more)
        return True

    def _drop_idle(self, needed: Slab | None = None) -> None:
        self.slabs = {length: slab for length, slab in self.slabs.items() if slab.taken or slab is needed}

    def give_back(self, row: Row) -> None:
        """The sequence is over."""
        row.slab.taken.discard(row.slot)

    def restore(self, row: Row, offset: int, chain: Chain, tokens: Sequence[int]) -> int:
        """Copy the known beginning of ``tokens`` into an empty row from ``offset`` on; how many, never all of them."""
        found = self.pages.find(chain.links(tokens, (len(tokens) - 1) // PAGE))
        for index, page in enumerate(found):
            row.write(offset + index * PAGE, page)
        return len(found) * PAGE

    def remember(self, row: Row, offset: int, chain: Chain, tokens: Sequence[int]) -> None:
        """Keep the complete pages of ``tokens``, all of which stand in the row from ``offset`` on."""
        links = chain.links(tokens, len(tokens) // PAGE)
        page_bytes = PAGE * self.shapes.position_bytes
        for index, link in enumerate(links):
            if link not in self.pages:
                if self.size + page_bytes > self.room:
                    self._drop_idle()
                self.pages.shrink(max(0, self.room - (self.size - self.pages.size) - page_bytes))
                if self.size + page_bytes > self.room:
                    return
                start = offset + index * PAGE
                self.pages.keep(link, row.read(start, start + PAGE))

    def clear(self) -> None:
        """Forget all pages, and all rows that nobody has."""
        self.pages = PageCache()
        self._drop_idle()


@dataclass(frozen=True)
class Piece:
    """The next ``count`` tokens of a prompt; ``before`` positions of its row are filled."""

    row: Row
    before: int
    count: int


@dataclass
class Run:
    """Decoding rows that stand together in a slab: slots ``first``..``first + slots``, some of which may be idle.

    ``take``: which of the step's decoding tokens they are, in the order of slots. ``slot``, ``at`` (n,): the slot of
    each within the run, and the position that its new token takes.
    """

    slab: Slab
    first: int
    slots: int
    longest: int
    lengths: list[int]
    take: Tensor | slice
    slot: Tensor
    at: Tensor
    masks: dict[int, Tensor] = field(default_factory=dict)

    def mask(self, window: int, dtype: torch.dtype) -> Tensor | None:
        """(S, 1, 1, L) additive: 0 where a key may be seen, −inf elsewhere; None where all may be."""
        if self.slots == 1 and not window:
            return None
        if window not in self.masks:
            at = torch.full((self.slots, 1), self.longest - 1, device=self.at.device)  # idle slots look at everything
            at[self.slot, 0] = self.at
            columns = torch.arange(self.longest, device=at.device)[None]
            hidden = columns > at
            if window:
                hidden |= columns <= at - window
            zeros = torch.zeros(hidden.shape, dtype=dtype, device=at.device)
            self.masks[window] = zeros.masked_fill_(hidden, float("-inf"))[:, None, None]
        return self.masks[window]


class StepCache:
    """What one forward reads and writes. Its tokens stand as: pieces of prompts that begin, pieces of prompts that
    have begun (or stand behind a trained prefix), and one token for each decoding sequence.

    Args:
        fresh: pieces with nothing before them; later: the other pieces.
        decoding: row and length so far of each decoding sequence, in the order of their tokens.
    """

    def __init__(self, fresh: Sequence[Piece], later: Sequence[Piece], decoding: Sequence[tuple[Row, int]]) -> None:
        if len(fresh) == 1:
            later, fresh = (*fresh, *later), ()  # by the kernel that transformers takes, with its roundings, bit by bit
        self.fresh, self.later, self.decoding = fresh, later, decoding
        self.runs: list[Run] = []
        self.layout: Layout | None = None
        first = (*fresh, *later, *(Piece(row, 0, 1) for row, _ in decoding))
        where = first[0].row.slab.shapes.device
        if fresh:
            self.layout = plan_layout([piece.count for piece in fresh], where)
        if decoding:
            self.runs = _runs(decoding, where)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int, extras: Extras | None
    ) -> Tensor:
        """Store the step's keys and values; attention output (T, H, D) of its queries."""
        outputs, done = [], 0
        if self.layout is not None:
            done = sum(piece.count for piece in self.fresh)
            own = (query[:done], key[:done], value[:done])
            outputs.append(packed_attention(self.layout, layer, *own, scaling, window, extras))
            start = 0
            for piece in self.fresh:
                _write(layer, piece, key[start : start + piece.count], value[start : start + piece.count])
                start += piece.count
        for piece in self.later:
            rows = slice(done, done + piece.count)
            done = rows.stop
            _write(layer, piece, key[rows], value[rows])
            outputs.append(_look_back(layer, piece, query[rows], scaling, window, extras))
        if self.runs:
            outputs.append(self._decode(layer, query[done:], key[done:], value[done:], scaling, window, extras))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _decode(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int, extras: Extras | None
    ) -> Tensor:
        if len(self.runs) == 1 and isinstance(self.runs[0].take, slice):
            return _decode_run(self.runs[0], layer, query, key, value, scaling, window, extras)
        out = query.new_empty(*query.shape[:2], value.shape[2])
        for run in self.runs:
            parts = (query[run.take], key[run.take], value[run.take])
            out[run.take] = _decode_run(run, layer, *parts, scaling, window, extras)
        return out


def _write(layer: int, piece: Piece, key: Tensor, value: Tensor) -> None:
    slab, cells = piece.row.slab, slice(piece.before, piece.before + piece.count)
    slab.keys[layer][piece.row.slot, :, cells] = key.transpose(0, 1)
    slab.values[layer][piece.row.slot, :, cells] = value.transpose(0, 1)


def _look_back(layer: int, piece: Piece, query: Tensor, scaling: float, window: int, extras: Extras | None) -> Tensor:
    """Attention (t, H, D) of a piece's queries to all before them in the row and to each other."""
    slot, end = piece.row.slot, piece.before + piece.count
    keys, values = (side[layer][slot : slot + 1, :, :end] for side in (piece.row.slab.keys, piece.row.slab.values))
    if extras is not None:
        return _step_by_step(piece, query, keys, values, scaling, window, extras)
    side = query.transpose(0, 1)[None]
    if not piece.before and not window:
        out = F.scaled_dot_product_attention(side, keys, values, is_causal=True, scale=scaling, enable_gqa=True)
    else:
        seen = ~_hidden(piece, 0, piece.count, window, query.device)
        out = F.scaled_dot_product_attention(side, keys, values, attn_mask=seen, scale=scaling, enable_gqa=True)
    return out[0].transpose(0, 1)


def _hidden(piece: Piece, start: int, count: int, window: int, where: torch.device) -> Tensor:
    """(count, before + t) bool: what the queries from ``start`` on may not see."""
    at = torch.arange(piece.before + start, piece.before + start + count, device=where)[:, None]
    columns = torch.arange(piece.before + piece.count, device=where)[None]
    hidden = columns > at
    return hidden | (columns <= at - window) if window else hidden


def _step_by_step(
    piece: Piece, query: Tensor, keys: Tensor, values: Tensor, scaling: float, window: int, extras: Extras
) -> Tensor:
    """The same where scores are capped or have sinks, one operation after the other."""
    heads, groups, end = keys.shape[1], query.shape[1] // keys.shape[1], keys.shape[2]
    outputs = []
    for start in range(0, piece.count, QUERIES):
        part = query[start : start + QUERIES]
        hidden = _hidden(piece, start, len(part), window, query.device)
        side = part.transpose(0, 1).reshape(1, heads, groups * len(part), -1)
        scores = extras.cap(torch.matmul(side, keys.transpose(-1, -2)) * scaling)
        square = scores.view(1, heads, groups, len(part), end).masked_fill(hidden, float("-inf"))
        weights = extras.weights(square, groups).to(query.dtype).view(scores.shape)
        out = torch.matmul(weights, values).view(query.shape[1], len(part), -1)
        outputs.append(out.transpose(0, 1))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _runs(decoding: Sequence[tuple[Row, int]], where: torch.device) -> list[Run]:
    """Decoding rows in runs: neighbours in a slab, as long as padding to the longest costs less than a further run."""
    order = sorted(range(len(decoding)), key=lambda i: (decoding[i][0].slab.length, decoding[i][0].slot))
    groups: list[list[int]] = []
    for index in order:
        if groups and _together(decoding, [*groups[-1], index]):
            groups[-1].append(index)
        else:
            groups.append([index])
    return [_run(decoding, group, where) for group in groups]


def _together(decoding: Sequence[tuple[Row, int]], group: Sequence[int]) -> bool:
    rows, lengths = [decoding[i][0] for i in group], [decoding[i][1] + 1 for i in group]
    if rows[0].slab is not rows[-1].slab:
        return False
    cells = (rows[-1].slot - rows[0].slot + 1) * max(lengths)
    return cells - sum(lengths) <= max(WASTE, sum(lengths) // 4)


def _run(decoding: Sequence[tuple[Row, int]], group: list[int], where: torch.device) -> Run:
    first = decoding[group[0]][0]
    last = decoding[group[-1]][0]
    lengths = [decoding[i][1] for i in group]
    straight = group == list(range(group[0], group[0] + len(group)))
    return Run(
        slab=first.slab,
        first=first.slot,
        slots=last.slot - first.slot + 1,
        longest=max(lengths) + 1,
        lengths=lengths,
        take=slice(group[0], group[0] + len(group)) if straight else torch.tensor(group, device=where),
        slot=torch.tensor([decoding[i][0].slot - first.slot for i in group], device=where),
        at=torch.tensor(lengths, device=where),
    )


def _decode_run(
    run: Run, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int, extras: Extras | None
) -> Tensor:
    """Attention (n, H, D) of one new token for each row of a run."""
    slots = slice(run.first, run.first + run.slots)
    keys, values = run.slab.keys[layer][slots], run.slab.values[layer][slots]
    count, heads = query.shape[:2]
    if count == 1:
        keys[0, :, run.lengths[0]] = key[0]
        values[0, :, run.lengths[0]] = value[0]
    else:
        keys[run.slot, :, run.at] = key
        values[run.slot, :, run.at] = value
    idle = count < run.slots
    if idle:
        query = query.new_zeros(run.slots, *query.shape[1:]).index_copy_(0, run.slot, query)
    keys, values = keys[:, :, : run.longest], values[:, :, : run.longest]
    side = query.view(run.slots, keys.shape[1], heads // keys.shape[1], -1)
    mask = run.mask(window, side.dtype)
    if extras is None and mask is None:  # alone: the very call of transformers, and its roundings
        side = query.unsqueeze(2)
        out = F.scaled_dot_product_attention(side, keys, values, scale=scaling, enable_gqa=True)
    elif extras is None:  # heads that share keys stand as queries of one head
        out = F.scaled_dot_product_attention(side, keys, values, attn_mask=mask, scale=scaling)
    else:
        scores = extras.cap(torch.matmul(side, keys.transpose(-1, -2)) * scaling)
        weights = extras.weights(scores if mask is None else scores + mask, side.shape[2]).to(query.dtype)
        out = torch.matmul(weights, values)
    out = out.reshape(run.slots, heads, -1)
    return out.index_select(0, run.slot) if idle else out
