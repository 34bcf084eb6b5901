"""A search on real weights. A trial is a training run that writes nothing and leaves a frozen base as it found it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

from tunesmith.core.artifacts import SweepRecord
from tunesmith.core.config import Settings
from tunesmith.core.errors import Interrupted
from tunesmith.core.events import Emit, Step, Validated, ignore
from tunesmith.core.protocols import Renderer
from tunesmith.core.store import Workspace
from tunesmith.model.adapters import detach
from tunesmith.model.load import Base
from tunesmith.model.recompute import set_recompute
from tunesmith.model.trainable import TRAINING, TUNED
from tunesmith.train.config import AdapterConfig, Config, LoopConfig
from tunesmith.train.loop import train, validation_loss
from tunesmith.train.runs import Context, Rows, _begin, _fitted, _Run, identity
from tunesmith.train.signals import stop_requests
from tunesmith.train.space import SweepConfig, make_space
from tunesmith.train.sweep import Budget, Search, Watch, claim_sweep, new_record, run_sweep, write_best


def search(
    settings: Settings,
    rows: Rows,
    open_base: Callable[[], Base],
    renderer: Renderer,
    workspace: Workspace,
    emit: Emit = ignore,
    fresh: bool = False,
) -> SweepRecord:
    """Search for the best configuration; writes ``<output_dir>-sweep/``, and nothing from which one could be served.

    Args:
        settings: all stages, with no "auto" left in ``learning_rate``.
        rows: those of training and validation; no others are known here.
        open_base: the base as it was before any training.
        renderer: that of the base.
        workspace: keeps the trials; a sweep of the same folder goes on.
        emit: receives progress.
        fresh: start over.

    Raises:
        ConfigError, TrainingError, Interrupted: see `run_sweep`.
    """
    asked = settings.stage("sweep", SweepConfig)

    def evaluate(chosen: Settings, watch: Watch) -> None:
        trial = chosen.stage("train", Config)
        loop = chosen.stage("loop", LoopConfig)
        context = Context(open_base(), renderer, trial.chat_template, Path(trial.output_dir), emit=emit, loop=loop)
        measure(trial, chosen.stage("adapter", AdapterConfig), rows, context, watch)

    folder = claim_sweep(settings)
    per_epoch = sum(part.per_epoch for part in rows.parts) or len(rows.train)
    todo = Search(settings, make_space(settings), per_epoch, evaluate, emit)
    config, adapter = settings.stage("train", Config), settings.stage("adapter", AdapterConfig)
    common = identity(config, adapter, rows.dataset_digest, open_base(), renderer)
    record = run_sweep(todo, new_record(todo, str(folder), common), Budget.of(asked, emit), workspace, fresh)
    write_best(todo, record, folder)
    return record


def measure(config: Config, adapter: AdapterConfig, rows: Rows, context: Context, watch: Watch) -> None:
    """Train as `run` would, telling ``watch`` of every step and validation; nothing is written.

    The same seed gives the same losses as `run`. An adapter is taken off the base at the end, however that comes; all
    weights (``method: full``) are not put back.

    Raises:
        Stop: the watch has seen enough. TrainingError, ConfigError: as `run` does.
        Interrupted: stopped by the user.
    """
    try:
        with stop_requests() as requested:
            run_ = _begin(config, adapter, rows, context)
            watch.begin(_fitted(run_).seconds[1])
            _follow(run_, watch, requested)
    finally:
        take_off(context.base)


def _follow(run_: _Run, watch: Watch, requested: list[str]) -> None:
    base, rows, plan = run_.context.base, run_.rows, run_.plan

    def validate() -> float:
        size = run_.state.micro_batch or plan.micro_batch
        return validation_loss(base, run_.trainable, run_.loss, rows.validation, size)

    for event in train(base, run_.trainable, run_.loss, rows.train, plan, run_.optimiser, run_.state, validate):
        run_.context.emit(event)
        if requested:
            raise Interrupted(
                f"stopped by {requested[0]} in the middle of a trial",
                where=str(run_.context.output_dir),
                rule="finished trials are kept, and the one that ran begins anew",
                fix="run the same `tunesmith sweep` command again to go on",
            )
        if isinstance(event, Validated):
            watch.validated(event.step / plan.total_steps, event.loss)
        elif isinstance(event, Step):
            watch.step()


def take_off(base: Base) -> None:
    """Remove what training has put onto a base, and give its memory back."""
    for name in (TRAINING, TUNED):
        detach(base, name)
    set_recompute(base.model, 0)
    base.router.training, base.router.segments = None, ()
    base.model.eval()
    gc.collect()
