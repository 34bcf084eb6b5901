"""The thread that owns the engine.

Everything that touches the engine is a callable put into one inbox and run between two steps, so the engine itself
needs no lock. Text is made here too: a stop string must end its answer before the next step is computed. Jobs wait in
a fair queue in front of the engine, so that each tenant gets its share of it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from tunesmith.core.errors import TunesmithError
from tunesmith.core.generation import GenerationRequest, PromptScorer, TokenEngine, TokenOut
from tunesmith.core.protocols import TextStream
from tunesmith.core.records import FinishReason
from tunesmith.serve.errors import RequestError, shutting_down
from tunesmith.serve.fair import FairQueue

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Hears, on the engine's thread, what becomes of one sequence."""

    def on_taken(self) -> None:
        """The engine takes the sequence on."""
        ...

    def on_prompt(self, text: str, tokens: Sequence[int], scores: Sequence[TokenOut]) -> None:
        """The prompt as a part of the answer; ``scores`` of its tokens after the first, where they were asked for."""
        ...

    def on_token(self, text: str, out: TokenOut, device_seconds: float = 0.0) -> bool:
        """A token was made; ``text`` is what became certain by it, maybe nothing. True: nothing more is wanted."""
        ...

    def on_end(self, reason: FinishReason) -> None:
        """The sequence is over; nothing follows."""
        ...

    def on_error(self, error: Exception) -> None:
        """The sequence broke; nothing follows."""
        ...


@dataclass(frozen=True)
class Echo:
    """The prompt as the first part of its answer.

    ``scored``: with how many of the likeliest tokens at each place; None: without scores. ``only``: nothing follows.
    """

    text: str
    scored: int | None
    only: bool


@dataclass(frozen=True)
class Job:
    """One sequence to generate: the engine's request, its text stream, and who listens."""

    request: GenerationRequest
    stream: TextStream
    listener: Listener
    tenant: str = ""
    echo: Echo | None = None

    @property
    def cost(self) -> int:
        """Tokens that it may have computed."""
        return len(self.request.tokens) + self.request.params.max_tokens


