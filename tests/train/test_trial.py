"""A trial of a search on a real tiny model: the losses of a run, and the base as it was."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.stub import ByteRenderer
from tests.train import job
from tunesmith.core.errors import Interrupted, TrainingError
from tunesmith.core.events import Step, Validated


class Recorder:
    """A watch that never stops anything."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.planned = 0.0

    def begin(self, seconds: float) -> None:
        self.planned = seconds

    def step(self) -> None:
        pass

    def validated(self, _share: float, loss: float) -> None:
        self.losses.append(loss)


@pytest.fixture
def weights(tiny_model: Path):
    """A loaded base, and a function that says which of its weights differ from the file's."""
    import torch

    from tunesmith.model.load import load_base

    torch.set_num_threads(1)
    base, untouched = load_base(tiny_model, torch.float32), load_base(tiny_model, torch.float32)
    before = dict(untouched.model.named_parameters())

    def changed() -> list[str]:
        now = {name.replace(".base.", "."): value for name, value in base.model.named_parameters()}
        assert now.keys() == before.keys()
        return [name for name, value in now.items() if not torch.equal(value, before[name])]

    return base, changed


def test_a_trial_is_a_run_and_leaves_the_base_as_it_was(
    weights, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.model.adapted import AdaptedLinear
    from tunesmith.train import Context, verify
    from tunesmith.train.trial import measure

    monkeypatch.setattr(verify, "Reload", job.InstantReload)
    record = job.train(tiny_model, tmp_path / "run", job.config())
    base, changed = weights
    neutral = base.logits([[5, 6, 7, 8]])[0]
    for _ in range(2):  # the second trial finds nothing of the first
        watch = Recorder()
        measure(job.config(), job.ADAPTER, job.rows(), Context(base, ByteRenderer(), "none", tmp_path / "no"), watch)
        assert watch.losses == list(record.validation_losses.values())
        assert watch.planned > 0
        assert changed() == []
        assert (base.logits([[5, 6, 7, 8]])[0] == neutral).all()
        assert not any(module.adapters for module in base.model.modules() if isinstance(module, AdaptedLinear))
    assert not (tmp_path / "no").exists()


def test_a_trial_that_breaks_leaves_the_base_as_it_was(weights, tmp_path: Path) -> None:
    from tunesmith.model.adapted import AdaptedLinear
    from tunesmith.train import Context
    from tunesmith.train.trial import measure

    base, changed = weights

    def broken(event: object) -> None:
        if isinstance(event, Step) and event.step == 2:
            raise TrainingError("training diverged: loss inf", where="step 2")

    with pytest.raises(TrainingError):
        measure(
            job.config(),
            job.ADAPTER,
            job.rows(),
            Context(base, ByteRenderer(), "none", tmp_path / "no", emit=broken),
            Recorder(),
        )
    assert changed() == []
    assert base.router.training is None
    assert not any(module.adapters for module in base.model.modules() if isinstance(module, AdaptedLinear))


def test_ctrl_c_in_a_trial(weights, tmp_path: Path) -> None:
    from tunesmith.train import Context
    from tunesmith.train.trial import measure

    base, changed = weights

    def emit(event: object) -> None:
        if isinstance(event, Validated):
            os.kill(os.getpid(), signal.SIGINT)

    context = Context(base, ByteRenderer(), "none", tmp_path / "no", emit=emit)
    with pytest.raises(Interrupted, match="stopped by SIGINT in the middle of a trial") as error:
        measure(job.config(), job.ADAPTER, job.rows(), context, Recorder())
    assert error.value.rule == "finished trials are kept, and the one that ran begins anew"
    assert changed() == []
