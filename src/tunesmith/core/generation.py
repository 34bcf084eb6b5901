"""What an inference engine takes and gives, one token at a time. Ids only: strings are the renderer's business.

    GenerationRequest ─submit→ engine ─step→ TokenOut, TokenOut, …

The embedded engine (`tunesmith.model.engine`) fits `TokenEngine`; so does anything else that answers in ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tunesmith.core.errors import TunesmithError
from tunesmith.core.records import FinishReason, SamplingParams


@dataclass(frozen=True)
class GenerationRequest:
    """Something to answer. ``adapter`` names an adapter of the engine; "" is the base.

    ``salt``: requests share cached beginnings only with requests of the same salt (a tenant's).
    """

    request_id: str
    tokens: tuple[int, ...]
    params: SamplingParams
    stop_ids: frozenset[int]
    adapter: str = ""
    salt: str = ""


@dataclass(frozen=True)
class TokenOut:
    """One new token and its log-probability (nats, before temperature, penalties and grammar).

    ``top``: the likeliest tokens with their log-probabilities, as many as ``top_logprobs`` asks for, best first.
    ``cached``: prompt tokens that were not computed anew; set with the first token of an answer.

    ``finished`` is set on the last token of an answer. A stop token ends with "stop" and is not text.
    """

    request_id: str
    token: int
    logprob: float
    finished: FinishReason | None
    top: tuple[tuple[int, float], ...] = ()
    cached: int = 0


class TokenEngine(Protocol):
    """Answers many requests at once over one base and its resident adapters. One thread owns it."""

    @property
    def adapters(self) -> Mapping[str, str]:
        """Resident adapters: name → digest."""
        ...

    @property
    def base_fingerprint(self) -> str:
        """Identity of the base's weights."""
        ...

    @property
    def context_length(self) -> int:
        """Longest prompt plus answer, in tokens."""
        ...

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        ...

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request; it joins at one of the next steps.

        Raises:
            InputError: the request can never be answered.
        """
        ...

    def cancel(self, request_id: str) -> None:
        """Forget a request; its slot is free at the next step. Unknown ids are ignored."""
        ...

    def step(self) -> list[TokenOut]:
        """One forward for everything that runs; [] when idle."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """An engine that can get ready for a request beforehand, on the thread of whoever asks."""

    def prepare(self, request: GenerationRequest) -> None:
        """Compile the grammar of a request.

        Raises:
            InputError: it cannot be compiled.
        """
        ...


@runtime_checkable
class Fails(Protocol):
    """An engine that may find out after `submit` that a request cannot be answered."""

    def take_failures(self) -> list[tuple[str, TunesmithError]]:
        """Requests that cannot be answered although they were taken, and why; each is told once."""
        ...


@runtime_checkable
class PromptScorer(Protocol):
    """An engine that can say how likely the tokens of a given text are."""

    def score(self, tokens: tuple[int, ...], adapter: str = "", top: int = 0) -> list[TokenOut]:
        """Each token after the first with its log-probability given those before, and the ``top`` likeliest there."""
        ...
