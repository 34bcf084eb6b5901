"""A run's events in other people's tools: TensorBoard, MLflow, Weights & Biases. Each is an optional package.

All of them write below the run's folder, ``tracking/``, and reach no other machine unless the user has set that up for
the tool itself: ``MLFLOW_TRACKING_URI``, ``WANDB_MODE=online``; what they tell their makers is switched off. What goes
wrong in them is said once and stops nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunesmith.core import store
from tunesmith.core.errors import ConfigError
from tunesmith.core.events import AnyEvent, Emit, Noticed, Step, Validated

FOLDER = "tracking"


@dataclass(frozen=True)
class Tracker:
    """Takes named values of a step and sentences about it."""

    log: Callable[[Mapping[str, float], int], None]
    say: Callable[[str, int], None]
    close: Callable[[], None]


def require_trackers(names: Sequence[str]) -> None:
    """Refuse trackers whose package is not there.

    Raises:
        ConfigError: gives the command that installs what is missing.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"report_to names {', '.join(missing)}, which is not installed",
            where="report_to",
            rule="a run reports to packages that are there",
            fix=f"pip install 'tunesmith[{','.join(missing)}]', or leave it out: events.jsonl has the same events",
        )


@contextmanager
def trackers(names: Sequence[str], output: Path, settings: Mapping[str, Any], emit: Emit) -> Iterator[Emit]:
    """A listener that passes events on to ``emit`` and to every tracker; they are opened at their first event.

    Raises:
        ConfigError: a package is missing.
    """
    require_trackers(names)
    opened: dict[str, Tracker] = {}
    broken: set[str] = set()

    def listen(event: AnyEvent) -> None:
        emit(event)
        if not isinstance(event, Step | Validated | Noticed):
            return
        for name in names:
            if name in broken:
                continue
            try:
                if name not in opened:
                    opened[name] = OPENERS[name](output, settings, event.step)
                _pass_on(opened[name], event)
            except Exception as error:  # whatever another tool raises, the run is worth more than its plot
                broken.add(name)
                text = f"{name} gets no more events: {type(error).__name__}: {error}"
                emit(Noticed(step=event.step, what="tracker lost", text=text))

    try:
        yield listen
    finally:
        for tracker in opened.values():
            tracker.close()


def _pass_on(tracker: Tracker, event: Step | Validated | Noticed) -> None:
    if isinstance(event, Noticed):
        tracker.say(event.text, event.step)
    else:
        tracker.log(scalars(event), event.step)


def scalars(event: Step | Validated) -> dict[str, float]:
    """The numbers of an event by the names that they have in every tool."""
    if isinstance(event, Validated):
        return {"validation/loss": event.loss, **{f"validation/{key}": value for key, value in event.metrics.items()}}
    return {
        "train/loss": event.loss,
        "train/learning_rate": event.learning_rate,
        "train/grad_norm": event.grad_norm,
        "train/epoch": event.epoch,
        "speed/tokens_per_second": event.tokens / event.seconds if event.seconds else 0.0,
        "speed/utilisation": event.utilisation,
        "memory/peak_bytes": float(event.memory_bytes),
    }


def _tensorboard(output: Path, _settings: Mapping[str, Any], step: int) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    # purge_step hides what an interrupted run had written beyond its checkpoint
    writer = SummaryWriter(log_dir=str(_folder(output, "tensorboard")), purge_step=step)

    def log(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return Tracker(log, lambda text, step: writer.add_text("noticed", text, step), writer.close)


def _mlflow(output: Path, settings: Mapping[str, Any], _step: int) -> Tracker:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(f"sqlite:///{(_folder(output, 'mlflow') / 'mlflow.db').resolve()}")
    mlflow.set_experiment("tunesmith")
    mlflow.start_run(run_name=output.name)
    mlflow.log_params({key: str(value)[:500] for key, value in settings.items()})
    return Tracker(
        lambda values, step: mlflow.log_metrics(dict(values), step=step),
        lambda text, step: mlflow.set_tag(f"noticed.{step}", text),
        mlflow.end_run,
    )


def _wandb(output: Path, settings: Mapping[str, Any], _step: int) -> Tracker:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    mode = os.environ.get("WANDB_MODE", "offline")
    run = wandb.init(
        project="tunesmith",
        name=output.name,
        dir=str(_folder(output, "wandb")),
        config=dict(settings),
        mode=mode,  # type: ignore[arg-type]
    )
    return Tracker(
        lambda values, step: run.log(dict(values), step=step),
        lambda text, step: run.alert("tunesmith", text) if mode == "online" else run.log({"noticed": text}, step=step),
        run.finish,
    )


def _folder(output: Path, name: str) -> Path:
    folder = output / FOLDER / name
    store.make_folder(folder)
    return folder


OPENERS: Mapping[str, Callable[[Path, Mapping[str, Any], int], Tracker]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
