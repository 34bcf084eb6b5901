"""Hyper-parameter search: trials under a budget, chosen by Optuna's TPE, judged by the validation loss alone.

A trial is a whole training run that writes nothing. The record of all trials lies in the workspace and is the only
state: before each trial a fresh study is told the finished ones, and the sampler's seed follows from the run's seed
and the trial's number. So the same seed gives the same suggestions, stopped and continued or not.
"""

from __future__ import annotations

import hashlib
import math
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.core import store
from tunesmith.core.artifacts import SweepRecord, SweepTrial
from tunesmith.core.config import Settings
from tunesmith.core.errors import ConfigError, InputError, TrainingError
from tunesmith.core.events import Emit, Note, Stage, ignore
from tunesmith.core.records import digest_of
from tunesmith.core.store import Workspace
from tunesmith.train.config import Config
from tunesmith.train.order import Order
from tunesmith.train.space import Knob, SweepConfig, make_space

if TYPE_CHECKING:
    from optuna import Study, Trial

KIND = "sweep"
TRIALS = 20
"""The budget where none is stated."""
POINTS = 8
"""Validations of a trial. Trials are compared at equal shares of their own steps, where their schedules are alike."""
RANDOM_TRIALS = 5
"""Trials before the sampler begins to learn from them."""
PRUNE_AFTER_TRIALS, PRUNE_AFTER_POINTS = 3, 2
"""Complete trials, and validations of the running one, before it can be pruned."""
HOPELESS = 5
"""After so many failures without a complete trial, the fault lies elsewhere."""
TIE = 0.01
"""Losses within this share of the best count as equal in the sentence about it."""


@dataclass(frozen=True)
class Budget:
    """Whichever ends first; None is no limit. ``seconds`` count over all commands of the sweep."""

    trials: int | None
    seconds: float | None

    @classmethod
    def of(cls, config: SweepConfig, emit: Emit = ignore) -> Budget:
        """The stated budget; where there is none, the default one, aloud."""
        trials, minutes = config.sweep_trials, config.sweep_minutes
        if trials is None and minutes is None:
            emit(Note(text=f"no budget was stated: {TRIALS} trials; --trials or --minutes sets one", level="warning"))
            trials = TRIALS
        return cls(trials, None if minutes is None else 60 * minutes)

    def left(self, record: SweepRecord) -> float:
        """Seconds that are left."""
        return math.inf if self.seconds is None else self.seconds - record.seconds

    def used_up(self, record: SweepRecord) -> str:
        """What is used up, in words; "" when another trial may be thought of."""
        if self.trials is not None and len(record.trials) >= self.trials:
            return f"{len(record.trials)} of {self.trials} trials"
        if self.seconds is not None and self.left(record) <= 0:
            return f"{record.seconds / 60:.1f} of {self.seconds / 60:g} minutes"
        return ""


class Stop(Exception):
    """Leave a trial. ``state`` is what becomes of it; "" means that it never began."""

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state, self.reason = state, reason


@dataclass
class Watch:
    """What a trial reports to while it runs; each method may raise `Stop`."""

    live: Trial
    room: float
    """Seconds that the trial may take."""
    pace: float
    """By how much earlier trials exceeded their plans."""
    clock: Callable[[], float]
    losses: dict[int, float] = field(default_factory=dict)
    best: float = math.inf
    steps: int = 0
    planned: float = 0.0

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def seconds(self) -> float:
        """Since the trial began."""
        return self.clock() - self._began

    def begin(self, seconds: float) -> None:
        """Say, before the first step, how long the trial is going to take from now on."""
        self.planned = self.seconds + seconds
        if self.planned * self.pace > self.room:
            needed, left = self.planned * self.pace / 60, self.room / 60
            raise Stop("", f"the next trial needs about {needed:.1f} minutes, and {max(0.0, left):.1f} are left")

    def step(self) -> None:
        """An optimiser step is done."""
        self.steps += 1
        if self.seconds > self.room:
            raise Stop("cut", "the budget ended before the trial did")

    def validated(self, share: float, loss: float) -> None:
        """The validation loss after this share of the trial's steps."""
        if not math.isfinite(loss):
            raise Stop("failed", "the validation loss is not a number")
        self.best = min(self.best, loss)
        point = math.floor(POINTS * share + 1e-9)
        # Trials with few steps skip points; filled, every point can be compared with every other trial's.
        for missed in range(max(self.losses, default=0) + 1, point + 1):
            self.losses[missed] = loss
            self.live.report(loss, missed)
        if share < 1 and point in self.losses and self.live.should_prune():
            raise Stop("pruned", f"behind the median of the complete trials after {share:.0%} of its steps")


