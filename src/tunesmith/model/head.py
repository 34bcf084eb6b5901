"""The language-model head on target rows only, in row chunks, with the gradient formed in forward.

Only positions whose next token is trained go through the vocabulary matrix, and logits exist for one chunk of rows at
a time. Shapes: N target rows, W hidden width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

Tensor = torch.Tensor
CHUNK_ROWS = 128
"""Rows that go through the vocabulary matrix at a time: a fat product, and 13 MB of bf16 logits at V = 49,152."""
CACHED_LOGITS = 1 << 18
"""Logits that a CPU turns into gradients at a time: 1 MB in fp32, which stays in the cache between the passes."""

GPU_CHUNK_ROWS = 1024
"""The same on a GPU, whose matrix products want more rows than that: 1,024 × 128,256 fp32 logits are 525 MB."""


def chunk_rows(where: torch.device) -> int:
    """Rows at a time on a device."""
    return GPU_CHUNK_ROWS if where.type == "cuda" else CHUNK_ROWS


@dataclass(frozen=True)
class Head:
    """Hidden states → logits: cap·tanh(scale·(h·Wᵀ + b) / cap); ``cap`` 0 leaves the tanh out.

    Gemma caps its logits, Cohere and Granite scale them. Scale and cap are applied in fp32.
    """

    linear: torch.nn.Linear
    scale: float = 1.0
    cap: float = 0.0

    @property
    def weight(self) -> torch.nn.Parameter:
        """(V, W)."""
        return self.linear.weight

    @property
    def bias(self) -> Tensor | None:
        """(V,), where there is one."""
        return self.linear.bias

    def __call__(self, hidden: Tensor) -> Tensor:
        """fp32 logits (…, V) of hidden states (…, W)."""
        return _shape(self.linear(hidden.to(self.weight.dtype)).float(), self.scale, self.cap)


def _shape(logits: Tensor, scale: float, cap: float) -> Tensor:
    if scale != 1.0:
        logits = logits * scale
    return torch.tanh(logits / cap) * cap if cap else logits


class HeadLoss(torch.autograd.Function):
    """Σ weight · −log p(target), in fp32, and the unweighted −log p of each row.

    forward(hidden (N, W), weight (V, W), bias (V,) or None, targets (N,) int64, weights (N,) fp32, `Head`'s scale, cap)
    → (loss () fp32, negative log-probabilities (N,) fp32). Only the first output carries a gradient.
    Logits are computed in the dtype of ``hidden`` and raised to fp32, as transformers' loss does. What is made for the
    gradient costs little beside the product, so it is made in evaluation too.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        weights: Tensor,
        scale: float = 1.0,
        cap: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        losses = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=hidden.device) if needs_weight else None
        grad_bias = torch.zeros(weight.shape[0], dtype=torch.float32, device=hidden.device) if needs_bias else None
        size = chunk_rows(hidden.device)
        buffer = hidden.new_empty(min(size, hidden.shape[0]), weight.shape[0])
        for start in range(0, hidden.shape[0], size):
            rows = slice(start, start + size)
            logits = _logits(hidden[rows], weight, bias, buffer)
            losses[rows] = _to_gradients(logits, targets[rows], weights[rows], scale, cap)
            if grad_hidden is not None:
                torch.matmul(logits, weight, out=grad_hidden[rows])
            if grad_weight is not None:
                grad_weight += torch.matmul(logits.t(), hidden[rows]).float()
            if grad_bias is not None:
                grad_bias += logits.sum(0, dtype=torch.float32)
        ctx.gradients = (grad_hidden, grad_weight, grad_bias)
        ctx.dtypes = (hidden.dtype, weight.dtype)
        ctx.mark_non_differentiable(losses)
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _grad_losses: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_hidden, grad_weight, grad_bias = ctx.gradients
        hidden_dtype, weight_dtype = ctx.dtypes
        return (
            None if grad_hidden is None else (grad_hidden * grad).to(hidden_dtype),
            None if grad_weight is None else (grad_weight * grad).to(weight_dtype),
            None if grad_bias is None else (grad_bias * grad).to(weight_dtype),
            *(None,) * 4,
        )


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, buffer: Tensor) -> Tensor:
    """Unscaled logits (rows, V) of a chunk, in the memory of ``buffer``: pages that are new each time cost more."""
    out = buffer[: hidden.shape[0]]
    if bias is None:
        return torch.mm(hidden, weight.t(), out=out)
    return torch.addmm(bias, hidden, weight.t(), out=out)


def _to_gradients(logits: Tensor, targets: Tensor, weights: Tensor, scale: float, cap: float) -> Tensor:
    """Overwrite a chunk's logits (rows, V) by the loss's gradient with respect to them; −log p(target) (rows,) fp32.

    Few rows at a time, so that the fp32 values in between never leave the cache. The logarithm of the softmax's sum is
    taken at the largest logit, whose probability is at least 1 / V.
    """
    count, vocabulary = logits.shape
    step = count if logits.is_cuda else max(1, CACHED_LOGITS // vocabulary)
    losses = torch.empty(count, dtype=torch.float32, device=logits.device)
    for start in range(0, count, step):
        rows = slice(start, start + step)
        shaped, target = _shape(logits[rows].float(), scale, cap), targets[rows, None]
        gradient = torch.softmax(shaped, dim=-1)
        log_sum = shaped.amax(-1, keepdim=True) - gradient.amax(-1, keepdim=True).log()
        losses[rows] = (log_sum - shaped.gather(1, target)).squeeze(1)
        gradient.scatter_add_(1, target, torch.full_like(log_sum, -1.0))
        gradient.mul_(weights[rows, None] * scale)
        if cap:
            gradient.mul_(1 - (shaped / cap).square())
        logits[rows] = gradient
    return losses


def head_loss(hidden: Tensor, head: Head, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted loss of target rows and each row's negative log-probability; see `HeadLoss`."""
    hidden = hidden.to(head.weight.dtype)  # some bodies end in fp32
    return HeadLoss.apply(hidden, head.weight, head.bias, targets, weights, head.scale, head.cap)
