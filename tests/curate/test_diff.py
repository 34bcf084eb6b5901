"""Comparing data sets: rows are matched by normalised question and answer."""

from __future__ import annotations

import random
from pathlib import Path

from tests.curate.helpers import jsonl, pair
from tunesmith.curate.config import Config
from tunesmith.curate.versions.diff import DataDiff, diff


def config(path: str, **spec: object) -> Config:
    return Config.model_validate({"datasets": [{"path": path, **spec}]})


def compare(folder: Path, before: list[dict[str, str]], after: list[dict[str, str]]) -> DataDiff:
    return diff(config(jsonl(folder / "a.jsonl", *before)), config(jsonl(folder / "b.jsonl", *after)))


def test_rows_that_came_went_and_have_another_answer(tmp_path: Path) -> None:
    before = [pair("one", "1"), pair("two", "2"), pair("three", "3")]
    after = [pair("ONE ", "1"), pair("two", "zwei"), pair("four", "4")]
    found = compare(tmp_path, before, after)
    assert (found.same, found.respelled, found.is_empty) == (1, 1, False)
    assert [(row.question, row.answer_before, row.answer_after) for row in found.changed] == [("two", "2", "zwei")]
    assert [row.question for row in found.removed] == ["three"]
    assert [(row.question, row.after and row.after.line) for row in found.added] == [("four", 3)]


def test_order_and_copies(tmp_path: Path) -> None:
    rows = [pair(f"q{i}", "a") for i in range(20)]
    shuffled = random.Random(0).sample(rows, 20)
    found = compare(tmp_path, rows, shuffled)
    assert (found.is_empty, found.reordered, found.same) == (True, True, 20)
    assert not compare(tmp_path, rows, rows).reordered
    found = compare(tmp_path, [*rows, rows[0]], rows)
    assert (len(found.removed), len(found.added), found.same) == (1, 0, 20)


def test_the_way_back_is_the_mirror(tmp_path: Path) -> None:
    rng = random.Random(3)
    for _ in range(20):
        before, after = ([pair(f"q{rng.randrange(9)}", f"{rng.randrange(3)}") for _ in range(8)] for _ in "ab")
        there, back = compare(tmp_path, before, after), compare(tmp_path, after, before)
        assert (there.same, len(there.changed)) == (back.same, len(back.changed))
        assert (len(there.added), len(there.removed)) == (len(back.removed), len(back.added))
        assert there.same + len(there.changed) + len(there.added) == 8


def test_rows_that_changed_splits(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", pair("q", "a"))
    found = diff(config(path, split="train"), config(path, split="test"))
    assert [(row.split_before, row.split_after) for row in found.moved] == [("train", "test")]
    assert not found.is_empty


def test_plain_texts_are_compared_as_wholes(tmp_path: Path) -> None:
    found = compare(tmp_path, [{"text": "one " * 99}], [{"text": "two"}])
    assert found.removed[0].question.endswith("…")
    assert (found.added[0].question, found.added[0].answer_after) == ("two", "")
