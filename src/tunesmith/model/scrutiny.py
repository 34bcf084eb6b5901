"""Every token of given answers under the whole distribution of a local model: what leakage is measured with."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tunesmith.core.errors import DataError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Example
from tunesmith.core.scrutiny import ScoreTokens, TokenScores
from tunesmith.model.attention import plan_layout, positions
from tunesmith.model.load import Base
from tunesmith.model.sample import SCORE_TOKENS, LocalSampler

ROWS = 64
"""Places whose logits are held at a time: 13 MB in fp32 at V = 49,152."""


def token_scorer(sampler: LocalSampler, progress: Progress | None = None) -> ScoreTokens:
    """A function from examples to the scores of their final answers' tokens, under this sampler's model."""

    def score(examples: Sequence[Example]) -> list[TokenScores]:
        rows = [_answer(sampler, example) for example in examples]
        found: list[TokenScores] = []
        while len(found) < len(rows):
            end, tokens = len(found), 0
            while end < len(rows) and (end == len(found) or tokens + len(rows[end][0]) <= SCORE_TOKENS):
                tokens += len(rows[end][0])
                end += 1
            parts = _scores(sampler.engine.base, rows[len(found) : end], sampler.adapter)
            found += [
                TokenScores(
                    example_id=examples[len(found) + i].id, logprobs=own, best=best, mean=mean, deviation=spread
                )
                for i, (own, best, mean, spread) in enumerate(parts)
            ]
            if progress:
                progress(len(found), len(rows))
        return found

    return score


def _answer(sampler: LocalSampler, example: Example) -> tuple[tuple[int, ...], int]:
    """Ids up to the end of the final answer, and the first of its tokens.

    Raises:
        DataError: the row does not fit into the context.
    """
    last = sampler.renderer.example(example)[-1]
    end, start = (last.spans[-1].end, last.spans[-1].start) if last.spans else (len(last.tokens), 1)
    if end > sampler.engine.context_length:
        raise DataError(
            f"the row has {end} tokens, and the model takes {sampler.engine.context_length}",
            where=f"row {example.id}",
            rule="question and answer fit into the model's context; nothing is cut",
            fix="leave the row out of the file",
        )
    return last.tokens[:end], start


def _scores(base: Base, rows: Sequence[tuple[Sequence[int], int]], adapter: str) -> list[tuple[tuple[float, ...], ...]]:
    """(log p, largest log p, mean, deviation) of tokens ``first``.. of each row; one packed forward pass."""
    lengths = [len(ids) for ids, _ in rows]
    flat = torch.tensor([[t for ids, _ in rows for t in ids]], dtype=torch.int64, device=base.device)
    where: list[int] = []
    counts, offset = [], 0
    for ids, first in rows:
        where += range(offset + first - 1, offset + len(ids) - 1)
        counts.append(len(ids) - first)
        offset += len(ids)
    base.router.training = None
    base.router.segments = [(adapter, 0, offset)]
    with torch.inference_mode():
        hidden = base.hidden(flat, positions(lengths, base.device), plan_layout(lengths, base.device))
        at = torch.tensor(where, dtype=torch.int64, device=base.device)
        columns = torch.cat([_moments(base, hidden[part], flat[0, part + 1]) for part in at.split(ROWS)], dim=1)
    return [tuple(tuple(line) for line in part.tolist()) for part in columns.cpu().split(counts, dim=1)]


def _moments(base: Base, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(4, n) for hidden states (n, W): log p of the targets, the largest log p, its mean and its deviation."""
    logprobs = torch.log_softmax(base.head(hidden), dim=-1)
    p = logprobs.exp()
    own = logprobs.gather(1, targets[:, None]).squeeze(1)
    finite = torch.where(p > 0, logprobs, 0.0)
    mean = (p * finite).sum(-1)
    spread = ((p * finite.square()).sum(-1) - mean.square()).clamp_min(0).sqrt()
    return torch.stack([own, logprobs.amax(-1), mean, spread])
