"""``tunesmith data repair`` as people and programs meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import Ran, inside
from tests.curate.helpers import jsonl, pair

COPY = "exact duplicates"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    jsonl(tmp_path / "a.jsonl", *[pair(f"q{i % 4}", f"a{i % 4}") for i in range(6)])
    return tmp_path


def data(at: Path, *arguments: object, typed: str = "") -> Ran:
    return inside("data", *arguments, at=at, typed=typed, TUNESMITH_HOME=str(at / "home"))


def test_without_a_choice_nothing_is_written(rows: Path) -> None:
    ran = data(rows, "repair", "a.jsonl")
    assert ran.code == 0
    assert "2  quarantine  exact duplicates" in ran.out
    assert "nothing was written" in ran.out
    assert not list(rows.glob("a.*.jsonl"))
    assert data(rows, "repair", "a.jsonl", "--json").document["proposed"] == [
        {"check": COPY, "action": "quarantine", "findings": 2}
    ]
    jsonl(rows / "clean.jsonl", pair("q", "a"))
    assert "no finding proposes an action" in data(rows, "repair", "clean.jsonl").out
    assert "nothing to do; it stays as it is" in data(rows, "repair", "clean.jsonl", "--all").out


def test_repair_and_restore(rows: Path) -> None:
    before = (rows / "a.jsonl").read_bytes()
    ran = data(rows, "repair", "a.jsonl", "--all")
    assert ran.code == 0, ran.err
    assert "a.jsonl → a.repaired.jsonl: 4 rows, 2 in quarantine" in ran.out
    assert "quarantine       2  exact duplicates" in ran.out
    assert data(rows, "check", "a.repaired.jsonl").out.count("no errors, warnings: 0") == 1
    (first, second) = map(json.loads, (rows / "a.repaired.quarantine.jsonl").read_text().splitlines())
    ran = data(rows, "repair", "a.repaired.jsonl", "--restore", second["id"], "--json")
    (made,) = ran.document["versions"]
    assert made["path"] == "a.repaired-2.jsonl"
    assert made["rows"] == 5
    assert [step["action"] for step in made["steps"]] == ["quarantine", "restore"]
    ran = data(rows, "repair", "a.repaired-2.jsonl", "--all")
    assert "nothing to do" in ran.out, "what was restored is not put aside again"
    ran = data(rows, "repair", "a.repaired.jsonl", "--restore-kind", COPY, "--out", "whole.jsonl")
    assert ran.code == 0, ran.err
    assert (rows / "whole.jsonl").read_bytes() == before == (rows / "a.jsonl").read_bytes()
    assert first["row"] in (rows / "whole.jsonl").read_text()


def test_one_by_one_at_the_terminal(rows: Path) -> None:
    ran = data(rows, "repair", "a.jsonl", "-i", typed="?\ny\nn\n")
    assert "put 1 row aside?" in ran.out
    assert "5 rows, 1 in quarantine" in ran.out
    assert "4 rows, 2 in quarantine" in data(rows, "repair", "a.jsonl", "-i", typed="a\n").out
    assert "nothing to do" in data(rows, "repair", "a.jsonl", "-i", typed="s\n").out
    assert "5 rows, 1 in quarantine" in data(rows, "repair", "a.jsonl", "-i", typed="y\nq\n").out
    assert "nothing to do" in data(rows, "repair", "a.jsonl", "-i").out


def test_several_files_go_into_a_folder(rows: Path) -> None:
    jsonl(rows / "b.jsonl", pair("q1", "a1"), pair("new", "one"))
    ran = data(rows, "repair", "a.jsonl", "b.jsonl", "--kind", COPY, "--out", "out")
    assert ran.code == 0, ran.err
    assert (rows / "out/a.jsonl").read_text().count("\n") == 4
    assert (rows / "out/b.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.jsonl", "--all", "--kind", COPY), "--all and --kind do not go together"),
        (("a.jsonl", "-i", "--json"), "--interactive and --json do not go together"),
        (("a.jsonl", "--kind", "exact duplicate"), "no finding of 'exact duplicate' proposes an action"),
        (("a.jsonl", "--all", "--out", "a.jsonl"), "the output is the input"),
        (("a.jsonl", "--all", "--out", "mine.jsonl"), "a file stands there that is no version"),
        (("a.jsonl", "mine.jsonl", "--all", "--out", "x.jsonl"), "2 files cannot become one version"),
        (("a.jsonl", "sub/a.jsonl", "--all", "--out", "x"), "two data files would have the same name"),
        (("a.jsonl", "--restore", "abc"), "rows come back to one version of a data file"),
        (("broken.jsonl", "--all"), "is not valid JSON"),
    ],
)
def test_what_is_refused(rows: Path, arguments: tuple[str, ...], message: str) -> None:
    jsonl(rows / "mine.jsonl", pair("q", "a"))
    (rows / "sub").mkdir()
    jsonl(rows / "sub/a.jsonl", pair("q", "a"))
    (rows / "broken.jsonl").write_text('{"prompt": "q", "completion": "a"}\n{"prompt": }\n')
    ran = data(rows, "repair", *arguments)
    assert ran.code == 2
    assert message in ran.out + ran.err
