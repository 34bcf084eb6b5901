"""``tunesmith data split``, ``diff`` and ``audit`` as people and programs meet them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import Ran, inside
from tests.curate.helpers import chat, jsonl, pair
from tunesmith.curate import read_file


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    jsonl(tmp_path / "a.jsonl", *[pair(f"question number {i} is about {i * 7919}", f"answer {i}") for i in range(80)])
    return tmp_path


def data(at: Path, *arguments: object, typed: str = "") -> Ran:
    return inside("data", *arguments, at=at, typed=typed, TUNESMITH_HOME=str(at / "home"))


# ---------------------------------------------------------------- split


def test_splits_are_files_with_reasons(rows: Path) -> None:
    ran = data(rows, "split", "a.jsonl", "--out", "splits", "--val-size", "0.2", "--test-size", "0.3")
    assert ran.code == 0, ran.err
    assert "split: validation}" in ran.out
    whole = (rows / "a.jsonl").read_text().splitlines()
    parts = {path.stem: path.read_text().splitlines() for path in (rows / "splits").iterdir()}
    assert sorted(line for name in ("train", "validation", "test") for line in parts[name]) == sorted(whole)
    reasons = [json.loads(line) for line in parts["assignment"]]
    assert len(reasons) == 80
    assert reasons[0]["row"] == "a.jsonl:1"
    assert {reason["reason"] for reason in reasons} == {
        "by the hash of its question and of what hangs together with it"
    }
    for reason, line in zip(reasons, whole, strict=True):
        assert line in parts[reason["split"]]
    assert "the folder of the splits is already there" in data(rows, "split", "a.jsonl", "--out", "splits").err
    again = data(rows, "split", "a.jsonl", "--out", "again", "--val-size", "0.2", "--test-size", "0.3", "--json")
    assert again.document["rows"] == {name: len(parts[name]) for name in ("test", "train", "validation")}
    assert [p.read_bytes() for p in sorted((rows / "again").iterdir())] == [
        p.read_bytes() for p in sorted((rows / "splits").iterdir())
    ]
    other = data(rows, "split", "a.jsonl", "--out", "other", "--seed", "5", "--json")
    assert other.code == 0
    assert (rows / "other/test.jsonl").read_bytes() != (rows / "splits/test.jsonl").read_bytes()


def test_files_of_several_shapes_become_chat_rows(rows: Path) -> None:
    jsonl(rows / "b.jsonl", *[chat(("user", f"chat {i}"), ("assistant", "x")) for i in range(40)])
    assert data(rows, "split", "a.jsonl", "b.jsonl", "--out", "splits").code == 0
    found = [example for path in (rows / "splits").glob("t*.jsonl") for example in read_file(str(path))]
    assert {len(example.messages) for example in found} == {1}
    assert "too few rows" in data(rows, "split", jsonl(rows / "c.jsonl", pair("q", "a")), "--out", "few").err
    assert not (rows / "few").exists()


# ---------------------------------------------------------------- diff


def test_diff_of_files_and_of_splits(rows: Path) -> None:
    same = data(rows, "diff", "a.jsonl", "a.jsonl")
    assert (same.code, "no difference" in same.out) == (0, True)
    lines = (rows / "a.jsonl").read_text().splitlines()
    changed = [json.loads(lines[0]) | {"completion": "new"}, *map(json.loads, lines[2:]), pair("extra", "row")]
    jsonl(rows / "b.jsonl", *changed)
    ran = data(rows, "diff", "a.jsonl", "b.jsonl")
    assert ran.code == 1
    assert "rows: 80 before, 80 after, 78 the same" in ran.out
    for words in ("added: 1", "removed: 1", "another answer: 1", "− answer 0", "+ new"):
        assert words in ran.out
    document = data(rows, "diff", "a.jsonl", "b.jsonl", "--json").document
    assert (document["equal"], document["changed"][0]["answer_after"]) == (False, "new")
    for seed in "12":
        data(rows, "split", "a.jsonl", "--out", f"s{seed}", "--seed", seed)
    ran = data(rows, "diff", "s1", "s2")
    assert ran.code == 1
    assert "another split: " in ran.out
    assert "train → test" in ran.out
    assert "… and " in ran.out
    assert data(rows, "diff", "s1", "s1").code == 0
    turned = jsonl(rows / "r.jsonl", *map(json.loads, lines[::-1]))
    assert "the same rows stand in another order" in data(rows, "diff", "a.jsonl", turned).out


# ---------------------------------------------------------------- audit


def test_a_page_to_read(rows: Path) -> None:
    ran = data(rows, "audit", "a.jsonl", "--n", "20")
    assert ran.code == 0, ran.err
    assert "20 of 80 rows, sample " in ran.out
    page = (rows / "a.audit.html").read_text()
    assert "Is this a right answer" in page
    assert data(rows, "audit", "a.jsonl", "--n", "20", "--json").document["drawn"] == 20
    assert (rows / "a.audit.html").read_text() == page


def test_review_at_the_terminal_and_the_result(rows: Path) -> None:
    ran = data(rows, "audit", "a.jsonl", "--n", "10", "--reviewer", "ann", typed="g\nx\nb\nz\ng\nq\n")
    assert "row 1 of 10" in ran.out
    assert "2 of 10 rows decided by ann" in ran.out
    ran = data(rows, "audit", "a.jsonl", "--n", "10", "--reviewer", "ann", typed="g\n" * 7 + "u\n")
    assert "row 3 of 10" in ran.out, "what was decided is not asked again"
    assert "10 of 10 rows decided by ann" in ran.out
    data(rows, "audit", "a.jsonl", "--n", "10", "--reviewer", "bob", typed="g\n" * 10)
    ran = data(rows, "audit", "--result", "a.audit.jsonl", "--max-error-rate", "0.5")
    assert ran.code == 0, ran.err
    assert "10 of 10 rows read, 80 in the data" in ran.out
    assert "ann and bob: equal on 9 of 10 rows, kappa 0.00" in ran.out
    assert "instructions unclear" in ran.out
    ran = data(rows, "audit", "--result", "a.audit.jsonl", "--max-error-rate", "0.1", "--json")
    assert (ran.code, ran.document["ok"], ran.document["wrong"]) == (1, False, 1)
    assert ran.document["high"] == pytest.approx(0.394, abs=1e-3)
    ran = data(rows, "audit", "a.jsonl", "--n", "11", "--reviewer", "ann")
    assert (ran.code, "the journal belongs to another sample" in ran.err) == (2, True)


def test_a_limit_needs_a_result(rows: Path) -> None:
    ran = data(rows, "audit", "a.jsonl", "--max-error-rate", "0.1")
    assert (ran.code, "--max-error-rate needs a result" in ran.err) == (2, True)


# ---------------------------------------------------------------- show --clusters


def test_kinds_of_questions_with_a_row_of_each(tmp_path: Path) -> None:
    kinds = ["when does parcel number {} arrive at the depot", "how do I reset password {} of the account"]
    jsonl(tmp_path / "a.jsonl", *[pair(kinds[i % 3 == 0].format(i), "x") for i in range(90)])
    found = data(tmp_path, "show", "a.jsonl", "--clusters", "--json").document["clusters"]
    assert sum(cluster["share"] for cluster in found) == pytest.approx(1)
    parcels = sum(cluster["share"] for cluster in found if "parcel" in cluster["question"])
    assert parcels == pytest.approx(2 / 3)
    ran = data(tmp_path, "show", "a.jsonl", "--clusters")
    assert "a.jsonl:" in ran.out
    assert "parcel" in ran.out
    jsonl(tmp_path / "few.jsonl", pair("q", "a"))
    assert "1 rows are too few for clusters" in data(tmp_path, "show", "few.jsonl", "--clusters").err
