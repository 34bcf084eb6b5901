"""What users say of answers: kept beside the request log, for whoever may know that request only."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, final

from pydantic import Field, ValidationError

from tunesmith.core.records import Record, Trace
from tunesmith.serve.errors import RequestError

REMEMBERED = 100_000
"""Requests of which feedback is taken; older ones are forgotten."""

TAIL_BYTES = 8 * 2**20
"""As much of the request log is read at the start, so that feedback reaches back over a restart."""


class Feedback(Record):
    """An opinion of one answer. ``score``: from -1 (bad) to 1 (good); ``correction``: what should have been said."""

    request_id: str
    score: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    label: str = ""
    correction: str = ""
    comment: str = ""
    tenant: str = ""
    model: str = ""
    adapter_digest: str = ""
    alias: str = ""
    arm: str = ""
    created_at: float = 0.0

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        if self.correction:
            return "correction"
        if self.score is not None:
            return "good" if self.score > 0 else "bad" if self.score < 0 else "neutral"
        return "label" if self.label else "comment"


@final
class FeedbackBook:
    """Takes feedback on requests that were answered here.

    Args:
        keep: stores one; runs on the thread of whoever gives it.
        log: the request log of earlier starts.
    """

    def __init__(self, keep: Callable[[Feedback], None], log: Path | None = None) -> None:
        self._keep, self._lock = keep, threading.Lock()
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        if log is not None and log.is_file():
            for line in _tail(log):
                try:
                    self.remember(Trace.model_validate_json(line))
                except ValidationError:
                    continue  # the first line may be cut, and older versions wrote others

    def remember(self, trace: Trace) -> None:
        """A request was answered."""
        with self._lock:
            self._traces[trace.request_id] = trace
            if len(self._traces) > REMEMBERED:
                self._traces.popitem(last=False)

    def give(self, feedback: Feedback, tenant: str) -> Feedback:
        """Keep feedback of a tenant with what is known about its request; as it was kept.

        Raises:
            RequestError: the tenant had no such request, or it is too long ago.
        """
        name = "req_" + feedback.request_id.removeprefix("req_").removeprefix("chatcmpl-").removeprefix("cmpl-")
        with self._lock:
            trace = self._traces.get(name)
        if trace is None or (tenant and trace.tenant != tenant):
            raise RequestError(
                "request_not_found",
                f"There is no request {feedback.request_id[:80]!r}.",
                rule="Feedback is taken on requests of your own, for as long as they are remembered.",
                fix="Send the x-request-id of an answer, or its id.",
                param="request_id",
            )
        known = {
            "request_id": trace.request_id,
            "tenant": trace.tenant,
            "model": trace.model,
            "adapter_digest": trace.adapter_digest,
            "alias": trace.alias,
            "arm": trace.arm,
            "created_at": time.time(),
        }
        kept = feedback.model_copy(update=known)
        self._keep(kept)
        return kept


def _tail(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().splitlines()
