"""What is refused of a request about files, jobs and tuned models, in the terms of OpenAI's envelope."""

from __future__ import annotations

from tunesmith.core.errors import InputError


class JobError(InputError):
    """A request that is refused; nothing was changed.

    Args:
        what, rule, fix: as in every error of ours.
        param: the field of the request that caused it.
        code: machine-readable reason, OpenAI's ``code``.
        status: HTTP status. Never 409, which OpenAI's clients send again by themselves.
    """

    def __init__(
        self,
        what: str,
        *,
        rule: str = "",
        fix: str = "",
        param: str = "",
        code: str = "invalid_value",
        status: int = 400,
    ) -> None:
        super().__init__(what, where=param, rule=rule, fix=fix, code=code)
        self.param, self.status = param, status

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.what, self.rule, self.fix, self.param, self.code, self.status))


def _rebuild(what: str, rule: str, fix: str, param: str, code: str, status: int) -> JobError:
    return JobError(what, rule=rule, fix=fix, param=param, code=code, status=status)
