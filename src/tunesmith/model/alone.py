"""One document after the other through transformers' own forward: for architectures that cannot be packed.

Slower than packed rows by the number of documents in a row, and exact for whatever transformers can run: recurrent and
linear attention, biases by distance (ALiBi), masks of other shapes. Everything above it sees packed rows all the same.

Shapes: T tokens of the row, W hidden width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tunesmith.model.attention import Layout
from tunesmith.model.router import Router

Tensor = torch.Tensor
Segments = Sequence[tuple[str, int, int]]


@dataclass
class AloneCache:
    """What transformers remembers of each running sequence, by the sequence's number.

    ``parts``: the tokens of a step, in the order of its row: (number, tokens, whether the sequence begins).
    """

    states: dict[int, Any] = field(default_factory=dict)
    parts: Sequence[tuple[int, int, bool]] = ()

    def attend(self, *_arguments: Any) -> Tensor:
        """Never called: attention is the model's own."""
        raise AssertionError("a model that runs one document at a time attends by itself")


@dataclass(frozen=True)
class Alone:
    """The body of a model, run on one document at a time.

    ``memory``: the keyword under which its forward takes and gives the state of a sequence; "" where one token more
    does not give what the whole gives, so that every step runs the whole sequence again.
    """

    body: nn.Module
    embed: nn.Module
    router: Router
    memory: str

    def __call__(
        self,
        *,
        layout: Layout,
        position_ids: Tensor,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states (T, W). Positions are the model's own: each document counts from 0."""
        row = input_ids if input_ids is not None else inputs_embeds
        assert row is not None
        cache = layout.cache
        assert cache is None or isinstance(cache, AloneCache)
        assert not any(block.before for block in layout.blocks), "documents that run alone share no beginning"
        parts = cache.parts if cache else [(-1, length, True) for length in layout.lengths]
        segments, outputs, start = self.router.segments, [], 0
        try:
            for number, length, new in parts:
                end = start + length
                if cache is None or self.memory:
                    self.router.segments = _cut(segments, start, end)
                run = self._whole if cache is None else self._next if self.memory else self._again
                outputs.append(run(row[:, start:end], cache, number, new, segments, start))
                start = end
        finally:
            self.router.segments = segments
        return torch.cat(outputs)

    def _whole(self, tokens: Tensor, *_unused: Any) -> Tensor:
        return self.body(**_named(tokens), use_cache=False).last_hidden_state[0]

    def _next(self, tokens: Tensor, cache: AloneCache, number: int, new: bool, *_unused: Any) -> Tensor:
        """What came before is in the state."""
        before = {} if new else {self.memory: cache.states[number]}
        output = self.body(**_named(tokens), use_cache=True, **before)
        cache.states[number] = getattr(output, self.memory)
        return output.last_hidden_state[0]

    def _again(
        self, tokens: Tensor, cache: AloneCache, number: int, new: bool, segments: Segments, start: int
    ) -> Tensor:
        """What came before is run again, as embeddings, because virtual tokens have no ids."""
        own = tokens if tokens.is_floating_point() else self.embed(tokens)
        whole = own if new else torch.cat([cache.states[number], own], dim=1)
        cache.states[number] = whole
        adapter = [(name, 0, whole.shape[1]) for name, _, _ in _cut(segments, start, start + 1)]
        self.router.segments = adapter
        return self.body(inputs_embeds=whole, use_cache=False).last_hidden_state[0, -tokens.shape[1] :]


def memory_of(body: nn.Module) -> str:
    """The keyword for the state of a sequence in a body's forward; "" where it has none."""
    taken = inspect.signature(body.forward).parameters
    return next((name for name in ("past_key_values", "cache_params") if name in taken), "")


def remembers(body: nn.Module, memory: str, tokens: Tensor, close: Callable[[Tensor, Tensor], bool]) -> bool:
    """Whether the last three tokens (1, T) one by one, after the others at once, give what the whole gives."""
    if not memory:
        return False
    try:
        whole = body(input_ids=tokens, use_cache=False).last_hidden_state[0, -3:]
        state = getattr(body(input_ids=tokens[:, :-3], use_cache=True), memory)
        steps = []
        for index in range(tokens.shape[1] - 3, tokens.shape[1]):
            output = body(input_ids=tokens[:, index : index + 1], use_cache=True, **{memory: state})
            state = getattr(output, memory)
            steps.append(output.last_hidden_state[0])
    except Exception:  # whatever the architecture lacks for going on from a state: the whole is run again instead
        return False
    return close(torch.cat(steps), whole)


def _named(tokens: Tensor) -> dict[str, Tensor]:
    return {"inputs_embeds" if tokens.is_floating_point() else "input_ids": tokens}


def _cut(segments: Segments, start: int, end: int) -> list[tuple[str, int, int]]:
    """The part of the router's segments that lies in start..end, counted from start."""
    return [(name, max(a, start) - start, min(b, end) - start) for name, a, b in segments if a < end and b > start]
