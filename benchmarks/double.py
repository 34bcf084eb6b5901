"""Double passes such as DPO makes (Rafailov et al., arXiv 2305.18290), from the engine's public pieces.

Each step: a forward pass of the frozen base over the better and worse answers, then a forward and backward pass of
the adapter over the same rows; loss −log σ(β·((π_w − ref_w) − (π_l − ref_l))), the mean over pairs. Log-probabilities
are sums over an answer's tokens. The first half of a step's rows are the better answers, the second half the worse.

Shapes: N target tokens, D documents, W hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from tunesmith.core.records import TokenizedExample
from tunesmith.model.adapted import linear_layers, shape_of
from tunesmith.model.batch import Batch, pack
from tunesmith.model.head import head_loss
from tunesmith.model.load import Base
from tunesmith.model.router import BASE
from tunesmith.model.trainable import Trainable

Tensor = torch.Tensor


@dataclass(frozen=True)
class DoubleStep:
    """What a step was."""

    step: int
    loss: float
    example_ids: tuple[str, ...]
    computed_tokens: int
    target_tokens: int


def train(
    base: Base,
    trainable: Trainable,
    steps: Sequence[Sequence[TokenizedExample]],
    optimiser: torch.optim.Optimizer,
    beta: float,
    max_grad_norm: float,
) -> Iterator[DoubleStep]:
    """One optimiser step for each of ``steps``, at the rate that the optimiser has."""
    for number, chosen in enumerate(steps, start=1):
        batch = pack(chosen, base.device, trainable.share)
        loss = gradients(base, trainable, batch, beta)
        norm = float(trainable.grad.norm())
        if norm > max_grad_norm:
            trainable.grad.mul_(max_grad_norm / norm)
        optimiser.step()
        trainable.grad.zero_()
        yield DoubleStep(number, loss, batch.example_ids, batch.token_count, batch.target_count)


def gradients(base: Base, trainable: Trainable, batch: Batch, beta: float) -> float:
    """The gradient of a step into ``trainable.grad``; gives the loss.

    The head runs once: the slope of each row's log-probability is made with weight one, and scaled when the loss of
    the pairs, which needs all rows, is known.
    """
    reference = reference_logprobs(base, batch)
    trainable.begin()
    base.model.train()
    hidden = base.hidden(batch.tokens, batch.positions, batch.layout)[batch.rows]
    leaf = hidden.detach().requires_grad_()
    total, losses = head_loss(leaf, base.head, batch.targets, torch.ones_like(batch.weights))
    [slope] = torch.autograd.grad(total, leaf)
    policy = _by_document(batch, -losses).requires_grad_()
    loss = preference_loss(policy, reference, beta)
    [pull] = torch.autograd.grad(loss, policy)
    hidden.backward((slope.float() * -pull[batch.owners, None]).to(hidden.dtype))
    return float(loss.detach())


def preference_loss(policy: Tensor, reference: Tensor, beta: float) -> Tensor:
    """() of the log-probabilities (D,) of all answers, the better half first."""
    better, worse = (policy - reference).chunk(2)
    return -F.logsigmoid(beta * (better - worse)).mean()


def reference_logprobs(base: Base, batch: Batch) -> Tensor:
    """(D,) of the base without an adapter, no gradients."""
    base.router.training = None
    base.router.segments = [(BASE, 0, batch.token_count)]
    base.model.eval()
    with torch.no_grad():
        hidden = base.hidden(batch.tokens, batch.positions, batch.layout)
        _, losses = head_loss(hidden[batch.rows], base.head, batch.targets, torch.ones_like(batch.weights))
    return _by_document(batch, -losses)


def _by_document(batch: Batch, values: Tensor) -> Tensor:
    sums = torch.zeros(len(batch.example_ids), dtype=torch.float32, device=values.device)
    return sums.index_add_(0, batch.owners, values.detach().float())


def reference_flops(base: Base, tokens: int, targets: int) -> float:
    """Operations of the matrix products of the frozen forward passes."""
    linear = sum(math.prod(shape_of(layer)) for _, layer in linear_layers(base.model))
    return 2.0 * linear * tokens + 2.0 * base.head.weight.numel() * targets
