"""The planted-truth lab as users run it: every check is tried or says why not, every threshold holds."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from tests.command import Ran, inside
from tests.project import write_rows
from tunesmith.core.records import Finding, Source
from tunesmith.curate.checks.table import CHECKS
from tunesmith.curate.lab import selftest as lab
from tunesmith.curate.lab.manual import manual_rows
from tunesmith.curate.lab.planted import Measured, Planted
from tunesmith.curate.lab.shop import text_rows
from tunesmith.curate.lab.trials import NOT_TRIED, TRIALS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "checks.md"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    folder = tmp_path_factory.mktemp("selftest")
    return inside("data", "selftest", "--page", "checks.md", "--json", at=folder), folder / "checks.md"


def test_every_threshold_holds(ran: tuple[Ran, Path]) -> None:
    document = ran[0].document
    assert [trial for trial in document["trials"] if trial["ok"] is False] == []
    assert (ran[0].code, document["ok"], document["failed"]) == (0, True, 0)
    assert all(trial["planted"] >= 10 or trial["what"].startswith(("60 %", "three")) for trial in tried(document))


def tried(document: dict[str, list[dict[str, object]]]) -> list[dict[str, object]]:
    return [trial for trial in document["trials"] if trial["ok"] is not None]


def test_every_check_is_tried_or_says_why_not(ran: tuple[Ran, Path]) -> None:
    names = [kind.name for kind in CHECKS]
    shown = list(dict.fromkeys(trial["check"] for trial in ran[0].document["trials"]))
    assert shown == names
    assert {trial.check for trial in TRIALS} | set(NOT_TRIED) == set(names)
    assert not {trial.check for trial in TRIALS} & set(NOT_TRIED)
    skipped = {trial["check"]: trial["why"] for trial in ran[0].document["trials"] if trial["ok"] is None}
    assert skipped == dict(NOT_TRIED)


def test_the_page_of_the_documents_has_these_figures(ran: tuple[Ran, Path]) -> None:
    page, made = PAGE.read_text("utf-8"), ran[1].read_text("utf-8")
    checks = re.findall(r"^\| ([^|]+) \| ([^|]*) \|", page, re.MULTILINE)
    assert checks == re.findall(r"^\| ([^|]+) \| ([^|]*) \|", made, re.MULTILINE)
    if f"Python {lab.version()}." in page:
        assert page == made, "write it anew: tunesmith data selftest --page docs/reference/checks.md"


def test_rows_of_ones_own_take_the_place_of_the_labs(tmp_path: Path) -> None:
    rows = manual_rows(250, random.Random(5))
    write_rows(tmp_path / "mine.jsonl", [(each.messages[0].text, each.target.text) for each in rows])
    ran = inside("data", "selftest", "--rows", "mine.jsonl", "--seed", "3", at=tmp_path)
    assert ran.code == 0, ran.out
    assert "all 29 trials hold; 4 checks not tried" in ran.out
    assert "14 trials used rows of mine.jsonl" in ran.out


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "mine.jsonl", [("Why?", "Because.")])
    ran = inside("data", "selftest", "--rows", "mine.jsonl", "--json", at=tmp_path)
    assert ran.code == 2
    assert ran.error["what"] == "0 of 1 rows can be planted into"
    assert ran.error["where"] == "mine.jsonl"
    assert ran.error["rule"] == "200 different questions with an answer are needed, 25 words or more together"
    assert ran.error["fix"] == "give a larger file, or leave --rows out: the lab then uses rows of its own"


def test_a_check_that_misses_or_cries_wolf_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blind = [one for one in TRIALS if one.check == "control tokens"]
    monkeypatch.setattr(lab, "TRIALS", blind)
    monkeypatch.setattr("tunesmith.curate.checks.controls.tokens_in", lambda text: [])
    ran = inside("data", "selftest", at=tmp_path)
    assert ran.code == 1
    assert "FAILED" in ran.out
    assert "1 of 1 trials failed" in ran.out
    (trial,) = tried(inside("data", "selftest", "--json", at=tmp_path).document)
    assert (trial["found"], trial["ok"], trial["why"]) == (0, False, "0.0% found")
    rows = text_rows(4, random.Random(0))
    alarm = Finding(check="x", severity="warning", message="", source=Source(path="lab.jsonl", line=3))
    counted = blind[0].judge(Planted(lab.numbered(rows), {0: "x"}), [alarm])
    assert counted == Measured(1, 0, 1)
    assert counted.precision == 0.0
