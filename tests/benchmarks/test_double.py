"""What the benchmarks compute themselves, on a tiny model: DPO beside full logits, evaluation beside transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import double, evaluate_ours, evaluate_plain, rows, train_ours
from benchmarks.work import work
from tests import tiny
from tunesmith.core.records import TokenizedExample
from tunesmith.model.batch import pack
from tunesmith.model.load import load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.trainable import Options, make_trainable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_model(tmp_path_factory.mktemp("model"), spread=0.2)


def _document(number: int, prompt: int, length: int) -> TokenizedExample:
    generator = torch.Generator().manual_seed(number)
    tokens = tuple(torch.randint(3, 380, (length,), generator=generator).tolist())
    return TokenizedExample(example_id=str(number), tokens=tokens, weights=(0.0,) * prompt + (1.0,) * (length - prompt))


def test_double_passes_have_the_gradient_of_dpo(folder: Path) -> None:
    base = load_base(folder, torch.float32)
    trainable = make_trainable("lora", base, Options(LoRASpec(4, 8.0), 0, "test"))
    torch.manual_seed(1)
    trainable.master.add_(torch.randn_like(trainable.master), alpha=0.05)
    documents = [_document(n, prompt=4, length=length) for n, length in enumerate((9, 12, 7, 15))]
    batch = pack(documents, base.device)
    loss = double.gradients(base, trainable, batch, beta=0.5)
    ours = trainable.grad.clone()
    trainable.grad.zero_()
    reference = double.reference_logprobs(base, batch)
    trainable.begin()
    logits = base.head(base.hidden(batch.tokens, batch.positions, batch.layout)[batch.rows]).double()
    each = logits.log_softmax(-1).gather(1, batch.targets[:, None]).squeeze(1)
    policy = torch.stack([each[batch.owners == n].sum() for n in range(4)])
    plain = -F.logsigmoid(0.5 * ((policy - reference)[:2] - (policy - reference)[2:])).mean()
    plain.backward()
    assert loss == pytest.approx(float(plain.detach()), rel=1e-5)
    assert abs(loss - 0.6931) > 1e-3, "an adapter that differs from the base must not give log 2"
    assert (ours - trainable.grad).norm() / trainable.grad.norm() < 1e-4


def test_equal_log_probabilities_cost_log_2() -> None:
    values = torch.tensor([-3.0, -4.0, -5.0, -6.0])
    assert double.preference_loss(values, values, 0.1).item() == pytest.approx(0.693147)
    better = values + torch.tensor([1.0, 1.0, -1.0, -1.0])
    assert double.preference_loss(better, values, 0.1).item() < 0.6


@pytest.mark.parametrize("method", ["lora", "full", "qlora", "dpo"])
def test_our_side_of_every_method_takes_its_steps(folder: Path, tmp_path: Path, method: str) -> None:
    pairs = tmp_path / "pairs.jsonl"
    made = tuple(rows.made_rows(32))
    answers = [[pair.completion, "No."] if method == "dpo" else [pair.completion] for pair in made[:8]]
    rows.write_pairs(
        pairs, tuple(rows.Pair(pair.prompt, text) for pair, texts in zip(made, answers, strict=False) for text in texts)
    )
    job = train_ours.prepare(
        {**work(method=method).task(), "model": str(folder), "batch": 2, "lora_r": 4}, pairs, tmp_path
    )
    job["dtype"] = "float32"
    job["learning_rate"] = 1e-2
    found = train_ours.measure(json.loads(json.dumps(job)), 4)
    assert (len(found["seconds"]), len(found["losses"])) == (4, 4)
    assert found["timed_flops"] > 0
    assert len(job["order"][0]) == (4 if method == "dpo" else 2)
    assert found["losses"][0] != found["losses"][3]
    if method == "dpo":
        assert found["losses"][0] == pytest.approx(0.693147, rel=1e-4)


def test_both_sides_of_evaluation_compute_the_same(folder: Path, tmp_path: Path) -> None:
    rows.write_pairs(tmp_path / "pairs.jsonl", tuple(rows.made_rows(5)))
    job = {"model": str(folder), "batch": 3, "new_tokens": 6}
    job = {**evaluate_ours.prepare(job, tmp_path / "pairs.jsonl"), "dtype": "float32"}
    ours, theirs = evaluate_ours.measure(job), evaluate_plain.measure(job, "eager")
    assert ours["answers"]["ids"] == theirs["answers"]["ids"]
    assert [len(ids) for ids in ours["answers"]["ids"]] == [6] * 5
    for a, b in zip(ours["scores"]["logprobs"], theirs["scores"]["logprobs"], strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    assert ours["scores"]["tokens"] == theirs["scores"]["tokens"]