Evaluate = Callable[[Settings, Watch], None]
"""Trains with these settings, writes nothing, and tells the watch of every step and every validation."""


@dataclass(frozen=True)
class Search:
    """One sweep: the common settings, the knobs, how a trial is made, and what the record is called."""

    settings: Settings
    knobs: tuple[Knob, ...]
    rows: int
    """Rows that an epoch shows, which the validations of a trial are spread over."""
    evaluate: Evaluate
    emit: Emit = ignore
    clock: Callable[[], float] = time.monotonic

    @property
    def own(self) -> dict[str, Any]:
        """The file's own values of the knobs."""
        values = self.settings.as_dict()
        return {knob.name: values[knob.name] for knob in self.knobs}

    @property
    def has_own(self) -> bool:
        """Whether the file's own values are among the candidates."""
        return all(knob.holds(self.own[knob.name]) for knob in self.knobs)


def claim_sweep(settings: Settings) -> Path:
    """The folder of a sweep, after everything was checked that can be before anything slow is done.

    Raises:
        ConfigError: candidates that cannot be searched. StorageError: the folder cannot be written.
    """
    if settings.stage("train", Config).learning_rate == "auto":
        settings = settings.resolve("learning_rate", 1e-4, "only to check the candidates")
    make_space(settings)
    folder = Path(settings.stage("train", Config).output_dir + "-sweep").absolute()
    store.require_writable(folder)
    return folder


def write_best(search: Search, record: SweepRecord, folder: Path) -> None:
    """Write ``sweep.json``, and the best trial's configuration as ``best.yaml``, which `train` takes from anywhere."""
    store.make_folder(folder)
    store.write_text(folder / "sweep.json", record.model_dump_json(indent=2) + "\n")
    if not record.ranking:
        store.remove(folder / "best.yaml")
        return
    settings = trial_settings(search, record.ranking[0].values)
    known = settings.as_dict()
    moved = [{**spec, "path": str(Path(spec["path"]).absolute())} for spec in known["datasets"]]
    settings = settings.resolve("datasets", moved, "absolute path")
    if Path(known["chat_template"]).is_file():
        settings = settings.resolve("chat_template", str(Path(known["chat_template"]).absolute()), "absolute path")
    settings = settings.resolve(
        "output_dir", str(Path(known["output_dir"] + "-best").absolute()), "a folder of its own"
    )
    about = "".join(f"# {line}\n" for line in textwrap.wrap(record.sentence, 110))
    store.write_text(folder / "best.yaml", about + "\n" + settings.to_yaml())


def new_record(search: Search, sweep_id: str, identity: Mapping[str, str]) -> SweepRecord:
    """A sweep without trials."""
    space = {knob.name: str(knob) for knob in search.knobs}
    return SweepRecord(
        sweep_id=sweep_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        identity={**identity, "search space": digest_of(space)},
        space=space,
        has_own=search.has_own,
    )


def stored(workspace: Workspace, sweep_id: str) -> SweepRecord | None:
    """The record of a sweep; None when it never began."""
    return next((found for found in workspace.list(KIND, SweepRecord) if found.sweep_id == sweep_id), None)


def run_sweep(
    search: Search, fresh: SweepRecord, budget: Budget, workspace: Workspace, over: bool = False
) -> SweepRecord:
    """Try configurations until the budget is used up; every finished trial is kept in the workspace at once.

    Args:
        search: what a trial is.
        fresh: the record to begin with; one with its name in the workspace is continued.
        budget: of all commands of this sweep together.
        workspace: keeps the record.
        over: start over.

    Raises:
        ConfigError: the kept trials are of other data, settings or candidates; the budget is used up or too small.
        TrainingError: all of the first trials failed.
        Interrupted: stopped by the user; the finished trials are kept.
    """
    known = stored(workspace, fresh.sweep_id)
    record = known if known is not None and not over else fresh
    _require_same(record, fresh)
    _require_budget(record, budget)
    if record.trials:
        search.emit(Note(text=f"goes on after {len(record.trials)} trials, {record.seconds / 60:.1f} minutes"))
    while not (reason := budget.used_up(record)):
        began, before, left = search.clock(), known, budget.left(record)
        try:
            record = _next(search, record, left)
        except Stop as stop:
            if not record.trials:
                began = search.clock()  # nothing was tried, so nothing is charged
                raise _too_small(stop.reason) from None
            reason = stop.reason
            break
        finally:
            record = record.model_copy(update={"seconds": record.seconds + search.clock() - began})
            known = _keep(workspace, before, record)
        _require_hope(record)
    record = record.model_copy(update={"stopped": reason, "sentence": sentence(record)})
    _keep(workspace, known, record)
    return record


