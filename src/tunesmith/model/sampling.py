"""How the next token of an answer is chosen from its logits.

    logits ─ penalties, biases ─ grammar ─ temperature, top-p ─ draw → token

Log-probabilities are those of the model itself, before all of this. Shape: V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch

from tunesmith.core.errors import InputError
from tunesmith.core.records import SamplingParams
from tunesmith.model.grammar import Matcher

Tensor = torch.Tensor


@dataclass
class Chooser:
    """Chooses the tokens of one answer, one after the other.

    ``plain``: nothing but the largest logit is asked for, so that many answers can be served by one argmax.
    """

    params: SamplingParams
    stop_ids: frozenset[int]
    matcher: Matcher | None = None
    generator: torch.Generator | None = None
    counts: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, params: SamplingParams, stop_ids: frozenset[int], vocabulary: int) -> Chooser:
        """A chooser for a new answer, without its grammar.

        Raises:
            InputError: a bias for a token that the model does not have.
        """
        unknown = [token for token in params.logit_bias if not 0 <= token < vocabulary]
        if unknown:
            raise InputError(
                f"logit_bias names token {unknown[0]}, which the model does not have",
                where="logit_bias",
                rule=f"token ids go from 0 to {vocabulary - 1}",
                fix="use the ids of this model's tokenizer",
            )
        generator = None
        if params.temperature > 0:
            generator = torch.Generator()
            generator.manual_seed(params.seed) if params.seed is not None else generator.seed()
        return cls(params, stop_ids, generator=generator)

    @property
    def plain(self) -> bool:
        """Whether the token with the largest logit is the answer's next one."""
        params = self.params
        shaped = params.presence_penalty or params.frequency_penalty or params.logit_bias or self.matcher
        return self.generator is None and not shaped

    def choose(self, logits: Tensor) -> int:
        """The next token from fp32 logits (V,), which are left as they are.

        Raises:
            TunesmithError: the grammar became too complex to go on.
        """
        params = self.params
        if params.logit_bias or (self.counts and (params.presence_penalty or params.frequency_penalty)):
            logits = self._shaped(logits)
        if self.matcher is not None:
            logits = logits.masked_fill(~self.matcher.allowed(self.stop_ids), float("-inf"))
        return choose_token(logits, params, self.generator)

    def took(self, token: int) -> None:
        """The answer goes on with this token."""
        if self.params.presence_penalty or self.params.frequency_penalty:
            self.counts[token] += 1
        if self.matcher is not None and token not in self.stop_ids:
            self.matcher.took(token)

    def _shaped(self, logits: Tensor) -> Tensor:
        """OpenAI's formula: logit − count · frequency_penalty − (count > 0) · presence_penalty + bias."""
        params, logits = self.params, logits.clone()
        if self.counts and (params.presence_penalty or params.frequency_penalty):
            tokens = torch.tensor(list(self.counts), dtype=torch.int64)
            times = torch.tensor(list(self.counts.values()), dtype=torch.float32)
            logits[tokens] -= times * params.frequency_penalty + params.presence_penalty
        if params.logit_bias:
            tokens = torch.tensor(list(params.logit_bias), dtype=torch.int64)
            logits[tokens] += torch.tensor(list(params.logit_bias.values()), dtype=torch.float32)
        return logits


def choose_token(logits: Tensor, params: SamplingParams, generator: torch.Generator | None) -> int:
    """The next token from fp32 logits (V,): the largest at temperature 0, else drawn from the top-p share.

    top-p keeps the smallest set of tokens whose probabilities reach ``top_p`` (Holtzman et al., arXiv 1904.09751).
    """
    if params.temperature == 0 or generator is None:
        return int(logits.argmax())
    probabilities = torch.softmax(logits / params.temperature, dim=-1)
    if params.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        beyond = ordered.cumsum(0) - ordered >= params.top_p
        probabilities = probabilities.index_fill(0, order[beyond], 0.0)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def likeliest(logits: Tensor, log_sum: float, count: int) -> tuple[tuple[int, float], ...]:
    """The ``count`` likeliest tokens of logits (V,) with their log-probabilities, best first."""
    if not count:
        return ()
    values, tokens = logits.topk(min(count, len(logits)))
    return tuple(zip(tokens.tolist(), (values - log_sum).tolist(), strict=True))
