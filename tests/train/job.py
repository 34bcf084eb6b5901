"""A small training job as a program, so that tests can kill it: ``python -m tests.train.job MODEL OUT [METHOD]``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.stub import ByteRenderer, example
from tunesmith.core.artifacts import Check, RunRecord
from tunesmith.core.events import Emit, ignore
from tunesmith.model import device
from tunesmith.model.load import load_base
from tunesmith.train import AdapterConfig, Config, Context, Rows, run

QUESTIONS = [(f"What is {a} and {b}?", f"{a} {b} {'abc' * (a % 3)}") for a in range(6) for b in range(5)]


class InstantReload:
    """Stands in for the fresh process in tests that are about something else."""

    def __init__(self, name: str, *_arguments: object) -> None:
        self.name = name

    def check(self) -> Check:
        return Check(name=self.name, passed=True, detail="not part of this test")

    def kill(self) -> None:
        pass


def config(**changes: object) -> Config:
    values = {
        "learning_rate": 3e-3,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "eval_steps": 3,
        "early_stopping_patience": 0,
        "dtype": "float32",
    }
    return Config(**{**values, **changes})  # type: ignore[arg-type]


ADAPTER = AdapterConfig(lora_r=4, lora_dropout=0.1, num_virtual_tokens=3, bottleneck_size=4)


def rows() -> Rows:
    renderer = ByteRenderer()
    tokenised = [row for question in QUESTIONS for row in renderer.example(example(*question))]
    return Rows(train=tokenised[:24], validation=tokenised[24:], dataset_digest="questions")


def train(
    model: Path,
    out: Path,
    config: Config,
    emit: Emit = ignore,
    fresh: bool = False,
    adapter: AdapterConfig = ADAPTER,
) -> RunRecord:
    base = load_base(model, device.FORMATS[config.dtype], four_bit=config.method == "qlora")
    context = Context(base, ByteRenderer(), "none", out, emit=emit, fresh=fresh)
    return run(config, adapter, rows(), context)


if __name__ == "__main__":
    torch.set_num_threads(1)
    method = sys.argv[3] if len(sys.argv) > 3 else "lora"
    train(Path(sys.argv[1]), Path(sys.argv[2]), config(method=method))
