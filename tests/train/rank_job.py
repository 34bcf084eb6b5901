"""Training jobs for several processes: ``torchrun … -m tests.train.rank_job MODEL OUT JOB...``, one after the other.

A job is ``METHOD[:STOP]``, with the number of the step after which it ends as if killed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import typer

from tests.stub import ByteRenderer
from tests.train import job
from tunesmith.cli.console import session
from tunesmith.core.artifacts import RunRecord
from tunesmith.core.errors import DataError
from tunesmith.core.events import AnyEvent, Step
from tunesmith.model.load import load_base
from tunesmith.train import Config, Context, joined, run, verify

ADAPTER = job.ADAPTER.model_copy(update={"lora_dropout": 0.0})


class Stopped(Exception):
    """The end of a job that is gone on with later."""


def settings(method: str) -> Config:
    """Five rows a step: with two processes and two rows at a time, one has nothing to do at the end of each."""
    return job.config(
        method=method, per_device_train_batch_size=2, gradient_accumulation_steps=3, num_train_epochs=2, eval_steps=2
    )


def train(model: Path, out: Path, method: str, after_step: Callable[[int], None] = lambda step: None) -> RunRecord:
    """One job in this process, alone or with others."""

    def listen(event: AnyEvent) -> None:
        if isinstance(event, Step):
            after_step(event.step)

    base = load_base(model, torch.float32)
    context = Context(base, ByteRenderer(), "none", out / method, emit=listen)
    return run(settings(method), ADAPTER, job.rows(), context)


def stop_after(step: int) -> Callable[[int], None]:
    """What ends a job after a step."""

    def check(now: int) -> None:
        if now == step:
            raise Stopped

    return check


def fail_on_rank_1(step: int) -> None:
    if os.environ["RANK"] == "1" and step == 2:
        raise DataError("a row that only this process has seen", where="rows.jsonl:7", rule="a test", fix="none")


def main(model: Path, out: Path, jobs: list[str]) -> None:
    torch.set_num_threads(1)
    verify.Reload = job.InstantReload  # type: ignore[misc,assignment]
    with session(several=True), joined():
        for text in jobs:
            method, _, stop = text.partition(":")
            if stop == "fail":
                train(model, out, method, fail_on_rank_1)
            elif stop:
                try:
                    train(model, out, method, stop_after(int(stop)))
                except Stopped:
                    continue
            else:
                train(model, out, method)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
