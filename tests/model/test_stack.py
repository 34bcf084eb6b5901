"""Low-rank adapters laid together: the same updates as one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.model.test_engine import prompt, request
from tests.model.test_kinds import disturbed, load, save
from tests.tiny import build_model
from tunesmith.core.generation import TokenOut
from tunesmith.model.engine import Engine
from tunesmith.model.load import load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.trainable import Options, make_trainable


def finish(engine: Engine) -> dict[str, list[TokenOut]]:
    answers: dict[str, list[TokenOut]] = {}
    while not engine.idle:
        for out in engine.step():
            answers.setdefault(out.request_id, []).append(out)
    return answers


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Nine low-rank adapters of three ranks, some on attention only, and one with trained magnitudes."""
    root = tmp_path_factory.mktemp("stack")
    model = build_model(root / "model", spread=0.2)
    engine = Engine(load_base(model, torch.float32), max_running=16)
    for index in range(9):
        base = load_base(model, torch.float32)
        targets = ("q_proj", "v_proj") if index % 3 == 1 else "all-linear"
        spec = LoRASpec(2 + 2 * (index % 3), 8, targets, alpha_pattern={"q_proj": 3})
        trainable = make_trainable("lora", base, Options(spec, index, "tiny"))
        trainable.master.add_(0.1 * torch.randn(trainable.master.shape, generator=torch.Generator().manual_seed(index)))
        engine.add_adapter(str(index), save(trainable, root / str(index)))
    engine.add_adapter("dora", save(disturbed(load(model, "dora"), "dora"), root / "dora"))
    return engine


@pytest.mark.parametrize("count", [2, 5, 9])
def test_laid_together_as_one_after_the_other(engine: Engine, count: int) -> None:
    names = [*map(str, range(count)), "0", "", "dora"]
    alone = []
    for index, name in enumerate(names):
        engine.submit(request("x", prompt(index, 12), name, max_tokens=8))
        alone.append(finish(engine)["x"])
    together: dict[str, list[TokenOut]] = {}
    for _ in range(2):  # the second time, layers that are given the same x share a product
        for index, name in enumerate(names):
            engine.submit(request(str(index), prompt(index, 12), name, max_tokens=8))
        together = finish(engine)
        for index, wanted in enumerate(alone):
            found = together[str(index)]
            assert [o.token for o in found] == [o.token for o in wanted]
            assert [o.logprob for o in found] == pytest.approx([o.logprob for o in wanted], abs=1e-5)
    sizes = [len(group) for group in engine._stack._groups]
    assert sizes == [3, 1, 2, 1] * 2  # queries, keys and values; what attention gives; gate and up; down


def test_a_key_that_came_back_with_other_weights(engine: Engine, tmp_path: Path) -> None:
    """Blocks are told by the weights in them, not by the name."""
    model = engine.base.folder
    for seed in (21, 22):
        engine.add_adapter(
            "again", save(disturbed(load(model, "lora", torch.float32), "lora", seed), tmp_path / str(seed))
        )
        engine.submit(request("alone", prompt(3, 12), "again", max_tokens=8))
        alone = finish(engine)["alone"]
        for name in ("again", "0", "1"):
            engine.submit(request(name, prompt(3, 12), name, max_tokens=8))
        assert [o.token for o in finish(engine)["again"]] == [o.token for o in alone]
        engine.remove_adapter("again")


def test_adapters_that_were_loaded_anew_take_the_block_they_had(engine: Engine) -> None:
    """With fewer places than adapters, each comes back as new tensors under the same key, again and again."""
    alone = {}
    for name in map(str, range(6)):
        engine.submit(request("x", prompt(7, 12), name, max_tokens=6))
        alone[name] = [o.token for o in finish(engine)["x"]]
    engine.residency.resize(4)
    for turn in range(8):
        names = [str((turn + i * i) % 6) for i in range(6)]
        for index, name in enumerate(names):
            engine.submit(request(str(index), prompt(7, 12), name, max_tokens=6))
        answers = finish(engine)
        for index, name in enumerate(names):
            assert [o.token for o in answers[str(index)]] == alone[name]
    engine.residency.resize(64)
