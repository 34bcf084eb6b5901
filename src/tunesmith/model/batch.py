"""TokenizedExamples → one packed row of tensors. There is no padding.

Shapes: T tokens of all documents, N target tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tunesmith.core.records import TokenizedExample
from tunesmith.model.attention import Layout, plan_layout, positions

Tensor = torch.Tensor


@dataclass(frozen=True)
class Batch:
    """A packed micro-batch.

    ``tokens``, ``positions`` (1, T) int64; ``rows`` (N,) int64: the hidden row that predicts each target;
    ``targets`` (N,) int64; ``weights`` (N,) fp32; ``owners`` (N,) int64: the document of each target.
    The first token of a document is never a target, so no document predicts another.
    """

    tokens: Tensor
    positions: Tensor
    layout: Layout
    rows: Tensor
    targets: Tensor
    weights: Tensor
    owners: Tensor
    example_ids: tuple[str, ...]
    document_tokens: int
    """Tokens of all documents; more than T where they share a beginning."""

    @property
    def token_count(self) -> int:
        """T, the tokens that are computed."""
        return self.tokens.shape[1]

    @property
    def target_count(self) -> int:
        """N."""
        return self.targets.shape[0]


SHARED_AT_LEAST = 8
"""Tokens that documents must have in common at their beginning for it to be packed once."""


def pack(examples: Sequence[TokenizedExample], device: torch.device | None = None, share: bool = False) -> Batch:
    """Lay documents one behind the other.

    Args:
        share: where all documents begin with the same untrained tokens (a system prompt, an instruction), compute
            these once. Exact, as no token of theirs depends on what follows; gradients add up. Not for models with
            dropout, where each document would draw its own.
    """
    common = shared_length(examples) if share else 0
    lengths = [common] * (common > 0) + [len(e.tokens) - common for e in examples]
    tokens = [*examples[0].tokens[:common], *(t for e in examples for t in e.tokens[common:])]
    weights = torch.tensor([0.0] * common + [w for e in examples for w in e.weights[common:]], dtype=torch.float32)
    numbers = torch.arange(len(examples))
    owners = torch.repeat_interleave(numbers, torch.tensor([len(e.tokens) - common for e in examples]))
    owners = torch.cat([torch.zeros(common, dtype=torch.int64), owners])
    starts = torch.tensor([0, *lengths]).cumsum(0)[:-1]
    if not common:
        weights[starts] = 0.0  # what comes before the first token belongs to another document
    at = weights.nonzero().squeeze(1)
    rows = at - 1
    if common:
        rows[torch.isin(at, starts)] = common - 1
    flat = torch.tensor(tokens, dtype=torch.int64)
    return Batch(
        tokens=flat.unsqueeze(0).to(device),
        positions=positions(lengths, device) + _offsets(lengths, common, device),
        layout=plan_layout(lengths, device, shared=common > 0),
        rows=rows.to(device),
        targets=flat[at].to(device),
        weights=weights[at].to(device),
        owners=owners[at].to(device),
        example_ids=tuple(e.example_id for e in examples),
        document_tokens=sum(len(e.tokens) for e in examples),
    )


def shared_length(examples: Sequence[TokenizedExample]) -> int:
    """Untrained tokens that all documents begin with; 0 where it is not worth it. Each keeps a token of its own."""
    if len(examples) < 2:
        return 0
    first = examples[0]
    limit = min(len(e.tokens) for e in examples) - 1
    common = 0
    while (
        common < limit
        and all(e.tokens[common] == first.tokens[common] for e in examples)
        and not any(e.weights[common] for e in examples)
    ):
        common += 1
    return common if common >= SHARED_AT_LEAST else 0


def _offsets(lengths: Sequence[int], common: int, device: torch.device | None) -> Tensor:
    """What to add to positions that count from 0 in each part of the row: 0 in the beginning, then its length."""
    offsets = torch.full((sum(lengths),), common, device=device)
    offsets[:common] = 0
    return offsets
