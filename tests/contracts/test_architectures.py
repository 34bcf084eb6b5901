"""Whatever transformers can load as a causal language model trains and answers as transformers itself would.

The other side of every comparison is the plain model of transformers with eager attention, one document at a time,
its adapter written out as W + s·B·A. Weights are large and windows small, so that a slip in a mask, a scale, a cap or
a position shows in the first digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from tests.contracts.families import ALONE, PACKED, VOCABULARY, build
from tunesmith.core.generation import GenerationRequest
from tunesmith.core.records import SamplingParams, TokenizedExample
from tunesmith.model.batch import pack
from tunesmith.model.engine import Engine
from tunesmith.model.load import load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.sample import answer_logprobs
from tunesmith.model.trainable import TUNED, Options, Trainable, make_trainable
from tunesmith.train.sft import loss

FAMILIES = {**PACKED, **ALONE}
CLOSE = 1e-5
SPEC = LoRASpec(r=2, alpha=3)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    kind, settings = FAMILIES[request.param]
    return request.param, build(tmp_path_factory.mktemp("family") / kind, kind, settings)


def documents() -> list[TokenizedExample]:
    """Five documents of 2 to 17 tokens, the answer in the second half, with weights of their own."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for index, length in enumerate((11, 3, 17, 2, 11)):
        tokens = torch.randint(2, VOCABULARY, (length,), generator=generator).tolist()
        weights = [0.0] * (length // 2) + [1.0 + index / 2] * (length - length // 2)
        made.append(TokenizedExample(example_id=str(index), tokens=tuple(tokens), weights=tuple(weights)))
    return made


def plain(folder: Path) -> nn.Module:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()  # type: ignore[no-any-return]


def plain_loss(model: nn.Module, changed: Mapping[str, torch.Tensor]) -> torch.Tensor:
    total = torch.zeros(())
    for row in documents():
        ids = torch.tensor([row.tokens])
        logits = torch.func.functional_call(model, dict(changed), kwargs={"input_ids": ids, "use_cache": False}).logits
        losses = nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none")
        total = total + (losses * torch.tensor(row.weights[1:])).sum()
    return total


def with_adapter(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The adapted matrices of a plain model, as functions of the adapter's weights."""
    changed = {}
    for name in [key.removesuffix(".lora_A.weight") for key in weights if key.endswith(".lora_A.weight")]:
        layer = model.get_submodule(name)
        update = weights[name + ".lora_B.weight"] @ weights[name + ".lora_A.weight"] * (SPEC.alpha / SPEC.r)
        matrix = layer.weight.detach()  # type: ignore[union-attr, operator]
        changed[name + ".weight"] = matrix + (update.t() if isinstance(layer, Conv1D) else update)
    return changed


def randomised(trainable: Trainable, spread: float = 0.2) -> Trainable:
    """B begins at zero, where half of all gradients are zero too."""
    with torch.no_grad():
        trainable.master.add_(spread * torch.randn(trainable.master.shape, generator=torch.Generator().manual_seed(5)))
    return trainable


def assert_same(name: str, ours: torch.Tensor, theirs: torch.Tensor, scale: torch.Tensor) -> None:
    """Equal to 1e-5 of the tensor's own norm, or of a hundredth of the whole gradient's where it all but vanishes."""
    bound = CLOSE * max(theirs.norm(), scale / 100)
    assert (ours - theirs).norm() <= bound, f"{name}: {(ours - theirs).norm() / theirs.norm():.2g}"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_loss_and_gradients_equal_transformers(family: tuple[str, Path], method: str) -> None:
    name, folder = family
    base = load_base(folder, torch.float32)
    assert bool(base.way.alone) == (name in ALONE), base.way.alone
    trainable = make_trainable(method, base, Options(SPEC, 0, name))
    if method == "lora":
        randomised(trainable)
    trainable.begin()
    base.model.train()  # a base has no dropout of its own here, whatever its configuration says
    value, _ = loss(base, pack(documents()))
    value.backward()

    reference = plain(folder)
    if method == "lora":
        weights = {key: p.detach().clone().requires_grad_() for key, p in trainable.parameters.items()}
        wanted = plain_loss(reference, with_adapter(reference, weights))
    else:
        weights = dict(reference.named_parameters())
        assert set(weights) == set(trainable.parameters)
        wanted = plain_loss(reference, {})
    grads = torch.autograd.grad(wanted, list(weights.values()), allow_unused=True)
    assert abs(value.item() - wanted.item()) <= CLOSE * abs(wanted.item())
    found = {key: torch.zeros_like(weights[key]) if g is None else g for key, g in zip(weights, grads, strict=True)}
    scale = torch.stack([g.norm() for g in found.values()]).norm()
    assert scale > 0
    for key, theirs in found.items():
        ours = trainable.parameters[key].grad
        assert ours is not None
        assert_same(key, ours, theirs, scale)


@pytest.mark.parametrize("name", PACKED)
def test_a_beginning_that_documents_share_is_computed_once_and_exactly(name: str, tmp_path: Path) -> None:
    kind, settings = PACKED[name]
    base = load_base(build(tmp_path, kind, settings), torch.float32)
    trainable = randomised(make_trainable("lora", base, Options(SPEC, 0, name)))
    assert trainable.share
    start = tuple(range(20, 30))
    rows = [d.model_copy(update={"tokens": start + d.tokens, "weights": (0.0,) * 10 + d.weights}) for d in documents()]
    found = []
    for share in (False, True):
        trainable.begin()
        trainable.grad.zero_()
        batch = pack(rows, share=share)
        value, _ = loss(base, batch)
        value.backward()
        found.append((batch.token_count, value.detach(), trainable.grad.clone()))
    assert found[0][0] - found[1][0] == 4 * len(start)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=CLOSE, atol=0.0)
    assert (found[0][2] - found[1][2]).norm() <= CLOSE * found[0][2].norm()


def prompts() -> Iterator[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(8)
    for length in (9, 1, 14):
        yield tuple(torch.randint(2, VOCABULARY, (length,), generator=generator).tolist())


def answers(engine: Engine, adapters: list[str]) -> list[list[int]]:
    """Greedy answers to all prompts in company, the second joining two steps after the others."""
    found: dict[str, list[int]] = {}
    requests = [
        GenerationRequest(str(i), prompt, SamplingParams(max_tokens=10 + i), frozenset(), adapter)
        for i, (prompt, adapter) in enumerate(zip(prompts(), adapters, strict=True))
    ]
    for index in (0, 2):
        engine.submit(requests[index])
    steps = 0
    while not engine.idle:
        for out in engine.step():
            found.setdefault(out.request_id, []).append(out.token)
        steps += 1
        if steps == 2:
            engine.submit(requests[1])
    return [found[str(i)] for i in range(3)]


def generated(model: nn.Module) -> list[list[int]]:
    """What transformers gives for each prompt alone."""
    found = []
    for index, prompt in enumerate(prompts()):
        ids = torch.tensor([prompt])
        options = {"do_sample": False, "max_new_tokens": 10 + index, "eos_token_id": None, "pad_token_id": 1}
        made = model.generate(ids, attention_mask=torch.ones_like(ids), **options)  # type: ignore[operator]
        found.append(made[0, len(prompt) :].tolist())
    return found


def test_answers_equal_transformers_with_and_without_an_adapter(family: tuple[str, Path]) -> None:
    name, folder = family
    base = load_base(folder, torch.float32)
    engine = Engine(base)
    reference = plain(folder)
    base_answers = generated(reference)
    assert answers(engine, ["", "", ""]) == base_answers
    trainable = randomised(make_trainable("lora", base, Options(SPEC, 0, name)), spread=0.4)
    trainable.publish()
    engine.adopt(TUNED)
    with torch.no_grad():
        for key, matrix in with_adapter(reference, trainable.parameters).items():
            reference.get_parameter(key).copy_(matrix)
    tuned_answers = generated(reference)
    mixed = [tuned_answers[0], base_answers[1], tuned_answers[2]]
    assert answers(engine, [TUNED, "", TUNED]) == mixed
    assert tuned_answers != base_answers


def test_scores_equal_transformers(family: tuple[str, Path]) -> None:
    _, folder = family
    rows = [(row.tokens, 1) for row in documents()]
    ours = answer_logprobs(load_base(folder, torch.float32), rows)
    reference = plain(folder)
    with torch.no_grad():
        for (tokens, _), values in zip(rows, ours, strict=True):
            logits = reference(torch.tensor([tokens])).logits[0, :-1].log_softmax(-1)
            theirs = logits.gather(1, torch.tensor(tokens)[1:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(values), theirs, atol=1e-4, rtol=1e-4)
