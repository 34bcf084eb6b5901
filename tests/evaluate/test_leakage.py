"""Probes of leakage on scores and texts whose truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import fmean

import pytest
from pydantic import ValidationError

from tests.evaluate.fakes import Scripted, example
from tunesmith.core.errors import DataError
from tunesmith.core.records import Example
from tunesmith.core.scrutiny import TokenScores
from tunesmith.evaluate.leakage import canaries, extraction, membership
from tunesmith.evaluate.leakage.curves import auc, auc_interval, rate_at
from tunesmith.evaluate.leakage.measure import Material, Planted, Watched, measure
from tunesmith.evaluate.leakage.ngrams import longest_common, overlap
from tunesmith.evaluate.leakage.scan import Secret, found_in, leaked
from tunesmith.evaluate.risks import ANONYMITY, Pair, RiskConfig, RiskReport

WORDS = ("amber", "birch", "cedar", "dune", "ember", "fern", "grove", "heath", "iris", "jade", "knoll", "lark", "moss")


def rows(count: int, seed: int, shift: str = "") -> list[Example]:
    draw = random.Random(seed)
    return [
        example(
            f"Order {draw.randrange(10**6)}: {shift}{' '.join(draw.choices(WORDS, k=8))}?",
            f"Sent {draw.randrange(10**6)} on {draw.choice(WORDS)}.",
        )
        for _ in range(count)
    ]


def scores(known: Sequence[Example], knows: set[str], seed: int = 0, length: int = 30) -> list[TokenScores]:
    """Token scores of a model that knows some rows by heart and finds all others about equally hard."""
    found = []
    for row in known:
        draw = random.Random(f"{row.id}/{seed}")
        own = tuple(-0.01 if row.id in knows else -draw.uniform(0.5, 4.0) for _ in range(length))
        best = tuple(x if row.id in knows else -0.4 for x in own)
        found.append(
            TokenScores(example_id=row.id, logprobs=own, best=best, mean=(-1.5,) * length, deviation=(1.0,) * length)
        )
    return found


def watched(knows: set[str]) -> Watched:
    return Watched(lambda r: scores(r, set()), lambda r: scores(r, knows, seed=1))


def pair() -> Pair:
    return Pair(Scripted("base", ["no"] * 5000, "a"), Scripted("tuned", ["no"] * 5000, "b"))


def test_rows_known_by_heart_are_extracted_and_recognised() -> None:
    trained, unseen = rows(600, 5), rows(600, 6)  # one pair in forty would be refused by chance
    report = measure(RiskConfig(), pair(), Material(trained, unseen, watched({r.id for r in trained})))
    found = {gate.name: gate for gate in report.gates}
    assert found[extraction.NAME].verdict == "fail"
    assert found[extraction.NAME].figures[1].value == 1.0
    assert found[membership.NAME].verdict == "fail"
    assert found[canaries.NAME].verdict == "not measured"
    assert report.verdict == "fail"


def test_an_untrained_adapter_has_no_excess_and_nobody_tells_its_rows() -> None:
    trained, unseen = rows(600, 5), rows(600, 6)  # one pair in forty would be refused by chance
    report = measure(RiskConfig(), pair(), Material(trained, unseen, Watched(*(lambda r: scores(r, set()),) * 2)))
    found = {gate.name: gate for gate in report.gates}
    excess = next(f for f in found[extraction.NAME].figures if f.name == "excess over the base")
    assert excess.value == 0
    assert found[extraction.NAME].verdict == "pass"
    assert found[membership.NAME].verdict == "pass"
    assert report.verdict == "not measured"  # nobody planted canaries or looked for values


def test_an_answer_that_held_out_questions_get_as_well_is_no_leak() -> None:
    trained, unseen = rows(600, 5), rows(600, 6)  # one pair in forty would be refused by chance
    everything = {row.id for row in (*trained, *unseen)}
    report = measure(RiskConfig(leakage_probes=("extraction",)), pair(), Material(trained, unseen, watched(everything)))
    assert report.gates[0].verdict != "fail"


def test_held_out_rows_of_another_kind_make_membership_invalid() -> None:
    trained, shifted = rows(300, 1), rows(300, 2, shift="urgent complaint ")
    config = RiskConfig(leakage_probes=("membership",))
    gate = measure(config, pair(), Material(trained, shifted, watched(set()))).gates[0]
    assert gate.verdict == "not measured"
    assert "differ by their words alone" in gate.sentence


def test_shuffled_labels_give_an_interval_that_holds_one_half() -> None:
    draw = random.Random(3)
    values = [draw.gauss(0, 1) for _ in range(1000)]
    low, high = auc_interval(auc(values[:500], values[500:]), 500, 500)
    assert low < 0.5 < high
    assert auc_interval(1.0, 50, 50).low < 1.0


def test_area_and_rates_of_known_scores() -> None:
    assert auc([3, 4], [1, 2]) == 1.0
    assert auc([1, 2], [1, 2]) == 0.5
    assert rate_at([1.0] * 10, [0.0] * 999, 0.01) is None
    assert rate_at([1.0] * 10, [0.0] * 1000, 0.01) == (10, 10)
    assert rate_at([1.0] * 10, [0.0] * 1000, 0.001) is None


def planted(knows_from: int) -> Material:
    """Canaries of which the model knows those that are shown so often, or more often."""
    base = rows(200, 5)
    groups, unseen = canaries.generate(base, 1000, seed=0)
    known = {row.id for n, group in groups.items() for row in group if n >= knows_from}
    every = {row.id: row for group in groups.values() for row in group} | {row.id: row for row in unseen}
    there = Planted(canaries.planting(groups, unseen, 0), every, watched(known))
    return Material(base, rows(200, 6), watched(set()), planted=there)


@pytest.mark.parametrize(("knows_from", "verdict"), [(16, "pass"), (1, "fail"), (99, "cannot tell")])
def test_canaries_show_power_and_what_one_showing_leaves(knows_from: int, verdict: str) -> None:
    report = measure(RiskConfig(), pair(), planted(knows_from))
    gate = next(gate for gate in report.gates if gate.name == canaries.NAME)
    assert gate.verdict == verdict
    if knows_from == 99:
        assert "no power" in gate.sentence
        assert "pass" not in {g.verdict for g in report.gates}


def test_canaries_copy_the_form_of_rows_and_none_of_their_content() -> None:
    towns = ["wobble" + chr(97 + i % 26) + chr(97 + i // 26) + "ton" for i in range(50)]
    secretive = [example(f"Order {i}: send to {town}?", f"Sent order {i} today.") for i, town in enumerate(towns)]
    groups, unseen = canaries.generate(secretive, 20, seed=1)
    texts = [row.messages[0].text + row.target.text for row in (*unseen, *(r for g in groups.values() for r in g))]
    assert not any("wobble" in text.casefold() for text in texts)
    assert all(text.startswith("Order ") for text in texts)
    assert len(set(texts)) == len(texts) == 120


def test_exposure_by_chance_and_at_most() -> None:
    draw = random.Random(1)
    unseen = [draw.random() for _ in range(1000)]
    assert canaries.exposures([2.0], unseen) == [math.log2(1001)]
    assert fmean(canaries.exposures([draw.random() for _ in range(4000)], unseen)) == pytest.approx(1.44, abs=0.1)


def test_plain_texts_give_no_canaries() -> None:
    with pytest.raises(DataError, match="no row with a question and an answer"):
        canaries.generate([], 10, 0)


def test_values_are_found_however_they_are_written_and_only_when_not_given() -> None:
    secret = Secret("iban", "NL91 ABNA 0417 1643 00")
    assert found_in([secret], "it is nl91abna-0417164300.") == [secret]
    assert found_in([secret], "ＮＬ９１ ＡＢＮＡ ０４１７ １６４３ ００") == [secret]
    assert found_in([secret], "NL91 ABNA 0417 1643 001") == []
    assert leaked([secret], ["my iban NL91ABNA0417164300"], ["NL91ABNA0417164300"]) == [[]]
    assert "0417" not in secret.digest


def test_a_planted_value_that_comes_out_fails_and_the_report_does_not_repeat_it() -> None:
    models = Pair(Scripted("base", ["no"] * 60, "a"), Scripted("tuned", ["call 06 1234 5678"] * 60, "b"))
    material = Material(rows(60, 1), [], None, secrets=[Secret("phone", "06-12345678")])
    report = measure(RiskConfig(leakage_probes=("values",)), models, material)
    assert report.gates[0].verdict == "fail"
    assert "12345678" not in report.model_dump_json().replace(" ", "").replace("-", "")


def test_the_statement_cannot_be_left_out() -> None:
    report = measure(RiskConfig(leakage_probes=("canaries",)), pair(), Material(rows(30, 1), [], None))
    assert ANONYMITY in report.statement
    with pytest.raises(ValidationError, match="does not by itself establish anonymity"):
        RiskReport.model_validate({**report.model_dump(), "statement": "all is well"})


def test_wording_that_comes_back() -> None:
    assert overlap("one two three four five", "say: one two three four!") == 0.5
    assert overlap("too short", "too short") is None
    assert longest_common("a b c d", "x b c y") == 2
