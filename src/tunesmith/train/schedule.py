"""Learning rates: the automatic peak, and the shape over the run."""

from __future__ import annotations

import math
from collections.abc import Mapping

FACTORS: Mapping[str, float] = {
    "lora": 1,
    "qlora": 1,
    "bottleneck": 1,
    "prefix": 10,
    "prompt": 40,
    "ia3": 20,
    "full": 0.1,
}
"""Method → its rate as a multiple of LoRA's. Few weights far from the loss want larger steps.

Those of ia3 and prompt were the best of several in 20 steps of SmolLM2-135M on restaurant sentences.
"""


def auto_learning_rate(hidden_size: int, method: str) -> tuple[float, str]:
    """Peak rate from the model's width, and the reason in words.

    LoRA: 5e-5 · 10 · (2000 / hidden)^0.781, the rule that Thinking Machines published for Llama-like models with
    less than 0.5 % regret; other methods take a multiple of it (`FACTORS`).
    """
    lora = 5e-5 * 10 * (2000 / hidden_size) ** 0.781
    rate = float(f"{lora * FACTORS[method]:.2g}")
    factor = "10 × the full rate" if FACTORS[method] == 1 else f"{FACTORS[method]:g} × the LoRA rate"
    return rate, f"{factor}, scaled by (2000 / {hidden_size})^0.781 for the model's width"


def rate_at(step: int, total: int, peak: float, shape: str, warmup_ratio: float) -> float:
    """Learning rate of optimiser step ``step`` (counted from 0) of ``total``.

    Linear warm-up over the first ``warmup_ratio`` of the steps, then constant, or cosine or linear down to 0.
    """
    warmup = math.ceil(total * warmup_ratio)
    if step < warmup:
        return peak * (step + 1) / warmup
    if shape == "constant":
        return peak
    progress = (step - warmup) / max(1, total - warmup)
    return peak * (1 - progress if shape == "linear" else 0.5 * (1 + math.cos(math.pi * progress)))
