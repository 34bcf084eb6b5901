"""Near duplicates: found whatever the order, and never below the threshold."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.curate.helpers import example
from tunesmith.core.events import ignore
from tunesmith.core.records import Document, Example, Finding, Source
from tunesmith.curate.checks import near, ngrams
from tunesmith.curate.checks.near import jaccard, near_duplicates
from tunesmith.curate.checks.ngrams import char_grams, char_set, word_grams, word_set
from tunesmith.curate.checks.observe import Setting
from tunesmith.curate.checks.options import Checks
from tunesmith.curate.checks.table import inspect

LETTERS = "abcdefghijklmnopqrstuvwxyzé漢"


def words(rng: random.Random, count: int) -> list[str]:
    return ["".join(rng.choices(LETTERS, k=rng.randint(1, 9))) for _ in range(count)]


def changed(rng: random.Random, text: str, times: int) -> str:
    parts = text.split()
    for _ in range(times):
        parts[rng.randrange(len(parts))] = words(rng, 1)[0]
    return " ".join(parts)


def runs(parts: Sequence[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(parts[i : i + n]) for i in range(max(1, len(parts) - n + 1))}


@pytest.mark.parametrize("block", [1 << 18, 150])
def test_hashes_stand_for_runs_in_blocks_of_any_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "BLOCK", block)
    rng = random.Random(0)
    texts = ["", "a", *(" ".join(words(rng, rng.randint(1, 60))) for _ in range(100)), "x" * 400, "😀\ud800 " * 3]
    for hashed, parted in ((word_grams, [text.split(" ") for text in texts]), (char_grams, texts)):
        hashes, owners = hashed(texts, 5)
        of = {i: set(hashes[owners == i].tolist()) for i in range(len(texts))}
        assert [len(of[i]) for i in range(len(texts))] == [len(runs(parts, 5)) for parts in parted]
        everything = set().union(*(runs(parts, 5) for parts in parted))
        assert len(set(hashes.tolist())) == len(everything), "two runs share a hash only if they are equal"


def test_runs_come_in_the_order_of_the_text() -> None:
    hashes, _ = word_grams(["a b c d a b c"], 3)
    assert len(hashes) == 5
    assert hashes[0] == hashes[4]
    assert len(word_set("a b c d a b c", 3)) == 4
    assert len(char_set("abcab", 2)) == 3


def test_any_order_finds_the_same_clusters() -> None:
    rng = random.Random(1)
    texts = [" ".join(words(rng, rng.choice((6, 15, 19, 22, 40, 80)))) for _ in range(1500)]
    texts += [changed(rng, text, 1) for text in rng.sample(texts, 300)]
    texts = list(dict.fromkeys(texts))
    found = []
    for _ in range(3):
        result = near_duplicates(texts)
        found.append({(frozenset(texts[i] for i in c.members), round(c.lowest, 9)) for c in result.clusters})
        rng.shuffle(texts)
    assert len(found[0]) > 100
    assert found[0] == found[1] == found[2]


def test_a_short_text_and_one_over_the_limit_are_compared() -> None:
    nineteen = " ".join(f"word{i}" for i in range(19))
    found = near_duplicates([nineteen, nineteen + " more", "something else"])
    assert [cluster.members for cluster in found.clusters] == [(0, 1)]
    assert found.clusters[0].lowest == jaccard(char_set(nineteen, 5), char_set(nineteen + " more", 5))


def test_what_most_texts_share_is_not_compared() -> None:
    task = " ".join(f"instruction{i}" for i in range(60))
    texts = [f"{task} customer {i} asks about order {i * 7} and pays {i * 3} euro" for i in range(200)]
    assert near_duplicates(texts).clusters == ()
    twice = [*texts, texts[17] + " please"]
    assert [cluster.members for cluster in near_duplicates(twice).clusters] == [(17, 200)]


def test_a_great_crowd_says_what_it_did_not_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_FEW", 10)
    monkeypatch.setattr(near, "_CROWD", 8)
    monkeypatch.setattr(near, "_ROUNDS", 2)
    rng = random.Random(2)
    moulds = [" ".join(words(rng, 100)) for _ in range(3)]
    texts = [changed(rng, moulds[i % 3], 3) for i in range(120)]
    found = near_duplicates(texts, threshold=0.95)
    assert found.not_compared > 0
    assert all(cluster.lowest >= 0.95 for cluster in found.clusters)


def test_the_number_of_measured_pairs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_MEASURED", -100_000 // 40)  # 100,000 for all, less this for each
    rng = random.Random(3)
    mould = " ".join(words(rng, 100))
    found = near_duplicates([changed(rng, mould, 1) for _ in range(40)], threshold=0.99)
    assert found.measured == 0
    assert found.not_compared > 0


def check(rows: Sequence[Example]) -> list[Finding]:
    found = inspect(rows, Setting(Checks()), ignore)
    return [finding for finding in found.findings if finding.check == "near duplicates"]


LONG = " ".join(f"Wort{i}" for i in range(40))


def test_copies_with_the_same_answer_go_aside() -> None:
    rows = [example(LONG, "Yes.", 1), example("Something else?", "No.", 2), example(f"{LONG} bitte", "yes.", 3)]
    (finding,) = check(rows)
    assert finding.message == "2 rows are nearly the same (lowest Jaccard 0.92): lines 1, 3"
    assert finding.severity == "warning"
    assert finding.action is not None
    assert [source.line for source in finding.action.rows] == [3]
    assert "count several times" in finding.fix


def test_a_person_decides_where_answers_differ() -> None:
    (finding,) = check([example(LONG, "It costs 12 euro.", 1), example(f"{LONG} bitte", "It costs 13 euro.", 2)])
    assert "their answers differ: lines 1, 2" in finding.message
    assert finding.action is None
    assert [source.line for source in finding.others] == [2]


def test_exact_copies_are_not_said_twice() -> None:
    assert check([example(LONG, "Yes.", 1), example(LONG.upper(), "yes.", 2)]) == []


def test_the_ends_of_a_chain_both_stay() -> None:
    rng = random.Random(4)
    text = words(rng, 130)
    links = [" ".join(text[i * 3 : i * 3 + 100]) for i in range(8)]
    rows = [Example(messages=(), target=Document(text=t), source=Source(path="a", line=i)) for i, t in enumerate(links)]
    found = near_duplicates(links)
    (cluster,) = found.clusters
    assert found.measure.of(0, 7) < 0.8
    stay, spare = found.spare(cluster)
    assert (stay[0], set(stay) | set(spare)) == (0, set(range(8)))
    assert len(stay) > 1
    (finding,) = check(rows)
    assert finding.action is not None
    assert [source.line for source in finding.action.rows] == spare
