"""Copies that were planted are found: exact ones all, near ones by true Jaccard, paraphrases above chance."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from tests.lab.look import look, real
from tunesmith.core.records import Example, Finding
from tunesmith.curate.checks.duplicates import COPIES, NEAR
from tunesmith.curate.checks.semantic import SEMANTIC
from tunesmith.curate.checks.vectors import space_of
from tunesmith.curate.corpus import Row
from tunesmith.curate.keys import normalise
from tunesmith.curate.lab.copies import Copied, exact_copies, near_copies, paraphrases
from tunesmith.curate.lab.manual import manual_rows
from tunesmith.curate.lab.planted import row


def whole(example: Example) -> str:
    return Row(0, example).whole


def runs(text: str, by_words: bool) -> set[object]:
    """The 5-grams of a normalised text, as the definition has them."""
    parts: Sequence[str] = text.split(" ") if by_words else text
    return {tuple(parts[i : i + 5]) for i in range(max(1, len(parts) - 4))}


def true_jaccard(a: Example, b: Example) -> float:
    texts = whole(a), whole(b)
    by_words = min(len(text.split()) for text in texts) >= 20
    one, other = (runs(text, by_words) for text in texts)
    return len(one & other) / len(one | other)


def groups(findings: Sequence[Finding], rows: Sequence[Example]) -> list[set[int]]:
    """Numbers of the rows of each finding."""
    numbers = {example.source: number for number, example in enumerate(rows)}
    return [{numbers[found.source], *(numbers[source] for source in found.others)} for found in findings]


def together(planted: Copied, found: Sequence[set[int]], wanted: Sequence[int]) -> float:
    """Share of the wanted copies that stand in one group with their original."""
    hits = sum(any({copy, planted.original[copy]} <= group for group in found) for copy in wanted)
    return hits / len(wanted)


def test_all_exact_copies_and_nothing_else() -> None:
    planted = exact_copies(manual_rows(500, random.Random(1)), 100, random.Random(2))
    findings, outcome = look(COPIES, planted.rows)
    found = groups(findings, planted.rows)
    assert together(planted, found, list(planted.original)) == 1.0
    assert sum(map(len, found)) == 200
    assert outcome.figures["copies"] == 100
    assert look(NEAR, planted.rows)[0] == []


def test_near_copies_by_their_true_jaccard() -> None:
    planted = near_copies(manual_rows(600, random.Random(3)), 400, random.Random(4))
    findings, _ = look(NEAR, planted.rows)
    found = groups(findings, planted.rows)
    values = {copy: true_jaccard(planted.rows[copy], planted.rows[of]) for copy, of in planted.original.items()}
    close = [copy for copy, value in values.items() if 0.85 <= value < 1.0]
    assert len(close) > 100
    assert together(planted, found, close) >= 0.95
    for group in found:
        ordered = sorted(group)
        linked = [max(true_jaccard(planted.rows[i], planted.rows[j]) for j in ordered if j != i) for i in ordered]
        assert min(linked) >= 0.80, "nothing is reported below the threshold"
    assert sum(map(len, found)) == 2 * len(found), "a paragraph of its own is in no group"


def test_near_copies_of_short_questions() -> None:
    rows = [row(item["text"], item["label"], i) for i, item in enumerate(real("banking77/dev.jsonl.gz"))][:700]
    planted = near_copies(rows, 150, random.Random(5))
    found = groups(look(NEAR, planted.rows)[0], planted.rows)
    values = {copy: true_jaccard(planted.rows[copy], planted.rows[of]) for copy, of in planted.original.items()}
    close = [copy for copy, value in values.items() if 0.85 <= value < 1.0]
    assert together(planted, found, close) >= 0.95


def test_near_copies_among_many_rows_go_through_the_bands() -> None:
    rows = [row(f"{i} {text}", "ok", i) for i, text in enumerate(_prose(3000))]
    planted = near_copies(rows, 600, random.Random(6))
    found = groups(look(NEAR, planted.rows)[0], planted.rows)
    values = {copy: true_jaccard(planted.rows[copy], planted.rows[of]) for copy, of in planted.original.items()}
    close = [copy for copy, value in values.items() if 0.85 <= value < 1.0]
    assert len(close) > 200
    assert together(planted, found, close) >= 0.95
    assert all(0.80 <= found.lowest <= 1 for found in _clusters(planted.rows))


def _prose(count: int) -> list[str]:
    rng = random.Random(7)
    words = normalise(" ".join(example.target.text for example in manual_rows(400, rng))).split()
    return [" ".join(rng.choices(words, k=80)) for _ in range(count)]


def _clusters(rows: Sequence[Example]) -> Sequence[object]:
    from tunesmith.curate.checks.near import near_duplicates

    return near_duplicates(list(dict.fromkeys(map(whole, rows)))).clusters


def area(pairs: Sequence[float], others: Sequence[float]) -> float:
    """Chance that a pair scores above one of the others: the area under the curve, ties by half."""
    a, b = np.array(pairs)[:, None], np.array(others)[None, :]
    return float(((a > b) + 0.5 * (a == b)).mean())


def areas(texts: Sequence[str], pairs: Sequence[tuple[int, int]], rng: random.Random) -> float:
    space = space_of(texts)
    random_pairs = [tuple(rng.sample(range(len(texts)), 2)) for _ in range(1000)]
    return area(space.cosines(np.array(pairs)).tolist(), space.cosines(np.array(random_pairs)).tolist())


def test_planted_paraphrases_stand_above_random_pairs() -> None:
    planted = paraphrases(manual_rows(500, random.Random(8)), 150, random.Random(9))
    texts = [whole(example) for example in planted.rows]
    assert areas(texts, list(planted.original.items()), random.Random(10)) >= 0.9
    found = groups(look(SEMANTIC, planted.rows, semantic_duplicates={"report": 0.8, "review": 0.7})[0], planted.rows)
    assert together(planted, found, list(planted.original)) >= 0.8


def test_descriptions_of_the_same_restaurant_stand_above_random_pairs() -> None:
    raw = real("e2e-restaurants/dev.jsonl.gz")
    by_facts: dict[str, list[int]] = {}
    for number, item in enumerate(raw):
        by_facts.setdefault(item["mr"], []).append(number)
    pairs = [(group[0], group[1]) for group in by_facts.values() if len(group) > 1]
    assert len(pairs) > 100
    assert areas([normalise(item["text"]) for item in raw], pairs, random.Random(11)) >= 0.9


@pytest.mark.parametrize("check", [COPIES, NEAR, SEMANTIC])
def test_rows_of_their_own_raise_no_alarm(check: str) -> None:
    assert look(check, manual_rows(600, random.Random(12)))[0] == []
