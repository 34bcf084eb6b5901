"""Merging: in fp32, into the weights that were really used, saved and loaded again, for every kind that can."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from tests.model.conftest import rows
from tests.tiny import build_model, build_tokenizer
from tunesmith.core.disk import write_manifest
from tunesmith.core.errors import AdapterError
from tunesmith.model.adapters import Adapter, attach, read_adapter
from tunesmith.model.difference import MERGE_LIMITS, choose, difference, logits_of, release
from tunesmith.model.load import Base, load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.merge import merge_into
from tunesmith.model.trainable import Options, make_trainable, write_model

SPECS = {
    "lora": LoRASpec(4, 8),
    "rslora": LoRASpec(4, 8, rank_stabilised=True),
    "patterns": LoRASpec(4, 8, rank_pattern={"q_proj": 2}, alpha_pattern={"down_proj": 3.0}),
    "dora": LoRASpec(4, 8, magnitude=True),
    "ia3": None,
}
DOCUMENTS = [row.tokens for row in rows(6)]


def adapter(base_folder: Path, folder: Path, kind: str, four_bit: bool = False, size: float = 0.1) -> Adapter:
    """An adapter with weights that do something, as a run would save it; PEFT folders have no card."""
    base = load_base(base_folder, torch.float32, four_bit=four_bit)
    options = Options(SPECS.get(kind) or SPECS["lora"], 0, "tiny", virtual_tokens=3, bottleneck_size=5)  # type: ignore[arg-type]
    trainable = make_trainable(kind if kind not in SPECS or kind == "ia3" else "lora", base, options)
    generator = torch.Generator().manual_seed(7)
    trainable.master.add_(size * torch.randn(trainable.master.shape, generator=generator))
    folder.mkdir()
    trainable.write(folder)
    write_manifest(folder)
    return read_adapter(folder)


def merged(base: Base, made: Adapter, folder: Path) -> Base:
    """Merge, save, and load from disk."""
    merge_into(base, made)
    folder.mkdir()
    write_model(base, folder)
    return load_base(folder, base.dtype)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", list(SPECS))
def test_the_saved_model_is_base_and_adapter(tmp_path: Path, kind: str, tied: bool) -> None:
    folder = build_model(tmp_path / "base", tied=tied, spread=0.2)
    made = adapter(folder, tmp_path / "adapter", kind)
    base = load_base(folder, torch.float32)
    attach(base, "x", made)
    wanted, without = logits_of(base, DOCUMENTS, "x"), logits_of(base, DOCUMENTS)
    again = merged(base, made, tmp_path / "merged")
    found = difference(wanted, logits_of(again, DOCUMENTS), without)
    assert found.relative < 1e-5
    assert found.agreement == 1.0
    assert found.kept is not None
    assert found.kept > 0.9999
    assert float((wanted - without).abs().max()) > 0.1, "the adapter does something"
    assert again.config.tie_word_embeddings is tied
    shared = again.model.get_input_embeddings().weight is again.head.weight  # type: ignore[operator]
    assert shared is tied
    assert torch.equal(again.head.weight, load_base(folder, torch.float32).head.weight)


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
def test_peft_merges_to_the_same_weights(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    made = adapter(tiny_model, tmp_path / "adapter", kind)
    base = load_base(tiny_model, torch.float32)
    merge_into(base, made)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(plain, tmp_path / "adapter").merge_and_unload()
    for name, wanted in theirs.state_dict().items():
        torch.testing.assert_close(base.model.state_dict()[name], wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_base_in_bf16_is_rounded_once(tmp_path: Path, kind: str) -> None:
    folder = build_model(tmp_path / "base", spread=0.2)
    made = adapter(folder, tmp_path / "adapter", kind)
    base = load_base(folder, torch.bfloat16)
    exact = load_base(folder, torch.bfloat16)
    exact.model.float()
    merge_into(exact, made)
    attach(base, "x", made)
    wanted, without = logits_of(base, DOCUMENTS, "x"), logits_of(base, DOCUMENTS)
    again = merged(base, made, tmp_path / "merged")
    for name, weight in again.model.state_dict().items():
        assert torch.equal(weight, exact.model.state_dict()[name].to(torch.bfloat16)), name
    found = difference(wanted, logits_of(again, DOCUMENTS), without)
    assert 0 < found.relative < MERGE_LIMITS[torch.bfloat16]


def test_a_4_bit_adapter_goes_into_the_4_bit_weights(tmp_path: Path) -> None:
    """In the full weights it would be another model."""
    folder = build_model(tmp_path / "base", spread=0.2)
    made = adapter(folder, tmp_path / "adapter", "lora", four_bit=True)
    base = load_base(folder, torch.float32, four_bit=True)
    attach(base, "x", made)
    wanted = logits_of(base, DOCUMENTS, "x")
    again = merged(base, made, tmp_path / "merged")
    assert not again.four_bit
    found = difference(wanted, logits_of(again, DOCUMENTS))
    assert found.relative < MERGE_LIMITS[torch.float32]
    full = load_base(folder, torch.float32)
    merge_into(full, made)
    wrong = difference(wanted, logits_of(full, DOCUMENTS))
    assert wrong.relative > 100 * MERGE_LIMITS[torch.float32]


@pytest.mark.parametrize("four_bit", [False, True])
def test_layers_that_are_stored_the_other_way_round(tmp_path: Path, four_bit: bool) -> None:
    folder = tmp_path / "gpt2"
    build_tokenizer(folder)
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=384, n_embd=64, n_layer=2, n_head=4, n_positions=128)).save_pretrained(folder)
    made = adapter(folder, tmp_path / "adapter", "lora", four_bit)
    base = load_base(folder, torch.float32, four_bit=four_bit)
    attach(base, "x", made)
    wanted = logits_of(base, DOCUMENTS, "x")
    again = merged(base, made, tmp_path / "merged")
    assert difference(wanted, logits_of(again, DOCUMENTS)).relative < 1e-4


@pytest.mark.parametrize("kind", ["prefix", "prompt", "bottleneck"])
def test_what_is_no_weight_cannot_be_merged(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    made = adapter(tiny_model, tmp_path / "adapter", kind)
    with pytest.raises(AdapterError, match=rf"of the kind {made.spec.peft_type} cannot be merged: its ") as error:
        merge_into(load_base(tiny_model, torch.float32), made)
    assert "serve it as it is" in error.value.fix


def test_numbers_that_are_none_are_not_merged(tiny_model: Path, tmp_path: Path) -> None:
    made = adapter(tiny_model, tmp_path / "adapter", "lora")
    next(iter(made.weights.values()))[0, 0] = float("nan")
    with pytest.raises(AdapterError, match=r"merging gives numbers that are not finite in model.layers.0"):
        merge_into(load_base(tiny_model, torch.float32), made)


def test_a_lost_adapter_is_noticed() -> None:
    """A small change that rounding erases makes a small difference too; the share of its effect tells."""
    wanted, without = torch.randn(50, 30), torch.zeros(50, 30)
    assert difference(wanted, wanted, without).kept == 1.0
    assert difference(wanted, without, without).kept == 0.0
    assert difference(wanted, without, wanted).kept is None


def test_what_is_compared_is_bounded() -> None:
    canaries = [list(range(20))]
    chosen = choose([list(range(900)), list(range(500)), list(range(100))], canaries)
    assert [len(ids) for ids in chosen] == [20, 900, 100]


def test_released_weights_are_gone(tiny_model: Path) -> None:
    base = load_base(tiny_model, torch.float32)
    release(base)
    assert {parameter.device.type for parameter in base.model.parameters()} == {"meta"}