def _next(search: Search, record: SweepRecord, left: float) -> SweepRecord:
    """The record with one more trial.

    Raises:
        Stop: there is no room for it, or nothing new to try.
    """
    number = len(record.trials)
    live, values = suggest(search, record)
    shown = ", ".join(f"{name} {value}" for name, value in values.items())
    search.emit(Stage(title=f"trial {number}", detail=shown))
    settings = trial_settings(search, values)
    watch = Watch(live, left, _pace(record), search.clock)
    state, reason = "complete", ""
    try:
        search.evaluate(settings, watch)
    except Stop as stop:
        if not stop.state:
            raise
        state, reason = stop.state, stop.reason
    except (TrainingError, ConfigError) as error:
        state, reason = "failed", error.what
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        state, reason = "failed", "out of memory"
    trial = SweepTrial(
        number=number,
        values=values,
        eval_steps=settings.as_dict()["eval_steps"],
        state=state,  # type: ignore[arg-type]
        loss=watch.best if math.isfinite(watch.best) else None,
        losses=watch.losses,
        steps=watch.steps,
        seconds=watch.seconds,
        planned_seconds=watch.planned,
        reason=reason,
    )
    record = record.model_copy(update={"trials": (*record.trials, trial)})
    search.emit(Note(text=_outcome(trial, record), level="info" if state in ("complete", "pruned") else "warning"))
    return record


def _outcome(trial: SweepTrial, record: SweepRecord) -> str:
    if trial.state != "complete":
        return f"trial {trial.number} {trial.state}: {trial.reason}"
    best = ", the best so far" if record.ranking[0].number == trial.number else ""
    return f"trial {trial.number}: validation loss {trial.loss:.4f} in {trial.seconds:.0f} s{best}"


def trial_settings(search: Search, values: Mapping[str, Any]) -> Settings:
    """The settings of a trial; ``eval_steps: auto`` becomes an eighth of its steps."""
    settings = search.settings
    for name, value in values.items():
        settings = settings.resolve(name, value, "chosen by the sweep")
    known = settings.as_dict()
    if known["eval_steps"] == "auto":
        per_step = known["per_device_train_batch_size"] * known["gradient_accumulation_steps"]
        total = Order(search.rows, per_step, known["seed"]).total_steps(known["num_train_epochs"], known["max_steps"])
        settings = settings.resolve("eval_steps", math.ceil(total / POINTS), f"{POINTS} times a trial")
    return settings


def suggest(search: Search, record: SweepRecord) -> tuple[Trial, dict[str, Any]]:
    """The next configuration: the file's own first, then Optuna's; never one that was tried already.

    Raises:
        Stop: every combination was tried.
    """
    tried = [trial.values for trial in record.trials if trial.state != "cut"]
    seed = search.settings.as_dict()["seed"]
    for attempt in range(100):
        study = _study(search.knobs, record, f"{seed}:{len(record.trials)}:{attempt}")
        if search.has_own and not record.trials:
            study.enqueue_trial({knob.name: knob.drawn(search.own[knob.name]) for knob in search.knobs})
        live = study.ask({knob.name: knob.distribution() for knob in search.knobs})
        values = {knob.name: knob.value(live.params[knob.name]) for knob in search.knobs}
        if values not in tried:
            return live, values
    raise Stop("", "every combination was tried")


