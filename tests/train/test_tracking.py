"""The same events in TensorBoard, MLflow and Weights & Biases: what is passed on, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tunesmith.core.errors import ConfigError
from tunesmith.core.events import Note, Noticed, Step, Validated
from tunesmith.train import require_trackers, trackers
from tunesmith.train.tracking import OPENERS, Tracker, scalars

STEP = Step(
    step=3, total_steps=9, epoch=0.5, loss=1.5, learning_rate=1e-3, grad_norm=0.7, tokens=100, target_tokens=40,
    seconds=2.0, utilisation=0.6, memory_bytes=1000,
)  # fmt: skip
VALIDATED = Validated(step=3, loss=1.25, best=True, metrics={"chrf": 41.0})
NOTICED = Noticed(step=3, what="loss spike", text="loss spike at step 3")


def test_every_number_of_an_event_has_a_name() -> None:
    assert scalars(STEP) == {
        "train/loss": 1.5, "train/learning_rate": 1e-3, "train/grad_norm": 0.7, "train/epoch": 0.5,
        "speed/tokens_per_second": 50.0, "speed/utilisation": 0.6, "memory/peak_bytes": 1000.0,
    }  # fmt: skip
    assert scalars(VALIDATED) == {"validation/loss": 1.25, "validation/chrf": 41.0}


def test_a_missing_package_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.train.tracking.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="report_to names mlflow, which is not installed") as error:
        require_trackers(["mlflow"])
    assert "pip install 'tunesmith[mlflow]'" in error.value.fix
    require_trackers([])


def test_a_tracker_gets_steps_and_sentences_and_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[object] = []
    tracker = Tracker(
        lambda values, step: got.append((step, dict(values))),
        lambda text, step: got.append((step, text)),
        lambda: got.append("closed"),
    )
    monkeypatch.setattr("tunesmith.train.tracking.find_spec", lambda name: object())
    monkeypatch.setitem(OPENERS, "tensorboard", lambda output, settings, step: tracker)
    told: list[object] = []
    with trackers(["tensorboard"], tmp_path, {}, told.append) as emit:
        for event in (Note(text="not for trackers"), STEP, VALIDATED, NOTICED):
            emit(event)
    assert told == [Note(text="not for trackers"), STEP, VALIDATED, NOTICED]
    assert got == [(3, scalars(STEP)), (3, scalars(VALIDATED)), (3, "loss spike at step 3"), "closed"]


def test_a_tracker_that_breaks_is_named_once_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(output: Path, settings: object, step: int) -> Tracker:
        raise OSError("no space for plots")

    monkeypatch.setattr("tunesmith.train.tracking.find_spec", lambda name: object())
    monkeypatch.setitem(OPENERS, "wandb", broken)
    told: list[object] = []
    with trackers(["wandb"], tmp_path, {}, told.append) as emit:
        emit(STEP)
        emit(STEP)
    lost = [event for event in told if isinstance(event, Noticed)]
    assert [event.text for event in lost] == ["wandb gets no more events: OSError: no space for plots"]


def test_weights_and_biases_stay_offline_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, object]] = []
    logged: list[object] = []

    def init(**options: object) -> SimpleNamespace:
        calls.append(options)
        return SimpleNamespace(log=lambda values, step: logged.append((step, values)), finish=lambda: None)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tracker = OPENERS["wandb"](tmp_path / "run", {"seed": 1}, 1)
    tracker.log({"train/loss": 2.0}, 1)
    tracker.say("loss spike", 1)
    assert (calls[0]["mode"], calls[0]["name"], calls[0]["config"]) == ("offline", "run", {"seed": 1})
    assert logged == [(1, {"train/loss": 2.0}), (1, {"noticed": "loss spike"})]
    monkeypatch.setenv("WANDB_MODE", "online")
    OPENERS["wandb"](tmp_path / "run", {}, 1)
    assert calls[1]["mode"] == "online"


def test_mlflow_writes_into_the_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, object]] = []

    class Recorder(SimpleNamespace):
        def __getattr__(self, name: str) -> object:
            return lambda *arguments, **options: calls.append((name, (arguments, options)))

    monkeypatch.setitem(sys.modules, "mlflow", Recorder())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = OPENERS["mlflow"](tmp_path, {"seed": 1}, 1)
    tracker.log({"train/loss": 2.0}, 4)
    tracker.say("loss spike", 4)
    tracker.close()
    found = dict(calls)
    assert str(tmp_path / "tracking" / "mlflow") in found["set_tracking_uri"][0][0]
    assert found["log_params"] == (({"seed": "1"},), {})
    assert found["log_metrics"] == (({"train/loss": 2.0},), {"step": 4})
    assert found["set_tag"] == (("noticed.4", "loss spike"), {})
    assert list(found)[-1] == "end_run"


@pytest.mark.parametrize("name", list(OPENERS))
def test_the_real_tools_write_files(name: str, tmp_path: Path) -> None:
    """Where the optional package is installed."""
    pytest.importorskip(name)
    told: list[object] = []
    with trackers([name], tmp_path / "run", {"seed": 1}, told.append) as emit:
        for event in (STEP, VALIDATED, NOTICED):
            emit(event)
    assert told == [STEP, VALIDATED, NOTICED]
    assert any(path.is_file() and path.stat().st_size for path in (tmp_path / "run" / "tracking" / name).rglob("*"))
