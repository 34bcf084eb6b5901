"""Task metrics while training: how many rows may be answered, and that training does not notice."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest
import torch

from tunesmith.core.events import Note, ignore
from tunesmith.train import LoopConfig
from tunesmith.train.generation import LEAST_ROWS, MOST_ROWS, measure_answers
from tunesmith.train.loop import State


class Grader:
    """Answers cost ``each`` seconds; every one of them moves the random generator, as sampling would."""

    def __init__(self, each: float = 0.0) -> None:
        self.each, self.asked = each, []  # type: ignore[var-annotated]

    def __call__(self, adapter: str, rows: int) -> Mapping[str, float]:
        self.asked.append(rows)
        torch.rand(rows)
        time.sleep(self.each * rows)
        return {"chrf": 40.0 + len(self.asked), "stop_rate": 1.0}


def test_a_number_of_rows_is_obeyed_and_zero_asks_nothing() -> None:
    grader, state = Grader(), State(step=5)
    metrics = measure_answers(state, grader, LoopConfig(eval_generate_rows=7), "<tuned>", 0.001, 3, ignore)
    assert (grader.asked, metrics) == ([7], {"chrf": 41.0, "stop_rate": 1.0})
    assert state.generation.metrics == {5: metrics}
    assert measure_answers(State(), grader, LoopConfig(eval_generate_rows=0), "", 100.0, 3, ignore) == {}
    assert grader.asked == [7]


def test_auto_takes_what_a_tenth_of_the_training_time_allows() -> None:
    said: list[str] = []
    listen = lambda event: said.append(event.text) if isinstance(event, Note) else None  # noqa: E731
    cheap, state = Grader(), State(step=1)
    measure_answers(state, cheap, LoopConfig(), "", 1000.0, 2, listen)
    assert cheap.asked == [2, MOST_ROWS]
    assert f"{MOST_ROWS} validation rows are answered at every validation" in said[0]
    middle = Grader(0.01)
    measure_answers(State(step=1), middle, LoopConfig(), "", 4.0, 4, listen)  # 0.1 s for each validation
    assert middle.asked[0] == 2
    assert LEAST_ROWS <= middle.asked[1] <= 10
    dear, state = Grader(0.05), State(step=1)
    assert measure_answers(state, dear, LoopConfig(), "", 1.0, 4, listen) == {}
    assert (dear.asked, state.generation.rows) == ([2], 0)
    assert "no validation rows are answered while training" in said[-1]
    measure_answers(state, dear, LoopConfig(), "", 1.0, 4, listen)
    assert dear.asked == [2]  # decided once, also for a resumed run: the state is in the checkpoint


def test_auto_stops_when_answers_take_longer_than_thought() -> None:
    grader, state = Grader(), State(step=1)
    for step in range(1, 6):
        state.step = step
        measure_answers(state, grader, LoopConfig(), "", 2.0, 5, ignore)
        grader.each = 0.004
    assert len(state.generation.metrics) < 5
    assert state.generation.seconds <= 0.2 + 32 * 0.008


def test_training_goes_on_with_the_same_random_numbers() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    measure_answers(State(), Grader(), LoopConfig(), "", 100.0, 2, ignore)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_state_survives_json() -> None:
    import json
    from dataclasses import asdict

    state = State(step=4, losses=[1.0], validation={4: 2.0}, noticed=["x"], micro_batch=2)
    measure_answers(state, Grader(), LoopConfig(eval_generate_rows=3), "", 1.0, 1, ignore)
    assert State.restored(json.loads(json.dumps(asdict(state)))) == state


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        LoopConfig(eval_generate_rows=-1)
