"""Memory: recompute and offload change no gradient; a step that does not fit is done again in smaller parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.model.conftest import rows
from tests.train import job
from tests.train.test_loop import plan, prepared
from tunesmith.core.errors import ConfigError, TrainingError
from tunesmith.core.events import Note, Noticed
from tunesmith.model import device
from tunesmith.model.batch import pack
from tunesmith.model.load import Base, load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.recompute import decoder_layers, set_recompute
from tunesmith.model.trainable import KINDS, Options, Trainable, make_trainable
from tunesmith.train import LoopConfig, fit, preflight
from tunesmith.train.fit import Fit, candidates
from tunesmith.train.loop import State, accumulate, make_optimiser, train
from tunesmith.train.sft import loss


def with_dropout(model: Path, kind: str, dtype: torch.dtype) -> tuple[Base, Trainable]:
    base = load_base(model, dtype)
    lora = LoRASpec(4, 8, dropout=0.2, magnitude=kind == "dora")
    method = "lora" if kind == "dora" else kind
    trainable = make_trainable(method, base, Options(lora, 0, "tiny", virtual_tokens=3, bottleneck_size=4))
    if trainable.is_adapter:
        trainable.master.copy_(0.1 * torch.randn(trainable.master.shape, generator=torch.Generator().manual_seed(5)))
    for layer in decoder_layers(base.model):
        layer.self_attn.attention_dropout = 0.0
    return base, trainable


def gradient(base: Base, trainable: Trainable, recomputed: int, offload: bool = False) -> tuple[torch.Tensor, float]:
    set_recompute(base.model, recomputed, offload)
    trainable.begin()
    base.model.train()
    trainable.grad.zero_()
    torch.manual_seed(3)
    value, _ = accumulate(base, loss, [pack(rows(6)[:3]), pack(rows(6)[3:])])
    return trainable.grad.clone(), value


@pytest.mark.parametrize("kind", ["full", "dora", *(kind for kind in KINDS if kind != "qlora")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recompute_and_offload_give_the_same_gradient_bit_by_bit(
    kind: str, dtype: torch.dtype, tiny_model: Path
) -> None:
    base, trainable = with_dropout(tiny_model, kind, dtype)
    plain, value = gradient(base, trainable, 0)
    assert float(plain.norm()) > 0
    for layers, offload in ((1, False), (2, False), (2, True)):
        again, same_value = gradient(base, trainable, layers, offload)
        assert torch.equal(again, plain), (layers, offload)
        assert same_value == value
    if kind in ("lora", "dora"):
        torch.manual_seed(4)
        trainable.grad.zero_()
        accumulate(base, loss, [pack(rows(6)[:3]), pack(rows(6)[3:])])
        assert not torch.equal(trainable.grad, plain)  # dropout is at work here


def test_recomputed_layers_keep_less(tiny_model: Path) -> None:
    base, trainable = prepared(tiny_model, "lora")
    sizes = []
    for layers in (0, 1, 2):
        set_recompute(base.model, layers)
        kept: list[int] = []
        trainable.begin()

        def keep(x: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            kept.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            loss(base, pack(rows(8)))
        sizes.append(sum(kept))
    assert sizes[0] > sizes[1] > sizes[2]
    set_recompute(base.model, 0)
    assert all("forward" not in vars(layer) for layer in decoder_layers(base.model))


def test_recompute_leaves_answers_alone(tiny_model: Path) -> None:
    base, _ = prepared(tiny_model, "lora")
    base.router.training = None
    before = base.logits([[5, 6, 7]])[0]
    set_recompute(base.model, 2)
    assert torch.equal(base.logits([[5, 6, 7]])[0], before)


def failing(when: Callable[[int], BaseException | None]) -> Callable:
    """The loss, which runs out of memory in the middle of a step when ``when`` (rows of the batch) says so."""

    def lossy(base: Base, batch):  # type: ignore[no-untyped-def]
        value = loss(base, batch)
        error = when(len(batch.example_ids))
        if error is not None:
            raise error
        return value

    return lossy


KINDS_OF_FAILURE = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError(),
]


@pytest.mark.parametrize("error", KINDS_OF_FAILURE)
def test_a_step_that_does_not_fit_is_done_again_in_halves(error: BaseException, tiny_model: Path) -> None:
    results = []
    for break_it in (False, True):
        base, trainable = with_dropout(tiny_model, "lora", torch.float32)
        settings = plan(total_steps=3, micro_batch=2 if not break_it else 4)
        done: list[int] = []

        def when(count: int, done: list[int] = done, break_it: bool = break_it) -> BaseException | None:
            done.append(count)
            return error if break_it and count > 2 else None

        state = State()
        torch.manual_seed(0)
        optimiser = make_optimiser(trainable, settings)
        events = list(train(base, trainable, failing(when), rows(8), settings, optimiser, state))
        results.append((trainable.master.clone(), state.losses, [e for e in events if isinstance(e, Noticed)]))
    (plain, plain_losses, quiet), (again, losses, noticed) = results
    assert torch.equal(plain, again)
    assert plain_losses == losses
    assert quiet == []
    assert [event.what for event in noticed] == ["out of memory"]
    assert "memory ran out in step 1 with 4 rows at a time: from here on it is 2" in noticed[0].text


def test_other_errors_are_not_taken_for_lack_of_memory(tiny_model: Path) -> None:
    base, trainable = prepared(tiny_model, "lora")
    settings = plan()
    lossy = failing(lambda count: RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(train(base, trainable, lossy, rows(8), settings, make_optimiser(trainable, settings), State()))


@pytest.mark.usefixtures("quick")
def test_a_row_that_never_fits_stops_the_run_with_a_checkpoint(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.train import runs

    job.train(tiny_model, tmp_path / "undisturbed", job.config(per_device_train_batch_size=1,
              gradient_accumulation_steps=4))  # fmt: skip
    broken: list[int] = []

    def emit(event: object) -> None:
        if getattr(event, "kind", "") == "step" and event.step == 5:  # type: ignore[attr-defined]
            broken.append(1)

    never = failing(lambda count: MemoryError() if broken else None)
    monkeypatch.setitem(runs.TASKS, "sft", never)
    with pytest.raises(
        TrainingError, match="memory ran out: step 6 does not fit, even with one row at a time"
    ) as error:
        job.train(tiny_model, tmp_path / "run", job.config(), emit)
    assert "run the same command again to go on" in error.value.fix
    assert (tmp_path / "run" / "checkpoints" / "step-000005").is_dir()
    monkeypatch.undo()
    monkeypatch.setattr("tunesmith.train.verify.Reload", job.InstantReload)
    notes: list[str] = []
    job.train(
        tiny_model, tmp_path / "run", job.config(), lambda e: notes.append(e.text) if isinstance(e, Note) else None
    )
    assert any("resumed from step 5" in note for note in notes)


def test_the_ways_to_fit_are_tried_from_fast_to_slow() -> None:
    assert list(candidates(4, 8, False, LoopConfig())) == [
        Fit(4, 0, False), Fit(2, 0, False), Fit(1, 0, False),
        Fit(1, 2, False), Fit(1, 4, False), Fit(1, 6, False), Fit(1, 8, False),
    ]  # fmt: skip
    assert list(candidates(1, 8, True, LoopConfig()))[-1] == Fit(1, 8, True)
    assert list(candidates(2, 8, True, LoopConfig(gradient_checkpointing=False))) == [
        Fit(2, 0, False),
        Fit(1, 0, False),
    ]
    assert list(candidates(2, 8, False, LoopConfig(gradient_checkpointing=True))) == [
        Fit(2, 8, False),
        Fit(1, 8, False),
    ]
    offloaded = LoopConfig(gradient_checkpointing=True, activation_offload=True)
    assert list(candidates(1, 8, False, offloaded)) == [Fit(1, 8, True)]
    with pytest.raises(ConfigError, match="activation_offload needs gradient_checkpointing"):
        list(candidates(1, 8, True, LoopConfig(gradient_checkpointing=False, activation_offload=True)))
    with pytest.raises(ConfigError, match="the model has no stack of equal layers"):
        list(candidates(1, 0, True, LoopConfig(gradient_checkpointing=True)))


def test_a_plan_gives_up_rows_then_time_until_it_fits(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, trainable = prepared(tiny_model, "lora")
    examples, settings = rows(8), plan()
    later = fit.later_bytes(trainable, "adamw")
    longest = max(len(row.tokens) for row in examples)
    plain = fit.activation_bytes(base, longest)
    found = []
    for room in (100 * plain, int(1.5 * plain), int(0.9 * plain)):
        monkeypatch.setattr(device, "free_memory", lambda where, room=room: int((room + later) / fit.ROOM) + 64)
        monkeypatch.setattr(fit, "measured", lambda base, trainable, loss, rows: 1)
        chosen = fit.choose(base, trainable, loss, examples, settings, LoopConfig())
        found.append((chosen.micro_batch, chosen.recomputed))
    set_recompute(base.model, 0)
    assert found == [(4, 0), (1, 0), (1, 2)]
    monkeypatch.setattr(device, "free_memory", lambda where: 1024)
    with pytest.raises(TrainingError, match=r"the longest batch \(\d+ tokens\) needs about .* GiB are free"):
        fit.choose(base, trainable, loss, examples, settings, LoopConfig())


def test_an_allocation_that_fails_while_planning_is_no_error(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, trainable = prepared(tiny_model, "lora")
    lossy = failing(lambda count: MemoryError() if count > 1 else None)
    chosen = fit.choose(base, trainable, lossy, rows(8), plan(), LoopConfig())
    assert chosen.micro_batch == 1
    assert float(trainable.grad.norm()) == 0.0


def test_the_estimate_leaves_everything_as_it_was_and_is_compared_afterwards(tiny_model: Path) -> None:
    base, trainable = prepared(tiny_model, "lora")
    before, generators = trainable.master.clone(), torch.get_rng_state()
    planned = preflight.estimate(base, trainable, loss, rows(8), rows(2), plan(), LoopConfig())
    assert torch.equal(trainable.master, before)
    assert float(trainable.grad.norm()) == 0.0
    assert torch.equal(torch.get_rng_state(), generators)
    assert (planned.micro_batch, planned.recomputed_layers, planned.validations, planned.layers) == (4, 0, 1, 2)
    assert planned.gemm_flops > 1e8
    assert planned.peak_memory_bytes[0] < device.peak_memory() * 1.5
    middle, memory = sum(planned.seconds) / 2, sum(planned.peak_memory_bytes) // 2
    found = preflight.outturn(planned, planned.steps // 2, middle / 2 * 1.1, memory)
    assert found.seconds_share == pytest.approx(0.1)
    assert found.peak_memory_share == pytest.approx(0.0, abs=1e-6)
    assert "(+10 %)" in found.sentence
    given_up = planned.model_copy(update={"micro_batch": 1, "recomputed_layers": 2, "activation_offload": True})
    said = preflight.sentence(given_up, 4)
    assert "1 row at a time instead of 4, to fit the memory" in said
    assert "2 of 2 layers recomputed, their inputs in the host's memory" in said


def test_memory_marks() -> None:
    device.reset_peak_memory()
    block = torch.ones(32 * 2**20)
    held, peak = device.used_memory(), device.peak_memory()
    assert peak >= held > block.numel() * 4
    del block
    device.reset_peak_memory()
    assert device.peak_memory() < peak
