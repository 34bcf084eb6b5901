"""How far apart two forms of one model are, on the same tokens: what was judged, and what is handed over.

The unit is the standard deviation of the logits themselves, so that one threshold fits models of any size.
Shapes: N positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tunesmith.core.artifacts import Difference
from tunesmith.model.load import Base
from tunesmith.model.router import BASE

Tensor = torch.Tensor
Documents = Sequence[Sequence[int]]

NEUTRAL_TEXTS = (
    "The capital of France is Paris, and the river that runs through it is the Seine.",
    "Three times four makes twelve. Water boils at one hundred degrees.",
    '{"name": "flour", "amount": 200, "unit": "g"}',
)
"""Texts that every model has an opinion on; no row of the user's data is needed for a look at its logits."""

MOST_TOKENS = 1024
"""Positions that are compared at most: with 150,000 words a thousand of them take 600 MB."""

LEAST_KEPT = 0.5
"""The share of an adapter's effect that has to survive a merge."""

MERGE_LIMITS = {torch.float32: 1e-3, torch.bfloat16: 1.0}
"""Largest difference that a merge may make, by number format, in standard deviations of the logits.

Over a thousand positions of a 135M model a merge in fp32 makes 0.00002 of them. One in bf16 makes 0.31, and bf16 alone
is 0.30 away from fp32 there: the limit leaves room for rounding, and none for a wrong base (a 4-bit adapter in the full
weights: 2.9).
"""


def choose(rows: Documents, canaries: Documents) -> list[list[int]]:
    """The canaries, and as many of the rows as `MOST_TOKENS` leave room for; longer rows are left out."""
    chosen, room = [list(ids) for ids in canaries], MOST_TOKENS - sum(len(ids) for ids in canaries)
    for ids in rows:
        if len(ids) <= room:
            chosen.append(list(ids))
            room -= len(ids)
    return chosen


def logits_of(base: Base, documents: Documents, adapter: str = BASE) -> Tensor:
    """fp32 logits (N, V) of all documents under base + adapter, on the CPU."""
    found = []
    for ids in documents:
        base.router.training, base.router.segments = None, [(adapter, 0, len(ids))]
        found.append(base.logits([list(ids)])[0].cpu())
    base.router.segments = ()
    return torch.cat(found)


def plain_logits(model: Any, documents: Documents) -> Tensor:
    """The same of a model as transformers loads it."""
    with torch.inference_mode():
        return torch.cat(
            [model(torch.tensor([list(ids)], device=model.device)).logits[0].float().cpu() for ids in documents]
        )


def difference(wanted: Tensor, got: Tensor, without: Tensor | None = None) -> Difference:
    """How far ``got`` (N, V) is from ``wanted``; ``without`` is the base alone, to show how much an adapter does."""
    apart = got - wanted
    spread = float(wanted.std()) or 1.0
    largest = float(apart.abs().max())
    error, effect = _rms(apart), None if without is None else _rms(wanted - without)
    return Difference(
        positions=wanted.shape[0],
        largest=largest,
        spread=spread,
        relative=largest / spread,
        agreement=float((got.argmax(-1) == wanted.argmax(-1)).float().mean()),
        kept=None if not effect else max(0.0, 1 - error / effect),
    )


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def release(base: Base) -> None:
    """Give the memory of a base's weights back; nothing can be asked of it any more."""
    base.model.to("meta")
