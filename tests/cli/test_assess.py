"""``assess`` and ``cost`` from the command line."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, refusal
from tests.command import Ran
from tests.project import Project

CASE = """
prices:
  currency: EUR
  prices:
    input_tokens: {{value: 0.5, source: contract, date: {today}}}
requests_per_day: 80000
before: {{prompt_tokens: 1250, completion_tokens: 50}}
after: {{prompt_tokens: 750, completion_tokens: 50}}
one_off: {{other: {other}}}
"""


def write_case(desk: Desk, other: str = "200") -> None:
    text = CASE.format(today=date.today().isoformat(), other=other)
    (desk.folder / "cost.yaml").write_text(text, encoding="utf-8")


@pytest.fixture
def run(project: Project, trained: Ran) -> Path:
    assert trained.code == 0, trained.err
    return project.run


def test_a_tuned_run_is_put_beside_the_other_arms(desk: Desk, run: Path) -> None:
    desk.config(assess={"prompt_budget": 60, "probe_rows": 4, "probe_samples": 1, "who": "A. Tester"}, max_new_tokens=4)
    ran = desk.ask("assess", "tunesmith.yaml", "--add", run, "--json", "--set", "bootstrap_samples=200")
    assert ran.code in (0, 1), ran.err
    advice = json.loads(ran.out)
    assert {"zero-shot", "prompt", "tuned"} <= {arm["role"] for arm in advice["arms"] if arm["measured"]}
    assert [arm["reason"] for arm in advice["arms"] if arm["role"] == "retrieval"] == ["no corpus was given"]
    written = sorted(path.name for path in (desk.folder / "assessment").iterdir())
    assert written == ["advice.html", "advice.json", "why-not-prompting.md"]
    assert "A. Tester" in (desk.folder / "assessment" / "why-not-prompting.md").read_text(encoding="utf-8")


def test_a_corpus_that_is_not_there(desk: Desk) -> None:
    error = refusal(desk.ask("assess", "tunesmith.yaml", "--set", "assess.corpus=nowhere"))
    assert "nowhere" in error.what + error.where


def test_the_golden_case_pays_back_in_two_weeks(desk: Desk) -> None:
    # 80,000 requests a day save 500 tokens each at 0.5 EUR a million: 20 EUR a day; 280 EUR once is 14 days.
    write_case(desk, "280")
    ran = desk.ask("cost", "cost.yaml", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["median"] == pytest.approx(14.0)
    told = desk.ask("cost", "cost.yaml")
    assert "pays back after 14.0 days" in told.out
    assert "break-even: " in told.out


def test_what_never_pays_is_said_and_exits_with_1(desk: Desk) -> None:
    write_case(desk, "[100000000, 200000000]")
    ran = desk.ask("cost", "cost.yaml", "--draws", "200")
    assert ran.code == 1
    assert "within 365 days in 0% of 200 draws" in ran.out


def test_costs_of_a_run_that_is_not_there(desk: Desk) -> None:
    write_case(desk)
    error = refusal(desk.ask("cost", "cost.yaml", "--run", "runs/none"))
    assert error.what == "no finished run stands in runs/none"
    assert refusal(desk.ask("cost", "none.yaml")).what.startswith("the file cannot be read")


def test_the_hours_of_a_run_are_filled_in(desk: Desk, run: Path) -> None:
    write_case(desk)
    error = refusal(desk.ask("cost", "cost.yaml", "--run", run))
    assert "no price of an hour of the machine" in error.what, "the hours are in, and need a price"
