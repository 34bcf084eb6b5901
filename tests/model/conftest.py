"""A tiny base in fp32 and rows of random tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tunesmith.core.records import TokenizedExample
from tunesmith.model.load import Base, load_base


def rows(count: int, seed: int = 0, low: int = 4, high: int = 24) -> list[TokenizedExample]:
    """Random documents whose second half is the answer."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for index in range(count):
        length = int(torch.randint(low, high, (1,), generator=generator))
        tokens = torch.randint(3, 384, (length,), generator=generator).tolist()
        weights = [0.0] * (length // 2) + [1.0] * (length - length // 2)
        made.append(TokenizedExample(example_id=f"row{index}", tokens=tuple(tokens), weights=tuple(weights)))
    return made


@pytest.fixture
def base(tiny_model: Path) -> Base:
    return load_base(tiny_model, torch.float32)


@pytest.fixture
def base_bf16(tiny_model: Path) -> Base:
    return load_base(tiny_model, torch.bfloat16)
