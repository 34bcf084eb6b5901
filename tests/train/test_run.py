"""A whole run: folders, verify table, exact repeat, kill and resume, refusals."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import build_model
from tests.train import job
from tunesmith.core.artifacts import RunRecord
from tunesmith.core.errors import (
    AdapterError,
    ConfigError,
    CorruptArtifactError,
    InputError,
    Interrupted,
    TrainingError,
)
from tunesmith.core.events import Note, Step
from tunesmith.core.store import verify_folder
from tunesmith.model.adapters import attach, read_adapter
from tunesmith.model.load import load_base
from tunesmith.train import Rows, verify
from tunesmith.train.preflight import sentence
from tunesmith.train.reload import replay


def weights(folder: Path, name: str = "adapter") -> dict[str, torch.Tensor]:
    return load_file(next((folder / name).glob("*.safetensors")))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    out = tmp_path_factory.mktemp("runs") / "whole"
    torch.set_num_threads(1)
    return out, job.train(tiny_model, out, job.config())


def test_a_run_leaves_its_evidence(finished: tuple[Path, RunRecord]) -> None:
    out, record = finished
    assert RunRecord.model_validate_json((out / "run.json").read_text()) == record
    assert record.steps == len(record.train_losses) == 12
    assert record.train_losses[-1] < record.train_losses[0]
    assert min(record.validation_losses.values()) == record.validation_losses[record.best_step]
    assert record.target_tokens == 2 * sum(row.trained_tokens for row in job.rows().train)
    for name in ("adapter", "last"):
        assert set(verify_folder(out / name)) == {
            "adapter_config.json",
            "adapter_model.safetensors",
            "tunesmith.json",
        }
    lines = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert sum(line["kind"] == "step" for line in lines) == 12
    assert not (out / "checkpoints").exists()


def test_the_plan_counts_the_process_that_loads_the_weights_again(
    finished: tuple[Path, RunRecord], tiny_model: Path
) -> None:
    _, record = finished
    assert record.estimate is not None
    assert record.estimate.reload_bytes >= 0.9 * (tiny_model / "model.safetensors").stat().st_size
    planned = record.estimate.model_copy(update={"reload_bytes": 2**29})
    assert sentence(planned, planned.micro_batch).endswith(
        "GiB, and 0.5 GiB for a moment in the process that loads the saved weights again"
    )


def test_every_check_was_measured_and_passed(finished: tuple[Path, RunRecord]) -> None:
    _, record = finished
    assert {check.name: check.passed for check in record.checks} == {
        "mask coverage": True,
        "stop tokens": True,
        "packing": True,
        "packing isolation": True,
        "reload, first save": True,
        "weights trained": True,
        "tuned ≠ base": True,
        "reload, last save": True,
    }


@pytest.mark.usefixtures("quick")
def test_same_seed_same_adapter(finished: tuple[Path, RunRecord], tiny_model: Path, tmp_path: Path) -> None:
    out, record = finished
    again = job.train(tiny_model, tmp_path / "again", job.config())
    assert again.adapter_digest == record.adapter_digest
    other = job.train(tiny_model, tmp_path / "other", job.config(seed=1))
    assert other.adapter_digest != record.adapter_digest
    assert same(weights(out), weights(tmp_path / "again"))


def stop_after(step: int):
    """A listener that sends the process Ctrl-C when this step is done."""

    def emit(event: object) -> None:
        if isinstance(event, Step) and event.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return emit


@pytest.mark.usefixtures("quick")
def test_ctrl_c_writes_a_checkpoint_and_says_how_to_resume(
    finished: tuple[Path, RunRecord], tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted, match="stopped by SIGINT after step 5 of 12") as error:
        job.train(tiny_model, out, job.config(), stop_after(5))
    assert "run the same `tunesmith train` command again" in error.value.fix
    notes: list[str] = []
    job.train(tiny_model, out, job.config(), lambda e: notes.append(e.text) if isinstance(e, Note) else None)
    assert any("resumed from step 5" in note for note in notes)
    assert same(weights(out), weights(finished[0]))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("step", [6, 12])
def test_ctrl_c_just_before_a_validation_loses_nothing(
    step: int, finished: tuple[Path, RunRecord], tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        job.train(tiny_model, out, job.config(), stop_after(step))
    record = job.train(tiny_model, out, job.config())
    assert record.validation_losses == finished[1].validation_losses
    assert same(weights(out), weights(finished[0]))


@pytest.mark.usefixtures("quick")
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    finished: tuple[Path, RunRecord], tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        job.train(tiny_model, out, job.config(), stop_after(7))
    state = out / "checkpoints" / "step-000007" / "state.safetensors"
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(data)
    notes: list[str] = []
    job.train(tiny_model, out, job.config(), lambda e: notes.append(e.text) if isinstance(e, Note) else None)
    assert any("checkpoint step-000007 is damaged and not used" in note for note in notes)
    assert any("resumed from step 6" in note for note in notes)
    assert same(weights(out), weights(finished[0]))


@pytest.mark.usefixtures("quick")
def test_changed_settings_or_data_are_refused_on_resume(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        job.train(tiny_model, out, job.config(), stop_after(4))
    with pytest.raises(ConfigError, match="the checkpoint belongs to another run: configuration changed"):
        job.train(tiny_model, out, job.config(learning_rate=1e-4))
    with pytest.raises(ConfigError, match="configuration changed"):
        job.train(tiny_model, out, job.config(), adapter=job.ADAPTER.model_copy(update={"lora_alpha": 8.0}))
    job.train(tiny_model, out, job.config(learning_rate=1e-4, max_steps=1), fresh=True)


def test_a_finished_run_is_not_overwritten(finished: tuple[Path, RunRecord], tiny_model: Path) -> None:
    with pytest.raises(InputError, match="holds a finished run"):
        job.train(tiny_model, finished[0], job.config())


def test_no_rows_are_refused(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "rows", lambda: Rows((), (), ""))
    with pytest.raises(InputError, match="0 training and 0 validation rows"):
        job.train(tiny_model, tmp_path / "run", job.config())


def test_replay_finds_a_changed_adapter(finished: tuple[Path, RunRecord], tiny_model: Path, tmp_path: Path) -> None:
    out, _ = finished
    assert replay(out / "adapter", tiny_model, "float32") <= 1e-6
    damaged = tmp_path / "adapter"
    damaged.mkdir()
    for path in (out / "adapter").iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    card = json.loads((damaged / "tunesmith.json").read_text())
    card["canaries"][0]["logprobs"][0] -= 1
    (damaged / "tunesmith.json").write_text(json.dumps(card))
    with pytest.raises(CorruptArtifactError, match=r"tunesmith\.json"):
        replay(damaged, tiny_model, "float32")


METHODS = {
    "qlora": {},
    "prefix": {},
    "prompt": {},
    "ia3": {},
    "bottleneck": {},
    "lora": {"use_dora": True, "loraplus_lr_ratio": 4.0},
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_comes_back(tmp_path: Path, method: str) -> None:
    model = build_model(tmp_path / "model", spread=0.2)
    adapter = job.ADAPTER.model_copy(update=METHODS[method])
    config = job.config(method=method, learning_rate=2e-2)
    record = job.train(model, tmp_path / "run", config, adapter=adapter)
    assert all(check.passed for check in record.checks)
    first, second = record.train_losses[:6], record.train_losses[6:]
    assert sum(second) < sum(first)
    form = "float32-nf4" if method == "qlora" else "float32"
    assert replay(tmp_path / "run" / "adapter", model, form) <= 1e-6
    again = job.train(model, tmp_path / "again", config, adapter=adapter)
    assert again.adapter_digest == record.adapter_digest
    other = load_base(model, torch.float32, four_bit=method != "qlora")
    with pytest.raises(AdapterError, match=r"was trained on a base in (full|4 bits), and this one is in (full|4 bits)"):
        attach(other, "x", read_adapter(tmp_path / "run" / "adapter"))


LEAN = {
    "bfloat16 without a copy": {"method": "full", "dtype": "bfloat16", "master_dtype": "bfloat16"},
    "bfloat16 and 8 bits": {"method": "full", "dtype": "bfloat16", "master_dtype": "bfloat16", "optim": "adamw_8bit"},
    "adapter and 8 bits": {"method": "lora", "optim": "adamw_8bit"},
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("settings", LEAN.values(), ids=LEAN)
def test_lean_runs_pass_every_check_and_resume_with_the_same_bits(
    tiny_model: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    config, name = job.config(**settings), "model" if settings["method"] == "full" else "adapter"
    record = job.train(tiny_model, tmp_path / "whole", config)
    assert all(check.passed for check in record.checks)
    assert record.train_losses[-1] < record.train_losses[0]
    with pytest.raises(Interrupted):
        job.train(tiny_model, tmp_path / "run", config, stop_after(5))
    again = job.train(tiny_model, tmp_path / "run", config)
    assert again.train_losses == record.train_losses
    for folder in (name, "last"):
        assert same(weights(tmp_path / "run", folder), weights(tmp_path / "whole", folder))
    other = job.train(tiny_model, tmp_path / "other", job.config(**settings, seed=7))
    assert other.adapter_digest != record.adapter_digest


def test_a_failed_check_fails_the_run(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "TOLERANCE", {torch.float32: -1.0})
    with pytest.raises(TrainingError, match="the finished run failed a check: reload, first save"):
        job.train(tiny_model, tmp_path / "run", job.config(max_steps=3))


def test_an_impossible_batch_is_refused_with_the_numbers(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith.model.device.available_memory", lambda: 1024)
    with pytest.raises(TrainingError, match=r"the longest batch \(\d+ tokens\) needs about"):
        job.train(tiny_model, tmp_path / "run", job.config())


def test_packing_check_sees_contamination(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith.model import attention, batch

    base = load_base(tiny_model, torch.float32)
    assert verify.packing_isolation(base, job.rows().train).passed
    whole = lambda lengths, device=None, shared=False: attention.plan_layout([sum(lengths)], device)  # noqa: E731
    monkeypatch.setattr(batch, "plan_layout", whole)
    assert verify.packing_isolation(base, job.rows().train).passed is False
