"""What a model thinks of every token of an answer, beyond the log-probability of the token itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunesmith.core.records import Example, Record


class TokenScores(Record):
    """Per token of one final answer (stop token included), in order; natural logarithms.

    ``best`` is the log-probability of the likeliest token at that place: equal to ``logprobs`` where greedy decoding
    would give this very token. ``mean`` and ``deviation`` describe log p of a token drawn from the model's own
    distribution at that place.
    """

    example_id: str
    logprobs: tuple[float, ...]
    best: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def greedy(self) -> tuple[bool, ...]:
        """Whether greedy decoding, having come so far, gives each token."""
        return tuple(own >= top for own, top in zip(self.logprobs, self.best, strict=True))


ScoreTokens = Callable[[Sequence[Example]], list[TokenScores]]
"""Scores of each example's final answer, in order. Not every sampler has them: an endpoint does not tell."""
