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

    @property
    def token_count(self) -> int:
        """T."""
        return self.tokens.shape[1]

    @property
    def target_count(self) -> int:
        """N."""
        return self.targets.shape[0]


def pack(examples: Sequence[TokenizedExample], device: torch.device | None = None) -> Batch:
    """Lay documents one behind the other."""
    lengths = [len(e.tokens) for e in examples]
    tokens = torch.tensor([t for e in examples for t in e.tokens], dtype=torch.int64)
    weights = torch.tensor([w for e in examples for w in e.weights], dtype=torch.float32)
    owners = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    starts = torch.tensor([0, *lengths]).cumsum(0)[:-1]
    weights[starts] = 0.0  # what comes before the first token belongs to another document
    at = weights.nonzero().squeeze(1)
    return Batch(
        tokens=tokens.unsqueeze(0).to(device),
        positions=positions(lengths, device),
        layout=plan_layout(lengths, device),
        rows=(at - 1).to(device),
        targets=tokens[at].to(device),
        weights=weights[at].to(device),
        owners=owners[at].to(device),
        example_ids=tuple(e.example_id for e in examples),
    )
