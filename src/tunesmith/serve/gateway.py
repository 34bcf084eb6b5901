"""Between the doors and the engine: names, rendering, limits, admission, and one trace for each request."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from tunesmith.core.errors import TunesmithError
from tunesmith.core.generation import GenerationRequest, PromptScorer, TokenEngine
from tunesmith.core.records import Message, Trace
from tunesmith.serve.answer import Answer, Route
from tunesmith.serve.config import Config
from tunesmith.serve.embeddings import Embeddings
from tunesmith.serve.errors import RequestError, shutting_down
from tunesmith.serve.feedback import Feedback, FeedbackBook
from tunesmith.serve.hot import HotAdapters
from tunesmith.serve.metrics import Metrics
from tunesmith.serve.models import ModelTable, ServedModel
from tunesmith.serve.options import NOBODY, Caller, Options
from tunesmith.serve.prepare import Prepared, prepare_chat, prepare_texts, refused, token_limit
from tunesmith.serve.traffic import Traffic
from tunesmith.serve.worker import EngineWorker, Job

log = logging.getLogger(__name__)

State = Literal["ready", "stopping", "failed"]


class Gateway:
    """Answers requests by model name over one engine. Its methods but `close` belong to an event loop.

    Args:
        engine: given away: from `start` to `close` only the gateway's own thread touches it.
        models: the callable names (see `served_models`).
        config: limits.
        on_trace: receives one record for each answered request, on a thread of its own, in order of their ends.
        traffic: the aliases, with their splits and guardrails.
        book: takes what users say of answers; None: nothing is kept.

    Raises:
        InputError: no model, or one name twice.
    """

    def __init__(
        self,
        engine: TokenEngine,
        models: Sequence[ServedModel],
        *,
        config: Config | None = None,
        on_trace: Callable[[Trace], None] | None = None,
        traffic: Traffic | None = None,
        book: FeedbackBook | None = None,
    ) -> None:
        self.config = config or Config()
        self.models = ModelTable(models)
        self.traffic = traffic
        self.embeddings: Embeddings | None = None
        """Makes vectors of texts, where a model for that is served."""
        self.hot: HotAdapters | None = None
        """Takes adapters while the server runs, where the engine can."""
        self.context_length = engine.context_length
        self._scores = isinstance(engine, PromptScorer)
        self._prepare = engine.prepare
        self.metrics = Metrics(self.models.base.name)
        self._book = book or FeedbackBook(lambda feedback: None)
        self._worker = EngineWorker(engine, self.config.max_running_requests, self.metrics.step)
        self._on_trace = on_trace
        self._traces = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tunesmith-traces")
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()
        self._shadows: set[asyncio.Task[None]] = set()
        self._mean_seconds = 1.0
        self._started = self._stopping = False

    @property
    def state(self) -> State:
        """Whether requests are taken."""
        if self._stopping or not self._started:
            return "stopping"
        return "failed" if self._worker.broken else "ready"

    @property
    def pending(self) -> int:
        """Answers that run or wait."""
        return self._pending.total()

    def start(self) -> None:
        """Start the engine's thread; a second call does nothing."""
        with self._lock:
            if not self._started:
                self._started = True
                self._worker.start()
                if self.traffic is not None:
                    self.traffic.start()

    def close(self, grace: float = 0.0, hurry: Callable[[], bool] = lambda: False) -> None:
        """Take nothing more, let running answers go on for ``grace`` seconds, break off the rest, end the thread.

        Args:
            grace: seconds.
            hurry: asked again and again; True ends the wait.
        """
        with self._lock:
            was_running = self._started and not self._stopping
            self._stopping = True
        if was_running:
            end = time.monotonic() + grace
            while self.pending and time.monotonic() < end and not hurry():
                time.sleep(0.02)
            self._worker.stop()
            self._traces.shutdown()
            if self.traffic is not None:
                self.traffic.close()

    def visible(self, tenant: str) -> list[ServedModel]:
        """The models and aliases that a tenant may call; an alias comes before a model of the same name."""
        aliases = self.traffic.visible(tenant) if self.traffic else []
        return list({model.name: model for model in (*self.models.visible(tenant), *aliases)}.values())

    def find(self, name: str, caller: Caller) -> tuple[ServedModel, Route, ServedModel | None]:
        """What answers to a name, how a request came there, and who gets a copy of it.

        Raises:
            RequestError: nothing that this caller may call has this name.
        """
        chosen = self.traffic.choose(name, caller) if self.traffic else None
        if chosen is not None:
            return chosen.model, Route(name, chosen.arm, caller.tenant, caller.key), chosen.shadow
        model = self.models.get(name, caller.tenant)
        if model is None:
            aliases = [alias.name for alias in self.traffic.visible(caller.tenant)] if self.traffic else []
            raise self.models.unknown(name, caller.tenant, aliases)
        return model, Route(tenant=caller.tenant, key=caller.key), None

    async def chat(self, model: str, messages: Sequence[Message], options: Options, caller: Caller = NOBODY) -> Answer:
        """Answer a conversation.

        Raises:
            RequestError: unknown model, messages that the renderer refuses, too long, over a limit, queue full,
                shutting down.
        """
        served, route, shadow = self.find(model, caller)
        self._check_choices(options.n)
        prepared = await asyncio.to_thread(prepare_chat, served, messages, options, self.config.max_schema_bytes)
        await self._compile(served, prepared, options)
        answer = self._open(served, prepared, options, route)
        if shadow is not None and self.pending * 2 < self.config.max_pending_requests:
            self._cast_shadow(shadow, messages, options, route)
        return answer

    def _cast_shadow(self, model: ServedModel, messages: Sequence[Message], options: Options, route: Route) -> None:
        """Let a second model answer as well, where nobody sees it and it takes nobody's place."""
        task = asyncio.create_task(self._shadow(model, messages, options, route))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _shadow(self, model: ServedModel, messages: Sequence[Message], options: Options, route: Route) -> None:
        try:
            most = self.config.max_schema_bytes
            prepared = await asyncio.to_thread(prepare_chat, model, messages, options, most)
            hidden = Route(route.alias, f"shadow:{route.arm}", route.tenant, route.key)
            await self._open(model, prepared, options, hidden).collect()
        except TunesmithError as error:
            log.info("a copy for the shadow of %s was not answered: %s", route.alias, error.what)

    async def _compile(self, model: ServedModel, prepared: Prepared, options: Options) -> None:
        """Let the engine compile a grammar where nobody waits for it: neither the event loop nor running answers."""
        if prepared.grammar is not None:
            params = options.params(1, 0, prepared.grammar)
            request = GenerationRequest("", prepared.prompts[0], params, model.renderer.stop_ids, model.adapter)
            with refused("response_format" if prepared.calls is None else "tools"):
                await asyncio.to_thread(self._prepare, request)

    async def complete(
        self,
        model: str,
        prompts: Sequence[str | tuple[int, ...]],
        options: Options,
        caller: Caller = NOBODY,
        echo: bool = False,
    ) -> Answer:
        """Continue plain texts or token ids; choice number ``i * n + j`` is answer ``j`` to prompt ``i``.

        ``echo``: each prompt is given back before its answer, with its log-probabilities where they are asked for.

        Raises:
            RequestError: as for `chat`, and a token id that the tokenizer does not have.
        """
        served, route, _ = self.find(model, caller)
        self._check_choices(len(prompts) * options.n)
        if echo and options.logprobs is not None and not self._scores:
            raise RequestError(
                "unsupported_parameter",
                "The engine of this server gives no log-probabilities of prompts.",
                fix="Leave out echo or logprobs.",
                param="echo",
            )
        prepared = await asyncio.to_thread(prepare_texts, served, prompts, options, echo)
        return self._open(served, prepared, options, route)

    def _open(self, model: ServedModel, prepared: Prepared, options: Options, route: Route) -> Answer:
        prompts = prepared.prompts
        limits = [token_limit(self.config, self.context_length, tokens, options, prepared.param) for tokens in prompts]
        choices = len(prompts) * options.n
        request_id = "req_" + secrets.token_hex(12)
        ids = tuple(f"{request_id}-{index}" for index in range(choices))
        answer = Answer(
            request_id,
            model,
            choices,
            prompt_tokens=sum(map(len, prompts)),
            on_cancel=lambda: self._worker.cancel(ids),
            on_done=self._done,
            per_prompt=options.n,
            route=route,
        )
        token_bytes = None if options.logprobs is None else model.renderer.token_bytes
        jobs = []
        for index, sequence_id in enumerate(ids):
            prompt, nth = divmod(index, options.n)
            params = options.params(limits[prompt], nth, prepared.grammar)
            request = GenerationRequest(
                sequence_id, prompts[prompt], params, model.renderer.stop_ids, model.adapter, route.tenant
            )
            calls = prepared.calls() if prepared.calls else None
            listener = answer.listener(index, calls, token_bytes)
            echo = prepared.echoes[prompt] if prepared.echoes else None
            jobs.append(Job(request, model.renderer.stream(options.stop), listener, route.tenant, echo))
        self._admit(jobs, route.tenant)
        return answer

    def _check_choices(self, choices: int) -> None:
        if choices > self.config.max_choices:
            raise RequestError(
                "invalid_value",
                f"{choices} answers in one request are more than this server gives.",
                rule=f"n times the number of prompts may be at most {self.config.max_choices} (max_choices).",
                param="n",
            )

    def _admit(self, jobs: Sequence[Job], tenant: str) -> None:
        with self._lock:
            if self.state == "stopping":
                raise shutting_down()
            if self.state == "failed":
                raise RequestError("engine_failed", "The engine has failed.", fix="Restart the server.")
            try:
                self._refuse_overload(len(jobs), tenant)
            except RequestError as error:
                self.metrics.refused(error.reason)
                raise
            self._worker.submit(jobs)
            self._pending[tenant] += len(jobs)

    def feedback(self, feedback: Feedback, tenant: str) -> Feedback:
        """Keep what a user says of an answer; not of the event loop.

        Raises:
            RequestError: the tenant had no such request.
        """
        kept = self._book.give(feedback, tenant)
        self.metrics.judged(kept.kind, kept.model, kept.arm)
        return kept

    def _refuse_overload(self, more: int, tenant: str) -> None:
        retry_after = max(1, min(60, math.ceil(self._mean_seconds)))
        if self.pending + more > self.config.max_pending_requests:
            raise RequestError(
                "rate_limit_exceeded",
                f"The server is busy: {self.pending} answers are running or waiting.",
                rule=f"At most {self.config.max_pending_requests} at a time (max_pending_requests).",
                fix="Try again in a moment.",
                retry_after=retry_after,
            )
        share = self.config.max_pending_per_tenant
        if share is not None and tenant and self._pending[tenant] + more > share:
            raise RequestError(
                "rate_limit_exceeded",
                f"{self._pending[tenant]} answers of yours are running or waiting.",
                rule=f"At most {share} at a time for each tenant (max_pending_per_tenant).",
                fix="Try again in a moment.",
                retry_after=retry_after,
            )

    def _done(self, answer: Answer) -> None:
        trace = answer.trace(self.config.price_per_hour)
        with self._lock:
            self._pending[trace.tenant] -= answer.choices
            if not self.pending:
                self.metrics.load(0, 0)
            self._mean_seconds += (trace.seconds - self._mean_seconds) / 8
        self._traces.submit(self._write_trace, trace, answer.beginning)

    def _write_trace(self, trace: Trace, beginning: str) -> None:
        try:
            self.metrics.observe(trace)
            self._book.remember(trace)
            if self.traffic is not None and self.traffic.watch(trace, beginning):
                self.metrics.taken_back(trace.alias)
            if self._on_trace:
                self._on_trace(trace)
        except Exception:
            # A full disk must not stop answers; the loss is logged.
            log.exception("the trace of %s could not be written", trace.request_id)
