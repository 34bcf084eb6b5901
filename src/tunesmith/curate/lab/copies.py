"""Planted copies of rows: exact ones, near ones, and the same in other words."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tunesmith.core.records import Example, Message, Reply
from tunesmith.curate.lab.planted import numbered

SYNONYMS = {
    "a": "one",
    "all": "every",
    "also": "too",
    "argument": "parameter",
    "arguments": "parameters",
    "called": "invoked",
    "create": "make",
    "default": "standard",
    "error": "fault",
    "given": "supplied",
    "if": "when",
    "is": "will be",
    "list": "sequence",
    "may": "can",
    "must": "has to",
    "name": "label",
    "object": "thing",
    "return": "give back",
    "returned": "given back",
    "returns": "gives back",
    "should": "ought to",
    "string": "text",
    "the": "this",
    "type": "kind",
    "use": "employ",
    "used": "employed",
    "value": "quantity",
    "which": "that",
}
"""Words of the manual and others that say the same."""


@dataclass(frozen=True)
class Copied:
    """Rows with copies among them: number of a copy → number of its original."""

    rows: list[Example]
    original: Mapping[int, int]


def exact_copies(rows: Sequence[Example], count: int, rng: random.Random) -> Copied:
    """Copies with other case, white space, or Unicode forms: the same when they are normalised."""
    return _with(rows, count, rng, lambda text: rng.choice(_DRESSED)(text))


def near_copies(rows: Sequence[Example], count: int, rng: random.Random) -> Copied:
    """Copies of which one to three words in a hundred are others, one is gone or one is new."""
    return _with(rows, count, rng, lambda text: _edited(text, rng))


def paraphrases(rows: Sequence[Example], count: int, rng: random.Random) -> Copied:
    """Copies in other words: synonyms for what has one, clauses in another order."""
    return _with(rows, count, rng, lambda text: _reworded(text, rng))


_DRESSED: tuple[Callable[[str], str], ...] = (
    str,
    str.upper,
    lambda text: f"  {text}\n",
    lambda text: text.replace(" ", "\u00a0 "),
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
)


def _with(rows: Sequence[Example], count: int, rng: random.Random, change: Callable[[str], str]) -> Copied:
    """The rows with ``count`` changed copies of different ones, in a random order."""
    chosen = rng.sample(range(len(rows)), count)
    mixed = [(example, number, False) for number, example in enumerate(rows)]
    mixed += [(_changed(rows[number], change), number, True) for number in chosen]
    rng.shuffle(mixed)
    where = {number: place for place, (_, number, is_copy) in enumerate(mixed) if not is_copy}
    original = {place: where[number] for place, (_, number, is_copy) in enumerate(mixed) if is_copy}
    return Copied(numbered(example for example, _, _ in mixed), original)


def _changed(example: Example, change: Callable[[str], str]) -> Example:
    messages = tuple(
        turn.model_copy(update={"content": Message(role="user", content=change(turn.text)).content})
        for turn in example.messages
    )
    return example.model_copy(
        update={
            "messages": messages,
            "target": Reply(message=Message(role="assistant", content=change(example.target.text))),
        }
    )


def _edited(text: str, rng: random.Random) -> str:
    words = text.split()
    for _ in range(max(1, round(len(words) * rng.uniform(0.0, 0.03)))):
        place = rng.randrange(len(words))
        words[place : place + rng.randint(0, 1)] = rng.choice(([], ["altered"], ["another"]))
    return " ".join(words)


def _reworded(text: str, rng: random.Random) -> str:
    clauses = [part.strip() for part in text.replace("; ", ", ").replace(". ", ", ").split(", ")]
    rng.shuffle(clauses)
    words = " and ".join(clauses).split()
    return " ".join(SYNONYMS.get(word.lower(), word) for word in words)
