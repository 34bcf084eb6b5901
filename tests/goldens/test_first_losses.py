"""No change of code changes what a run computes, unless somebody says so by renewing the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.goldens.first_losses import GOLDENS, KINDS, STEPS, build, first_losses
from tunesmith.model.trainable import KINDS as METHODS
from tunesmith.train.runs import TASKS

EXPECTED = json.loads(GOLDENS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("golden"))


def test_every_method_and_kind_has_goldens() -> None:
    assert {task: set(kinds) for task, kinds in EXPECTED.items()} == {task: set(KINDS) for task in TASKS}
    assert {method for method, _ in KINDS.values()} == {"full", *METHODS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", TASKS)
def test_first_losses_are_the_golden_ones(model: Path, task: str, kind: str) -> None:
    losses = first_losses(model, kind, task)
    assert len(losses) == STEPS
    close = 1e-3 if "bfloat16" in kind else 1e-4  # bf16 products are summed in an order that machines choose
    assert losses == pytest.approx(EXPECTED[task][kind], rel=close), "see tests/goldens/first_losses.py"


def test_kinds_begin_at_the_base_and_then_differ() -> None:
    for kinds in EXPECTED.values():
        other = ("prefix", "prompt", "qlora", "full, bfloat16 without a copy")
        begin = {kind: losses[0] for kind, losses in kinds.items() if kind not in other}
        assert max(begin.values()) - min(begin.values()) < 1e-5
        assert len({losses[2] for losses in kinds.values()}) == len(kinds)
