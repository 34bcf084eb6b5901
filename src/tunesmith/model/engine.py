"""The inference engine: continuous batching of base and adapters on the training modules.

One forward a step carries everything that runs, token-packed: one token for each running answer (decode) and pieces of
new prompts (prefill), whichever adapter they belong to. Answers come first: while some are running, only a short piece
of a prompt joins each step. The engine knows ids, not strings; one thread owns it, and what takes long (adapters,
grammars) happens on others.

Shapes: T packed tokens, N sequences whose next token is chosen in a step, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

import torch

from tunesmith.core.errors import InputError, TunesmithError
from tunesmith.core.generation import GenerationRequest, TokenOut
from tunesmith.core.records import FinishReason, Grammar
from tunesmith.model import device
from tunesmith.model.alone import AloneCache
from tunesmith.model.attention import Layout
from tunesmith.model.generations import Generation, Parts, inputs, plan, segments_of
from tunesmith.model.grammar import Grammars, Matcher
from tunesmith.model.kv import StepCache, Store, record
from tunesmith.model.load import Base
from tunesmith.model.pages import Chain
from tunesmith.model.residency import RESIDENT, Residency, State
from tunesmith.model.router import BASE
from tunesmith.model.sampling import Chooser, choose_token, likeliest
from tunesmith.model.score import prompt_scores
from tunesmith.model.stack import Stack

__all__ = ["Engine", "choose_token"]

Tensor = torch.Tensor
CACHE_SHARE = 4
"""Keys and values take at most this part (1 / 4) of the memory that is free when the first request comes."""

WAIT = 0.02
"""Seconds that a step waits for adapters and grammars when it has nothing else to do."""


class Engine:
    """Answers many requests at once over one base and its resident adapters.

    Args:
        base: the model; adapters are attached to it.
        max_running: most sequences in one forward; further requests wait in order.
        max_prefill_tokens: most prompt tokens taken into one step when no answer is running.
        prefill_chunk: the same while answers are running.
        cache_bytes: most memory for keys and values; None takes a quarter of what is free.
        max_resident: most adapters on the base at a time (see `tunesmith.model.residency`).
        prefix_cache: whether beginnings that were computed before are found again.
    """

    def __init__(
        self,
        base: Base,
        max_running: int = 32,
        max_prefill_tokens: int = 4096,
        *,
        prefill_chunk: int = 256,
        cache_bytes: int | None = None,
        max_resident: int = RESIDENT,
        prefix_cache: bool = True,
    ) -> None:
        self.base = base
        self.max_running, self.max_prefill_tokens, self.prefill_chunk = max_running, max_prefill_tokens, prefill_chunk
        self.residency = Residency(base, max_resident)
        self._cache_bytes = cache_bytes
        self._prefix_cache = prefix_cache and not base.way.alone
        self._vocabulary = int(base.head.weight.shape[0])
        self._grammars = Grammars(base.folder, self._vocabulary)
        self._compiler: ThreadPoolExecutor | None = None
        self._numbers = count()
        self._waiting: dict[str, Generation] = {}
        self._running: dict[str, Generation] = {}
        self._failures: list[tuple[str, TunesmithError]] = []
        self._store: Store | None = None
        self._alone = AloneCache()
        self._tainted = False
        self._stack = Stack(base.model)
        base.model.eval()

    @property
    def adapters(self) -> Mapping[str, str]:
        """Known adapters: name → digest."""
        return self.residency.names

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
        return not self._running and not self._waiting and not self._failures

    @property
    def cache_bytes(self) -> tuple[int, int]:
        """Bytes of keys and values that belong to running sequences, and of pages kept for later ones."""
        if self._store is None:
            return 0, 0
        rows = sum(len(slab.taken) * slab.row_bytes for slab in self._store.slabs.values())
        return rows, self._store.pages.size

    def add_adapter(self, name: str, folder: Path, pinned: bool = False) -> str:
        """Know a PEFT folder under ``name``; its digest. From any thread; requests go on meanwhile.

        Raises:
            AdapterError: it does not belong to this base. CorruptArtifactError: a file was altered.
            InputError: there is no place for one more pinned adapter.
        """
        return self.residency.add(name, folder, pinned)

    def remove_adapter(self, name: str) -> None:
        """Forget a name; requests that began on it end on it. From any thread.

        Raises:
            InputError: no adapter has this name.
        """
        self.residency.remove(name)

    def adopt(self, name: str) -> None:
        """Answer under an adapter that stands on the base already: the one in training, which has no digest yet.

        Weights that are in training change, so that nothing is remembered of what they computed.
        """
        self.residency.adopt(name)
        self._prefix_cache = False
        self.forget()
        self.base.model.eval()

    @contextmanager
    def using(self, name: str) -> Iterator[str]:
        """The key under which an adapter stands on the base, for as long as the context lasts; loads it first.

        Raises:
            InputError: no such adapter, or no place for it. CorruptArtifactError: it cannot be loaded any more.
        """
        entry = self.residency.begin(name)
        try:
            while (state := self.residency.ready(entry)) != "ready":
                if state == "full":
                    raise InputError(
                        f"adapter {name!r} finds no place: all that are loaded are in use",
                        where="adapter",
                        rule="at most max_resident_adapters stand on the base at a time",
                        fix="wait until running requests are over, or raise max_resident_adapters",
                    )
                self.residency.changed.wait(WAIT)
                self.residency.changed.clear()
            entry.running += 1
            try:
                yield entry.key
            finally:
                entry.running -= 1
        finally:
            self.residency.end(entry)

    def forget(self) -> None:
        """Give back the memory of everything that no running request needs."""
        if self._running and self._store is not None:
            self._store.clear()
        else:
            self._store, self._tainted = None, False

    def prepare(self, request: GenerationRequest) -> None:
        """Compile the grammar of a request, so that its first step need not wait for it. From any thread.

        Raises:
            InputError: the grammar cannot be compiled.
        """
        if request.params.grammar is not None:
            self._grammars.matcher(request.params.grammar)

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request.

        Raises:
            InputError: unknown adapter, empty prompt, prompt and answer exceed the context or the memory for keys and
                values, an id that is in use, a bias for an unknown token, or a grammar without a stop token.
        """
        params = request.params
        self._require_sound(request)
        chooser = Chooser.of(params, request.stop_ids, self._vocabulary)
        entry = self.residency.begin(request.adapter)
        try:
            count, embedded = entry.virtual
            self._require_room(request, count)
            stream = [*range(-1, -1 - count, -1)] if embedded else []
            chain = Chain(self.base.fingerprint, self.base.format, entry.digest, request.salt)
            sequence = Generation(
                next(self._numbers),
                request,
                entry,
                chooser,
                [*stream, *request.tokens],
                0 if embedded else count,
                chain,
            )
            if params.grammar is not None and params.grammar in self._grammars:
                chooser.matcher = self._grammars.matcher(params.grammar)
            elif params.grammar is not None:
                sequence.compiling = self._compile(params.grammar)
        except BaseException:
            self.residency.end(entry)
            raise
        self._waiting[request.request_id] = sequence

    def cancel(self, request_id: str) -> None:
        """Forget a request; what it held is free at once. Unknown ids are ignored."""
        sequence = self._waiting.pop(request_id, None)
        if sequence is not None:
            self.residency.end(sequence.entry)
        elif request_id in self._running:
            self._free(self._running[request_id])
        self._failures = [pair for pair in self._failures if pair[0] != request_id]

    def cancel_all(self) -> None:
        """Forget all requests."""
        for request_id in [*self._waiting, *self._running]:
            self.cancel(request_id)
        self._failures = []

    def take_failures(self) -> list[tuple[str, TunesmithError]]:
        """Requests that cannot be answered although they were taken, and why; each is told once."""
        failures, self._failures = self._failures, []
        return failures

    def score(self, tokens: tuple[int, ...], adapter: str = BASE, top: int = 0) -> list[TokenOut]:
        """Each token after the first with its log-probability given those before, and the ``top`` likeliest there."""
        with self.using(adapter) as key:
            return prompt_scores(self.base, tokens, key, top)

    def step(self) -> list[TokenOut]:
        """One forward for everything that runs; waiting requests join first. [] when nothing can run yet.

        Raises:
            TunesmithError: the model's logits are not numbers. Cancel all requests then.
        """
        self._admit()
        if not self._running:
            if self._waiting and not self._failures:  # for an adapter or a grammar
                self.residency.changed.wait(WAIT)
                self.residency.changed.clear()
            return []
        pieces, decoding = plan(
            self._running.values(), self.max_prefill_tokens, self.prefill_chunk, bool(self.base.way.alone)
        )
        try:
            with torch.inference_mode():
                return self._advance(*self._forward(pieces, decoding))
        except Exception:
            self._tainted = True
            raise

    def _require_sound(self, request: GenerationRequest) -> None:
        if request.request_id in self._waiting or request.request_id in self._running:
            raise InputError(
                f"a request with the id {request.request_id!r} is running",
                where="request_id",
                rule="every request has an id of its own",
                fix="use another id, or wait until that request is over",
            )
        if request.params.grammar is not None and not request.stop_ids:
            raise InputError(
                "a grammar without a token that ends the answer",
                where="stop_ids",
                rule="an answer within a grammar ends with a stop token",
                fix="give the stop tokens of the model's template",
            )

    def _require_room(self, request: GenerationRequest, virtual: int) -> None:
        wanted = request.params.max_tokens
        needed = virtual + len(request.tokens) + wanted
        if not request.tokens or needed > self.context_length:
            raise InputError(
                f"{len(request.tokens)} prompt tokens and {wanted} answer tokens do not fit",
                where="max_tokens",
                rule=f"prompt and answer together take 1 to {self.context_length} tokens",
                fix="shorten the prompt or lower max_tokens",
            )
        if not self.base.way.alone and not self._rows.fits(needed):
            raise InputError(
                f"{needed} tokens of prompt and answer need more memory for keys and values than there is",
                where="max_tokens",
                rule=f"keys and values of all requests together take at most {self._rows.room >> 20} MiB",
                fix="shorten the prompt, lower max_tokens, or give the engine more memory",
            )

    @property
    def _rows(self) -> Store:
        if self._store is None:
            room = self._cache_bytes
            if room is None:
                room = device.free_memory(self.base.device) // CACHE_SHARE
            with torch.inference_mode():
                token = torch.zeros(1, 1, dtype=torch.int64, device=self.base.device)
                self._store = Store(record(self.base, token).shapes(), room)
        return self._store

    def _compile(self, grammar: Grammar) -> Future[Matcher]:
        if self._compiler is None:
            self._compiler = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tunesmith-grammars")
        future = self._compiler.submit(self._grammars.matcher, grammar)
        future.add_done_callback(lambda _: self.residency.changed.set())
        return future

    def _admit(self) -> None:
        """Let waiting sequences join, in order; those that wait for an adapter or a grammar are passed by."""
        full = False
        for sequence in list(islice(self._waiting.values(), self.max_running)):
            try:
                state = self._state_of(sequence)
            except TunesmithError as error:
                self.cancel(sequence.request.request_id)
                self._failures.append((sequence.request.request_id, error))
                continue
            if state == "full":
                return
            full = full or len(self._running) >= self.max_running
            if state == "loading" or full:
                continue
            if not self._seat(sequence):
                full = True  # nobody overtakes it, but adapters for those behind it may come
                continue
            del self._waiting[sequence.request.request_id]
            self._running[sequence.request.request_id] = sequence
            sequence.entry.running += 1

    def _state_of(self, sequence: Generation) -> State:
        if sequence.compiling is not None:
            if not sequence.compiling.done():
                return "loading"
            sequence.chooser.matcher = sequence.compiling.result()
            sequence.compiling = None
        return self.residency.ready(sequence.entry)

    def _seat(self, sequence: Generation) -> bool:
        """Give a sequence its row, with the beginning that is known; False while there is no room."""
        if self.base.way.alone:
            return True
        row = self._rows.take(sequence.need)
        if row is None:
            return False
        sequence.row = row
        if self._prefix_cache:
            sequence.done = self._rows.restore(row, sequence.offset, sequence.chain, sequence.stream)
            sequence.cached = max(0, sequence.done - (sequence.prompt - len(sequence.request.tokens)))
        if sequence.offset:
            trained = self.base.router.virtual[sequence.entry.key]
            row.write_trained(trained)
        return True

    def _forward(self, pieces: Parts, decoding: Sequence[Generation]) -> tuple[list[Generation], Tensor]:
        """The sequences whose next token can be chosen, and fp32 logits (N, V) for them."""
        fresh = [(s, n) for s, n in pieces if s.offset + s.done == 0]
        later = [(s, n) for s, n in pieces if s.offset + s.done > 0]
        parts = [*fresh, *later, *((s, 1) for s in decoding)]
        ids, places, last, ready = list[int](), list[int](), list[int](), list[Generation]()
        for sequence, taken in parts:
            ids += sequence.stream[sequence.done : sequence.done + taken]
            places += range(sequence.offset + sequence.done, sequence.offset + sequence.done + taken)
            if sequence.done + taken == len(sequence.stream):
                ready.append(sequence)
                last.append(len(ids) - 1)
        layout = Layout((), (), torch.empty(0, dtype=torch.int64), cache=self._cache(fresh, later, decoding))
        where = torch.tensor([places], dtype=torch.int64, device=self.base.device)
        self._route(parts, decoding, len(ids))
        try:
            hidden = self.base.body(layout=layout, position_ids=where, **inputs(self.base, parts, ids))
        finally:
            self._stack.settle()
            self.base.router.stack = None
        for sequence, taken in parts:
            sequence.done += taken
        if not last:
            return [], hidden
        rows = hidden if len(last) == len(ids) else hidden[last]
        return ready, self.base.head(rows).cpu()

    def _route(self, parts: Parts, decoding: Sequence[Generation], tokens: int) -> None:
        """Say which adapter serves which rows; low-rank ones of several answers that decode are laid together."""
        router, laid = self.base.router, [g.entry.key for g in decoding if g.entry.low_rank]
        stacked = len(set(laid)) > 1
        if stacked:  # they stand at the end of the row
            self._stack.arrange(laid, tokens - len(laid), tokens)
            router.stack = self._stack
        router.training, router.segments = None, segments_of(parts, stacked)

    def _cache(self, fresh: Parts, later: Parts, decoding: Sequence[Generation]) -> StepCache | AloneCache:
        if self.base.way.alone:
            parts = [(s.number, n, s.done == 0) for s, n in fresh] + [(s.number, n, False) for s, n in later]
            self._alone.parts = [*parts, *((s.number, 1, False) for s in decoding)]
            return self._alone
        begun, following = ([s.piece(n) for s, n in part] for part in (fresh, later))
        return StepCache(begun, following, [(s.seat, s.offset + s.done) for s in decoding])

    def _advance(self, ready: list[Generation], logits: Tensor) -> list[TokenOut]:
        """Choose the next token of each sequence."""
        if not ready:
            return []
        if not bool(torch.isfinite(logits.sum(dim=-1)).all()):
            raise TunesmithError(
                "the model gave logits that are not numbers",
                where=", ".join(sorted({s.request.adapter or "base" for s in self._running.values()})),
                rule="every logit is finite",
                fix="the weights are damaged or overflow in this number format: use dtype: float32, or train again",
            )
        sums, largest = torch.logsumexp(logits, dim=-1).tolist(), logits.argmax(dim=-1).tolist()
        outputs = []
        for sequence, row, log_sum, best in zip(ready, logits, sums, largest, strict=True):
            try:
                chooser = sequence.chooser
                token = best if chooser.plain else chooser.choose(row)
                chooser.took(token)
            except TunesmithError as error:
                self._failures.append((sequence.request.request_id, error))
                self._free(sequence)
                continue
            outputs.append(self._say(sequence, token, row, log_sum))
        return outputs

    def _say(self, sequence: Generation, token: int, logits: Tensor, log_sum: float) -> TokenOut:
        request, first = sequence.request, not sequence.made
        if first and self._prefix_cache:
            self._remember(sequence)
        sequence.stream.append(token)
        sequence.made += 1
        finished: FinishReason | None = None
        if token in request.stop_ids:
            finished = "stop"
        elif sequence.made >= request.params.max_tokens:
            finished = "length"
        if finished:
            if self._prefix_cache:
                self._remember(sequence)
            self._free(sequence)
        return TokenOut(
            request.request_id,
            token,
            float(logits[token]) - log_sum,
            finished,
            likeliest(logits, log_sum, request.params.top_logprobs),
            sequence.cached if first else 0,
        )

    def _remember(self, sequence: Generation) -> None:
        self._rows.remember(sequence.seat, sequence.offset, sequence.chain, sequence.stream[: sequence.done])

    def _free(self, sequence: Generation) -> None:
        """A running sequence is over."""
        del self._running[sequence.request.request_id]
        sequence.entry.running -= 1
        self.residency.end(sequence.entry)
        if sequence.row is not None:
            self._rows.give_back(sequence.row)
        self._alone.states.pop(sequence.number, None)
        if self._tainted and not self._running:  # numbers that are none must not stay where others will stand
            self.forget()
