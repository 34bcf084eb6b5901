"""The few callables that cross borders between parts.

``Sampler`` is the waist of the hourglass: evaluation and assessment see models only through it, so the same code
judges a local base, an adapter, a merged model and a remote endpoint, and needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tunesmith.core.records import (
    Completion,
    Example,
    Message,
    Prompt,
    SamplingParams,
    Score,
    TokenizedExample,
)

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""


class TextStream(Protocol):
    """Token ids in, text out, piece by piece; looks for stop strings on the way."""

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met; nothing more comes out then."""
        ...

    def push(self, token: int) -> str:
        """The text that is certain after this token (may be empty: half a character, half a stop string)."""
        ...

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        ...


@dataclass(frozen=True)
class CallPiece:
    """News of call number ``index`` of an answer: its id and name (once, at its beginning), or more arguments."""

    index: int
    id: str
    name: str
    arguments: str


class CallStream(Protocol):
    """The text of an answer in, content and tool calls out, piece by piece."""

    @property
    def complete(self) -> bool:
        """At least one call is whole and none is open."""
        ...

    @property
    def enough(self) -> bool:
        """The one call that is allowed is whole."""
        ...

    def push(self, text: str) -> Sequence[str | CallPiece]:
        """What is certain after this text."""
        ...

    def finish(self) -> Sequence[str | CallPiece]:
        """What was held back, when no more text comes."""
        ...


class Tagger(Protocol):
    """A model that finds names in text."""

    @property
    def name(self) -> str:
        """What to call it in reports."""
        ...

    def __call__(self, text: str) -> Sequence[tuple[str, int, int, float]]:
        """Label, first character, character after the last, and score (0 to 1) of every name."""
        ...


class Renderer(Protocol):
    """Strings to token ids and back: the one place where a chat template is applied."""

    @property
    def digest(self) -> str:
        """Identity of tokenizer, template and rules: equal digests give equal ids."""
        ...

    @property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end an answer."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of ids that the tokenizer can give, added tokens included."""
        ...

    def prompt(self, messages: Sequence[Message], tools: Sequence[object] = ()) -> tuple[int, ...]:
        """Ids of a conversation that is to be answered, up to where the answer begins."""
        ...

    def example(self, example: Example) -> list[TokenizedExample]:
        """Ids and weights of a training row; more than one where the template rewrites history."""
        ...

    def text(self, text: str) -> tuple[int, ...]:
        """Ids of plain text, with the beginning-of-sequence token if the tokenizer adds one."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, control tokens left out."""
        ...

    def stream(self, stop: Sequence[str] = ()) -> TextStream:
        """A fresh stream for one answer; the stop strings themselves are never given out."""
        ...


class Sampler(Protocol):
    """Something that answers prompts and scores answers."""

    @property
    def name(self) -> str:
        """Name for people and reports."""
        ...

    @property
    def digest(self) -> str:
        """Identity of what answers (weights, adapter, template): equal digests answer equally."""
        ...

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """One completion per prompt, in order."""
        ...

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of the final answer's tokens (stop token included) of each example, in order."""
        ...
