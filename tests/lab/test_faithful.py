"""Answers that leave out or invent are found; answers that tell everything are left alone."""

from __future__ import annotations

import random

import pytest

from tests.lab.look import look, real
from tunesmith.core.records import Example, Source
from tunesmith.curate.checks.faithful import FAITHFUL
from tunesmith.curate.checks.structured import facts
from tunesmith.curate.lab.facts import break_facts, fact_rows
from tunesmith.curate.lab.planted import answered, measured, row
from tunesmith.curate.lab.shop import order_rows, text_rows, ticket_rows


def restaurants(field: str) -> tuple[list[Example], set[Source]]:
    """Restaurant texts with their facts, and the rows whose original facts disagree with the text."""
    raw = [item for name in ("train", "dev") for item in real(f"e2e-restaurants/{name}.jsonl.gz")]
    rows = [row(item[field], item["text"], i) for i, item in enumerate(raw)]
    return rows, {each.source for each, item in zip(rows, raw, strict=True) if item["mr_was_fixed"]}


def test_planted_omissions_and_other_values_are_found() -> None:
    planted = break_facts(1500, 0.1, random.Random(1))
    findings, outcome = look(FAITHFUL, planted.rows)
    result = measured(planted, findings)
    assert result.recall >= 0.9, result
    assert result.precision >= 0.9, result
    assert set(outcome.figures["facts"]["in_other_words"]) >= {"washable", "price", "rating"}


def test_findings_say_what_is_wrong_and_would_put_the_row_aside() -> None:
    planted = break_facts(1500, 0.1, random.Random(1))
    numbers = {row.source: number for number, row in enumerate(planted.rows)}
    left_out = 0
    for found in look(FAITHFUL, planted.rows)[0]:
        truth = planted.truth.get(numbers[found.source], "")
        left_out += truth.endswith("left out") and f"the answer leaves out {truth.split()[0]}" in found.message
        assert found.action is not None
        assert found.action.rows == (found.source,)
        assert 0 < len(found.evidence) <= 200
    assert left_out >= 0.8 * sum(truth.endswith("left out") for truth in planted.truth.values())


def test_faithful_rows_raise_few_alarms() -> None:
    findings, _ = look(FAITHFUL, fact_rows(1500, random.Random(2)))
    assert len(findings) <= 15


def test_values_of_json_answers_come_from_the_question() -> None:
    rows = order_rows(300, random.Random(3))
    rows[7] = answered(rows[7], rows[7].target.text.replace(str(10_007), "99999"))
    findings, outcome = look(FAITHFUL, rows)
    assert [found.source.line for found in findings] == [8]
    assert findings[0].message == "the question does not hold the value of $.order"
    assert findings[0].evidence == "$.order: “99999”"
    assert outcome.figures["fields"]["rows"] == 300


def test_numbers_that_the_question_does_not_hold() -> None:
    rows = [row(f"The parcel weighs {n} kg. How heavy is it?", f"It weighs {n} kg.", n) for n in range(40)]
    rows[20] = row("The parcel weighs 20 kg. How heavy is it?", "It weighs 25 kg.", 20)
    findings, _ = look(FAITHFUL, rows)
    assert [(found.source.line, found.message) for found in findings] == [
        (21, "the question does not hold these numbers of the answer")
    ]


@pytest.mark.parametrize("rows", [text_rows(400, random.Random(4)), ticket_rows(400, random.Random(5))])
def test_answers_that_bring_their_own_values_are_not_judged_by_them(rows: list[Example]) -> None:
    findings, outcome = look(FAITHFUL, rows)
    assert findings == []
    assert "numbers" in outcome.figures


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name[The Punter], area[city centre]", {"name": "The Punter", "area": "city centre"}),
        ("inform(name=Aldora, area=north)", {"name": "Aldora", "area": "north"}),
        ("Write a text:\nname: Aldora\n- area: north", {"name": "Aldora", "area": "north"}),
        ('Describe {"a": 1, "b": {"c": true, "d": ["x"]}, "e": null}.', {"a": "1", "b.c": "yes", "b.d[0]": "x"}),
        ("food[English], food[French], area[north]", {"food": "English; French", "area": "north"}),
        ("How are you? I am (very) well.", None),
        ("", None),
    ],
)
def test_facts_are_read_from_several_forms(text: str, found: dict[str, str] | None) -> None:
    assert facts(text) == found


def test_original_restaurant_facts_against_the_texts_of_crowd_workers() -> None:
    """1,715 of 4,299 rows were corrected by the cleaning of Dušek et al. (2019)."""
    rows, wrong = restaurants("orig_mr")
    found = {finding.source for finding in look(FAITHFUL, rows)[0]}
    assert len(found & wrong) / len(wrong) >= 0.5
    assert len(found & wrong) / len(found) >= 0.94
    assert len(found - wrong) / (len(rows) - len(wrong)) <= 0.02


def test_cleaned_restaurant_facts_raise_few_alarms() -> None:
    rows, _ = restaurants("mr")
    findings, _ = look(FAITHFUL, rows)
    assert len(findings) / len(rows) <= 0.06
