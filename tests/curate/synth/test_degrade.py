"""Preference pairs: an answer beside the same answer made worse in a known way."""

from __future__ import annotations

import json
from collections import Counter

from tests.curate.helpers import example
from tunesmith.curate import degraded_pairs

JSON_ROWS = [example(f"q{i}", json.dumps({"city": f"c{i}", "n": i}), i + 1) for i in range(30)]
TEXT_ROWS = [example(f"q{i}", f"It costs {i} euro. Bring number {i}. Goodbye {i}!", i + 1) for i in range(30)]


def test_every_pair_differs_in_the_way_that_it_says() -> None:
    pairs = degraded_pairs(JSON_ROWS, 60)
    kinds = Counter(pair["synthetic"]["method"] for pair in pairs)
    assert set(kinds) >= {"degraded: drops a fact", "degraded: changes a value", "degraded: loses its form"}
    for pair in pairs:
        chosen, kind = json.loads(pair["chosen"]), pair["synthetic"]["method"].removeprefix("degraded: ")
        if kind == "drops a fact":
            assert json.loads(pair["rejected"]).items() < chosen.items()
        if kind == "changes a value":
            worse = json.loads(pair["rejected"])
            assert sum(worse[key] != chosen[key] for key in chosen) == 1
        if kind == "breaks off":
            assert pair["chosen"].startswith(pair["rejected"])
        assert pair["rejected"] != pair["chosen"]


def test_plain_answers_lose_sentences_and_numbers() -> None:
    pairs = degraded_pairs(TEXT_ROWS, 80)
    kinds = {pair["synthetic"]["method"] for pair in pairs}
    assert {"degraded: drops a fact", "degraded: changes a value", "degraded: breaks off"} <= kinds
    assert len({(pair["prompt"], pair["rejected"]) for pair in pairs}) == len(pairs)


def test_pairs_are_repeatable_and_end_when_no_more_differ() -> None:
    assert degraded_pairs(TEXT_ROWS, 50) == degraded_pairs(TEXT_ROWS, 50)
    assert degraded_pairs(TEXT_ROWS, 50, seed=1) != degraded_pairs(TEXT_ROWS, 50)
    assert degraded_pairs([example("q", "no")], 5) == []