class EngineWorker:
    """Runs the engine in a thread of its own until `stop`.

    Args:
        engine: nobody else may touch it between `start` and the end of `stop`.
        max_running: most sequences in the engine; more wait in the fair queue.
        on_step: told after each step: its seconds, the sequences in the engine, and those that wait.
    """

    def __init__(
        self,
        engine: TokenEngine,
        max_running: int = 64,
        on_step: Callable[[float, int, int], None] = lambda seconds, running, waiting: None,
    ) -> None:
        self._engine, self._max_running, self._on_step = engine, max_running, on_step
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._queue: FairQueue[Job] = FairQueue()
        self._jobs: dict[str, Job] = {}
        self._began: set[str] = set()
        self._unpaid = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="tunesmith-engine", daemon=True)
        self.broken = False
        """The engine failed and could not be emptied; it takes nothing any more."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Start sequences before the next step; not after `stop`."""
        for job in jobs:
            self._inbox.put(partial(self._take, job))

    def cancel(self, request_ids: tuple[str, ...]) -> None:
        """Drop sequences before the next step; those that are over are left alone."""
        self._inbox.put(partial(self._cancel, request_ids))

    def call(self, action: Callable[[], None]) -> None:
        """Run something between two steps."""
        self._inbox.put(action)

    def stop(self) -> None:
        """Break off what still runs, end the thread and wait for it."""
        self._inbox.put(self._stop)
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopping:
            if not self._jobs and not len(self._queue):
                self._inbox.get()()
            while not self._inbox.empty():
                self._inbox.get()()
            while len(self._queue) and len(self._jobs) < self._max_running:
                self._submit(self._queue.pop())
            if self._jobs:
                self._step()

    def _step(self) -> None:
        began = time.perf_counter()
        try:
            outputs = self._engine.step()
            failures = self._engine.take_failures()
            if not outputs and not failures and self._engine.idle:
                raise RuntimeError("the engine is idle although requests were submitted")
        except Exception as error:
            # One forward carries all requests, so all of them are lost; the next ones may still succeed.
            log.exception("the engine failed; %d running answers are broken off", len(self._jobs))
            self._fail_all(_engine_failed(error))
            return
        for request_id, error in failures:
            failed = self._jobs.get(request_id)
            if failed is not None:
                self._drop(failed)
                failed.listener.on_error(error)
        seconds = time.perf_counter() - began
        self._on_step(seconds, len(self._jobs), len(self._queue))
        # A step without tokens worked on long prompts: whoever gets the next tokens pays for it.
        self._unpaid += seconds
        known = [(job, out) for out in outputs if (job := self._jobs.get(out.request_id)) is not None]
        weights = [self._weight(job, out) for job, out in known]
        if known:
            rate, self._unpaid = self._unpaid / sum(weights), 0.0
            for (job, out), weight in zip(known, weights, strict=True):
                self._advance(job, out, rate * weight)

    def _weight(self, job: Job, out: TokenOut) -> int:
        """Tokens that were computed for this one: those of the prompt come with the first."""
        name = job.request.request_id
        if name in self._began:
            return 1
        self._began.add(name)
        return max(1, len(job.request.tokens) - out.cached)

    def _advance(self, job: Job, out: TokenOut, device_seconds: float) -> None:
        try:
            text = "" if out.finished == "stop" else job.stream.push(out.token)
            if out.finished and not job.stream.stopped:
                text += job.stream.finish()
            reason: FinishReason | None = "stop" if job.stream.stopped else out.finished
            if job.listener.on_token(text, out, device_seconds):
                reason = "stop"
        except Exception as error:
            log.exception("a text stream failed")
            self._drop(job)
            job.listener.on_error(_engine_failed(error))
            return
        if reason:
            self._drop(job)
            job.listener.on_end(reason)

    def _take(self, job: Job) -> None:
        self._queue.push(job.tenant, job.cost, job)

    def _submit(self, job: Job) -> None:
        try:
            if self.broken:
                raise RequestError("engine_failed", "The engine has failed.", fix="Restart the server.")
            job.listener.on_taken()
            if job.echo is not None:
                self._give_prompt_back(job, job.echo)
            if job.echo is None or not job.echo.only:
                self._engine.submit(job.request)
        except TunesmithError as error:
            job.listener.on_error(error)
        except Exception as error:
            log.exception("the engine failed to take a request")
            job.listener.on_error(_engine_failed(error))
        else:
            if job.echo is not None and job.echo.only:
                job.listener.on_end("length")
            else:
                self._jobs[job.request.request_id] = job

    def _give_prompt_back(self, job: Job, echo: Echo) -> None:
        request = job.request
        scores: list[TokenOut] = []
        if echo.scored is not None:
            assert isinstance(self._engine, PromptScorer)
            scores = self._engine.score(request.tokens, request.adapter, echo.scored)
        job.listener.on_prompt(echo.text, request.tokens, scores)

    def _cancel(self, request_ids: tuple[str, ...]) -> None:
        wanted = frozenset(request_ids)
        for job in self._queue.remove(lambda job: job.request.request_id in wanted):
            job.listener.on_end("cancelled")
        for request_id in request_ids:
            running = self._jobs.get(request_id)
            if running is not None:
                self._drop(running)
                running.listener.on_end("cancelled")

    def _drop(self, job: Job) -> None:
        """Forget a job. The engine is told even when it ended the answer itself: unknown ids are ignored there."""
        del self._jobs[job.request.request_id]
        self._began.discard(job.request.request_id)
        self._engine.cancel(job.request.request_id)

    def _fail_all(self, error: Exception) -> None:
        jobs, self._jobs = list(self._jobs.values()), {}
        self._began.clear()
        try:
            for job in jobs:
                self._engine.cancel(job.request.request_id)
            self.broken = not self._engine.idle
        except Exception:
            log.exception("the engine could not be emptied")
            self.broken = True
        for job in jobs:
            job.listener.on_error(error)

    def _stop(self) -> None:
        self._stopping = True
        for job in self._queue.remove(lambda _: True):
            job.listener.on_error(shutting_down())
        self._fail_all(shutting_down())


def _engine_failed(error: Exception) -> RequestError:
    # The text of a foreign exception may quote content or paths: it goes to the log, not to the client.
    return RequestError("engine_failed", f"The engine failed while answering ({type(error).__name__}).")
