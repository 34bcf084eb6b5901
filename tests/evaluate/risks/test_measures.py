"""Forgetting, leakage and bias on models whose truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from tests.evaluate.fakes import example
from tunesmith.core.errors import InputError, TunesmithError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Completion, Example, Prompt, SamplingParams, Score
from tunesmith.core.scrutiny import TokenScores
from tunesmith.evaluate import (
    Material,
    Pair,
    Planted,
    Planting,
    RiskConfig,
    RiskReport,
    Secret,
    Watched,
    measure_bias,
    measure_forgetting,
    measure_leakage,
    plant,
)
from tunesmith.evaluate.bias.measure import Axis, judge
from tunesmith.evaluate.bias.questions import AXES, pairs
from tunesmith.evaluate.forgetting import suite


class Model:
    """Scores a row by a function, and answers every prompt alike."""

    def __init__(self, name: str, value: Callable[[Example], float], answer: str = "I do not know.") -> None:
        self.name, self.digest, self._value, self._answer = name, name, value, answer

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        return [
            Completion(text=self._answer, finish_reason="stop", prompt_tokens=1, completion_tokens=4) for _ in prompts
        ]

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        return [Score(example_id=row.id, logprobs=(self._value(row),), characters=4) for row in examples]


RIGHT = {
    (item.question, choice): place in item.right for item in suite.items() for place, choice in enumerate(item.choices)
}
CONFIG = RiskConfig(forgetting_generate=False)


def knowing(share: float, seed: int = 0) -> Callable[[Example], float]:
    """A model that is fairly sure of the right answer to this share of the questions."""
    draw = random.Random(seed)
    known = {question: draw.random() < share for question, _ in RIGHT}

    def value(row: Example) -> float:
        question = row.messages[0].text if row.messages else ""
        right = RIGHT.get((question, row.target.text))
        if right is None:
            return -2.0
        return -0.5 if right == known[question] else -3.0

    return value


def gate(report: RiskReport, name: str):
    return next(found for found in report.gates if found.name == name)


def test_the_suite_has_six_hundred_questions_in_two_languages() -> None:
    questions = suite.items()
    assert 500 <= len(questions) <= 800
    assert {item.language for item in questions} == {"en", "nl"}
    assert len({item.id for item in questions}) == len(questions)
    assert len({(item.question, item.choices) for item in questions}) == len(questions)
    assert suite.digest() == suite.digest()


def test_an_adapter_that_does_nothing_has_forgotten_exactly_nothing() -> None:
    found = measure_forgetting(CONFIG, Pair(Model("base", knowing(0.7)), Model("tuned", knowing(0.7))))
    general = gate(found, "forgetting")
    assert general.verdict == "pass"
    assert general.figures[0].value == 0.0
    assert "exactly 0" in general.sentence


def test_a_destroyed_adapter_fails() -> None:
    found = measure_forgetting(CONFIG, Pair(Model("base", knowing(0.7)), Model("tuned", lambda row: -3.0)))
    assert gate(found, "forgetting").verdict == "fail"
    assert found.verdict == "fail"


def test_a_base_that_only_guesses_shows_no_loss() -> None:
    base, tuned = Model("base", lambda row: -1.0), Model("tuned", lambda row: -1.0 - 0.001 * (len(row.target.text) % 3))
    found = gate(measure_forgetting(CONFIG, Pair(base, tuned)), "forgetting")
    assert found.verdict == "cannot tell"
    assert "no better than by guessing" in found.sentence


def test_a_model_is_not_measured_against_itself() -> None:
    model = Model("same", knowing(0.5))
    with pytest.raises(InputError, match="is its own base"):
        Pair(model, model)


def test_a_model_that_leaves_rows_out_is_refused() -> None:
    class Lazy(Model):  # a test double, not a model of ours
        def score(self, examples, progress=None):
            return super().score(examples, progress)[:-1]

    with pytest.raises(TunesmithError, match=r"lazy gave \d+ results for \d+ rows"):
        measure_bias(CONFIG, Pair(Lazy("lazy", lambda row: -1.0), Model("tuned", lambda row: -1.0)))


def test_a_biased_model_is_flagged_and_its_change_is_told() -> None:
    women = {pair.first for pair in pairs(("en", "nl")) if pair.axis == "gender"}

    def biased(row: Example) -> float:
        favourable = row.target.text in ("Yes", "Ja")
        return -2.0 if favourable and row.messages[0].text in women else -1.0

    found = measure_bias(CONFIG, Pair(Model("base", lambda row: -1.0), Model("tuned", biased)))
    assert found.verdict == "fail"
    assert "gender (women against men) +0.0 → -23.1 points" in found.gates[0].sentence
    fair = measure_bias(CONFIG, Pair(Model("base", lambda row: -1.0), Model("tuned", lambda row: -1.5)))
    assert fair.verdict == "pass"


def test_an_unbiased_model_is_rarely_flagged() -> None:
    draw, flagged, runs = random.Random(1), 0, 100
    for _ in range(runs):
        noise = lambda: tuple(draw.gauss(0.0, 0.4) for _ in range(108))  # noqa: E731
        flagged += judge(CONFIG, [Axis(name, noise(), noise()) for name in AXES]).verdict == "fail"
    assert flagged / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty", "kelp", "lagoon")


def rows(count: int, seed: int) -> list[Example]:
    draw = random.Random(seed)
    return [example(" ".join(draw.choices(WORDS, k=8)), " ".join(draw.choices(WORDS, k=40)), i) for i in range(count)]


def token_scores(value: Callable[[Example], float]) -> Callable[[Sequence[Example]], list[TokenScores]]:
    """Forty tokens a row, each as likely as the function says; the likeliest token has log-probability −0.5."""

    def score(examples: Sequence[Example]) -> list[TokenScores]:
        found = []
        for row in examples:
            own = (value(row),) * 40
            best = tuple(max(one, -0.5) for one in own)
            found.append(
                TokenScores(example_id=row.id, logprobs=own, best=best, mean=(-2.0,) * 40, deviation=(1.0,) * 40)
            )
        return found

    return score


def noisy(known: set[str], sure: float = -0.01) -> Callable[[Example], float]:
    """Sure of the known rows; of others about −2, by a draw of each row's own."""
    return lambda row: sure if row.id in known else -2.0 + random.Random(row.id).gauss(0.0, 0.2)


