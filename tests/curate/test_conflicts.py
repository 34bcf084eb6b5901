"""When two answers say the same, when they contradict each other, and when they are only worded differently."""

from __future__ import annotations

import pytest

from tests.curate.helpers import example
from tests.lab.look import look
from tunesmith.curate.checks.answers import difference, wording
from tunesmith.curate.checks.conflicts import CONFLICTS, loose_key
from tunesmith.curate.checks.values import number_readings, quoted, values_in


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": "X y"}', '{"b": "x  Y", "a": 1.0}'),
        ('{"a": [1, 2]}', '```json\n{"a": [2, 1]}\n```'),
        ('{"a": "12"}', '{"a": 12}'),
        ("On 3 March 2026", "03/03/2026"),
        ("It costs 1.234,50 euro", "It costs 1,234.50 euro"),
        ("It takes 2 days.", "It takes two days!"),
        ("Paris", "It's Paris."),
        ("It is closed on Sundays", "It is not open on Sundays"),
        ("The museum opens at 9:00 and closes at 17:00", "The museum opens at 9 am and closes at 5 pm"),
        ("Refund within 30 days.", "Refund within 30 days, in the shop or by mail, at no cost."),
    ],
)
def test_answers_that_say_the_same(one: str, other: str) -> None:
    assert difference(one, other) is None
    assert difference(other, one) is None


def test_texts_with_little_in_common_are_told_from_others() -> None:
    found = wording("Paris", "Lyon")
    assert found is not None
    assert (found.kind, found.certain) == ("wording", False)
    assert wording("Paris", "It's Paris.") is None
    assert wording("The parcel arrives tomorrow.", "The parcel will arrive tomorrow.") is None
    assert wording("The parcel arrives tomorrow.", "The parcel will arrive tomorrow.", alike=90) is not None


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ('{"a": 1}', '{"a": 2}', "fields"),
        ('{"a": 1}', '{"a": 1, "b": null}', "fields"),
        ('{"a": "007"}', '{"a": 7}', "fields"),
        ('{"a": 1}', "a is 1", "form"),
        ("It costs 5 euro", "It costs €7.", "number"),
        ("On 3 March 2026", "March 4, 2026", "date"),
        ("We open at 9:30.", "We open at 10:30.", "time"),
        ("Yes, you can.", "No, sorry.", "yes or no"),
        ("Ja, dat kan.", "Nee, helaas.", "yes or no"),
        ("The shop is open on Sunday.", "The shop is not open on Sunday.", "negation"),
        ("The shop is open on Sunday.", "The shop is closed on Sunday.", "negation"),
        ("U kunt het retourneren.", "U kunt het niet retourneren.", "negation"),
        ("Das ist erlaubt.", "Das ist nicht erlaubt.", "negation"),
        ("C'est possible ici.", "Ce n'est pas possible ici.", "negation"),
    ],
)
def test_answers_that_contradict_each_other(one: str, other: str, kind: str) -> None:
    for found in (difference(one, other), difference(other, one)):
        assert found is not None
        assert found.certain
        assert found.kind == kind


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("You can return it within 30 days.", "Send it back in the first month and you get your money."),
        ("Press the button on the left.", "Use the left-hand switch."),
        ("No problem, I will help you.", "Yes, let us look at it together."),
        ("Steps:\n1. open the box\n2. read", "Open the box first.\n1. then read everything in it"),
        ("Het kan", "Dat is prima"),
    ],
)
def test_other_words_are_never_called_a_contradiction(one: str, other: str) -> None:
    assert difference(one, other) is None
    assert difference(other, one) is None


def test_labels_are_compared_exactly() -> None:
    assert difference("billing", "delivery", labels=True) is not None
    assert difference("Billing.", "billing", labels=True) is None


def test_differing_fields_are_named_and_shortened() -> None:
    found = difference('{"a": {"b": [1, {"c": "x"}]}}', '{"a": {"b": [1, {"c": "y"}]}}')
    assert found is not None
    assert found.text == "$.a.b[1].c: “x” ≠ “y”"


def test_evidence_holds_no_address_and_no_long_number() -> None:
    assert quoted("mail jan@example.org or call 06-12345678 today") == "“mail […] or call […] today”"
    assert quoted("key sk123456abcdefgh on 2026-05-06") == "“key […] on 2026-05-06”"


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("1.234", {"1234", "1.234"}),
        ("1,5", {"1.5"}),
        ("1.234.567", {"1234567"}),
        ("1,234.50", {"1234.5"}),
        ("1.2.3", {"1.2.3"}),
        ("0.125", {"0.125"}),
        ("007", {"7"}),
    ],
)
def test_numbers_have_all_their_readings(text: str, readings: set[str]) -> None:
    assert {reading[1] for reading in number_readings(text)} == readings


def test_dates_times_and_numbers_are_told_apart() -> None:
    found = values_in("On 3 mei 2026 at 14:30 we sold 1.234,50 euro; see A4, -3 °C, and two of 10-15.\n1. next")
    kinds = [(value.kind, value.text) for value in found]
    assert kinds == [
        ("date", "3 mei 2026"),
        ("time", "14:30"),
        ("number", "1.234,50"),
        ("number", "-3"),
        ("number", "two"),
        ("number", "10"),
        ("number", "15"),
    ]


def test_questions_that_differ_in_marks_and_politeness_are_one() -> None:
    assert loose_key(example("What is it?")) == loose_key(example("what is it, please"))
    for other in ("3 * 4", "3 - 4", "3 + 5", "-3 + 4", "3.5 + 4"):
        assert loose_key(example(other)) != loose_key(example("3 + 4"))


def test_the_minority_is_proposed_for_quarantine() -> None:
    rows = [example("How long?", "It takes 3 days.", i) for i in range(1, 4)]
    rows.append(example("How long, please", "It takes 5 days.", 9))
    findings, outcome = look(CONFLICTS, rows, conflicts={"limit": 1})
    (found,) = findings
    assert found.message == (
        "one question, worded almost alike, has 2 answers that contradict each other (number): lines 1, 9"
    )
    assert found.evidence == "“3” ≠ “5”"
    assert found.action is not None
    assert [source.line for source in found.action.rows] == [9]
    assert outcome.figures["rate"] == 1


def test_too_many_contradictions_stop_training_unless_they_are_waived() -> None:
    rows = [example(f"question {i}", "It is 3.", i) for i in range(1, 101)]
    rows += [example(f"question {i}", "It is 4.", 100 + i) for i in (1, 2, 3)]
    findings, _ = look(CONFLICTS, rows)
    assert findings[0].severity == "error"
    assert findings[0].message == (
        "3 of 100 questions have contradictory answers: 3.0% (95 % interval 1.0% to 8.5%), at most 2% may"
    )
    assert "waive" in findings[0].fix
    assert [found.severity for found in look(CONFLICTS, rows[:-1])[0]] == ["warning", "warning"]
    waived, _ = look(CONFLICTS, rows, conflicts={"waive": "prices changed in May"})
    assert waived[0].severity == "info"
    assert waived[0].message.endswith("waived: prices changed in May")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "It is a cheap shop by the river. It is not family friendly.",
            "By the river is a cheap shop for adults only.",
        ),
        ("It has 1 of 5 stars and low prices.", "Cheap food for less than 20 euros, with a bad rating."),
        ("They sell coffee by the river.", "They sell coffee by the river, and children should not visit."),
        ("The cup is not red. It is not big.", "The cup is not red and it is small."),
    ],
)
def test_what_is_said_of_something_else_is_no_contradiction(one: str, other: str) -> None:
    assert difference(one, other) is None
    assert difference(other, one) is None
