"""Attention of packed rows on a GPU: torch's variable-length flash kernel, taken only where it proves itself first.

The kernel reads the row as it lies, without padding. It is not causal unless told so, has limits of its own, and its
backward pass adds in no fixed order unless torch is told to be deterministic. So it is tried once on the device, for
each number format, shape of heads and use of a window, against plain attention, forward and backward; where it fails
or is absent, `tunesmith.model.attention` goes its other ways.

Shapes: T tokens of the row, H query heads, K key/value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F

Tensor = torch.Tensor
TRIED = (37, 5, 1, 21)
"""Lengths of the documents of the proof; the window, where there is one, is 8."""

ROUNDING = 0.03
"""How far results in 16 bits may be from plain attention's in 32, as a share of the largest value."""

INDEX_LIMIT = 2**31
"""The kernel's backward pass counts the cells of its gradient in 32 bits."""


def usable(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], window: int) -> bool:
    """Whether the kernel takes these tensors and has proved itself with their like."""
    heads, size = q.shape[1], q.shape[2]
    if not q.is_cuda or q.dtype not in (torch.bfloat16, torch.float16):
        return False
    if size % 8 or size > 256 or v.shape[2] != size or heads % k.shape[1]:
        return False
    if (q.shape[0] + 128 * len(lengths)) * heads * (-(-size // 32) * 32) >= INDEX_LIMIT:
        return False
    return proven(q.device, q.dtype, heads, k.shape[1], size, window > 0)


def attend(
    lengths: Sequence[int], borders: Tensor, q: Tensor, k: Tensor, v: Tensor, scaling: float, window: int
) -> Tensor:
    """q (T, H, D), k and v (T, K, D) → (T, H, D), each document by itself, causal, within the window (0: none).

    Args:
        borders: (documents + 1,) int32 on the device: where each document begins, and the row's end.
    """
    from torch.nn.attention.varlen import varlen_attn

    longest = max(lengths)
    seen = (window - 1, 0) if window else (-1, 0)  # the kernel counts the tokens before the query, we count it in
    return varlen_attn(  # type: ignore[return-value]
        q,
        k,
        v,
        borders,
        borders,
        longest,
        longest,
        scale=scaling,
        window_size=seen,
        enable_gqa=q.shape[1] != k.shape[1],
    )


def borders_of(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Where each document of a row begins, and the row's end, as the kernel wants it."""
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(device)


@lru_cache(maxsize=64)
def proven(device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, size: int, windowed: bool) -> bool:
    """Whether output and gradients of the kernel are those of plain attention, on this device."""
    return deviation(device, dtype, heads, kv_heads, size, windowed) < ROUNDING


def deviation(device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, size: int, windowed: bool) -> float:
    """How far they are apart, as a share of the largest value; infinite where there is no kernel for this."""
    generator = torch.Generator(device).manual_seed(0)  # a run's own generator must not move
    with torch.inference_mode(False), torch.enable_grad():
        shapes = [(sum(TRIED), count, size) for count in (heads, kv_heads, kv_heads)]
        parts = [torch.randn(shape, device=device, generator=generator) for shape in shapes]
        wanted = torch.randn(shapes[0], device=device, generator=generator)
        window, scaling = 8 * windowed, size**-0.5
        low = [part.to(dtype).requires_grad_() for part in parts]
        exact = [part.to(dtype).float().requires_grad_() for part in parts]
        try:
            ours = attend(TRIED, borders_of(TRIED, device), low[0], low[1], low[2], scaling, window)
            ours_grads = torch.autograd.grad(ours, low, wanted.to(dtype))
        except (RuntimeError, ValueError, TypeError, ImportError):  # no kernel for this device, this shape, this torch
            return float("inf")
        theirs = plain(TRIED, exact[0], exact[1], exact[2], scaling, window)
        theirs_grads = torch.autograd.grad(theirs, exact, wanted.to(dtype).float())
        return max(map(_distance, (ours, *ours_grads), (theirs, *theirs_grads)))


def _distance(ours: Tensor, theirs: Tensor) -> float:
    difference = (ours.detach().float() - theirs.detach()).abs().max() / theirs.detach().abs().max()
    return float(difference) if bool(torch.isfinite(difference)) else float("inf")


def plain(lengths: Sequence[int], q: Tensor, k: Tensor, v: Tensor, scaling: float, window: int) -> Tensor:
    """The same from first principles, document by document: what the kernel is held against."""
    outputs, groups = [], q.shape[1] // k.shape[1]
    for queries, keys, values in zip(*(x.split(list(lengths)) for x in (q, k, v)), strict=True):
        at = torch.arange(queries.shape[0], device=q.device)
        hidden = at[None] > at[:, None]
        if window:
            hidden = hidden | (at[None] <= at[:, None] - window)
        keys, values = (x.transpose(0, 1).repeat_interleave(groups, 0) for x in (keys, values))
        scores = queries.transpose(0, 1) @ keys.transpose(1, 2) * scaling
        outputs.append((F.softmax(scores.masked_fill(hidden, float("-inf")), dim=-1) @ values).transpose(0, 1))
    return torch.cat(outputs)
