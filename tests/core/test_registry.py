"""The nearest known spelling of a name."""

from __future__ import annotations

import pytest

from tunesmith.core.registry import nearest

NAMES = ("learning_rate", "lora_r", "lora_alpha", "Model")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("learing_rate", ["learning_rate"]),
        ("Learning-Rate", ["learning_rate"]),
        ("lora_rank", ["lora_r"]),
        ("model", ["Model"]),
        ("xyzzy", []),
        ("", []),
    ],
)
def test_nearest(name: str, found: list[str]) -> None:
    assert nearest(name, NAMES) == found


def test_several_come_best_first() -> None:
    assert nearest("lora_alph", NAMES, 2) == ["lora_alpha", "lora_r"]
    assert nearest("anything", ()) == []
