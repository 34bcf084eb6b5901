"""The names that tuned models are called by: ``ft:{base}:{owner}:{suffix}:{8 characters}``, as OpenAI has them."""

from __future__ import annotations

import hashlib
import re

from tunesmith.jobs.errors import JobError

_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_suffix(suffix: object) -> str | None:
    """A suffix that can stand in a name.

    Raises:
        JobError: too long, or with characters that would make the name ambiguous.
    """
    if suffix is None or suffix == "":
        return None
    if not isinstance(suffix, str) or not _SUFFIX.fullmatch(suffix):
        raise JobError(
            f"the suffix {suffix!r} cannot stand in the name of a model",
            rule="a suffix has 1 to 64 letters, digits, '.', '_' and '-', and begins with a letter or a digit",
            fix="for example support-bot-2",
            param="suffix",
        )
    return suffix


def model_name(base: str, owner: str, suffix: str | None, job: str) -> str:
    """The name of what a job makes. It follows from the job alone, so that a repeated attempt makes the same name."""
    base = base.replace(":", "-")
    owner = re.sub(r"[^A-Za-z0-9_.-]+", "-", owner).strip("-") or "tunesmith"
    return f"ft:{base}:{owner}:{suffix or ''}:{hashlib.sha256(job.encode()).hexdigest()[:8]}"


def checkpoint_name(model: str, step: int) -> str:
    """The name of the weights of a validation."""
    return f"{model}:ckpt-step-{step}"
