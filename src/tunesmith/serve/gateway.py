"""Between the doors and the engine: names, rendering, limits, admission, and one trace for each request."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from tunesmith.core.errors import InputError
from tunesmith.core.generation import GenerationRequest, TokenEngine
from tunesmith.core.records import Message, SamplingParams, Trace
from tunesmith.serve.answer import Answer
from tunesmith.serve.config import Config
from tunesmith.serve.errors import RequestError, shutting_down
from tunesmith.serve.hot import HotAdapters
from tunesmith.serve.models import ModelTable, ServedModel
from tunesmith.serve.worker import EngineWorker, Job

log = logging.getLogger(__name__)

State = Literal["ready", "stopping", "failed"]
SEEDS = 2**63


@dataclass(frozen=True)
class Options:
    """How one request wants to be answered. ``max_tokens`` None: as long as the context and the server allow."""

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1


class Gateway:
    """Answers requests by model name over one engine. Its methods but `close` belong to an event loop.

    Args:
        engine: given away: from `start` to `close` only the gateway's own thread touches it.
        models: the callable names (see `served_models`).
        config: limits.
        on_trace: receives one record for each answered request, on a thread of its own, in order of their ends.

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
    ) -> None:
        self.config = config or Config()
        self.models = ModelTable(models)
        self.hot: HotAdapters | None = None
        """Takes adapters while the server runs, where the engine can."""
        self.context_length = engine.context_length
        self._worker = EngineWorker(engine)
        self._on_trace = on_trace
        self._traces = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tunesmith-traces")
        self._lock = threading.Lock()
        self._pending = 0
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
        return self._pending

    def start(self) -> None:
        """Start the engine's thread; a second call does nothing."""
        with self._lock:
            if not self._started:
                self._started = True
                self._worker.start()

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
            while self._pending and time.monotonic() < end and not hurry():
                time.sleep(0.02)
            self._worker.stop()
            self._traces.shutdown()

    async def chat(self, model: str, messages: Sequence[Message], options: Options) -> Answer:
        """Answer a conversation.

        Raises:
            RequestError: unknown model, messages that the renderer refuses, too long, over a limit, queue full,
                shutting down.
        """
        served = self.models[model]
        self._check_choices(options.n)
        with _renders("messages"):
            tokens = await asyncio.to_thread(served.renderer.prompt, messages)
        return self._open(served, [tokens], options, "messages")

    async def complete(self, model: str, prompts: Sequence[str | tuple[int, ...]], options: Options) -> Answer:
        """Continue plain texts or token ids; choice number ``i * n + j`` is answer ``j`` to prompt ``i``.

        Raises:
            RequestError: as for `chat`, and a token id that the tokenizer does not have.
        """
        served = self.models[model]
        self._check_choices(len(prompts) * options.n)
        with _renders("prompt"):
            tokens = await asyncio.to_thread(lambda: [_ids(served, prompt) for prompt in prompts])
        return self._open(served, tokens, options, "prompt")

    def _open(self, model: ServedModel, prompts: Sequence[tuple[int, ...]], options: Options, param: str) -> Answer:
        limits = [self._token_limit(tokens, options, param) for tokens in prompts]
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
        )
        jobs = []
        for index, sequence_id in enumerate(ids):
            prompt, nth = divmod(index, options.n)
            params = _params(options, limits[prompt], nth)
            request = GenerationRequest(sequence_id, prompts[prompt], params, model.renderer.stop_ids, model.adapter)
            jobs.append(Job(request, model.renderer.stream(options.stop), answer.listener(index)))
        self._admit(jobs)
        return answer

    def _token_limit(self, tokens: tuple[int, ...], options: Options, param: str) -> int:
        """Most tokens that the answer to this prompt may have."""
        room = self.context_length - len(tokens)
        wanted = options.max_tokens
        if not tokens:
            raise RequestError("invalid_value", "The prompt is empty: it has no token.", param=param)
        if room < (wanted or 1):
            asked = f"{len(tokens)} of the prompt + {wanted or 1} of the answer"
            raise RequestError(
                "context_length_exceeded",
                f"This model's maximum context length is {self.context_length} tokens; "
                f"this request needs {len(tokens) + (wanted or 1)} ({asked}).",
                fix="Shorten the prompt." if room < 1 else f"Shorten the prompt or set max_tokens to {room} or less.",
                param=param,
            )
        if wanted and wanted > self.config.max_response_tokens:
            raise RequestError(
                "invalid_value",
                f"{wanted} answer tokens are more than this server gives.",
                rule=f"At most {self.config.max_response_tokens} (max_response_tokens).",
                param="max_tokens",
            )
        return wanted or min(room, self.config.max_response_tokens)

    def _check_choices(self, choices: int) -> None:
        if choices > self.config.max_choices:
            raise RequestError(
                "invalid_value",
                f"{choices} answers in one request are more than this server gives.",
                rule=f"n times the number of prompts may be at most {self.config.max_choices} (max_choices).",
                param="n",
            )

    def _admit(self, jobs: Sequence[Job]) -> None:
        with self._lock:
            if self.state == "stopping":
                raise shutting_down()
            if self.state == "failed":
                raise RequestError("engine_failed", "The engine has failed.", fix="Restart the server.")
            if self._pending + len(jobs) > self.config.max_pending_requests:
                raise RequestError(
                    "rate_limit_exceeded",
                    f"The server is busy: {self._pending} answers are running or waiting.",
                    rule=f"At most {self.config.max_pending_requests} at a time (max_pending_requests).",
                    fix="Try again in a moment.",
                    retry_after=max(1, min(60, math.ceil(self._mean_seconds))),
                )
            self._worker.submit(jobs)
            self._pending += len(jobs)

    def _done(self, answer: Answer) -> None:
        trace = answer.trace()
        with self._lock:
            self._pending -= answer.choices
            self._mean_seconds += (trace.seconds - self._mean_seconds) / 8
        if self._on_trace:
            self._traces.submit(self._write_trace, self._on_trace, trace)

    @staticmethod
    def _write_trace(write: Callable[[Trace], None], trace: Trace) -> None:
        try:
            write(trace)
        except Exception:
            # A full disk must not stop answers; the loss is logged.
            log.exception("the trace of %s could not be written", trace.request_id)


@contextmanager
def _renders(param: str) -> Iterator[None]:
    """What the renderer refuses is the fault of this field of the request."""
    try:
        yield
    except InputError as error:
        raise RequestError("invalid_value", error.what, rule=error.rule, fix=error.fix, param=param) from error


def _ids(model: ServedModel, prompt: str | tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(prompt, str):
        return model.renderer.text(prompt)
    size = model.renderer.vocab_size
    for token in prompt:
        if not 0 <= token < size:
            raise RequestError(
                "invalid_value",
                f"The token id {token} does not exist.",
                rule=f"Token ids of this model go from 0 to {size - 1}.",
                param="prompt",
            )
    return prompt


def _params(options: Options, max_tokens: int, nth: int) -> SamplingParams:
    """Parameters of answer number ``nth``. Each has a seed of its own: answers differ, and can be repeated."""
    seed = secrets.randbelow(SEEDS) if options.seed is None else (options.seed + nth) % SEEDS
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=options.temperature,
        # OpenAI allows 0: only the likeliest token is left.
        top_p=options.top_p or 1e-9,
        seed=seed,
        stop=options.stop,
    )
