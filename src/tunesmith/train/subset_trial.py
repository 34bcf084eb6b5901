"""A training on some of the rows that writes nothing and gives the loss of every validation row."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from tunesmith.core.errors import Interrupted, TrainingError
from tunesmith.core.events import Step
from tunesmith.core.records import digest_of
from tunesmith.model.batch import pack
from tunesmith.train.config import AdapterConfig, Config
from tunesmith.train.loop import train
from tunesmith.train.order import Order, micro_batches
from tunesmith.train.row_losses import Collector
from tunesmith.train.runs import Context, Rows, _begin, _fitted, _Run, identity
from tunesmith.train.signals import stop_requests
from tunesmith.train.subsets import Chosen, SubsetTraining, Unit, config_for, numbers_of, parts_for
from tunesmith.train.trial import take_off


def subset_config(config: Config, rows: Rows, units: Sequence[Unit], seed: int) -> Config:
    """The configuration of a training on these units."""
    per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps
    order = Order(len(numbers_of(units)), per_step, seed, parts_for(units, rows.parts))
    return config_for(config, seed, order, Order(len(rows.train), per_step, seed, rows.parts))


def subset_key(
    config: Config, adapter: AdapterConfig, rows: Rows, context: Context, units: Sequence[Unit], seed: int
) -> str:
    """Identity of a training: the same key gives the same losses."""
    mine = subset_config(config, rows, units, seed)
    common = identity(mine, adapter, rows.dataset_digest, context.base, context.renderer)
    return digest_of({**common, "rows": numbers_of(units)})


def train_on(
    config: Config, adapter: AdapterConfig, rows: Rows, context: Context, units: Sequence[Unit], seed: int
) -> SubsetTraining:
    """Train as `run` would on these units alone. Nothing is written; an adapter is taken off the base at the end.

    The validation rows are those of the whole data set. Early stopping does not take part: every training shows each
    of its rows equally often, and is judged at its lowest validation loss.

    Args:
        config: the common one, with no "auto" left in ``learning_rate``.
        units: the rows to train on.
        seed: of the training.

    Raises:
        TrainingError, ConfigError: as `run` does. Interrupted: stopped by the user.
    """
    key = subset_key(config, adapter, rows, context, units, seed)
    mine = subset_config(config, rows, units, seed)
    chosen = replace(rows, train=Chosen(rows.train, numbers_of(units)), parts=parts_for(units, rows.parts))
    begin = time.perf_counter()
    try:
        with stop_requests() as requested:
            run_ = _begin(mine, adapter, chosen, context)
            _fitted(run_)
            losses, means = _follow(run_, requested)
    finally:
        take_off(context.base)
    return SubsetTraining(
        key=key,
        seed=seed,
        rows=len(units),
        steps=run_.state.step,
        seconds=time.perf_counter() - begin,
        loss=min(means),
        losses=losses,
        still_falling=max(0.0, means[-2] - means[-1]) if len(means) > 1 and means[-1] == min(means) else 0.0,
    )


def _follow(run_: _Run, requested: list[str]) -> tuple[tuple[float, ...], list[float]]:
    """The rows' losses at the lowest validation loss, and the loss of every validation."""
    means: list[float] = []
    kept: tuple[float, ...] = ()

    def validate() -> float:
        nonlocal kept
        losses, mean = row_losses(run_)
        if mean < min(means, default=math.inf):
            kept = losses
        means.append(mean)
        return mean

    arguments = (run_.context.base, run_.trainable, run_.loss, run_.rows.train, run_.plan, run_.optimiser, run_.state)
    for event in train(*arguments, validate):
        run_.context.emit(event)
        if requested and isinstance(event, Step):
            raise Interrupted(
                f"stopped by {requested[0]} in the middle of a training",
                where=str(run_.context.output_dir),
                rule="finished trainings are kept, and the one that ran begins anew",
                fix="run the same command again to go on",
            )
    if not kept:
        raise TrainingError(
            "no validation of this training gave a number",
            where="learning_rate",
            rule="a training that compares has a finite validation loss",
            fix="lower learning_rate, and see with `tunesmith train` whether it trains at all",
        )
    return kept, means


def row_losses(run_: _Run) -> tuple[tuple[float, ...], float]:
    """Loss per target token of each validation row, in order, and their mean over all target tokens."""
    base, rows = run_.context.base, run_.rows.validation
    run_.trainable.publish()
    base.model.eval()
    collector = Collector()
    with torch.inference_mode():
        for part in micro_batches(rows, run_.state.micro_batch or run_.plan.micro_batch):
            batch = pack(part, base.device, run_.trainable.share)
            base.router.segments = [(run_.trainable.adapter, 0, batch.token_count)]
            collector.add(batch, run_.loss(base, batch)[1])
    sums: dict[str, list[float]] = {}
    for row in collector.rows():
        known = sums.setdefault(row.row, [0.0, 0.0])
        known[0] += row.loss * row.tokens
        known[1] += row.tokens
    found = [(total, count) for total, count in sums.values() if count]
    return tuple(total / count for total, count in found), sum(t for t, _ in found) / sum(c for _, c in found)
