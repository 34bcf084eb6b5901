"""Training jobs for several processes: ``torchrun … -m tests.train.rank_job MODEL OUT JOB...``, one after the other.

A job is ``FOLDER=METHOD``, or ``FOLDER=METHOD:STEP`` for one that ends after a step as if killed, or
``FOLDER=METHOD:untied`` for one with recompute on a model with a head of its own (in ``untied`` beside MODEL), or
``FOLDER=METHOD:fail`` for one in which the second process fails, or ``FOLDER=METHOD:short`` where it lacks memory once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

import torch
import typer

from tests.stub import ByteRenderer
from tests.train import job
from tunesmith.cli.console import session
from tunesmith.core.artifacts import RunRecord
from tunesmith.core.errors import DataError
from tunesmith.core.events import AnyEvent, Step
from tunesmith.model.batch import Batch
from tunesmith.model.load import Base, load_base
from tunesmith.train import Context, LoopConfig, joined, run, runs, sft, verify

ADAPTER = job.ADAPTER.model_copy(update={"lora_dropout": 0.0})
ROWS = 5
"""Rows of a step: two processes with two rows at a time take two turns, and one has nothing to do in its second."""


class Stopped(Exception):
    """The end of a job that is gone on with later."""


def train(
    model: Path,
    out: Path,
    method: str,
    after_step: Callable[[int, float], None] = lambda step, norm: None,
    at_a_time: int = 1,
    recompute: bool = False,
) -> RunRecord:
    """One job in this process, alone or with others."""

    def listen(event: AnyEvent) -> None:
        if isinstance(event, Step):
            after_step(event.step, event.grad_norm)

    sizes = {"per_device_train_batch_size": at_a_time, "gradient_accumulation_steps": ROWS // at_a_time}
    config = job.config(method=method, max_steps=8, eval_steps=2, **sizes)
    loop = LoopConfig(gradient_checkpointing=recompute)
    context = Context(load_base(model, torch.float32), ByteRenderer(), "none", out, emit=listen, loop=loop)
    return run(config, ADAPTER, job.rows(), context)


def stop_after(step: int) -> Callable[[int, float], None]:
    """What ends a job after a step, between two checkpoints."""

    def check(now: int, _norm: float) -> None:
        if now == step:
            raise Stopped

    return check


def fail_on_rank_1(step: int, _norm: float) -> None:
    """A misfortune of the second process alone."""
    if os.environ["RANK"] == "1" and step == 2:
        raise DataError("a row that only this process has seen", where="rows.jsonl:7")


class Short:
    """A loss for which memory runs out once in the second process, in the third step."""

    def __init__(self) -> None:
        self.step = 0

    def after_step(self, step: int, _norm: float) -> None:
        self.step = step

    def __call__(self, base: Base, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        if self.step == 2 and base.model.training and os.environ["RANK"] == "1":
            self.step = 0
            raise MemoryError
        return sft.loss(base, batch)


def main(model: Path, out: Path, jobs: list[str]) -> None:
    """Run the jobs, as the command line would."""
    torch.set_num_threads(1)
    verify.Reload = job.InstantReload  # type: ignore[misc,assignment]
    with session(several=True), joined():
        for text in jobs:
            folder, _, method = text.partition("=")
            method, _, stop = method.partition(":")
            if stop == "fail":
                train(model, out / folder, method, fail_on_rank_1)
            elif stop == "untied":
                train(model.with_name("untied"), out / folder, method, recompute=True)
            elif stop == "short":
                short = Short()
                with mock.patch.dict(runs.TASKS, sft=short):  # type: ignore[arg-type]
                    train(model, out / folder, method, short.after_step, at_a_time=ROWS)
            elif stop:
                with suppress(Stopped):
                    train(model, out / folder, method, stop_after(int(stop)))
            else:
                train(model, out / folder, method)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
