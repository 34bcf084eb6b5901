"""Low-rank adapters against PEFT: forward, backward, folders in both directions, bf16 rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from tests.model.conftest import rows
from tunesmith.core.disk import write_manifest
from tunesmith.core.errors import AdapterError, ConfigError, CorruptArtifactError
from tunesmith.model.adapters import attach, detach, read_adapter
from tunesmith.model.batch import pack
from tunesmith.model.head import head_loss
from tunesmith.model.load import Base, load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.trainable import Options, make_trainable


def randomise(trainable) -> None:
    generator = torch.Generator().manual_seed(5)
    trainable.master.copy_(0.1 * torch.randn(trainable.master.shape, generator=generator))


def save(trainable, folder: Path) -> Path:
    folder.mkdir()
    trainable.write(folder)
    write_manifest(folder)
    return folder


def logits_of(base: Base, adapter: str, document: list[int]) -> torch.Tensor:
    base.router.training = None
    base.router.segments = [(adapter, 0, len(document))]
    return base.logits([document])[0]


@pytest.fixture
def our_folder(base: Base, tmp_path: Path) -> Path:
    trainable = make_trainable("lora", base, Options(LoRASpec(4, 8), 0, "tiny"))
    randomise(trainable)
    return save(trainable, tmp_path / "adapter")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peft_loads_ours_and_logits_are_equal(our_folder: Path, tiny_model: Path, dtype: torch.dtype) -> None:
    document = list(rows(1)[0].tokens)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=dtype, attn_implementation="eager")
    theirs = PeftModel.from_pretrained(plain, our_folder, autocast_adapter_dtype=False).eval()
    base = load_base(tiny_model, dtype)
    attach(base, "ours", read_adapter(our_folder))
    base.model.set_attn_implementation("eager")
    with torch.inference_mode():
        wanted = theirs(torch.tensor([document])).logits[0].float()
        base.router.segments = [("ours", 0, len(document))]
        got = base.model(torch.tensor([document])).logits[0].float()
    assert torch.equal(got, wanted)


def test_we_load_what_peft_saved(tiny_model: Path, tmp_path: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], rank_pattern={"q_proj": 2}, use_rslora=True
    )
    theirs = get_peft_model(plain, config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    theirs.save_pretrained(tmp_path / "peft")
    document = list(rows(1)[0].tokens)
    base = load_base(tiny_model, torch.float32)
    attach(base, "theirs", read_adapter(tmp_path / "peft"))
    wanted = theirs(torch.tensor([document])).logits[0]
    torch.testing.assert_close(logits_of(base, "theirs", document), wanted, atol=1e-5, rtol=1e-5)


def test_gradients_equal_peft(base: Base, tiny_model: Path, tmp_path: Path) -> None:
    trainable = make_trainable("lora", base, Options(LoRASpec(4, 8), 0, "tiny"))
    randomise(trainable)
    folder = save(trainable, tmp_path / "adapter")
    example = rows(1)[0]
    batch = pack([example])
    trainable.begin()
    base.model.train()
    loss, _ = head_loss(
        base.hidden(batch.tokens, batch.positions, batch.layout)[batch.rows], base.head, batch.targets, batch.weights
    )
    (loss / batch.weights.sum()).backward()
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(plain, folder, is_trainable=True)
    labels = torch.tensor([[t if w else -100 for t, w in zip(example.tokens, example.weights, strict=True)]])
    theirs(torch.tensor([example.tokens]), labels=labels).loss.backward()
    wanted = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    assert len(wanted) == len(trainable.parameters)
    for name, parameter in trainable.parameters.items():
        grad = wanted[f"base_model.model.{name.removesuffix('.weight')}.default.weight"]
        torch.testing.assert_close(parameter.grad, grad, atol=1e-6, rtol=1e-4)


def test_dropout_is_in_the_gradient_and_off_in_inference(base: Base) -> None:
    trainable = make_trainable("lora", base, Options(LoRASpec(4, 8, dropout=0.5), 0, "tiny"))
    randomise(trainable)
    batch = pack(rows(2))
    trainable.begin()

    def hidden() -> torch.Tensor:
        return base.hidden(batch.tokens, batch.positions, batch.layout).detach()

    base.model.train()
    assert not torch.equal(hidden(), hidden())
    base.model.eval()
    assert torch.equal(hidden(), hidden())


def test_targets_by_name_and_by_pattern(base: Base) -> None:
    trainable = make_trainable("lora", base, Options(LoRASpec(2, 2, targets=r".*layers\.0\..*(q|v)_proj"), 0, "tiny"))
    assert sorted({n.rsplit(".", 3)[1] for n in trainable.parameters}) == ["q_proj", "v_proj"]
    assert all("layers.0." in n for n in trainable.parameters)


def test_targets_that_match_nothing_list_what_there_is(base: Base) -> None:
    with pytest.raises(ConfigError, match=r"'nothing_here' matches no linear layer") as error:
        make_trainable("lora", base, Options(LoRASpec(2, 2, targets="nothing_here"), 0, "tiny"))
    assert "q_proj" in error.value.fix


def test_a_broken_pattern_is_refused(base: Base) -> None:
    with pytest.raises(ConfigError, match="is not a regular expression"):
        make_trainable("lora", base, Options(LoRASpec(2, 2, targets="["), 0, "tiny"))


def test_rank_above_the_matrix_is_refused(base: Base) -> None:
    with pytest.raises(ConfigError, match="lora_r: 64 is larger than the smallest side"):
        make_trainable("lora", base, Options(LoRASpec(64, 64), 0, "tiny"))


def test_adapter_for_another_shape_is_refused(our_folder: Path, tmp_path: Path) -> None:
    from tests.tiny import build_model

    other = load_base(build_model(tmp_path / "other", hidden=64), torch.float32)
    with pytest.raises(AdapterError, match="does not fit this base"):
        attach(other, "x", read_adapter(our_folder))


def test_one_flipped_byte_is_refused_by_name(our_folder: Path) -> None:
    path = our_folder / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptArtifactError) as error:
        read_adapter(our_folder)
    assert "adapter_model.safetensors" in str(error.value)


def test_folder_without_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"adapter_config\.json is missing"):
        read_adapter(tmp_path)


def test_detach_restores_the_base(base: Base, our_folder: Path) -> None:
    document = list(rows(1)[0].tokens)
    before = logits_of(base, "", document)
    attach(base, "x", read_adapter(our_folder))
    assert not torch.equal(logits_of(base, "x", document), before)
    detach(base, "x")
    assert torch.equal(logits_of(base, "x", document), before)


def test_full_fine_tuning_gradients_equal_transformers(tiny_model: Path) -> None:
    base = load_base(tiny_model, torch.float32)
    trainable = make_trainable("full", base, Options(LoRASpec(1, 1), 0, "tiny"))
    example = rows(1)[0]
    batch = pack([example])
    loss, _ = head_loss(
        base.hidden(batch.tokens, batch.positions, batch.layout)[batch.rows], base.head, batch.targets, batch.weights
    )
    (loss / batch.weights.sum()).backward()
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    labels = torch.tensor([[t if w else -100 for t, w in zip(example.tokens, example.weights, strict=True)]])
    plain(torch.tensor([example.tokens]), labels=labels).loss.backward()
    wanted = dict(plain.named_parameters())
    for name, parameter in trainable.parameters.items():
        torch.testing.assert_close(parameter.grad, wanted[name].grad, atol=1e-6, rtol=1e-4)
