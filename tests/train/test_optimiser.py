"""All weights without an fp32 copy, and moments in 8 bits: as near to plain AdamW as stated, and exact on resume."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.model.conftest import rows
from tests.tiny import build_model
from tests.train.test_loop import plan
from tunesmith.core.errors import ConfigError
from tunesmith.model.batch import pack
from tunesmith.model.load import Base, load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.trainable import Options, Trainable, make_trainable
from tunesmith.train import checkpoint, fit, verify
from tunesmith.train.loop import State, accumulate, make_optimiser, train
from tunesmith.train.optimiser import LeanAdamW, moment_bytes, reached
from tunesmith.train.order import micro_batches
from tunesmith.train.sft import loss

BF16 = torch.bfloat16


def prepared(model: Path, method: str = "full", master: str = "bfloat16") -> tuple[Base, Trainable]:
    base = load_base(model, BF16)
    trainable = make_trainable(method, base, Options(LoRASpec(4, 8), 0, "tiny", master_dtype=master))
    return base, trainable


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose tokens are not all about as likely."""
    return build_model(tmp_path_factory.mktemp("lively") / "model", seed=1, spread=0.2)


def test_the_weights_are_the_models_own(tiny_model: Path) -> None:
    base, trainable = prepared(tiny_model)
    assert trainable.master.dtype == BF16
    begin = trainable.master.data_ptr()
    for parameter in base.model.parameters():
        assert begin <= parameter.data_ptr() < begin + trainable.master.nbytes
    embedding, head = base.model.get_input_embeddings().weight, base.model.get_output_embeddings().weight
    assert embedding is head, "tied, and trained once"
    assert trainable.master.numel() == sum(p.numel() for p in base.model.parameters())
    reference, plain = prepared(tiny_model, master="float32")
    assert torch.equal(plain.master.to(BF16), trainable.master)
    for found, model in ((trainable, base), (plain, reference)):
        accumulate(model, loss, [pack(part) for part in micro_batches(rows(8), 1)])
        assert found.grad.dtype == torch.float32
    assert torch.equal(trainable.grad, plain.grad)


def test_a_model_in_fp32_is_refused(tiny_model: Path) -> None:
    options = Options(LoRASpec(4, 8), 0, "tiny", master_dtype="bfloat16")
    with pytest.raises(ConfigError, match=r"master_dtype: bfloat16, and the model's .* is float32") as error:
        make_trainable("full", load_base(tiny_model, torch.float32), options)
    assert "set dtype: bfloat16" in error.value.fix
    mixed = load_base(tiny_model, BF16)
    mixed.model.get_submodule("model.norm").float()
    with pytest.raises(ConfigError, match=r"the model's model\.norm\.weight is float32") as error:
        make_trainable("full", mixed, options)
    assert error.value.fix == "use master_dtype: float32"


