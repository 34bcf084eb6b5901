"""What cannot be packed runs alone, what cannot run alone is refused, and both say why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.contracts.families import ALONE, PACKED, build
from tests.model.test_engine import finish, request
from tunesmith.core.errors import AdapterError, ConfigError, ModelError
from tunesmith.model.adapted import AdaptedLinear
from tunesmith.model.alone import Alone
from tunesmith.model.engine import Engine
from tunesmith.model.exact import find_way
from tunesmith.model.load import Base, load_base
from tunesmith.model.lora import LoRASpec, LowRank
from tunesmith.model.resolve import context_in
from tunesmith.model.router import Router
from tunesmith.model.trainable import TUNED, Options, make_trainable
from tunesmith.train.verify import packing

CPU = torch.device("cpu")


def family(folder: Path, name: str, dtype: torch.dtype = torch.float32) -> Base:
    kind, settings = {**PACKED, **ALONE}[name]
    return load_base(build(folder / kind, kind, settings), dtype)


def options(**lora: Any) -> Options:
    return Options(LoRASpec(**{"r": 2, "alpha": 4, **lora}), 0, "tiny", virtual_tokens=3)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("bloom", "0 of its 2 layers use plain attention"),
        ("qwen3_next", "1 of its 2 layers use plain attention"),
        ("llama4", "layer 0 has a mask other than causal or a sliding window"),
        ("falcon_h1", "packed logits differ"),
    ],
)
def test_the_run_says_why_documents_do_not_share_a_row(tmp_path: Path, name: str, why: str) -> None:
    check = packing(family(tmp_path, name))
    assert check.passed
    assert check.detail.startswith("one document per row, because ")
    assert why in check.detail


def test_windows_are_found_by_the_proof(tmp_path: Path) -> None:
    assert family(tmp_path, "mistral, windows").way.windows == (4,)
    assert packing(family(tmp_path, "llama")).detail == "packed rows give the logits of each document alone"


@pytest.mark.parametrize("name", ["gemma2", "gpt_oss", "stablelm", "bloom", "recurrent_gemma", "mamba"])
def test_the_way_is_the_same_in_bfloat16(tmp_path: Path, name: str) -> None:
    base = family(tmp_path, name, torch.bfloat16)
    assert bool(base.way.alone) == (name in ALONE)


def test_logits_that_are_made_otherwise_are_refused(base: Base) -> None:
    base.model.register_forward_hook(lambda _m, _i, output: replace(output, logits=output.logits.sin()))
    with pytest.raises(ModelError, match="'llama' cannot be trained or served exactly: its logits are not made of"):
        find_way(base.model, torch.float32, CPU)


def test_a_format_in_which_transformers_does_not_run_is_refused(base: Base) -> None:
    def fail(*_arguments: Any) -> None:
        raise RuntimeError("not implemented for 'BFloat16'")

    base.model.register_forward_pre_hook(fail)
    with pytest.raises(ModelError, match=r"'llama' does not run in torch.bfloat16: not implemented") as caught:
        find_way(base.model, torch.bfloat16, CPU)
    assert caught.value.fix == "set dtype: float32"


@pytest.mark.parametrize("name", ["bloom", "mamba", "falcon_h1"])
def test_answers_from_memory_equal_answers_from_the_whole(tmp_path: Path, name: str) -> None:
    base = family(tmp_path, name)
    trainable = make_trainable("prompt", base, options())
    trainable.publish()
    given = []
    for memory in (base.way.memory, ""):
        assert isinstance(base.body, Alone)
        base.body = replace(base.body, memory=memory)
        engine = Engine(base)
        engine.adopt(TUNED)
        for index, adapter in enumerate((TUNED, "", TUNED)):
            engine.submit(request(str(index), tuple(range(5 + index, 12)), adapter, max_tokens=6 + index))
        given.append(finish(engine))
    assert base.way.memory
    assert given[0] == given[1]


def test_prompt_tuning_alone_is_the_embeddings_before_the_document(tmp_path: Path) -> None:
    base = family(tmp_path, "mpt")
    trainable = make_trainable("prompt", base, options())
    trainable.publish()
    base.router.segments = [(TUNED, 0, 9)]
    documents = [[5, 6, 7, 8], [9, 10, 11, 12, 13]]
    virtual = trainable.parameters["prompt_embeddings"].detach()
    embed = base.model.get_input_embeddings()  # type: ignore[operator]
    for ours, document in zip(base.logits(documents), documents, strict=True):
        row = torch.cat([virtual, embed(torch.tensor(document))])[None]
        theirs = base.model(inputs_embeds=row).logits[0, 3:]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("bloom", "run one at a time through its own attention"), ("deepseek_v3", "of all layers have one size")],
)
def test_a_prefix_needs_plain_keys_and_values(tmp_path: Path, name: str, rule: str) -> None:
    with pytest.raises(ConfigError, match="method: prefix does not fit the architecture") as caught:
        make_trainable("prefix", family(tmp_path, name), options())
    assert rule in caught.value.rule


def test_a_layer_that_the_model_passes_by_carries_no_adapter(tmp_path: Path) -> None:
    base = family(tmp_path, "mamba")
    names = make_trainable("lora", base, options()).parameters
    assert not any("dt_proj" in name for name in names)
    assert any("in_proj" in name for name in names)
    with pytest.raises(ConfigError, match=r"layers.0.mixer.dt_proj cannot carry an adapter in this architecture"):
        make_trainable("lora", family(tmp_path / "again", "mamba"), options(r=1, targets=("dt_proj",)))


def test_a_layer_that_sees_some_tokens_is_refused() -> None:
    layer = AdaptedLinear(nn.Linear(4, 4), Router(segments=[("a", 0, 6)]))
    layer.adapters["a"] = LowRank(torch.ones(1, 4), torch.ones(4, 1), 1.0)
    assert layer(torch.ones(6, 4)).shape == (6, 4)
    with pytest.raises(AdapterError, match="an adapted layer is given 5 of 6 tokens"):
        layer(torch.ones(5, 4))


def test_targets_of_a_model_with_transposed_weights(tmp_path: Path) -> None:
    whole = "transformer.h.1.attn.c_attn"
    names = make_trainable("lora", family(tmp_path / "a", "gpt2"), options(targets=(whole,))).parameters
    assert {name: tuple(p.shape) for name, p in names.items()} == {
        f"{whole}.lora_A.weight": (2, 16),
        f"{whole}.lora_B.weight": (48, 2),
    }
    base = family(tmp_path / "b", "gpt2")
    with pytest.raises(ConfigError, match="lora_r: 17 is larger than the smallest side of a 48×16 layer"):
        make_trainable("lora", base, options(r=17, targets=(whole,)))
    with pytest.raises(ConfigError, match="matches no linear layer") as caught:
        make_trainable("lora", base, options(targets=("q_proj",)))
    assert "c_attn, c_fc, c_proj" in caught.value.fix


@pytest.mark.parametrize(
    ("facts", "context"),
    [
        ({"max_position_embeddings": 64}, 64),
        ({"n_positions": 32}, 32),
        ({"max_seq_len": 16}, 16),
        ({}, None),
        ({"max_position_embeddings": 64, "rope_parameters": {"rope_type": "yarn"}}, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"rope_type": "dynamic"}}, 64),
        (
            {
                "max_position_embeddings": 64,
                "original_max_position_embeddings": 8,
                "rope_scaling": {"type": "longrope"},
            },
            8,
        ),
    ],
)
def test_context_by_any_name_and_before_frequencies_change(facts: dict[str, Any], context: int | None) -> None:
    assert context_in(facts) == context
