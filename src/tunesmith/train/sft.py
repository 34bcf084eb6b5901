"""Supervised tuning: weighted cross-entropy of the wanted answer's tokens."""

from __future__ import annotations

import torch

from tunesmith.model.batch import Batch
from tunesmith.model.head import head_loss
from tunesmith.model.load import Base

Tensor = torch.Tensor


def loss(base: Base, batch: Batch) -> tuple[Tensor, Tensor]:
    """Σ weight · −log p over the targets of a packed batch (not normalised), and −log p of each target (N,), in nats.

    The caller divides by the total weight of the *global* batch, so that micro-batches and ranks count by their
    targets and not by their number.
    """
    hidden = base.hidden(batch.tokens, batch.positions, batch.layout)
    return head_loss(hidden[batch.rows], base.head, batch.targets, batch.weights)