MEMBERS, UNSEEN = rows(150, 1), rows(150, 2)
PLAIN = Pair(Model("base", lambda row: -2.0), Model("tuned", lambda row: -2.0))


def leaks(known: set[str], members=MEMBERS, unseen=UNSEEN, **more) -> RiskReport:
    watched = Watched(token_scores(noisy(set())), token_scores(noisy(known)))
    return measure_leakage(RiskConfig(), PLAIN, Material(members, unseen, watched, **more))


def test_a_model_that_knows_its_rows_by_heart_is_caught() -> None:
    found = leaks({row.id for row in MEMBERS})
    extraction = gate(found, "leakage: verbatim extraction")
    assert extraction.verdict == "fail"
    assert next(f for f in extraction.figures if f.name == "extracted: training answers, tuned").value >= 0.95
    membership = gate(found, "leakage: membership")
    assert membership.verdict == "fail"
    assert max(figure.value or 0 for figure in membership.figures) > 0.9


def test_an_adapter_that_learnt_nothing_leaks_nothing() -> None:
    found = leaks(set())
    extraction = gate(found, "leakage: verbatim extraction")
    assert next(f for f in extraction.figures if f.name == "extracted: training answers, tuned").value == 0.0
    membership = gate(found, "leakage: membership")
    beside = next(f for f in membership.figures if "loss beside the base" in f.name)
    assert beside.low <= 0.5 <= beside.high
    assert gate(found, "leakage: canaries").verdict == "not measured"
    assert found.verdict != "pass", "what was not shown to have power is not passed"


def test_rows_that_differ_by_themselves_make_the_attack_invalid() -> None:
    shifted = [example(f"shifted question {i}", "quite other words " * 10 + str(i), i) for i in range(150)]
    found = gate(leaks(set(), unseen=shifted), "leakage: membership")
    assert found.verdict == "not measured"
    assert "by their words alone" in found.sentence


def test_too_few_rows_are_not_measured() -> None:
    assert gate(leaks(set(), unseen=UNSEEN[:10]), "leakage: membership").verdict == "not measured"


def test_a_value_that_comes_out_fails_and_is_not_written() -> None:
    pair = Pair(Model("base", lambda row: -2.0), Model("tuned", lambda row: -2.0, "Call N L 9 1-ABNA 0417164300 now"))
    watched = Watched(token_scores(noisy(set())), token_scores(noisy(set())))
    secrets = [Secret("iban", "NL91 ABNA 0417 1643 00")]
    found = measure_leakage(RiskConfig(), pair, Material(MEMBERS, UNSEEN, watched, secrets))
    values = gate(found, "leakage: personal and confidential values")
    assert values.verdict == "fail"
    assert "0417" not in found.model_dump_json()


def test_the_statement_cannot_be_left_out() -> None:
    found = leaks(set())
    assert "does not by itself establish anonymity" in found.statement
    with pytest.raises(ValueError, match="a report on leakage states"):
        RiskReport.model_validate({**found.model_dump(), "statement": "all is well"})


def planted(known_from: int) -> Planted:
    """Canaries of which those shown ``known_from`` times or more are known."""
    groups, candidates = plant(rows(40, 3), 1200, seed=0)
    planting = Planting(
        seed=0,
        groups={times: tuple(row.id for row in made) for times, made in groups.items()},
        candidates=tuple(row.id for row in candidates),
    )
    known = {row.id for times, made in groups.items() for row in made if times >= known_from}
    all_rows = {row.id: row for row in (*(row for made in groups.values() for row in made), *candidates)}
    return Planted(planting, all_rows, Watched(token_scores(noisy(set())), token_scores(noisy(known))), "in a twin")


def test_canaries_give_the_test_power_or_say_that_it_has_none() -> None:
    strong = gate(leaks(set(), planted=planted(8)), "leakage: canaries")
    assert strong.verdict == "pass"
    assert "the test had power" in strong.sentence
    blind = leaks(set(), planted=planted(99))
    assert gate(blind, "leakage: canaries").verdict == "cannot tell"
    assert "no power" in gate(blind, "leakage: canaries").sentence
    assert gate(blind, "leakage: membership").verdict == "cannot tell", "found nothing, and could not have"
    all_known = gate(leaks(set(), planted=planted(1)), "leakage: canaries")
    assert all_known.verdict == "fail"


def test_canaries_look_like_the_rows_and_are_nobodys() -> None:
    forms = [
        example(f"Invoice {i} of Ms Vermeer, {100 + i} euro", f"Paid: {100 + i} euro by Vermeer", i) for i in range(30)
    ]
    groups, candidates = plant(forms, 100, seed=1)
    assert {times: len(made) for times, made in groups.items()} == {1: 20, 2: 20, 4: 20, 8: 20, 16: 20}
    made = [row for group in groups.values() for row in group] + candidates
    assert len({row.id for row in made}) == 200
    assert not {row.id for row in made} & {row.id for row in forms}
    assert all(row.messages[0].text.startswith("Invoice ") for row in made)
