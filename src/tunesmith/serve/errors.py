"""Why a request is turned away, and the HTTP status that says so.

One class, a closed list of reasons. The web door turns them into OpenAI's error envelope.
"""

from __future__ import annotations

from typing import Literal

from tunesmith.core.errors import TunesmithError

Reason = Literal[
    "model_not_found",
    "context_length_exceeded",
    "invalid_value",
    "request_not_found",
    "unsupported_parameter",
    "rate_limit_exceeded",
    "shutting_down",
    "engine_failed",
]

STATUS: dict[Reason, int] = {
    "model_not_found": 404,
    "context_length_exceeded": 400,
    "invalid_value": 400,
    "request_not_found": 404,
    "unsupported_parameter": 400,
    "rate_limit_exceeded": 429,
    "shutting_down": 503,
    "engine_failed": 500,
}
"""Reason → HTTP status."""


class RequestError(TunesmithError):
    """A request that is not answered.

    Args:
        reason: machine-readable reason, OpenAI's ``code``.
        what, rule, fix: as in every error of ours.
        param: the request field that caused it.
        retry_after: whole seconds after which a new try makes sense; 0 = none.
    """

    def __init__(
        self, reason: Reason, what: str, *, rule: str = "", fix: str = "", param: str = "", retry_after: int = 0
    ) -> None:
        super().__init__(what, where=param, rule=rule, fix=fix)
        self.reason: Reason = reason
        self.param, self.retry_after = param, retry_after

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.reason, self.what, self.rule, self.fix, self.param, self.retry_after))

    @property
    def status(self) -> int:
        """HTTP status code."""
        return STATUS[self.reason]


def _rebuild(reason: Reason, what: str, rule: str, fix: str, param: str, retry_after: int) -> RequestError:
    return RequestError(reason, what, rule=rule, fix=fix, param=param, retry_after=retry_after)


def shutting_down() -> RequestError:
    """The server takes nothing more."""
    return RequestError("shutting_down", "The server is shutting down.", fix="Try again later.", retry_after=5)
