"""How likely the tokens of a given text are, and which would have been likelier: what log-likelihood tools ask for."""

from __future__ import annotations

import torch

from tunesmith.core.generation import TokenOut
from tunesmith.model.attention import plan_layout, positions
from tunesmith.model.load import Base

ROWS = 256
"""Positions whose logits are in memory at the same time."""


def prompt_scores(base: Base, tokens: tuple[int, ...], adapter: str = "", top: int = 0) -> list[TokenOut]:
    """Each token after the first with its log-probability (nats) given those before it, in one forward.

    ``top``: that many of the likeliest tokens at each place come with it, best first.
    """
    if len(tokens) < 2:
        return []
    flat = torch.tensor([tokens], dtype=torch.int64, device=base.device)
    base.router.training = None
    base.router.segments = [(adapter, 0, len(tokens))]
    scored: list[TokenOut] = []
    with torch.inference_mode():
        layout = plan_layout([len(tokens)], base.device)
        hidden = base.hidden(flat, positions([len(tokens)], base.device), layout)[:-1]
        for start in range(0, len(hidden), ROWS):
            logprobs = torch.log_softmax(base.head(hidden[start : start + ROWS]).float(), dim=-1)
            wanted = flat[0, start + 1 : start + 1 + len(logprobs)]
            values = logprobs.gather(1, wanted[:, None])[:, 0].tolist()
            best = logprobs.topk(top, dim=-1) if top else None
            for row, value in enumerate(values):
                likeliest: tuple[tuple[int, float], ...] = ()
                if best is not None:
                    pairs = zip(best.indices[row].tolist(), best.values[row].tolist(), strict=True)
                    likeliest = tuple(pairs)
                scored.append(TokenOut("", tokens[start + row + 1], value, None, likeliest))
    return scored
