"""Kill -9 at any moment: the resumed run ends with the same bits, in weights, losses and logs.

A run is forked off, and kills itself at a call of its own code that was drawn at random: in a step, while a checkpoint
is written, between epochs. Forked, because a cold start of Python and torch takes longer than the whole run.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
import torch

from tests.train import job
from tests.train.test_run import same, weights
from tunesmith.core.artifacts import RunRecord
from tunesmith.core.events import Note
from tunesmith.train import Config
from tunesmith.train.row_losses import FILE

MOMENTS: dict[tuple[str, str], str] = {
    ("loop.py", "_gradients"): "step",
    ("loop.py", "_step"): "step",
    ("checkpoint.py", "save"): "checkpoint",
    ("loop.py", "_validated"): "validation",
    ("row_losses.py", "write"): "log",
    ("runs.py", "_finish"): "finish",
    ("order.py", "step"): "between epochs",
}
"""Function (file, name) → kind of moment: every call of our code below it belongs to that kind."""

POINTS = {
    "lora": {"step": 5, "checkpoint": 4, "validation": 1, "log": 1, "finish": 2, "between epochs": 1},
    "full": {"step": 2, "checkpoint": 2, "finish": 1, "between epochs": 1},
    "full, lean": {"step": 3, "checkpoint": 2, "finish": 1},
}
"""How many of the 20 kills happen in each kind of moment."""

EPOCH = 6
"""Steps of an epoch."""


class Clock:
    """Counts our calls in each kind of moment, once training has begun; kills the process at one of them."""

    def __init__(self, kind: str = "", number: int = 0) -> None:
        self.kind, self.number = kind, number
        self.calls: Counter[str] = Counter()
        self.begun = False

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call" or "tunesmith" not in frame.f_code.co_filename:
            return
        self.begun = self.begun or frame.f_code.co_name == "_train"
        kind = moment_of(frame) if self.begun else ""
        if kind:
            self.calls[kind] += 1
            if kind == self.kind and self.calls[kind] == self.number:
                os.kill(os.getpid(), signal.SIGKILL)


def moment_of(frame: FrameType | None) -> str:
    """The kind of moment that the innermost known function around a call stands for."""
    while frame is not None:
        key = (frame.f_code.co_filename.rpartition("/")[2], frame.f_code.co_name)
        if key in MOMENTS and (key[0] != "order.py" or frame.f_locals.get("step") == EPOCH):
            return MOMENTS[key]
        frame = frame.f_back
    return ""


def in_a_child(work: Callable[[], object]) -> int:
    """Run ``work`` in a fork of this process; gives the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


LEAN = {"dtype": "bfloat16", "master_dtype": "bfloat16", "optim": "adamw_8bit"}


def settings(method: str) -> Config:
    changes = LEAN if method.endswith("lean") else {}
    return job.config(method=method.partition(",")[0], eval_steps=2, per_device_train_batch_size=4, **changes)


def profiled(clock: Clock, model: Path, out: Path, method: str) -> Clock:
    sys.setprofile(clock)
    try:
        job.train(model, out, settings(method))
    finally:
        sys.setprofile(None)
    return clock


def damage(newest: Path, generator: random.Random) -> None:
    """Flip a bit of a checkpoint, or cut it short."""
    file = newest / "state.safetensors"
    content = bytearray(file.read_bytes())
    if generator.random() < 0.5:
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    else:
        del content[generator.randrange(len(content)) :]
    file.write_bytes(bytes(content))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", POINTS)
def test_killed_at_random_points_and_resumed_ends_with_the_same_bits(
    method: str, tiny_model: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    whole, generator = tmp_path / "whole", random.Random(f"kill {method}")
    calls = profiled(Clock(), tiny_model, whole, method).calls
    before = RunRecord.model_validate_json((whole / "run.json").read_text())
    damaged = 0
    for kind in [kind for kind, count in POINTS[method].items() for _ in range(count)]:
        out = tmp_path / "killed"
        number = generator.randint(1, calls[kind])
        while in_a_child(functools.partial(profiled, Clock(kind, number), tiny_model, out, method)) != signal.SIGKILL:
            number //= 2  # the first run of a process builds tables (of rounding, of eight bits) that later ones find
            assert number, f"{kind} is never reached"
            shutil.rmtree(out, ignore_errors=True)
        made = sorted((out / "checkpoints").glob("step-*"))
        torn = len(made) > 1 and (not damaged or generator.random() < 0.4)
        if torn:
            damage(made[-1], generator)
            damaged += 1
        notes: list[str] = []
        listen = lambda e, notes=notes: notes.append(e.text) if isinstance(e, Note) else None  # noqa: E731
        after = job.train(tiny_model, out, settings(method), listen)
        if made:
            said = [note for note in notes if f"checkpoint {made[-1].name} is damaged and not used" in note]
            assert len(said) == torn
            assert any(f"({made[-2 if torn else -1].name})" in note for note in notes)
        for folder in ("last", "adapter" if method == "lora" else "model"):
            assert same(weights(whole, folder), weights(out, folder)), (kind, number, folder)
        assert (after.train_losses, after.validation_losses) == (before.train_losses, before.validation_losses)
        assert (out / FILE).read_bytes() == (whole / FILE).read_bytes(), (kind, number)
        for path in sorted(out.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert damaged
