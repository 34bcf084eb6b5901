"""The split: a function of the question alone."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.curate.helpers import error_of, example
from tunesmith.core.records import Example, Split
from tunesmith.curate import Config, DatasetSpec
from tunesmith.curate.checks.near import jaccard
from tunesmith.curate.checks.ngrams import char_set, word_set
from tunesmith.curate.corpus import Placed
from tunesmith.curate.keys import normalise, prompt_key
from tunesmith.curate.split import assign as splits_of
from tunesmith.curate.split import must_have_rows, place, side

WORDS = re.findall(
    r"\w+",
    "anchor bridge candle desert engine feather garden hammer island jacket kettle lantern marble needle orchid pepper "
    "quarry ribbon saddle timber",
)
"""Questions that have nothing in common."""


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
    rows = [example(f"{WORDS[n % 20]}?", f"answer {n}", i) for i, n in enumerate(numbers)]
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


# ---------------------------------------------------------------- what stays together


@cache
def grams(text: str, by_words: bool) -> frozenset[int]:
    return (word_set if by_words else char_set)(text, 5)


def is_near(a: str, b: str) -> bool:
    """The definition, without any of the machinery: 5-grams of words, of characters for a text under 20 words."""
    by_words = min(len(a.split()), len(b.split())) >= 20
    return jaccard(grams(a, by_words), grams(b, by_words)) >= 0.8


def random_rows(seed: int) -> list[Example]:
    """Questions of 4 to 60 words, some changed in a word or two, some with the same customer."""
    rng = random.Random(seed)
    texts: list[str] = []
    for _ in range(rng.randint(10, 40)):
        words = [f"{rng.choice(WORDS)}{rng.randint(0, 99)}" for _ in range(rng.choice((4, 12, 30, 60)))]
        texts.append(" ".join(words))
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            words = list(words)
            for _ in range(rng.randint(1, 3)):
                words[rng.randrange(len(words))] = rng.choice(WORDS)
            texts.append(" ".join(words))
    rng.shuffle(texts)
    groups = [f"customer {rng.randint(1, 10)}" if rng.random() < 0.1 else "" for _ in texts]
    return [
        example(text, f"answer {i}", i, group=group) for i, (text, group) in enumerate(zip(texts, groups, strict=True))
    ]


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_no_near_duplicates_and_no_group_cross_a_split_in_200_data_sets(first: int) -> None:
    pairs = 0
    for seed in range(first, first + 50):
        rows = random_rows(seed)
        placed = place(rows, config(split_seed=seed, val_size=0.3, test_size=0.3))
        assert placed.findings == ()
        for i, one in enumerate(rows):
            for j in range(i):
                near = is_near(normalise(one.messages[0].text), normalise(rows[j].messages[0].text))
                if near or (one.group and one.group == rows[j].group):
                    pairs += 1
                    assert placed.splits[i] == placed.splits[j], (seed, one.messages[0].text, rows[j].messages[0].text)
    assert pairs > 120


def test_rows_without_near_duplicates_stand_where_the_hash_of_their_question_puts_them() -> None:
    rows = [example(f"{a} and {b}") for a in WORDS for b in WORDS if a < b]
    wanted = [side(prompt_key(row), 7, 0.2, 0.2) for row in rows]
    alone = [sum(is_near(row.messages[0].text, other.messages[0].text) for other in rows) == 1 for row in rows]
    found = place(rows, config(split_seed=7, val_size=0.2, test_size=0.2)).splits
    assert sum(alone) > 100
    assert all(a == b for a, b, is_alone in zip(found, wanted, alone, strict=True) if is_alone)


def test_near_duplicates_of_a_training_file_train() -> None:
    long = " ".join(WORDS)
    rows = [example(f"{long} {i}", split="train" if i == 0 else None) for i in range(4)]
    rows += [example(f"{a} {b}") for a, b in pairwise(WORDS)]
    for seed in range(5):
        placed = place(rows, config("train", None, split_seed=seed, val_size=0.45, test_size=0.45))
        assert set(placed.splits[:4]) == {"train"}


def test_what_most_rows_share_makes_no_near_duplicates() -> None:
    task = "Please write a friendly letter to the customer about the open bill, with the number and a thank you"
    rows = [example(f"{task}: {WORDS[i % 20]} {i}") for i in range(300)]
    placed = place(rows, config())
    assert Counter(placed.splits)["test"] == pytest.approx(30, abs=15)
    assert placed.findings == ()


def test_rows_that_chain_are_split_by_question_and_it_is_said() -> None:
    moulds = [" ".join(random.Random(i).sample(WORDS, 18)) for i in range(4)]
    rows = [example(f"{moulds[i % 4]} {i}") for i in range(400)]
    placed = place(rows, config())
    assert Counter(placed.splits)["test"] == pytest.approx(40, abs=15)
    (finding,) = placed.findings
    assert (finding.check, finding.severity) == ("split", "info")
    assert finding.message.startswith("100 of 400 rows hang together as near duplicates of each other, more than 20%")
    assert "group_by" in finding.fix


def test_the_latest_rows_are_held_out() -> None:
    rows = [
        example(f"{a} {b}", time=f"2026-{i % 12 + 1:02}-{i % 28 + 1:02}")
        for i, (a, b) in enumerate(zip(WORDS * 5, WORDS[1:] * 5, strict=False))
    ]
    rows = list({row.id: row for row in rows}.values())
    settings_ = config(split_by_time="date", val_size=0.2, test_size=0.2)
    splits = place(rows, settings_).splits
    of = {name: [row.time for row, split in zip(rows, splits, strict=True) if split == name] for name in set(splits)}
    assert max(of["train"]) <= min(of["validation"])
    assert max(of["validation"]) <= min(of["test"])
    backwards = place(rows[::-1], settings_).splits
    assert list(backwards) == list(splits)[::-1]


@pytest.mark.parametrize(
    ("times", "what"),
    [
        (["2026-01-01", "yesterday"], "has no time that can be read: 'yesterday'"),
        (["2026-01-01", ""], "has no time"),
        (["2026-01-01", "17"], "has another kind of time"),
    ],
)
def test_times_that_cannot_be_put_in_order_are_refused(times: Sequence[str], what: str) -> None:
    rows = [example(f"{WORDS[i]}", line=i + 1, time=time) for i, time in enumerate(times)]
    error = error_of(lambda: place(rows, config(split_by_time="date")))
    assert what in error.what
    assert error.where == "data.jsonl:2 (date)"


def test_a_column_that_no_row_has_is_refused() -> None:
    error = error_of(lambda: place([example()], config(group_by="custmer")))
    assert error.what == "no row has a value in the column 'custmer'"
    assert error.where == "group_by"


def test_a_vault_is_carved_from_nothing_and_needed_by_nothing() -> None:
    rows = [example(f"{a} {b}") for a, b in pairwise(WORDS)] + [example("secret", split="vault")]
    splits = place(rows, config(None, "vault", val_size=0.3, test_size=0.3)).splits
    assert Counter(splits)["vault"] == 1
    with_vault = [row.model_copy(update={"split": split}) for row, split in zip(rows, splits, strict=True)]
    must_have_rows(with_vault, config(None, "vault", val_size=0.3, test_size=0.3))
