"""Rows to measure with: restaurant descriptions where they are at hand, else the quickstart's recipes, or made ones.

Long documents are pieces of contracts and plays, preferences are pairs of restaurant descriptions; where these are not
at hand they are made of the same recipes.
"""

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
    system: str = ""


@dataclass(frozen=True)
class Preference:
    """A prompt, the better answer and the worse one."""

    prompt: str
    chosen: str
    rejected: str


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
    """Write rows as JSONL: prompt and completion, or a conversation where there is a system prompt."""
    with path.open("w", encoding="utf-8") as file:
        for pair in pairs:
            row: dict[str, object] = {"prompt": pair.prompt, "completion": pair.completion}
            if pair.system:
                said = {"system": pair.system, "user": pair.prompt, "assistant": pair.completion}
                row = {"messages": [{"role": role, "content": text} for role, text in said.items()]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


CONTINUE = "This is the beginning of a document. Write how it goes on.\n\n"
LONG_CHARACTERS, SHOWN = 3200, 0.7
"""Size of a long document, about 1,000 tokens, and the share of it that stands in the prompt."""


def long_rows(count: int) -> Rows:
    """``count`` documents of about 1,000 tokens; the last 30 % of each are what is trained.

    Raises:
        Unavailable: no text can be had.
    """
    contracts, plays = shared_data("legal-clauses"), shared_data("tiny-shakespeare")
    files = sorted((contracts / "contracts").glob("*.md")) if contracts else []
    texts = [path.read_text(encoding="utf-8") for path in files]
    if plays is not None:
        with gzip.open(plays / "input.txt.gz", "rt", encoding="utf-8") as file:
            texts.append(file.read())
    name = "contracts and plays"
    if not texts:
        texts, name = ["\n\n".join(f"{pair.prompt}\n\n{pair.completion}" for pair in _recipes())], "recipes, joined"
    pieces = [piece for text in texts for piece in cut(text, LONG_CHARACTERS)]
    random.Random(SHUFFLE).shuffle(pieces)
    pairs = []
    for piece in pieces[:count]:
        shown = piece.rfind(" ", 0, int(SHOWN * len(piece)))
        pairs.append(Pair(CONTINUE + piece[:shown], piece[shown + 1 :]))
    return Rows(f"{name}, {len(pairs)} documents", tuple(pairs), ())


def cut(text: str, size: int) -> list[str]:
    """Pieces of ``size`` characters at most that end where a line ends, or at a blank; what is left over is dropped."""
    pieces = []
    while len(text) > size:
        end = max(text.rfind("\n", size // 2, size), 0) or max(text.rfind(" ", 0, size), 0) or size
        pieces.append(text[:end].strip())
        text = text[end:].lstrip()
    return pieces


SYSTEM = (Path(__file__).parent / "system_prompt.txt").read_text(encoding="utf-8").strip()
"""About 400 tokens of instructions, such as a company puts in front of every question."""


def shared_rows(count: int) -> Rows:
    """Short rows behind one long system prompt.

    Raises:
        Unavailable: see `training_rows`.
    """
    found = training_rows(count, 0)
    pairs = tuple(Pair(pair.prompt, pair.completion, SYSTEM) for pair in found.train)
    return Rows(f"{found.name}, behind one system prompt", pairs, ())


def preferences(count: int) -> tuple[str, tuple[Preference, ...]]:
    """What they are, and pairs of a better and a worse answer.

    Raises:
        Unavailable: see `training_rows`.
    """
    folder = shared_data("preferences-e2e")
    if folder is None:
        found = training_rows(count, 0)
        others = (*found.train[1:], found.train[0])
        made = (Preference(a.prompt, a.completion, b.completion) for a, b in zip(found.train, others, strict=True))
        return f"{found.name}, each against the answer to another one", tuple(made)
    with gzip.open(folder / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in islice(file, count)]
    pairs = tuple(Preference(QUESTION.format(row["mr"]), row["chosen"], row["rejected"]) for row in lines)
    return f"E2E preferences, {len(pairs)} pairs", pairs


def write_preferences(path: Path, pairs: tuple[Preference, ...]) -> None:
    """Write them as JSONL, the better and the worse answer of each pair as two rows one after the other."""
    write_pairs(path, tuple(Pair(p.prompt, answer) for p in pairs for answer in (p.chosen, p.rejected)))
