"""`tunesmith sweep` as people meet it: candidates in, a config file for `train` out, and no test row seen."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, refusal
from tests.command import SECONDS, Ran, plain, read_until, started
from tests.project import CONFIG, ROWS, questions, write_rows
from tests.train.job import InstantReload
from tunesmith import curate, lifecycle
from tunesmith.core.artifacts import SweepRecord
from tunesmith.train import verify

RATES = {"learning_rate": [1e-6, 3e-3], "lora_r": [2, 4]}


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "Reload", InstantReload)


def sweep(desk: Desk, *arguments: object) -> Ran:
    return desk.ask("sweep", CONFIG, *arguments)


def folder(desk: Desk) -> Path:
    return desk.folder / "run-sweep"


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("method", ["lora", "qlora", "prefix", "full"])
def test_the_best_configuration_trains_to_the_very_loss_of_its_trial(desk: Desk, method: str) -> None:
    own: dict[str, object] = {"learning_rate": 1e-6, "sweep": {"learning_rate": [1e-6, 3e-4, 1e-3]}}
    if method == "lora":
        own |= {"lora_r": 2, "sweep": RATES}
    desk.config(method=method, num_train_epochs=2, **own)
    ran = sweep(desk, "--trials", 3, "--json")
    assert ran.code == 0, ran.err
    found = ran.document
    record = SweepRecord.model_validate(found["sweep"])
    assert len(record.trials) == 3
    assert record.has_own
    assert record.trials[0].values["learning_rate"] == 1e-6
    assert record.ranking[0].number != 0
    assert found["best"]["values"]["learning_rate"] > 1e-6
    assert found["stopped"] == "3 of 3 trials"
    assert found["sentence"] == record.sentence
    assert found["config"] == str(folder(desk) / "best.yaml")
    assert not desk.run.exists()

    # From another folder, unchanged: the same steps, the same validations, the same bits.
    trained = desk.ask("train", found["config"], "--json", TUNESMITH_HOME=str(desk.home))
    run = trained.document["run"]
    assert min(run["validation_losses"].values()) == found["best"]["loss"]
    assert run["config"]["learning_rate"] == found["best"]["values"]["learning_rate"]
    assert (desk.folder / "run-best" / "report.html").is_file()
    assert "auto" not in [run["config"][key] for key in ("learning_rate", "max_length", "eval_steps")]


def test_what_people_read(desk: Desk) -> None:
    desk.config(learning_rate=1e-3, sweep=RATES, num_train_epochs=1)
    ran = sweep(desk, "--trials", 2)
    assert ran.code == 0, ran.err
    assert "trial 0  learning_rate" in ran.err
    assert re.search(r"trial 0: validation loss \d\.\d{4} in \d+ s, the best so far", ran.err)
    assert re.search(r"^trial +loss +learning_rate +lora_r +steps +time +outcome", ran.out, flags=re.MULTILINE)
    said = plain(ran.out)
    assert "of 2 complete trials. The best 2 lie" in said
    assert "test rows, which no trial has seen" in said
    assert f"train: tunesmith train {folder(desk) / 'best.yaml'}" in said
    page = (folder(desk) / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    assert "Validation loss over learning_rate" in page
    assert page.count("<circle") == 6
    assert "<script" not in page
    assert "//" not in page.split("</style>")[1]
    assert "default-src" in page
    record = SweepRecord.model_validate_json((folder(desk) / "sweep.json").read_text())
    assert record.sentence.split(".")[0] in page
    text = (folder(desk) / "best.yaml").read_text()
    assert text.startswith("# Trial ")


class Poison:
    """A test row that may be told apart from others, and nothing more."""

    split = "test"

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"a test row was read: {name}")


def test_no_test_row_is_seen(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    curated = curate.run

    def poisoned(*arguments: object, **named: object) -> curate.Dataset:
        dataset = curated(*arguments, **named)  # type: ignore[arg-type]
        assert dataset.of("test")
        rows = tuple(Poison() if example.split == "test" else example for example in dataset.examples)
        tokens = {**dataset.tokens, "test": [Poison()]}
        return replace(dataset, examples=rows, tokens=tokens)  # type: ignore[arg-type]

    monkeypatch.setattr(curate, "run", poisoned)
    asked: list[str] = []
    tokenise = lifecycle.tokenise
    monkeypatch.setattr(lifecycle, "tokenise", lambda project, split: asked.append(split) or tokenise(project, split))
    monkeypatch.setattr("tunesmith.evaluate.run", lambda *_, **__: pytest.fail("a sweep evaluated something"))
    desk.config(sweep=RATES, num_train_epochs=1)
    ran = sweep(desk, "--trials", 2)
    assert ran.code == 0, ran.err
    assert asked == ["train", "validation"]
    with pytest.raises(AssertionError, match="a test row was read: messages"):
        _ = Poison().messages


def test_the_same_command_goes_on_and_changes_are_refused(desk: Desk) -> None:
    desk.config(sweep=RATES, num_train_epochs=1)
    assert sweep(desk, "--trials", 1).code == 0
    error = refusal(sweep(desk, "--trials", 1))
    assert error.what == "the budget is used up: 1 of 1 trials"
    assert error.where == str(folder(desk))
    again = sweep(desk, "--trials", 2, "--json")
    assert len(again.document["sweep"]["trials"]) == 2
    assert "goes on after 1 trials" in again.err

    desk.config(sweep=RATES, num_train_epochs=1, weight_decay=0.1)
    changed = refusal(sweep(desk, "--trials", 3))
    assert changed.what == "the trials of this sweep belong to another one: configuration changed"
    desk.config(sweep={"lora_r": [2, 4, 8]}, num_train_epochs=1)
    assert refusal(sweep(desk, "--trials", 3)).what.endswith("search space changed")
    desk.config(sweep=RATES, num_train_epochs=1)
    write_rows(desk.folder / ROWS, questions(range(31)))
    assert refusal(sweep(desk, "--trials", 3)).what.endswith("data changed")
    fresh = sweep(desk, "--trials", 1, "--fresh", "--json")
    assert len(fresh.document["sweep"]["trials"]) == 1


def test_ctrl_c_keeps_finished_trials(desk: Desk) -> None:
    desk.config(sweep=RATES, num_train_epochs=10, early_stopping_patience=0)
    home = {"TUNESMITH_HOME": str(desk.home)}
    with started("sweep", CONFIG, "--trials", 3, at=desk.folder, **home) as process:
        said = read_until(process.stderr, "trial 1  learning_rate")
        said += read_until(process.stderr, "validation loss")
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    assert out == ""
    stopped = plain(err[err.index("stopped: ") :])
    assert "stopped by SIGINT in the middle of a trial" in stopped
    assert "fix: resume with: tunesmith sweep tunesmith.yaml --trials 3" in stopped
    first = re.search(r"trial 0: validation loss (\d\.\d{4})", said)
    assert first
    again = sweep(desk, "--trials", 3, "--json")
    assert again.code == 0, again.err
    trials = again.document["sweep"]["trials"]
    assert len(trials) == 3
    assert f"{trials[0]['loss']:.4f}" == first[1]
    assert "trial 0  learning_rate" not in again.err


def test_no_trial_fits_into_the_minutes(desk: Desk) -> None:
    desk.config(sweep=RATES, num_train_epochs=50)
    error = refusal(sweep(desk, "--minutes", 0.001))
    assert error.what.startswith("no trial fits into the budget: the next trial needs about ")
    assert error.where == "sweep_minutes"
    assert not folder(desk).exists()


def test_no_trial_completes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith.core.errors import TrainingError
    from tunesmith.train import trial

    def diverges(*_: object) -> None:
        raise TrainingError("training diverged: loss inf", where="step 1")

    monkeypatch.setattr(trial, "measure", diverges)
    desk.config(sweep=RATES)
    ran = sweep(desk, "--trials", 2, "--json")
    assert ran.code == 1, ran.err
    assert ran.document["config"] is None
    assert ran.document["sentence"] == "No trial was completed, so nothing is recommended."
    assert not (folder(desk) / "best.yaml").exists()
    assert "No configuration can be recommended" in (folder(desk) / "report.html").read_text()
    assert "warning: trial 1 failed: training diverged: loss inf" in ran.err


def test_no_budget_is_said_aloud(desk: Desk) -> None:
    desk.config(sweep={"lora_r": [2, 4]}, num_train_epochs=0.5)
    ran = sweep(desk, "--json")
    assert "warning: no budget was stated: 20 trials; --trials or --minutes sets one" in ran.err
    assert ran.document["stopped"] == "every combination was tried"
    assert len(ran.document["sweep"]["trials"]) == 2


@pytest.mark.parametrize(
    ("knobs", "what", "fix"),
    [
        ({"lora_rank": [8, 16]}, "unknown key 'lora_rank' in sweep", "did you mean 'lora_r'?"),
        ({"lora_r": []}, "sweep.lora_r has nothing to choose from: []", "add values, or set lora_r as a key of"),
        ({"lora_r": {"low": 9, "high": 8}}, "the range of sweep.lora_r is empty: low is 9, high is 8", "exchange the"),
        ({"lora_r": {"low": 9}}, "the key 'sweep.lora_r.high' is missing", "add `high: …`"),
        ({"lora_r": {"low": 9, "high": 10, "top": 11}}, "unknown key 'sweep.lora_r.top'", "remove it"),
    ],
)
def test_bad_candidates_are_refused_before_anything_slow(desk: Desk, knobs: object, what: str, fix: str) -> None:
    desk.config(sweep=knobs)
    line = next(n for n, text in enumerate((desk.folder / CONFIG).read_text().splitlines(), 1) if '"sweep"' in text)
    error = refusal(sweep(desk, "--trials", 2))
    assert error.what.startswith(what)
    number = int(error.where.removeprefix(f"{CONFIG}:"))
    assert line <= number <= line + 4
    assert error.fix.startswith(fix)
    assert not desk.home.exists()
    assert not folder(desk).exists()


@pytest.mark.parametrize(
    ("option", "what", "rule"),
    [
        (("--trials", 0), "sweep_trials is 0", "sweep_trials must be a whole number, at least 1, or null"),
        (("--minutes", 0), "sweep_minutes is 0.0", "sweep_minutes must be a number, greater than 0, or null"),
    ],
)
def test_an_empty_budget(desk: Desk, option: tuple[str, object], what: str, rule: str) -> None:
    error = refusal(sweep(desk, *option))
    assert (error.what, error.rule) == (what, rule)
    assert not folder(desk).exists()


def test_a_config_without_sweep_says_what_it_searches(desk: Desk) -> None:
    ran = sweep(desk, "--trials", 1, "--set", "num_train_epochs=1", "--json")
    assert ran.code == 0, ran.err
    assert list(ran.document["sweep"]["space"]) == [
        "learning_rate",
        "lora_r",
        "num_train_epochs",
        "per_device_train_batch_size",
    ]
    assert json.loads((folder(desk) / "sweep.json").read_text()) == ran.document["sweep"]
