"""The inference engine: continuous batching of base and adapters on the training modules.

One forward a step carries everything that runs, token-packed: new prompts (prefill) and one token for each running
answer (decode), whichever adapter they belong to. The engine knows ids, not strings; one thread owns it.

Shapes: T packed tokens, N running sequences, H query heads, K key/value heads, D head size, L longest sequence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tunesmith.core.errors import InputError, TunesmithError
from tunesmith.core.generation import GenerationRequest, TokenOut
from tunesmith.core.records import FinishReason, SamplingParams
from tunesmith.model.adapters import attach, read_adapter
from tunesmith.model.alone import AloneCache
from tunesmith.model.attention import Extras, Layout, packed_attention, plan_layout
from tunesmith.model.load import Base
from tunesmith.model.router import BASE
from tunesmith.model.score import prompt_scores

Tensor = torch.Tensor
GROW = 128
"""Cache positions are added in steps of this many tokens."""
SLOTS = 8
"""Cache slots are added in steps of this many sequences."""


@dataclass
class _Sequence:
    request: GenerationRequest
    next_token: int = -1
    virtual: int = 0
    """Positions that the adapter's virtual tokens take before the prompt."""
    length: int = 0
    """Positions in the cache, virtual ones included."""
    made: int = 0
    generator: torch.Generator | None = None