def test_steps_far_below_the_spacing_of_bf16_move_the_weights_as_float64_on_average(tiny_model: Path) -> None:
    """A thousand steps of 1e-7: rounding to nearest stays where it is, stochastic rounding goes along."""
    _, trainable = prepared(tiny_model)
    trainable.master.normal_(generator=torch.Generator().manual_seed(3)).mul_(0.05)
    optimiser = make_optimiser(trainable, plan(learning_rate=1e-7))
    start = trainable.master.double()
    reference, nearest = start.clone().requires_grad_(), start.to(BF16)
    exact = torch.optim.AdamW([reference], lr=1e-7, weight_decay=0.0)
    direction = torch.randn(trainable.grad.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(1000):
        trainable.grad.copy_(direction)
        reference.grad = direction.double()
        before = reference.detach().clone()
        optimiser.step()
        exact.step()
        nearest = (nearest.double() + (reference.detach() - before)).to(BF16)
    wanted = reference.detach() - start
    moved = (trainable.master.double() - start) * wanted.sign()
    large = start.abs() > 0.01  # where a step is below a hundredth of the spacing
    assert torch.equal(nearest[large], start[large].to(BF16)), "rounding to nearest is frozen"
    # A weight moves by whole spacings, rarely: the mean of n draws is off by the root of (spacing · way / n).
    spacing = 2.0 ** (start[large].abs().log2().floor() - 7)
    deviation = math.sqrt(float((spacing * wanted[large].abs()).sum())) / int(large.sum())
    difference = float(moved[large].mean() - wanted[large].abs().mean())
    assert abs(difference) < 5 * deviation
    assert 5 * deviation < 0.1 * float(wanted[large].abs().mean()), "the test can tell"


def test_one_step_without_a_copy_is_the_fp32_step_rounded_to_a_neighbour(lively: Path) -> None:
    results = []
    for master in ("float32", "bfloat16"):
        base, trainable = prepared(lively, master=master)
        settings = plan(total_steps=1, weight_decay=0.1)
        list(train(base, trainable, loss, rows(8), settings, make_optimiser(trainable, settings), State()))
        results.append(trainable.master.float())
    plain, lean = results
    spacing = 2.0 ** (plain.abs().clamp(min=1e-30).log2().floor() - 7)
    assert bool(((plain - lean).abs() <= spacing).all())
    assert 0.05 < float((plain.to(BF16) != lean.to(BF16)).float().mean()) < 0.6


@pytest.mark.parametrize("optim", ["adamw", "adamw_8bit"])
def test_pieces_change_nothing_but_the_draw(lively: Path, optim: str) -> None:
    """Fp32 weights in pieces of one block with 8-bit or 32-bit moments: the same as all at once."""
    results = []
    for piece in (256, 1 << 18):
        _, trainable = prepared(lively, master="float32")
        groups = [{"lr": 1e-3, "weight_decay": 0.1, "rate": 1.0} for _ in trainable.groups]
        optimiser = LeanAdamW(trainable, groups, optim == "adamw_8bit", seed=0)
        optimiser._piece = piece
        for step in range(3):
            trainable.grad.normal_(generator=torch.Generator().manual_seed(step))
            optimiser.step()
        results.append(trainable.master.clone())
    assert torch.equal(*results)
    if optim == "adamw":
        _, trainable = prepared(lively, master="float32")
        settings = plan(learning_rate=1e-3, weight_decay=0.1)
        plain = make_optimiser(trainable, settings)
        assert isinstance(plain, torch.optim.AdamW)
        for group, ours in zip(plain.param_groups, trainable.groups, strict=True):
            group["weight_decay"] = 0.1
            assert ours.decayed in (True, False)
        for step in range(3):
            trainable.grad.normal_(generator=torch.Generator().manual_seed(step))
            plain.step()
        torch.testing.assert_close(trainable.master, results[0], rtol=1e-6, atol=1e-8)


def curve(model: Path, method: str, master: str, optim: str, steps: int = 60) -> list[float]:
    base, trainable = prepared(model, method, master)
    rate = 3e-3 if method == "full" else 1e-2
    settings = plan(total_steps=steps, optim=optim, learning_rate=rate)
    state = State()
    list(train(base, trainable, loss, rows(8), settings, make_optimiser(trainable, settings), state))
    return state.losses


@pytest.mark.parametrize(
    ("method", "master", "optim"),
    [("full", "bfloat16", "adamw"), ("full", "float32", "adamw_8bit"), ("full", "bfloat16", "adamw_8bit"),
     ("lora", "float32", "adamw_8bit")],
)  # fmt: skip
def test_the_curve_of_losses_stays_beside_that_of_plain_adamw(
    lively: Path, method: str, master: str, optim: str
) -> None:
    """Over 60 steps no loss is farther from the plain one than 5 % of what was learnt by then or will be."""
    plain, found = curve(lively, method, "float32", "adamw"), curve(lively, method, master, optim)
    learnt = plain[0] - plain[-1]
    assert learnt > 1.0
    assert found != plain
    print(method, master, optim, learnt, max(abs(a - b) for a, b in zip(plain, found, strict=True)))
    assert max(abs(a - b) for a, b in zip(plain, found, strict=True)) < 0.05 * learnt


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("optim", ["adamw", "adamw_8bit"])
def test_a_checkpoint_holds_the_bits_themselves(tiny_model: Path, tmp_path: Path, method: str, optim: str) -> None:
    master = "bfloat16" if method == "full" else "float32"
    settings = plan(total_steps=6, optim=optim)
    base, trainable = prepared(tiny_model, method, master)
    optimiser, state = make_optimiser(trainable, settings), State()
    for event in train(base, trainable, loss, rows(8), settings, optimiser, state):
        if event.step == 3:
            saved = checkpoint.save(tmp_path, trainable, optimiser, state, trainable.master.clone(), {})
    again_base, again = prepared(tiny_model, method, master)
    fresh = make_optimiser(again, settings)
    resumed, best = checkpoint.load(saved, again, fresh)
    assert resumed.step == 3
    assert best.dtype == trainable.master.dtype
    list(train(again_base, again, loss, rows(8), settings, fresh, resumed))
    assert torch.equal(again.master, trainable.master)
    assert resumed.losses == state.losses
    ours, theirs = optimiser.state_dict()["state"], fresh.state_dict()["state"]
    for index, tensors in ours.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, theirs[index][name])
    size = (saved / checkpoint.STATE).stat().st_size
    slack = 16_000  # generators, names
    assert 0 <= size - fit.checkpoint_bytes(trainable, optim) < slack
    if optim == "adamw_8bit":
        assert ours[0]["exp_avg"].dtype == ours[0]["exp_avg_sq"].dtype == torch.uint8


