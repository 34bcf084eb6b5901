"""One answer in the making, and which part of it the next step computes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from tunesmith.core.generation import GenerationRequest
from tunesmith.model.grammar import Matcher
from tunesmith.model.kv import Piece, Row
from tunesmith.model.load import Base
from tunesmith.model.pages import Chain
from tunesmith.model.residency import Entry
from tunesmith.model.router import BASE
from tunesmith.model.sampling import Chooser

Tensor = torch.Tensor


@dataclass(eq=False)
class Generation:
    """One answer. ``stream``: its ids so far; virtual tokens that are embeddings stand before them as −1, −2, …

    ``offset``: positions of the row before the stream, taken by trained keys and values. ``done``: ids of the stream
    that stand in the row.
    """

    number: int
    request: GenerationRequest
    entry: Entry
    chooser: Chooser
    stream: list[int]
    offset: int
    chain: Chain
    compiling: Future[Matcher] | None = None
    row: Row | None = None
    done: int = 0
    made: int = 0
    cached: int = 0

    @property
    def prompt(self) -> int:
        """Ids of the stream that were there at first."""
        embedded = 0 if self.offset else self.entry.virtual[0]
        return embedded + len(self.request.tokens)

    @property
    def need(self) -> int:
        """Positions that it takes at most."""
        return self.offset + self.prompt + self.request.params.max_tokens

    @property
    def seat(self) -> Row:
        """Its row, once it has one."""
        assert self.row is not None
        return self.row

    def piece(self, tokens: int) -> Piece:
        """Its next tokens."""
        return Piece(self.seat, self.offset + self.done, tokens)


Parts = Sequence[tuple[Generation, int]]
"""Answers, and how many ids of each a step takes."""


def plan(
    running: Iterable[Generation], idle: int, busy: int, alone: bool
) -> tuple[list[tuple[Generation, int]], list[Generation]]:
    """Pieces of prompts, and the answers that decode, those of one adapter side by side.

    Args:
        running: all that have a row, in the order in which they came.
        idle: most prompt tokens of a step while no answer decodes; busy: the same while some do.
        alone: prompts cannot be cut (see `tunesmith.model.alone`).
    """
    running = list(running)
    decoding = [g for g in running if g.made]
    if not alone:
        decoding.sort(key=lambda g: (g.entry.low_rank, g.entry.key, g.seat.slab.length, g.seat.slot))
    whole = budget = busy if decoding else idle
    pieces: list[tuple[Generation, int]] = []
    for generation in running:
        if generation.made:
            continue
        left = len(generation.stream) - generation.done
        if pieces and left > budget and (left <= whole or alone):
            break  # it comes in one piece with the next step
        take = left if alone else min(left, budget)
        if take < 1:
            break
        pieces.append((generation, take))
        budget -= take
    return pieces, decoding


def inputs(base: Base, parts: Parts, ids: list[int]) -> dict[str, Tensor]:
    """Ids (1, T), or embeddings (1, T, W) where some of them are trained."""
    flat = torch.tensor([ids], dtype=torch.int64, device=base.device)
    if min(ids) >= 0:
        return {"input_ids": flat}
    embedded = base.model.get_input_embeddings()(flat.clamp(min=0))  # type: ignore[operator]
    at = 0
    for generation, taken in parts:
        own = [i for i in range(taken) if ids[at + i] < 0]
        if own:
            table = base.router.virtual[generation.entry.key].embeddings
            assert table is not None
            rows = table[[-1 - ids[at + i] for i in own]]
            embedded[0, at + own[0] : at + own[-1] + 1] = rows.to(embedded.dtype)
        at += taken
    return {"inputs_embeds": embedded}


def segments_of(parts: Parts, stacked: bool = False) -> list[tuple[str, int, int]]:
    """Neighbouring tokens of the same adapter joined into (key, start, end).

    Args:
        stacked: answers that decode with low-rank adapters are served elsewhere, and stand here as the base.
    """
    segments: list[tuple[str, int, int]] = []
    at = 0
    for generation, taken in parts:
        elsewhere = stacked and generation.made > 0 and generation.entry.low_rank
        key = BASE if elsewhere else generation.entry.key
        if segments and segments[-1][0] == key:
            segments[-1] = (key, segments[-1][1], at + taken)
        else:
            segments.append((key, at, at + taken))
        at += taken
    return segments
