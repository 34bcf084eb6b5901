"""Every kind of adapter: PEFT as oracle, folders both ways, exact batches, mixed in one forward."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.model.conftest import rows
from tunesmith.core.disk import write_manifest
from tunesmith.core.errors import AdapterError, ConfigError
from tunesmith.core.generation import GenerationRequest
from tunesmith.core.records import SamplingParams
from tunesmith.model.adapters import attach, detach, read_adapter
from tunesmith.model.batch import pack
from tunesmith.model.engine import Engine
from tunesmith.model.head import head_loss
from tunesmith.model.load import Base, load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.trainable import Options, Trainable, make_trainable

KINDS = ("lora", "dora", "plus", "qlora", "ia3", "bottleneck", "prefix", "prompt")
IN_PEFT = ("dora", "ia3", "prefix", "prompt")


def options(kind: str, seed: int = 0) -> Options:
    lora = LoRASpec(4, 8, magnitude=kind == "dora", plus_ratio=16.0 if kind == "plus" else 1.0)
    return Options(lora, seed, "tiny", virtual_tokens=3, bottleneck_size=5)


def method(kind: str) -> str:
    return "lora" if kind in ("dora", "plus") else kind


def load(folder: Path, kind: str, dtype: torch.dtype = torch.float32) -> Base:
    return load_base(folder, dtype, four_bit=kind == "qlora")


def disturbed(base: Base, kind: str, seed: int = 0) -> Trainable:
    """Fresh weights, moved a little, so that nothing is zero and nothing is symmetric."""
    trainable = make_trainable(method(kind), base, options(kind, seed))
    generator = torch.Generator().manual_seed(7 + seed)
    trainable.master.add_(0.1 * torch.randn(trainable.master.shape, generator=generator))
    return trainable


def save(trainable: Trainable, folder: Path) -> Path:
    folder.mkdir()
    trainable.write(folder)
    write_manifest(folder)
    return folder


def gradient(base: Base, trainable: Trainable, parts: list[list], share: bool = False) -> tuple[torch.Tensor, float]:
    """Gradient (P,) and loss of several micro-batches, normalised by all their targets."""
    trainable.grad.zero_()
    trainable.begin()
    base.model.train()
    batches = [pack(part, share=share) for part in parts]
    total = sum(float(batch.weights.sum()) for batch in batches)
    value = 0.0
    for batch in batches:
        hidden = base.hidden(batch.tokens, batch.positions, batch.layout)
        loss, _ = head_loss(hidden[batch.rows], base.head, batch.targets, batch.weights)
        (loss / total).backward()
        value += float(loss.detach()) / total
    return trainable.grad.clone(), value


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_and_packing_change_nothing(tiny_model: Path, kind: str) -> None:
    base = load(tiny_model, kind)
    trainable = disturbed(base, kind)
    documents = rows(8)
    whole, loss = gradient(base, trainable, [documents])
    for size in (1, 2, 4):
        parts = [documents[i : i + size] for i in range(0, 8, size)]
        other, other_loss = gradient(base, trainable, parts)
        assert float((other - whole).norm() / whole.norm()) <= 1e-6
        assert other_loss == pytest.approx(loss, rel=1e-6)
    assert float(whole.norm()) > 0
    assert all(bool((p.grad != 0).any()) for p in trainable.parameters.values())


def alike(count: int, beginning: int) -> list:
    """Rows that begin with the same untrained tokens."""
    made = []
    for row in rows(count, seed=4, low=6):
        start = tuple(range(5, 5 + beginning))
        made.append(row.model_copy(update={"tokens": start + row.tokens, "weights": (0.0,) * beginning + row.weights}))
    # One row is trained from the very first token after the common ones.
    whole = (0.0,) * beginning + (1.0,) * (len(made[0].tokens) - beginning)
    return [made[0].model_copy(update={"weights": whole}), *made[1:]]


@pytest.mark.parametrize("kind", ["lora", "qlora", "dora", "ia3", "bottleneck", "full"])
def test_a_common_beginning_is_computed_once_and_changes_nothing(tiny_model: Path, kind: str) -> None:
    base = load(tiny_model, kind)
    trainable = disturbed(base, kind) if kind != "full" else make_trainable("full", base, options(kind))
    assert trainable.share
    documents = alike(5, 12)
    apart, loss = gradient(base, trainable, [documents])
    shared = pack(documents, share=True)
    assert shared.token_count == sum(len(row.tokens) for row in documents) - 4 * 12
    assert shared.document_tokens == sum(len(row.tokens) for row in documents)
    once, once_loss = gradient(base, trainable, [documents], share=True)
    assert once_loss == pytest.approx(loss, rel=1e-6)
    assert float((once - apart).norm() / apart.norm()) <= 1e-6


def test_what_is_not_alike_untrained_or_long_is_not_shared() -> None:
    documents = alike(3, 12)
    assert pack(documents, share=True).token_count < pack(documents).token_count == pack(documents).document_tokens
    for short in (alike(3, 7), documents[:1], [documents[0], documents[1].model_copy(update={"tokens": (9,) * 40})]):
        assert pack(short, share=True).token_count == pack(short).token_count
    trained = [row.model_copy(update={"weights": (1.0,) * len(row.tokens)}) for row in documents]
    assert pack(trained, share=True).token_count == pack(trained).token_count
    twice = pack([documents[0], documents[0]], share=True)
    assert twice.token_count == len(documents[0].tokens) * 2 - 12


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_nothing_is_shared_behind_virtual_tokens(base: Base, kind: str) -> None:
    assert not disturbed(base, kind).share


def test_nothing_is_shared_under_dropout(base: Base) -> None:
    assert not make_trainable("lora", base, Options(LoRASpec(4, 8, dropout=0.1), 0, "tiny")).share
    base.model.model.layers[0].mlp.drop = torch.nn.Dropout(0.1)
    assert not make_trainable("full", base, options("full")).share


# DoRA's norm is a constant to the gradient by definition; PEFT is its oracle.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dora"])
def test_gradient_is_the_slope_of_the_loss(tiny_model: Path, kind: str) -> None:
    base = load(tiny_model, kind)
    trainable = disturbed(base, kind)
    documents = rows(4, seed=3)
    slope, _ = gradient(base, trainable, [documents])
    direction = torch.randn(slope.shape, generator=torch.Generator().manual_seed(1))
    direction /= direction.norm()
    step, start = 1e-2, trainable.master.clone()
    losses = []
    for sign in (1, -1):
        trainable.master.copy_(start + sign * step * direction)
        losses.append(gradient(base, trainable, [documents])[1])
    measured = (losses[0] - losses[1]) / (2 * step)
    assert measured == pytest.approx(float(slope @ direction), rel=0.02, abs=2e-4)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("prefix", "prompt")])
def test_training_begins_at_the_base(tiny_model: Path, kind: str) -> None:
    base = load(tiny_model, kind)
    batch = pack(rows(3))
    before = base.hidden(batch.tokens, batch.positions, batch.layout)
    trainable = make_trainable(method(kind), base, options(kind))
    trainable.begin()
    after = base.hidden(batch.tokens, batch.positions, batch.layout)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_adapter_comes_back_with_the_same_logits(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    base = load(tiny_model, kind)
    trainable = disturbed(base, kind)
    trainable.publish()
    document = list(rows(1)[0].tokens)
    base.router.segments = [(trainable.adapter, 0, len(document))]
    trained = base.logits([document])[0]
    folder = save(trainable, tmp_path / "adapter")
    fresh = load(tiny_model, kind)
    plain = fresh.logits([document])[0]
    attach(fresh, "x", read_adapter(folder))
    fresh.router.segments = [("x", 0, len(document))]
    assert torch.equal(fresh.logits([document])[0], trained)
    assert not torch.equal(trained, plain)
    detach(fresh, "x")
    assert torch.equal(fresh.logits([document])[0], plain)


@pytest.mark.parametrize("kind", IN_PEFT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peft_loads_ours(tiny_model: Path, tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    folder = save(disturbed(load(tiny_model, kind), kind), tmp_path / "adapter")
    document = list(rows(1)[0].tokens)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=dtype, attn_implementation="eager")
    theirs = PeftModel.from_pretrained(plain, folder, autocast_adapter_dtype=kind == "ia3").eval()
    base = load(tiny_model, kind, dtype)
    attach(base, "x", read_adapter(folder))
    base.router.segments = [("x", 0, len(document))]
    with torch.inference_mode():
        wanted = theirs(torch.tensor([document])).logits[0].float()[-len(document) :]
        got = base.logits([document])[0]
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(got, wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("dora", LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"], use_dora=True)),
        ("ia3", IA3Config(target_modules=["q_proj", "fc", "down_proj"], feedforward_modules=["down_proj"])),
        ("prefix", PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)),
        ("prompt", PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)),
    ],
)
def test_we_load_what_peft_saved(tiny_model: Path, tmp_path: Path, kind: str, config: object) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    theirs = get_peft_model(plain, config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if parameter.requires_grad and "lora_A" not in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "peft")
    document = list(rows(1)[0].tokens)
    base = load(tiny_model, kind)
    attach(base, "theirs", read_adapter(tmp_path / "peft"))
    base.router.segments = [("theirs", 0, len(document))]
    with torch.inference_mode():
        wanted = theirs(torch.tensor([document])).logits[0][-len(document) :]
    torch.testing.assert_close(base.logits([document])[0], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["dora", "ia3"])
def test_gradients_equal_peft(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    base = load(tiny_model, kind)
    trainable = disturbed(base, kind)
    folder = save(trainable, tmp_path / "adapter")
    example = rows(1)[0]
    gradient(base, trainable, [[example]])
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(plain, folder, is_trainable=True)
    labels = torch.tensor([[t if w else -100 for t, w in zip(example.tokens, example.weights, strict=True)]])
    theirs(torch.tensor([example.tokens]), labels=labels).loss.backward()
    wanted = {n.replace(".default", ""): p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    for name, parameter in trainable.parameters.items():
        keys = [k for k in wanted if k.endswith((name, f"{name}.weight"))]
        assert len(keys) == 1, (name, list(wanted))
        torch.testing.assert_close(parameter.grad, wanted[keys[0]].view_as(parameter), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_gradients_of_virtual_tokens_equal_peft(tiny_model: Path, kind: str) -> None:
    base = load(tiny_model, kind)
    trainable = disturbed(base, kind)
    example = rows(1)[0]
    gradient(base, trainable, [[example]])
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    config = PrefixTuningConfig if kind == "prefix" else PromptTuningConfig
    theirs = get_peft_model(plain, config(task_type="CAUSAL_LM", num_virtual_tokens=3))
    embedding = theirs.prompt_encoder["default"].embedding.weight
    embedding.data.copy_(trainable.master.view_as(embedding))
    logits = theirs(torch.tensor([example.tokens])).logits[0, -len(example.tokens) : -1]
    labels = torch.tensor([t if w else -100 for t, w in zip(example.tokens, example.weights, strict=True)])
    torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=-100).backward()
    torch.testing.assert_close(trainable.grad.view_as(embedding), embedding.grad, atol=1e-6, rtol=1e-4)


def answers(engine: Engine, adapter: str, prompts: list[list[int]]) -> list[list[int]]:
    return mixed(engine, [(adapter, prompt) for prompt in prompts])


def mixed(engine: Engine, wanted: list[tuple[str, list[int]]]) -> list[list[int]]:
    """Greedy tokens of all requests, run together."""
    made: list[list[int]] = [[] for _ in wanted]
    params = SamplingParams(max_tokens=6, temperature=0.0)
    for index, (adapter, prompt) in enumerate(wanted):
        engine.submit(GenerationRequest(str(index), tuple(prompt), params, frozenset(), adapter))
    while not engine.idle:
        for out in engine.step():
            made[int(out.request_id)].append(out.token)
    return made


def test_all_kinds_answer_together_as_they_do_alone(tmp_path: Path) -> None:
    from tests.tiny import build_model

    model = build_model(tmp_path / "model", spread=0.3)
    kinds = [kind for kind in KINDS if kind != "qlora"]
    folders = {kind: save(disturbed(load(model, kind), kind, seed), tmp_path / kind) for seed, kind in enumerate(kinds)}
    engine = Engine(load_base(model, torch.float32))
    for kind, folder in folders.items():
        engine.add_adapter(kind, folder)
    prompts = [list(row.tokens) for row in rows(3, seed=9)]
    alone = {kind: answers(engine, kind, prompts) for kind in ["", *kinds]}
    wanted = [(kind, prompt) for prompt in prompts for kind in ["", *kinds]]
    expected = [alone[kind][index] for index in range(3) for kind in ["", *kinds]]
    assert mixed(engine, wanted) == expected
    assert sum(alone[kind] != alone[""] for kind in kinds) >= 5
    for kind in ("prefix", "prompt", "dora"):
        base = load_base(model, torch.float32)
        attach(base, kind, read_adapter(folders[kind]))
        for prompt, answer in zip(prompts, alone[kind], strict=True):
            tokens = list(prompt)
            for token in answer:
                base.router.segments = [(kind, 0, len(tokens))]
                assert int(base.logits([tokens])[0][-1].argmax()) == token
                tokens.append(token)


def test_lora_plus_gives_b_its_own_rate(base: Base) -> None:
    trainable = make_trainable("lora", base, options("plus"))
    assert [group.rate for group in trainable.groups] == [1.0, 16.0]
    split = trainable.groups[0].end
    sizes = [p.numel() for n, p in trainable.parameters.items() if n.endswith("lora_A.weight")]
    assert split == sum(sizes)
    assert [p.numel() for p, _ in trainable.optimiser_parameters()] == [split, trainable.master.numel() - split]


def test_rank_and_alpha_of_single_layers(base: Base) -> None:
    spec = LoRASpec(4, 8, rank_pattern={"q_proj": 2}, alpha_pattern={r"layers\.0\..*": 32})
    trainable = make_trainable("lora", base, Options(spec, 0, "tiny"))
    ranks = {n: p.shape[0] for n, p in trainable.parameters.items() if n.endswith("lora_A.weight")}
    assert {n: r for n, r in ranks.items() if "q_proj" in n} == {n: 2 for n in ranks if "q_proj" in n}
    assert {r for n, r in ranks.items() if "q_proj" not in n} == {4}
    assert spec.scale_of("model.layers.0.self_attn.q_proj") == 16.0
    assert spec.scale_of("model.layers.1.self_attn.k_proj") == 2.0


@pytest.mark.parametrize("pattern", ["w_proj", "["])
def test_a_pattern_that_fits_nothing_is_refused(base: Base, pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"rank_pattern: .* fits no adapted layer"):
        make_trainable("lora", base, Options(LoRASpec(4, 8, rank_pattern={pattern: 2}), 0, "tiny"))


def test_virtual_tokens_beyond_the_context_are_refused(base: Base) -> None:
    with pytest.raises(ConfigError, match="num_virtual_tokens: 512 fills the model's context of 512 tokens"):
        make_trainable("prompt", base, Options(LoRASpec(1, 1), 0, "tiny", virtual_tokens=512))


def test_prefix_and_sliding_windows_are_refused(base: Base) -> None:
    base.way = replace(base.way, windows=(8,))
    with pytest.raises(ConfigError, match="does not fit a model with sliding windows"):
        make_trainable("prefix", base, options("prefix"))


def test_layers_by_unknown_names_are_refused(base: Base) -> None:
    for layer in base.model.model.layers:
        layer.mlp.strange = layer.mlp.down_proj
        del layer.mlp.down_proj
    with pytest.raises(ConfigError, match="no layer of this model is known as its way out of the MLP"):
        make_trainable("ia3", base, options("ia3"))


@pytest.mark.parametrize("kind", ["dora", "ia3", "bottleneck", "prefix", "prompt"])
def test_an_adapter_for_another_width_is_refused(base: Base, tmp_path: Path, kind: str) -> None:
    from tests.tiny import build_model

    folder = save(disturbed(base, kind), tmp_path / "adapter")
    other = load_base(build_model(tmp_path / "other", hidden=64), torch.float32)
    with pytest.raises(AdapterError, match="does not fit this base"):
        attach(other, "x", read_adapter(folder))


def test_a_kind_that_is_not_known_is_refused_by_name(base: Base, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    disturbed(base, "lora").write(folder)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"LORA"', '"VERA"'))
    with pytest.raises(AdapterError, match="adapter option peft_type = 'VERA' is not supported"):
        read_adapter(folder)
    config.write_text('{"peft_type": "LORA"}')
    with pytest.raises(AdapterError, match="the configuration of the adapter cannot be read: KeyError"):
        read_adapter(folder)


def test_four_bits_are_four_bits_and_stay_put(tiny_model: Path) -> None:
    base = load(tiny_model, "qlora")
    layer = base.model.model.layers[0].mlp.down_proj
    assert layer.stored_bytes / (layer.in_features * layer.out_features) < 0.56
    assert base.model.lm_head.weight.dtype == base.model.get_input_embeddings().weight.dtype == torch.float32
    trainable = disturbed(base, "qlora")
    documents = rows(4)
    first, _ = gradient(base, trainable, [documents])
    trainable.publish()
    base.model.eval()
    batch = pack(documents)
    base.router.segments = [(trainable.adapter, 0, batch.token_count)]
    with torch.inference_mode():
        base.hidden(batch.tokens, batch.positions, batch.layout)
    again, _ = gradient(base, trainable, [documents])
    assert torch.equal(first, again), "an evaluation between two steps changed the gradient"


def test_the_four_bit_base_is_another_base(tiny_model: Path) -> None:
    assert load(tiny_model, "qlora").fingerprint != load(tiny_model, "lora").fingerprint
    assert load(tiny_model, "qlora").format == "float32-nf4"


def test_without_bitsandbytes_the_way_out_is_named(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="method: qlora needs bitsandbytes, which is not installed") as error:
        load(tiny_model, "qlora")
    assert "pip install 'tunesmith[qlora]'" in error.value.fix


def test_packing_into_four_bits_fetches_no_code_and_says_nothing() -> None:
    # bitsandbytes gets native code from a hub when the package `kernels` is there; this one would say so
    program = (
        "import sys, types, torch\n"
        "fetched = []\n"
        "sys.modules['kernels'] = types.SimpleNamespace(get_kernel=lambda *a, **k: fetched.append(a))\n"
        "from tunesmith.model import quant\n"
        "quant._functional()\n"
        "assert not fetched and sys.modules['kernels'].get_kernel\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")
