"""Contradictions that were planted are found, and rewordings are not called contradictions."""

from __future__ import annotations

import random

from tests.lab.look import look, real
from tunesmith.core.records import Finding
from tunesmith.curate.checks.conflicts import CONFLICTS
from tunesmith.curate.lab.contradictions import contradict_json, contradict_text
from tunesmith.curate.lab.planted import measured, row
from tunesmith.curate.lab.shop import order_rows, text_rows


def certain(findings: list[Finding]) -> list[Finding]:
    return [found for found in findings if found.severity == "warning"]


def test_a_hundred_contradictions_in_two_thousand_json_answers() -> None:
    planted = contradict_json(order_rows(2000, random.Random(1)), 100, random.Random(2))
    findings, outcome = look(CONFLICTS, planted.rows)
    result = measured(planted, certain(findings))
    assert result.recall >= 0.95, result
    assert result.precision >= 0.90, result
    assert outcome.figures["contradictory"] == 100
    assert findings[0].severity == "error"


def test_a_hundred_contradictions_in_two_thousand_texts() -> None:
    planted = contradict_text(text_rows(2000, random.Random(3)), 100, random.Random(4))
    findings, _ = look(CONFLICTS, planted.rows)
    result = measured(planted, certain(findings))
    assert result.recall >= 0.80, result
    assert result.precision >= 0.90, result


def test_rows_without_contradictions_raise_no_alarm() -> None:
    for rows in (order_rows(2000, random.Random(5)), text_rows(2000, random.Random(6))):
        findings, outcome = look(CONFLICTS, rows)
        assert findings == []
        assert outcome.figures["rate"] == 0


def test_several_texts_of_one_meaning_are_rarely_called_contradictory() -> None:
    """Restaurant texts: crowd workers told the same facts in several ways, and now and then wrongly."""
    for field, limit in (("mr", 0.02), ("orig_mr", 0.05)):
        raw = [item for name in ("train", "dev") for item in real(f"e2e-restaurants/{name}.jsonl.gz")]
        rows = [row(item[field], item["text"], i) for i, item in enumerate(raw)]
        findings, outcome = look(CONFLICTS, rows)
        assert outcome.figures["asked_more_than_once"] > 500
        assert outcome.figures["rate"] <= limit
        assert any(found.severity == "error" for found in findings) is (field == "orig_mr")