@dataclass
class _SlotCache:
    """Keys and values (N, K, L, D) of the running sequences, one pair a layer; sequence i lives in slot i.

    A step's tokens stand as: the new prompts, one behind the other, then one token for each older sequence.
    """

    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)
    prefill: Layout | None = None
    prefill_slots: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    """Tokens already in the cache, for each decoding slot 0..n−1."""
    visible: Tensor | None = None
    """(n, 1, 1, L) additive: 0 where a key may be seen, −inf beyond a sequence's end."""

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        window: int,
        extras: Extras | None = None,
    ) -> Tensor:
        """Store the step's keys and values; attention output (T, H, D) of its queries."""
        self._reserve(layer, key, value)
        outputs, done = [], 0
        if self.prefill is not None:
            done = sum(self.prefill.lengths)
            own = (query[:done], key[:done], value[:done])
            outputs.append(packed_attention(self.prefill, layer, *own, scaling, window, extras))
            self._store_prompts(layer, key[:done], value[:done])
        if self.lengths:
            outputs.append(self._decode(layer, query[done:], key[done:], value[done:], scaling, window, extras))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _reserve(self, layer: int, key: Tensor, value: Tensor) -> None:
        slots = len(self.lengths) + len(self.prefill_slots)
        longest = max([*(n + 1 for n in self.lengths), *(n + before for n, before in self._prompts())])
        held = self.keys.get(layer)
        if held is not None and held.shape[0] >= slots and held.shape[2] >= longest:
            return
        old = held.shape if held is not None else (0, 0, 0, 0)
        capacity = max(old[2], -(-longest // GROW) * GROW)
        size = (max(-(-slots // SLOTS) * SLOTS, old[0]), key.shape[1], capacity)
        for store, width in ((self.keys, key.shape[2]), (self.values, value.shape[2])):
            fresh = key.new_zeros((*size, width))
            if held is not None:
                fresh[: old[0], :, : old[2]] = store[layer]
            store[layer] = fresh

    def _prompts(self) -> list[tuple[int, int]]:
        """Length of each new prompt, and of the trained keys and values before it."""
        if self.prefill is None:
            return []
        prefixes = self.prefill.prefixes or (None,) * len(self.prefill.lengths)
        return [(n, prefix.count if prefix else 0) for n, prefix in zip(self.prefill.lengths, prefixes, strict=True)]

    def _store_prompts(self, layer: int, key: Tensor, value: Tensor) -> None:
        assert self.prefill is not None
        start = 0
        for index, (slot, (length, before)) in enumerate(zip(self.prefill_slots, self._prompts(), strict=True)):
            if before:
                prefix = self.prefill.prefixes[index]
                assert prefix is not None
                keys, values = prefix.keys_and_values(layer, key)
                self.keys[layer][slot, :, :before] = keys.transpose(0, 1)
                self.values[layer][slot, :, :before] = values.transpose(0, 1)
            rows, cells = slice(start, start + length), slice(before, before + length)
            self.keys[layer][slot, :, cells] = key[rows].transpose(0, 1)
            self.values[layer][slot, :, cells] = value[rows].transpose(0, 1)
            start += length

    def _decode(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int, extras: Extras | None
    ) -> Tensor:
        count, heads, size = query.shape
        kv_heads, longest = key.shape[1], max(self.lengths) + 1
        rows = torch.arange(count, device=key.device)
        at = torch.tensor(self.lengths, device=key.device)
        self.keys[layer][rows, :, at] = key
        self.values[layer][rows, :, at] = value
        keys, values = self.keys[layer][:count, :, :longest], self.values[layer][:count, :, :longest]
        scores = torch.matmul(query.view(count, kv_heads, heads // kv_heads, size), keys.transpose(-1, -2)) * scaling
        if extras is not None:
            scores = extras.cap(scores)
        scores = scores + self._visible(longest, window, scores)
        if extras is not None:
            weights = extras.weights(scores, heads // kv_heads).to(query.dtype)
        else:
            weights = torch.softmax(scores, dim=-1)
        return torch.matmul(weights, values).reshape(count, heads, -1)

    def _visible(self, longest: int, window: int, like: Tensor) -> Tensor:
        if self.visible is None or window:
            at = torch.tensor(self.lengths, device=like.device)[:, None]
            columns = torch.arange(longest, device=like.device)[None]
            hidden = columns > at
            if window:
                hidden |= columns <= at - window
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            mask = mask.masked_fill_(hidden, float("-inf"))[:, None, None]
            if window:
                return mask
            self.visible = mask
        return self.visible

    def move(self, source: int, target: int) -> None:
        """Put the sequence of slot ``source`` into slot ``target``."""
        with torch.inference_mode():
            for tensor in (*self.keys.values(), *self.values.values()):
                tensor[target] = tensor[source]


class Engine:
    """Answers many requests at once over one base and its resident adapters.

    Args:
        base: the model; adapters are attached to it.
        max_running: most sequences in one forward; further requests wait in order.
        max_prefill_tokens: most prompt tokens taken into one step (at least one prompt is always taken).
    """

    def __init__(self, base: Base, max_running: int = 32, max_prefill_tokens: int = 4096) -> None:
        self.base = base
        self.max_running, self.max_prefill_tokens = max_running, max_prefill_tokens
        self._digests: dict[str, str] = {}
        self._waiting: deque[_Sequence] = deque()
        self._running: list[_Sequence] = []
        self._cache = self._new_cache()
        base.model.eval()

    @property
    def adapters(self) -> Mapping[str, str]:
        """Resident adapters: name → digest."""
        return dict(self._digests)

    @property
    def base_fingerprint(self) -> str:
        """Identity of the base's weights."""
        return self.base.fingerprint

    @property
    def context_length(self) -> int:
        """Longest prompt plus answer, in tokens."""
        return self.base.context_length

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self._running and not self._waiting

    def add_adapter(self, name: str, folder: Path) -> str:
        """Load a PEFT folder under ``name`` and return its digest.

        Raises:
            AdapterError: it does not belong to this base. CorruptArtifactError: a file was altered.
        """
        adapter = read_adapter(folder)
        attach(self.base, name, adapter)
        self._digests[name] = adapter.digest
        return adapter.digest

    def adopt(self, name: str) -> None:
        """Answer under an adapter that stands on the base already: the one in training, which has no digest yet."""
        self._digests[name] = ""
        self.base.model.eval()

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request.

        Raises:
            InputError: unknown adapter, empty prompt, or prompt and answer exceed the context.
        """
        if request.adapter != BASE and request.adapter not in self._digests:
            raise InputError(f"no adapter called {request.adapter!r} is loaded", fix="load it first")
        virtual = self.base.router.virtual_count(request.adapter)
        needed = virtual + len(request.tokens) + request.params.max_tokens
        if not request.tokens or needed > self.context_length:
            raise InputError(
                f"{len(request.tokens)} prompt tokens and {request.params.max_tokens} answer tokens do not fit",
                where="max_tokens",
                rule=f"prompt and answer together take 1 to {self.context_length} tokens",
                fix="shorten the prompt or lower max_tokens",
            )
        sequence = _Sequence(request, virtual=virtual)
        if request.params.temperature > 0:
            sequence.generator = torch.Generator()
            seed = request.params.seed
            sequence.generator.manual_seed(seed) if seed is not None else sequence.generator.seed()
        self._waiting.append(sequence)

    def cancel(self, request_id: str) -> None:
        """Forget a request; its slot is free at the next step. Unknown ids are ignored."""
        self._waiting = deque(s for s in self._waiting if s.request.request_id != request_id)
        for slot in reversed(range(len(self._running))):
            if self._running[slot].request.request_id == request_id:
                self._free(slot)

    def score(self, tokens: tuple[int, ...], adapter: str = BASE, top: int = 0) -> list[TokenOut]:
        """Each token after the first with its log-probability given those before, and the ``top`` likeliest there."""
        return prompt_scores(self.base, tokens, adapter, top)

    def step(self) -> list[TokenOut]:
        """One forward for everything that runs; waiting requests join first. [] when idle."""
        fresh = self._admit()
        if not fresh and not self._running:
            return []
        older = list(self._running)
        with torch.inference_mode():
            logits = self._forward(fresh, older)
            if not bool(torch.isfinite(logits).all()):
                raise TunesmithError(
                    "the model gave logits that are not numbers",
                    where=", ".join(sorted({s.request.adapter or "base" for s in (*fresh, *older)})),
                    rule="every logit is finite",
                    fix="the weights are damaged or overflow in this number format: use dtype: float32, or train again",
                )
            self._running += fresh
            outputs = [self._advance(s, row) for s, row in zip([*fresh, *older], logits, strict=True)]
        for slot in reversed(range(len(self._running))):
            if self._running[slot].made < 0:
                self._free(slot)
        return outputs

    def _admit(self) -> list[_Sequence]:
        fresh: list[_Sequence] = []
        tokens = 0
        while self._waiting and len(self._running) + len(fresh) < self.max_running:
            length = len(self._waiting[0].request.tokens)
            if fresh and tokens + length > self.max_prefill_tokens:
                break
            tokens += length
            fresh.append(self._waiting.popleft())
        return fresh

    def _forward(self, fresh: list[_Sequence], older: list[_Sequence]) -> Tensor:
        """fp32 logits (sequences, V) of the next token: fresh ones first, then the running ones."""
        device = self.base.device
        prompts = [s.request.tokens for s in fresh]
        flat = [t for prompt in prompts for t in prompt] + [s.next_token for s in older]
        position = [i for prompt in prompts for i in range(len(prompt))] + [s.length - s.virtual for s in older]
        cache = self._cache
        cache.prefill = plan_layout([len(p) for p in prompts], device) if prompts else None
        cache.prefill_slots = tuple(range(len(older), len(older) + len(fresh)))
        cache.lengths, cache.visible = tuple(s.length for s in older), None
        layout = Layout((), (), torch.empty(0, dtype=torch.int64), cache=cache)
        self.base.router.training = None
        self.base.router.segments = _segments(
            [(s.request.adapter, len(s.request.tokens)) for s in fresh] + [(s.request.adapter, 1) for s in older]
        )
        as_row = lambda values: torch.tensor([values], dtype=torch.int64, device=device)  # noqa: E731
        hidden = self.base.hidden(as_row(flat), as_row(position), layout)
        last, end = [], 0
        for prompt in prompts:
            end += len(prompt)
            last.append(end - 1)
        last += range(end, end + len(older))
        for sequence in fresh:
            sequence.length = sequence.virtual + len(sequence.request.tokens)
        for sequence in older:
            sequence.length += 1
        return self.base.head(hidden[last]).cpu()

    def _advance(self, sequence: _Sequence, logits: Tensor) -> TokenOut:
        request = sequence.request
        token = choose_token(logits, request.params, sequence.generator)
        logprob = float(logits[token] - torch.logsumexp(logits, dim=-1))
        sequence.next_token = token
        sequence.made += 1
        finished: FinishReason | None = None
        if token in request.stop_ids:
            finished = "stop"
        elif sequence.made >= request.params.max_tokens:
            finished = "length"
        if finished:
            sequence.made = -1
        return TokenOut(request.request_id, token, logprob, finished)

    def _free(self, slot: int) -> None:
        last = len(self._running) - 1
        if slot != last:
            self._cache.move(last, slot)
            self._running[slot] = self._running[last]
        self._running.pop()
        if not self._running:
            self._cache = self._new_cache()

    def _new_cache(self) -> _SlotCache | AloneCache:
        return AloneCache() if self.base.way.alone else _SlotCache()


def _segments(parts: list[tuple[str, int]]) -> list[tuple[str, int, int]]:
    """Neighbouring tokens of the same adapter joined into (adapter, start, end)."""
    segments: list[tuple[str, int, int]] = []
    at = 0
    for name, length in parts:
        if segments and segments[-1][0] == name:
            segments[-1] = (name, segments[-1][1], at + length)
        else:
            segments.append((name, at, at + length))
        at += length
    return segments


def choose_token(logits: Tensor, params: SamplingParams, generator: torch.Generator | None) -> int:
    """The next token from fp32 logits (V,): the largest at temperature 0, else drawn from the top-p share.

    top-p keeps the smallest set of tokens whose probabilities reach ``top_p`` (Holtzman et al., arXiv 1904.09751).
    """
    if params.temperature == 0 or generator is None:
        return int(logits.argmax())
    probabilities = torch.softmax(logits / params.temperature, dim=-1)
    if params.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        beyond = ordered.cumsum(0) - ordered >= params.top_p
        probabilities = probabilities.index_fill(0, order[beyond], 0.0)
    return int(torch.multinomial(probabilities, 1, generator=generator))
