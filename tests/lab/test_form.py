"""Breaches of form that were planted are all listed, with their place and rule, and the rate is exact."""

from __future__ import annotations

import json
import random

import pytest

from tests.curate.helpers import example
from tests.lab.look import look, real
from tunesmith.core.records import Finding
from tunesmith.curate.checks.form import FORM
from tunesmith.curate.config import Config
from tunesmith.curate.lab.forms import ORDER_SCHEMA, SECTIONS, break_json, break_sections, section_rows
from tunesmith.curate.lab.labels import flip_labels
from tunesmith.curate.lab.planted import Planted, answered, measured, numbered, row
from tunesmith.curate.lab.shop import order_rows, text_rows, ticket_rows


def listed(planted: Planted, findings: list[Finding]) -> None:
    """Exactly the planted rows are reported, each once."""
    result = measured(planted, findings)
    assert (result.found, result.false_alarms) == (result.planted, 0), result
    assert len({found.source for found in findings}) == result.planted


@pytest.fixture(scope="module")
def orders() -> Planted:
    return break_json(order_rows(1000, random.Random(1)), 0.03, random.Random(2))


def test_three_percent_against_a_given_schema(orders: Planted) -> None:
    findings, outcome = look(FORM, orders.rows, form={"json_schema": dict(ORDER_SCHEMA)})
    gate, *found = findings
    listed(orders, found)
    assert gate.message == (
        "970 of 1,000 answers keep to the given form: 97.0% (95 % interval 95.7% to 97.9%), at least 99% must"
    )
    assert {each.severity for each in findings} == {"error"}
    assert outcome.figures["conformance"] == 0.97


def test_three_percent_against_the_form_that_the_answers_share(orders: Planted) -> None:
    findings, outcome = look(FORM, orders.rows)
    listed(orders, findings)
    assert {found.severity for found in findings} == {"warning"}
    assert outcome.figures["violations"] == 30
    assert "$.shipping: one of 2 texts" in outcome.figures["rules"]


def test_places_and_rules_are_named() -> None:
    rows = order_rows(100, random.Random(3))
    value = json.loads(rows[5].target.text)
    del value["city"]
    rows[5] = answered(rows[5], json.dumps(value | {"amount": "3", "ctiy": "Bern"}))
    (found,) = look(FORM, rows)[0]
    assert found.evidence == "$.city: missing, but 'ctiy' is there; $.amount: text, the others have number"
    given, *_ = look(FORM, rows, form={"json_schema": dict(ORDER_SCHEMA)})[0]
    assert given.severity == "warning"
    assert "$: required: city" in given.evidence
    assert '$.amount: type: "integer"' in given.evidence


def test_a_given_form_at_the_limit_only_warns(orders: Planted) -> None:
    findings, _ = look(FORM, orders.rows, form={"json_schema": dict(ORDER_SCHEMA), "conformance": 0.97})
    assert {found.severity for found in findings} == {"warning"}


def test_sections_that_are_missing_or_out_of_order() -> None:
    planted = break_sections(section_rows(500, random.Random(4)), 0.03, random.Random(5))
    for options in ({}, {"form": {"sections": SECTIONS}}):
        findings, outcome = look(FORM, planted.rows, **options)
        listed(planted, [found for found in findings if "keep to the given form" not in found.message])
        assert outcome.figures["rules"] == [f"section {name}" for name in SECTIONS]


def test_a_pattern_must_match_the_whole_answer() -> None:
    rows = [example(f"q{i}", f"{i:04}-NL", i) for i in range(1, 101)]
    rows[3] = example("q", "0004-NL.", 4)
    (found,) = look(FORM, rows, form={"pattern": r"\d{4}-[A-Z]{2}"})[0]
    assert (found.source.line, found.severity) == (4, "warning")
    assert found.evidence == r"the whole answer: pattern \d{4}-[A-Z]{2}"


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="is no regular expression"):
        Config.model_validate({"datasets": [{"path": "a.jsonl"}], "checks": {"form": {"pattern": "("}}})


def test_labels_in_another_spelling_are_named() -> None:
    rows = ticket_rows(200, random.Random(6))
    rows[9] = answered(rows[9], "biling")
    (found,) = look(FORM, rows)[0]
    assert found.evidence == "the whole answer: no label of the others, but close to “billing”"


@pytest.mark.parametrize("options", [{}, {"form": {"infer": False}}])
def test_free_texts_have_no_form(options: dict[str, object]) -> None:
    rows = [example(f"q{i}", f"{'so ' * i}free", i) for i in range(1, 60)]
    findings, outcome = look(FORM, rows, **options)
    assert findings == []
    assert outcome.not_checked.startswith("no form is given")


def test_rows_of_one_form_raise_no_alarm() -> None:
    flipped = flip_labels(ticket_rows(500, random.Random(7)), 0.1, random.Random(8)).rows
    for rows in (order_rows(500, random.Random(9)), text_rows(500, random.Random(10)), flipped):
        assert look(FORM, rows)[0] == []


def utterances() -> list[dict[str, object]]:
    return [
        {"intent": item["intent"], "slots": [{"name": s["slot"], "value": s["value"]} for s in item["slots"]]}
        for item in real("snips-slots/train.jsonl.gz")
    ]


def test_real_utterances_with_planted_breaches() -> None:
    """SNIPS: intent and slots as JSON; the seven intents and the keys of the slots are inferred from the answers."""
    rows = [row(f"utterance {i}", json.dumps(value), i) for i, value in enumerate(utterances())]
    assert look(FORM, rows)[0] == []
    rng, spoiled, truth = random.Random(11), list(rows), {}
    for number in sorted(rng.sample(range(len(rows)), 210)):
        text = rows[number].target.text
        kinds = {
            "intent": text.replace('"intent": "', '"intent": "X'),
            "key": text.replace('"slots"', '"slot"'),
            "cut": text[:-1],
            "type": json.dumps(json.loads(text) | {"slots": "none"}),
        }
        truth[number] = rng.choice(sorted(kinds))
        spoiled[number] = answered(rows[number], kinds[truth[number]])
    planted = Planted(numbered(spoiled), truth)
    findings, outcome = look(FORM, planted.rows)
    listed(planted, findings)
    assert outcome.figures["conformance"] == 0.97
