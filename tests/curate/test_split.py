"""The split: a function of the question alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.curate.helpers import error_of, example
from tunesmith.core.records import Example, Split
from tunesmith.curate import Config, DatasetSpec
from tunesmith.curate.corpus import Placed
from tunesmith.curate.split import assign as splits_of
from tunesmith.curate.split import must_have_rows


def config(*splits: Split | None, **change: object) -> Config:
    specs = tuple(DatasetSpec(path=f"{i}.jsonl", split=split) for i, split in enumerate(splits or (None,)))
    return Config(datasets=specs, **change)  # type: ignore[arg-type]


def assign(rows: Sequence[Example], options: Config) -> tuple[Example, ...]:
    return tuple(Placed(rows, splits_of(rows, options)))


def sides(rows: tuple[Example, ...]) -> dict[str, str | None]:
    return {row.id: row.split for row in rows}


def test_shares_are_kept_about() -> None:
    rows = Counter(e.split for e in assign([example(f"q{i}") for i in range(4000)], config(val_size=0.2)))
    assert rows["validation"] == pytest.approx(800, abs=90)
    assert rows["test"] == pytest.approx(400, abs=70)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.randoms(), st.integers(0, 5))
def test_order_and_company_change_nothing_and_questions_stay_together(numbers, random, seed) -> None:  # type: ignore[no-untyped-def]
    rows = [example(f"Question {n % 20}", f"answer {n}", i) for i, n in enumerate(numbers)]
    whole = assign(rows, config(split_seed=seed, val_size=0.3, test_size=0.3))
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert sides(assign(shuffled, config(split_seed=seed, val_size=0.3, test_size=0.3))) == sides(whole)
    part = rows[: len(rows) // 2]
    assert sides(assign(part, config(split_seed=seed, val_size=0.3, test_size=0.3))).items() <= sides(whole).items()
    by_question: dict[str, set[str | None]] = {}
    for row in whole:
        by_question.setdefault(row.messages[0].text, set()).add(row.split)
    assert all(len(found) == 1 for found in by_question.values())


def test_another_seed_is_another_split() -> None:
    rows = [example(f"q{i}") for i in range(200)]
    assert sides(assign(rows, config())) != sides(assign(rows, config(split_seed=1)))


def test_an_explicit_split_stays_and_is_not_carved_from_the_rest() -> None:
    rows = [example(f"q{i}") for i in range(300)] + [example(f"t{i}", split="test") for i in range(5)]
    rows_of = Counter(e.split for e in assign(rows, config(None, "test")))
    assert rows_of["test"] == 5
    assert rows_of["validation"] > 10
    pinned = [example("a", split="train"), example("b", split="test")]
    placed = assign(pinned, config("train", "test"))
    assert [e.split for e in placed] == ["train", "test"]
    error = error_of(lambda: must_have_rows(placed, config("train", "test")))
    assert "validation gets none of 2" in error.what
    assert "split: validation" in error.fix


def test_too_few_rows_say_what_would_help() -> None:
    rows = assign([example("only one")], config())
    error = error_of(lambda: must_have_rows(rows, config()))
    assert "too few rows" in error.what
    assert "none of 1 (different questions: 1)" in error.what
    assert "val_size 0.1" in error.rule
    assert "split_seed" not in error.fix, "no seed splits one row in three"
    few = [example(f"q{i}") for i in range(5)]
    error = error_of(lambda: must_have_rows(assign(few, config()), config()))
    seed = int(error.fix.rpartition("split_seed: ")[2])
    must_have_rows(assign(few, config(split_seed=seed)), config(split_seed=seed))


def test_no_rows_for_training() -> None:
    settings_ = config("test")
    error = error_of(lambda: must_have_rows(assign([example(split="test")], settings_), settings_))
    assert "train and validation get none of 1" in error.what
    assert "split: validation" in error.fix


def test_a_run_needs_all_three_splits() -> None:
    none = config(val_size=0, test_size=0)
    error = error_of(lambda: must_have_rows(assign([example()], none), none))
    assert "validation and test get none of 1" in error.what


def test_shares_must_leave_rows_for_training() -> None:
    with pytest.raises(ValidationError, match="must be below 1"):
        config(val_size=0.6, test_size=0.4)
    with pytest.raises(ValidationError, match="less than 1"):
        config(val_size=1.0)
