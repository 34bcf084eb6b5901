"""Weights laid out for answering: the same bits where they are packed, near them where they are in 8 bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.model.test_engine import finish, prompt, request
from tests.tiny import build_model
from tunesmith.core.errors import ConfigError
from tunesmith.model import device
from tunesmith.model.engine import Engine
from tunesmith.model.load import load_base
from tunesmith.model.packed import lay_out

CPU = torch.device("cpu")
needs_bf16 = pytest.mark.skipif(not device.has_fast_bf16(CPU), reason="this processor does not multiply bf16")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("packed") / "model", spread=0.1, hidden=64)


@needs_bf16
def test_packed_weights_give_the_same_bits(model: Path) -> None:
    plain, packed = (load_base(model, torch.bfloat16, CPU) for _ in range(2))
    assert lay_out(plain, "plain") == "weights as they are"
    assert "with the same results" in lay_out(packed, "packed")
    documents = [list(prompt(seed, length)) for seed, length in enumerate((1, 5, 40, 90))]
    for ours, theirs in zip(packed.logits(documents), plain.logits(documents), strict=True):
        assert torch.equal(ours, theirs)
    assert packed.format == plain.format == "bfloat16"


@needs_bf16
def test_eight_bits_are_near_and_do_not_depend_on_company(model: Path) -> None:
    plain, short = (load_base(model, torch.bfloat16, CPU) for _ in range(2))
    assert "linear layers in 8 bits" in lay_out(short, "int8")
    assert short.format == "bfloat16-int8"
    documents = [list(prompt(seed, 20)) for seed in range(3)]
    together = short.logits(documents)
    for index, document in enumerate(documents):
        alone = short.logits([document])[0]
        torch.testing.assert_close(together[index], alone, atol=0.05, rtol=0.02)
        wanted = torch.log_softmax(plain.logits([document])[0], -1)
        difference = (torch.log_softmax(alone, -1) - wanted).abs()
        assert 0 < float(difference.mean()) < 0.05
    engine = Engine(short)
    engine.submit(request("x", prompt(1, 9), max_tokens=5))
    assert len(finish(engine)["x"]) == 5


@needs_bf16
def test_gradients_see_the_weights_as_they_are(model: Path) -> None:
    base = load_base(model, torch.bfloat16, CPU)
    layer = base.model.get_submodule("model.layers.0.mlp.up_proj")
    x = torch.randn(3, 64).bfloat16()
    wanted = torch.nn.functional.linear(x, layer.weight)  # type: ignore[arg-type]
    lay_out(base, "int8")
    assert torch.equal(layer(x), wanted)
    with torch.no_grad():
        assert not torch.equal(layer(x), wanted)


def test_what_cannot_be_laid_out(model: Path) -> None:
    base = load_base(model, torch.float32, CPU)
    assert lay_out(base, "auto") == "weights as they are (its weights are in float32)"
    with pytest.raises(ConfigError, match="weights: int8 cannot be had: its weights are in float32"):
        lay_out(base, "int8")
