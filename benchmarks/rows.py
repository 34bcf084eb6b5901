"""Rows to measure with: restaurant descriptions where they are at hand, else the quickstart's recipes, or made ones."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.settings import ROOT, Unavailable

QUESTION = "Write one sentence or two about this restaurant: {}"
SHUFFLE = 0


@dataclass(frozen=True)
class Pair:
    """A prompt and the wanted answer."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Rows:
    """Training and held-out pairs, and what they are."""

    name: str
    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]


def shared_data(name: str) -> Path | None:
    """A folder of data beside the repository or further up (``shared/data/NAME``)."""
    candidates = (parent / "shared" / "data" / name for parent in (ROOT, *ROOT.parents))
    return next((folder for folder in candidates if folder.is_dir()), None)


def training_rows(count: int, held_out: int) -> Rows:
    """``count`` rows to train on (fewer where there are not so many) and others to judge with.

    Raises:
        Unavailable: neither set of rows can be had.
    """
    folder = shared_data("e2e-restaurants")
    if folder is not None:
        train = _restaurants(folder / "train.jsonl.gz", count)
        unseen = {pair.prompt: pair for pair in _restaurants(folder / "dev.jsonl.gz")}  # one row of each question
        return Rows(f"E2E restaurants, {len(train)} rows", train, tuple(unseen.values())[:held_out])
    pairs = _recipes()
    train, rest = pairs[: min(count, len(pairs) - held_out)], pairs[-held_out:]
    return Rows(f"recipes of the quickstart, {len(train)} rows", train, rest)


def _restaurants(path: Path, count: int | None = None) -> tuple[Pair, ...]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    pairs = list(dict.fromkeys(Pair(QUESTION.format(row["mr"]), row["text"]) for row in rows))
    random.Random(SHUFFLE).shuffle(pairs)
    return tuple(pairs[:count])


def _recipes() -> tuple[Pair, ...]:
    from tunesmith import curate
    from tunesmith.core.errors import TunesmithError

    try:
        rows = curate.demo_rows()
    except TunesmithError as error:
        raise Unavailable(f"the rows: {error.what}") from error
    return tuple(Pair(row["messages"][-2]["content"], row["messages"][-1]["content"]) for row in rows)


NAMES = ("The Eagle", "The Golden Palace", "Blue Spice", "The Mill", "Zizzi", "Cotto", "The Punter", "Green Man")
FOODS = ("French", "Italian", "Chinese", "English", "Indian", "Japanese", "fast food", "Dutch")
PRICES = ("cheap", "moderate", "high", "less than £20", "£20-25", "more than £30")
RATINGS = ("low", "average", "high", "1 out of 5", "3 out of 5", "5 out of 5")
AREAS = ("riverside", "city centre", "old harbour", "station quarter")


def made_rows(count: int) -> Iterator[Pair]:
    """Any number of different rows of the usual length, the same ones on every call."""
    choose = random.Random(SHUFFLE).choice

    def endless() -> Iterator[Pair]:
        number = 0
        while True:
            number += 1
            name, food, price, rating, area = map(choose, (NAMES, FOODS, PRICES, RATINGS, AREAS))
            near = f"{choose(NAMES)} {number}"
            facts = f"name[{name}], food[{food}], priceRange[{price}], customer rating[{rating}], area[{area}]"
            text = f"{name} serves {food} food at {price} prices in the {area}, near {near}. Guests rate it {rating}."
            yield Pair(QUESTION.format(f"{facts}, near[{near}]"), text)

    return islice(endless(), count)


def write_pairs(path: Path, pairs: Iterator[Pair] | tuple[Pair, ...]) -> None:
    """Write rows as prompt/completion JSONL."""
    with path.open("w", encoding="utf-8") as file:
        for pair in pairs:
            row = {"prompt": pair.prompt, "completion": pair.completion}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