def _study(knobs: tuple[Knob, ...], record: SweepRecord, seed: str) -> Study:
    """A study in memory that knows the finished trials."""
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    study = optuna.create_study(
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=number, n_startup_trials=RANDOM_TRIALS),
        pruner=optuna.pruners.MedianPruner(PRUNE_AFTER_TRIALS, n_warmup_steps=PRUNE_AFTER_POINTS),
    )
    distributions = {knob.name: knob.distribution() for knob in knobs}
    for trial in record.trials:
        complete = trial.state == "complete"
        # A failure is told as pruned before its first loss: the worst that can be said of a configuration. Optuna
        # would forget a failed one, and suggest its like again.
        told = {} if trial.state == "failed" else dict(trial.losses)
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if complete else TrialState.PRUNED,
                value=trial.loss if complete else None,
                params={knob.name: knob.drawn(trial.values[knob.name]) for knob in knobs},
                distributions=distributions,
                intermediate_values=told,
            )
        )
    return study


def _pace(record: SweepRecord) -> float:
    """How much longer than planned the slowest complete trial took; at least 1."""
    done = [trial for trial in record.trials if trial.state == "complete" and trial.planned_seconds > 0]
    return max([1.0, *(trial.seconds / trial.planned_seconds for trial in done)])


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text


def _keep(workspace: Workspace, before: SweepRecord | None, record: SweepRecord) -> SweepRecord:
    """Store the record, unless another process has written to it meanwhile."""
    if stored(workspace, record.sweep_id) != before:
        raise InputError(
            "another command works on the same sweep",
            where=record.sweep_id,
            rule="one command at a time adds trials to a sweep",
            fix="wait for the other to end, or choose another output_dir",
        )
    workspace.put(KIND, record.sweep_id, record)
    return record


def _require_same(record: SweepRecord, fresh: SweepRecord) -> None:
    keys = {*record.identity, *fresh.identity}
    changed = sorted(key for key in keys if record.identity.get(key) != fresh.identity.get(key))
    if changed:
        raise ConfigError(
            f"the trials of this sweep belong to another one: {', '.join(changed)} changed",
            where=record.sweep_id,
            rule="only trials of the same configuration, data, base and candidates compare",
            fix="undo the change, start over with --fresh, or choose another output_dir",
        )


def _require_budget(record: SweepRecord, budget: Budget) -> None:
    used = budget.used_up(record)
    if used:
        raise ConfigError(
            f"the budget is used up: {used}",
            where=record.sweep_id,
            rule="the budget counts over all commands of a sweep",
            fix="raise --trials or --minutes to go on; the result so far is in that folder",
        )


def _too_small(reason: str) -> ConfigError:
    return ConfigError(
        f"no trial fits into the budget: {reason}",
        where="sweep_minutes",
        rule="a trial that cannot finish is not begun",
        fix="raise --minutes, or lower num_train_epochs",
    )


def _require_hope(record: SweepRecord) -> None:
    failed = [trial for trial in record.trials if trial.state == "failed"]
    if len(failed) == len(record.trials) >= HOPELESS:
        raise TrainingError(
            f"the first {len(failed)} trials all failed, the last one so: {failed[-1].reason}",
            where=record.sweep_id,
            rule="a sweep needs trials that end",
            fix="narrow sweep to values that train, or train once without a sweep to see what is wrong",
        )


def sentence(record: SweepRecord) -> str:
    """How sure one may be of the best trial."""
    ranking = record.ranking
    if not ranking:
        return "No trial was completed, so nothing is recommended."
    best = ranking[0]
    assert best.loss is not None
    if len(ranking) == 1:
        return f"Only trial {best.number} was completed (validation loss {best.loss:.4f}): there is no comparison."
    losses = [trial.loss for trial in ranking if trial.loss is not None]
    near = sum(loss <= best.loss + TIE * abs(best.loss) for loss in losses)
    spread = losses[min(3, len(losses)) - 1] - best.loss
    said = [f"Trial {best.number} has the lowest validation loss, {best.loss:.4f}, of {len(ranking)} complete trials."]
    worst = losses[-1] - best.loss
    said.append(f"The best {min(3, len(losses))} lie {spread:.4f} apart, the best and the worst {worst:.4f}.")
    if near > 1:
        said.append(f"{near} of them are within {TIE:.0%} of the best: take these as equally good.")
    own = next((trial for trial in ranking if record.has_own and trial.number == 0), None)
    if own is not None and own.loss is not None:
        ahead = f"reached {own.loss:.4f}, {own.loss - best.loss:.4f} behind"
        said.append(f"Your configuration as it stood {ahead if own is not best else 'is the best one'}.")
    said.append(
        f"The best of {len(ranking)} on one validation set looks better than it is: part of its lead is luck. "
        "Training with it ends in a verdict on test rows, which no trial has seen."
    )
    return " ".join(said)
