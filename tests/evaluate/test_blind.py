"""People judge without knowing which model is which."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.evaluate.fakes import Scripted, examples
from tunesmith.core.artifacts import Report
from tunesmith.core.errors import DataError, InputError
from tunesmith.evaluate import BlindKey, Config, blind_page, blind_result, read_decisions, run
from tunesmith.evaluate.blind import Decision, Decisions

ROWS = examples([f"wanted {i}" for i in range(40)])


@pytest.fixture(scope="module")
def report() -> Report:
    base = Scripted("basemodel", [f"old answer {i}" for i in range(40)], digest="d1")
    tuned = Scripted("tunedmodel", [f"new answer {i}" for i in range(40)], digest="d2")
    return run(Config(bootstrap_samples=200), [base, tuned], ROWS, created_at="2026-01-01")


KEY = BlindKey(report_id="r", key="ab" * 32)


def shown(page: str) -> list[dict[str, str]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found.group(1))["rows"]


def decisions(report: Report, reviewer: str, wanted: str) -> Decisions:
    """A reader who always takes the answer that begins with ``wanted``, where one does."""
    made = []
    for row in shown(blind_page(report, KEY)):
        side = next((side for side in ("left", "right") if row[side].startswith(wanted)), "same")
        made.append(Decision(row=row["row"], choice=side))  # type: ignore[arg-type]
    return Decisions(report=report.report_id, reviewer=reviewer, decisions=tuple(made))


def test_the_page_names_no_model_and_draws_the_sides(report: Report) -> None:
    page = blind_page(report, KEY)
    assert "basemodel" not in page
    assert "tunedmodel" not in page
    assert KEY.key not in page
    left = [row["left"].startswith("new") for row in shown(page)]
    assert 8 <= sum(left) <= 32
    assert [row["row"] for row in shown(page)] != [item.example_id for item in report.items]
    assert blind_page(report, KEY) == page
    assert shown(blind_page(report, BlindKey(report_id="r", key="cd" * 32))) != shown(page)


def test_who_prefers_the_candidate_is_heard_on_whichever_side_it_stands(report: Report) -> None:
    found = blind_result(report, KEY, [decisions(report, "ann", "new"), decisions(report, "bob", "new")])
    assert (found.wins, found.losses, found.same) == (40, 0, 0)
    assert found.p_value == pytest.approx(2 / 2**40)
    assert found.sentence.startswith("People prefer tunedmodel")
    assert found.agreements[0].equal == 40
    assert found.agreements[0].kappa is None


def test_readers_who_contradict_each_other_leave_it_open(report: Report) -> None:
    found = blind_result(report, KEY, [decisions(report, "ann", "new"), decisions(report, "bob", "old")])
    assert (found.wins, found.losses, found.same) == (0, 0, 40)
    assert found.p_value == 1.0
    assert (found.low, found.high) == (None, None)
    assert found.sentence.startswith("Cannot tell")


def test_few_rows_decide_nothing(report: Report) -> None:
    some = decisions(report, "ann", "new")
    few = some.model_copy(update={"decisions": some.decisions[:7]})
    assert "too few" in blind_result(report, KEY, [few]).sentence


def test_decisions_about_something_else(report: Report, tmp_path: Path) -> None:
    other = decisions(report, "ann", "new").model_copy(update={"report": "another"})
    with pytest.raises(DataError, match="are about another report"):
        blind_result(report, KEY, [other])
    path = tmp_path / "d.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="holds no decisions of a blind comparison"):
        read_decisions([path])
    path.write_text(decisions(report, "ann", "new").model_dump_json(), encoding="utf-8")
    with pytest.raises(DataError, match="has two files"):
        read_decisions([path, path])


def test_one_model_cannot_be_compared_blindly(report: Report) -> None:
    alone = run(Config(bootstrap_samples=200), [Scripted("a", [""] * 40, digest="x")], ROWS)
    with pytest.raises(InputError, match="a blind comparison needs two models that answered"):
        blind_page(alone, KEY)
