"""Rows that a model made: they keep their mark, they train, they never judge, and they have a limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.curate.helpers import error_of, jsonl, pair
from tunesmith.curate import Config, DatasetSpec, examine, read, write_examples
from tunesmith.curate.config import Split

MARK = {"method": "paraphrase", "generator": "gen", "parents": ["abc"]}


def rows(real: int, made: int) -> list[object]:
    return [pair(f"real {i}", "a") for i in range(real)] + [
        {**pair(f"made {i}", "a"), "synthetic": MARK} for i in range(made)
    ]


def config(path: str, split: Split | None = None, **options: object) -> Config:
    return Config(datasets=(DatasetSpec(path=path, split=split),), **options)  # type: ignore[arg-type]


def test_synthetic_rows_train_whatever_the_split_says(tmp_path: Path) -> None:
    found = examine(config(jsonl(tmp_path / "a.jsonl", *rows(100, 40)), test_size=0.4, val_size=0.4))
    marked = [example for example in found.examples if example.synthetic]
    assert len(marked) == 40
    assert {example.split for example in marked} == {"train"}
    assert found.inspection.figures["synthetic rows"]["by"] == {"paraphrase by gen": 40}
    assert not any("synthetic" in names for names in found.unused.values())


def test_the_mark_survives_writing_and_reading(tmp_path: Path) -> None:
    before = list(read(DatasetSpec(path=jsonl(tmp_path / "a.jsonl", *rows(1, 1)))))
    write_examples(before, tmp_path / "b.jsonl", "chat")
    after = list(read(DatasetSpec(path=str(tmp_path / "b.jsonl"))))
    assert [example.synthetic for example in after] == [example.synthetic for example in before]
    assert after[1].synthetic is not None
    assert after[1].synthetic.parents == ("abc",)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_synthetic_rows_are_refused_where_a_model_is_judged(tmp_path: Path, split: Split) -> None:
    path = jsonl(tmp_path / "a.jsonl", *rows(3, 1))
    error = error_of(lambda: list(read(DatasetSpec(path=path, split=split))))
    assert error.code == "synthetic-held-out"
    assert error.where == f"{path}:4 (synthetic)"
    assert f"held out for {split}" in error.what


def test_too_many_synthetic_rows_are_an_error(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *rows(50, 150))
    found = examine(config(path, val_size=0.0, test_size=0.0))
    (finding,) = [each for each in found.findings if each.check == "synthetic rows"]
    assert finding.severity == "error"
    assert finding.message == "75% of the training rows are synthetic, at most 50% may be"
    allowed = examine(config(path, val_size=0.0, test_size=0.0, checks={"synthetic": {"most": 0.8}}))
    assert not any(each.check == "synthetic rows" for each in allowed.findings)


def test_a_broken_mark_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {**pair("q", "a"), "synthetic": {"by": "me"}})
    error = error_of(lambda: list(read(DatasetSpec(path=path))))
    assert error.code == "invalid-mark"
    assert "has a mark of a synthetic row that cannot be read" in error.what
