"""What an inference engine takes and gives, one token at a time. Ids only: strings are the renderer's business.

    GenerationRequest ─submit→ engine ─step→ TokenOut, TokenOut, …

The embedded engine (`tunesmith.model.engine`) fits `TokenEngine`; so does anything else that answers in ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tunesmith.core.errors import TunesmithError
from tunesmith.core.records import FinishReason, SamplingParams


@dataclass(frozen=True)
class GenerationRequest:
    """Something to answer. ``adapter`` names an adapter of the engine, or is the digest of one; "" is the base.

    A name is looked up once, when the request is submitted: who began on a digest ends on it, wherever the name moves.
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
    """Answers many requests at once over one base and its adapters.

    One thread owns it and calls `submit`, `cancel`, `step` and `take_failures`. `adapters`, `add_adapter`,
    `remove_adapter` and `prepare` may be called by any thread, also while it steps.
    """

    @property
    def adapters(self) -> Mapping[str, str]:
        """Known adapters: name → digest. Few of them need to be in memory; the others are loaded when asked for."""
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

    def add_adapter(self, name: str, folder: Path, pinned: bool = False) -> str:
        """Read, check and know an adapter under ``name``; its digest. The name moves to it at once, between two steps.

        Args:
            pinned: it stays in memory.

        Raises:
            AdapterError: it does not belong to this base. CorruptArtifactError: a file was altered.
            InputError: there is no place for one more pinned adapter.
        """
        ...

    def remove_adapter(self, name: str) -> None:
        """Forget a name; requests that began on it end on it.

        Raises:
            InputError: no adapter has this name.
        """
        ...

    def prepare(self, request: GenerationRequest) -> None:
        """What may take long about a request, done before it is submitted: its grammar is compiled and remembered.

        Raises:
            InputError: the grammar cannot be compiled; the message names the problem.
        """
        ...

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request; it joins at one of the next steps.

        Raises:
            InputError: the request can never be answered.
        """
        ...

    def take_failures(self) -> list[tuple[str, TunesmithError]]:
        """Requests that were taken and cannot be answered, and why: a grammar that does not compile, an adapter whose
        files are gone. Each is told once, after a `step`; nothing more comes for it."""
        ...

    def cancel(self, request_id: str) -> None:
        """Forget a request; its slot is free at the next step. Unknown ids are ignored."""
        ...

    def step(self) -> list[TokenOut]:
        """One forward for everything that runs; [] when idle, or while nothing can run yet."""
        ...


@runtime_checkable
class PromptScorer(Protocol):
    """An engine that can say how likely the tokens of a given text are. Its owner's thread calls it."""

    def score(self, tokens: tuple[int, ...], adapter: str = "", top: int = 0) -> list[TokenOut]:
        """Each token after the first with its log-probability given those before, and the ``top`` likeliest there."""
        ...
