"""Ctrl-C: what was done is kept, what to type is said, and the same command goes on from there."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.cli.conftest import Desk, refusal
from tests.command import SECONDS, kept, plain, read_until, started
from tests.project import CONFIG
from tests.train.job import InstantReload
from tunesmith import evaluate
from tunesmith.train import verify


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what runs in this process; a command in a process of its own is as users have it."""
    monkeypatch.setattr(verify, "Reload", InstantReload)


@pytest.mark.usefixtures("_quick")
def test_ctrl_c_in_training(desk: Desk) -> None:
    desk.config(max_steps=200, eval_steps=20, early_stopping_patience=0)
    home = {"TUNESMITH_HOME": str(desk.home)}
    with started("train", CONFIG, at=desk.folder, **home) as process:
        said = read_until(process.stderr, "step 20: validation loss")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everything that the command started gets it too
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in said + err
    stopped = plain(err[err.index("stopped: ") :])
    assert "stopped by SIGINT after step " in stopped
    assert "of 200 where: run/checkpoints rule: a checkpoint was written; the same command goes on from it" in stopped
    assert "fix: resume with: tunesmith train tunesmith.yaml" in stopped
    step = int(stopped.split("after step ")[1].split()[0])
    assert (desk.run / "checkpoints" / f"step-{step:06d}" / "manifest.json").is_file()
    assert not any((desk.run / name).exists() for name in ("adapter", "run.json", "report.html"))
    assert kept(desk.home) == []
    assert refusal(desk.ask("chat", desk.run, "-m", "Hello")).what == f"the run in {desk.run} is not finished"

    again = desk.train("--json")
    assert again.code == 0, again.err
    assert f"resumed from step {step} (step-{step:06d})" in again.err
    record = again.document["run"]
    assert record["steps"] == 200
    assert len(record["train_losses"]) == 200
    assert all(check["passed"] for check in record["checks"])
    assert (desk.run / "report.html").is_file()
    assert not (desk.run / "checkpoints").exists()


def stop_in(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Ctrl-C in the n-th evaluation of a `train` command: the first measures the base, the second judges."""
    calls: list[int] = []
    run = evaluate.run

    def interrupted(*arguments: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return run(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "run", interrupted)


@pytest.mark.usefixtures("_quick")
def test_ctrl_c_before_training(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_in(monkeypatch, 1)
    ran = desk.train()
    assert ran.code == 130
    assert "stopped: stopped by Ctrl-C" in ran.err
    assert "nothing is left half-written; run the command again" in ran.err
    assert desk.is_untouched()


@pytest.mark.usefixtures("_quick")
def test_ctrl_c_before_the_verdict(desk: Desk) -> None:
    desk.config(test_size=0.3)
    with pytest.MonkeyPatch.context() as patch:
        stop_in(patch, 2)
        assert desk.train().code == 130
    assert (desk.run / "run.json").exists()
    assert not (desk.run / "report.html").exists()
    weights = (desk.run / "adapter" / "adapter_model.safetensors").read_bytes()
    desk.config(test_size=0.3, lora_r=4)
    error = refusal(desk.train())
    assert error.what == "run holds a finished run of another configuration, data or base"
    assert error.fix == "undo the change, choose another output_dir, or start over with --fresh"
    desk.config(test_size=0.3)
    again = desk.train("--json")
    assert again.code == 0, again.err
    assert "run is trained already; what is missing is its verdict" in again.err
    assert again.document["verdict"] == "better"
    assert (desk.run / "adapter" / "adapter_model.safetensors").read_bytes() == weights
    assert "tuned is better than base" in (desk.run / "report.html").read_text(encoding="utf-8")
    assert refusal(desk.train()).what == "run holds a finished run"


@pytest.mark.usefixtures("_quick")
def test_a_run_that_failed_a_check_is_not_judged(desk: Desk) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_in(patch, 2)
        assert desk.train().code == 130
    record = json.loads((desk.run / "run.json").read_text())
    record["checks"][0] |= {"passed": False, "detail": "rows without any: 3"}
    (desk.run / "run.json").write_text(json.dumps(record))
    error = refusal(desk.train(), code=3)
    assert error.what == "the finished run failed a check: mask coverage: rows without any: 3"
    assert error.fix.startswith("don't use this adapter; train again with --fresh")
    assert not (desk.run / "report.html").exists()
    assert kept(desk.home) == []


@pytest.mark.usefixtures("_quick")
def test_fresh_starts_over(desk: Desk) -> None:
    desk.config(max_steps=2)
    assert desk.train().code in (0, 1)
    (desk.run / "notes.txt").write_text("mine")
    desk.config(max_steps=3)
    assert refusal(desk.train()).what == "run holds a finished run"
    ran = desk.train("--fresh", "--json")
    assert ran.document["run"]["steps"] == 3
    assert (desk.run / "notes.txt").read_text() == "mine"