def test_the_plan_counts_every_byte(tiny_model: Path) -> None:
    for master, optim, weight, moments in (
        ("float32", "adamw", 4, 8), ("bfloat16", "adamw", 2, 8),
        ("float32", "adamw_8bit", 4, 2 + 8 / 256), ("bfloat16", "adamw_8bit", 2, 2 + 8 / 256),
    ):  # fmt: skip
        _, trainable = prepared(tiny_model, master=master)
        state = make_optimiser(trainable, plan(optim=optim))
        state.step()
        held = sum(
            tensor.nbytes for values in state.state_dict()["state"].values() for name, tensor in values.items()
            if name != "step"
        )  # fmt: skip
        assert held == moment_bytes(trainable, optim)
        norms = sum(group.end - group.start for group in trainable.groups if not group.decayed)
        matrices = trainable.master.numel() - norms
        assert held == pytest.approx(moments * matrices + 8 * norms, abs=16)
        assert fit.later_bytes(trainable, optim) == held + weight * trainable.master.numel()
        assert fit.checkpoint_bytes(trainable, optim) == held + 2 * weight * trainable.master.numel()


def test_a_weight_that_chance_never_moved_is_told_from_one_without_a_gradient(tiny_model: Path) -> None:
    _, trainable = prepared(tiny_model)
    optimiser = make_optimiser(trainable, plan(learning_rate=1e-12))
    before = trainable.master.clone()
    idle = next(iter(trainable.parameters))
    trainable.grad.fill_(1.0)
    optimiser.step()
    names = list(trainable.parameters)
    assert list(reached(optimiser, trainable)) == names
    assert verify.every_weight_moved(trainable, before, 2, optimiser).passed
    fresh = make_optimiser(trainable, replace(plan(), optim="adamw_8bit"))
    trainable.grad[: trainable.parameters[idle].numel()] = 0.0
    fresh.step()
    trainable.load(before)
    assert list(reached(fresh, trainable)) == names[1:]
    check = verify.every_weight_moved(trainable, before, 2, fresh)
    assert check.passed is False
    assert check.detail.endswith(f"not: {idle}")
