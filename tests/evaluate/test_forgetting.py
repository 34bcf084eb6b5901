"""The general suite: what it asks, and the verdict on models whose knowledge is known."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tunesmith.core.errors import InputError, ModelError, TunesmithError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Completion, Example, Prompt, SamplingParams, Score
from tunesmith.core.stats import Interval
from tunesmith.evaluate.forgetting import suite
from tunesmith.evaluate.forgetting.items import SUITES
from tunesmith.evaluate.forgetting.measure import measure, non_inferior
from tunesmith.evaluate.forgetting.written import follows
from tunesmith.evaluate.risks import Pair, RiskConfig, answered, scored

RIGHT = {
    (row.messages[0].text, row.target.text) for item in suite.items() for row in (item.rows()[i] for i in item.right)
}
QUICK = RiskConfig(forgetting_generate=False)


@dataclass
class Knows:
    """Gives right answers more probability than wrong ones, by ``bonus`` nats, or by what a function says of a row."""

    name: str
    digest: str
    bonus: float | Callable[[Example], float] = 1.0
    loss: float = 2.0

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        return [Score(example_id=row.id, logprobs=(self._of(row),) * 2) for row in examples]

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        return [
            Completion(text="A plain answer.", finish_reason="stop", prompt_tokens=1, completion_tokens=3)
            for _ in prompts
        ]

    def _of(self, row: Example) -> float:
        if row.is_document:
            return -self.loss
        bonus = self.bonus(row) if callable(self.bonus) else self.bonus
        return -4.0 + (bonus / 2 if (row.messages[0].text, row.target.text) in RIGHT else 0.0)


def test_the_suite_has_six_hundred_distinct_questions_half_of_them_dutch() -> None:
    items = suite.items()
    assert Counter((item.suite, item.language) for item in items) == {
        (name, language): 60 for name in SUITES for language in ("en", "nl")
    }
    assert len({item.id for item in items}) == 600
    assert len(suite.tasks()) == 80


def test_an_adapter_that_changes_nothing_differs_by_exactly_zero() -> None:
    report = measure(RiskConfig(), Pair(Knows("base", "a"), Knows("tuned", "b")), created_at="2026-01-01")
    assert [gate.verdict for gate in report.gates] == ["pass", "pass"]
    assert "difference is exactly 0" in report.gates[0].sentence
    assert {figure.value for figure in report.gates[0].figures} == {0.0}


def test_a_model_that_guesses_afterwards_fails_and_names_the_parts() -> None:
    report = measure(QUICK, Pair(Knows("base", "a"), Knows("tuned", "b", bonus=0.0, loss=5.0)))
    assert [gate.verdict for gate in report.gates] == ["fail", "fail"]
    assert "general ability was lost" in report.gates[0].sentence
    assert "arithmetic" in report.gates[0].sentence
    assert report.verdict == "fail"


def test_a_loss_in_one_part_alone_fails() -> None:
    sums = {item.question for item in suite.items() if item.suite == "arithmetic"}
    tuned = Knows("tuned", "b", bonus=lambda row: 0.4 if row.messages[0].text in sums else 1.01)
    gate = measure(QUICK, Pair(Knows("base", "a"), tuned)).gates[0]
    assert gate.verdict == "fail"
    assert "arithmetic" in gate.sentence
    assert "reading" not in gate.sentence


def test_a_base_that_only_guesses_has_nothing_to_lose_and_the_gate_says_so() -> None:
    def noise(row: Example) -> float:
        return (int(row.id, 16) % 7 - 3) / 10

    gate = measure(QUICK, Pair(Knows("base", "a", bonus=0.0), Knows("tuned", "b", bonus=noise))).gates[0]
    assert gate.verdict == "cannot tell"
    assert "no better than by guessing" in gate.sentence


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.01, 0.03, "pass"), (-0.05, -0.01, "fail"), (-0.05, 0.01, "cannot tell"), (-0.015, -0.005, "pass")],
)
def test_a_loss_below_the_margin_passes_and_one_that_is_not_shown_is_open(
    low: float, high: float, verdict: str
) -> None:
    assert non_inferior(Interval(low, high), 0.02) == verdict


def test_rules_check_written_answers() -> None:
    by_rule = {task.rule: task for task in suite.tasks() if task.language == "en"}
    json_task = by_rule["json"]
    assert follows(json_task, json.dumps(dict(zip(json_task.wanted, (1, 2.5), strict=True))))
    assert not follows(json_task, json.dumps(dict(zip(json_task.wanted, (True, 2.5), strict=True))))
    assert follows(by_rule["words"], "Bright windows face south.")
    assert not follows(by_rule["words"], "Too short.")
    assert follows(by_rule["lines"], "a pot\na pan\na cup")
    assert not follows(by_rule["lines"], "1. a pot\n2. a pan\n3. a cup")
    assert not any(follows(task, "") for task in suite.tasks())


def test_a_model_beside_itself_is_refused() -> None:
    with pytest.raises(InputError, match="is its own base"):
        Pair(Knows("x", "same"), Knows("x", "same"))


def test_a_score_that_is_no_number_is_an_error_and_so_is_a_missing_one() -> None:
    rows = suite.items()[0].rows()
    with pytest.raises(ModelError, match="no finite log-probability"):
        scored(Knows("x", "a", bonus=math.nan), rows + suite.items()[1].rows(), "t")

    class Short(Knows):
        def sample(self, prompts: object, params: object, progress: object = None) -> list[Completion]:
            return []

    with pytest.raises(TunesmithError, match="results for 1 rows"):
        answered(Short("x", "a"), [rows[0].prompt], SamplingParams(), "t")
