"""The thread that owns the engine.

Everything that touches the engine is a callable put into one inbox and run between two steps, so the engine itself
needs no lock. Text is made here too: a stop string must end its answer before the next step is computed.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from tunesmith.core.errors import TunesmithError
from tunesmith.core.generation import GenerationRequest, TokenEngine, TokenOut
from tunesmith.core.protocols import TextStream
from tunesmith.core.records import FinishReason
from tunesmith.serve.errors import RequestError, shutting_down

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Hears, on the engine's thread, what becomes of one sequence."""

    def on_token(self, text: str) -> None:
        """A token was made; ``text`` is what became certain by it, maybe nothing."""
        ...

    def on_end(self, reason: FinishReason) -> None:
        """The sequence is over; nothing follows."""
        ...

    def on_error(self, error: Exception) -> None:
        """The sequence broke; nothing follows."""
        ...


@dataclass(frozen=True)
class Job:
    """One sequence to generate: the engine's request, its text stream, and who listens."""

    request: GenerationRequest
    stream: TextStream
    listener: Listener


class EngineWorker:
    """Runs the engine in a thread of its own until `stop`.

    Args:
        engine: nobody else may touch it between `start` and the end of `stop`.
    """

    def __init__(self, engine: TokenEngine) -> None:
        self._engine = engine
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._jobs: dict[str, Job] = {}
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
            self._inbox.put(partial(self._submit, job))

    def cancel(self, request_ids: tuple[str, ...]) -> None:
        """Drop sequences before the next step; those that are over are left alone."""
        self._inbox.put(partial(self._cancel, request_ids))

    def stop(self) -> None:
        """Break off what still runs, end the thread and wait for it."""
        self._inbox.put(self._stop)
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopping:
            if not self._jobs:
                self._inbox.get()()
            while not self._inbox.empty():
                self._inbox.get()()
            if self._jobs:
                self._step()

    def _step(self) -> None:
        try:
            outputs = self._engine.step()
            if not outputs and self._engine.idle:
                raise RuntimeError("the engine is idle although requests were submitted")
        except Exception as error:
            # One forward carries all requests, so all of them are lost; the next ones may still succeed.
            log.exception("the engine failed; %d running answers are broken off", len(self._jobs))
            self._fail_all(_engine_failed(error))
            return
        for out in outputs:
            job = self._jobs.get(out.request_id)
            if job is not None:
                self._advance(job, out)
        for request_id, failure in self._engine.take_failures():
            job = self._jobs.pop(request_id, None)
            if job is not None:
                job.listener.on_error(failure)

    def _advance(self, job: Job, out: TokenOut) -> None:
        try:
            text = "" if out.finished == "stop" else job.stream.push(out.token)
            if out.finished and not job.stream.stopped:
                text += job.stream.finish()
            reason: FinishReason | None = "stop" if job.stream.stopped else out.finished
        except Exception as error:
            log.exception("a text stream failed")
            self._drop(job)
            job.listener.on_error(_engine_failed(error))
            return
        job.listener.on_token(text)
        if reason:
            self._drop(job)
            job.listener.on_end(reason)

    def _submit(self, job: Job) -> None:
        try:
            if self.broken:
                raise RequestError("engine_failed", "The engine has failed.", fix="Restart the server.")
            self._engine.submit(job.request)
        except TunesmithError as error:
            job.listener.on_error(error)
        except Exception as error:
            log.exception("the engine failed to take a request")
            job.listener.on_error(_engine_failed(error))
        else:
            self._jobs[job.request.request_id] = job

    def _cancel(self, request_ids: tuple[str, ...]) -> None:
        for request_id in request_ids:
            job = self._jobs.get(request_id)
            if job is not None:
                self._drop(job)
                job.listener.on_end("cancelled")

    def _drop(self, job: Job) -> None:
        """Forget a job. The engine is told even when it ended the answer itself: unknown ids are ignored there."""
        del self._jobs[job.request.request_id]
        self._engine.cancel(job.request.request_id)

    def _fail_all(self, error: Exception) -> None:
        jobs, self._jobs = list(self._jobs.values()), {}
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
        self._fail_all(shutting_down())


def _engine_failed(error: Exception) -> RequestError:
    # The text of a foreign exception may quote content or paths: it goes to the log, not to the client.
    return RequestError("engine_failed", f"The engine failed while answering ({type(error).__name__}).")
