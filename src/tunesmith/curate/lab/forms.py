"""Planted breaches of form: JSON answers with a wrong key, type, choice or syntax; sections that are missing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.core.records import Example
from tunesmith.curate.lab.planted import Planted, answered, numbered, row
from tunesmith.curate.lab.shop import CITIES, THINGS

ORDER_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "order": {"type": "integer"},
        "item": {"type": "string", "minLength": 1},
        "colour": {"type": "string"},
        "amount": {"type": "integer", "minimum": 1},
        "price": {"type": "number"},
        "city": {"type": "string"},
        "shipping": {"enum": ["standard", "express"]},
    },
    "required": ["order", "item", "colour", "amount", "price", "city", "shipping"],
    "additionalProperties": False,
}
"""What `shop.order_rows` answers."""

SECTIONS = ("Problem:", "Cause:", "Advice:")


def break_json(rows: Sequence[Example], rate: float, rng: random.Random) -> Planted:
    """This share of the rows, whose answers are JSON objects, breaks their common form in one of six ways."""
    spoiled, truth = list(rows), {}
    for number in sorted(rng.sample(range(len(rows)), round(rate * len(rows)))):
        kind = rng.choice(sorted(_BREACHES))
        spoiled[number] = answered(rows[number], _BREACHES[kind](json.loads(rows[number].target.text), rng))
        truth[number] = kind
    return Planted(numbered(spoiled), truth)


def section_rows(count: int, rng: random.Random) -> list[Example]:
    """Complaints, answered under three headings."""
    rows = []
    for number in range(count):
        thing, city = rng.choice(THINGS), rng.choice(CITIES)
        texts = (f"the {thing} arrived late in {city}", "the courier was ill", "we send a voucher")
        answer = "\n".join(f"{heading} {text}." for heading, text in zip(SECTIONS, texts, strict=True))
        rows.append(row(f"My {thing} came late to {city} ({number}).", answer, number))
    return rows


def break_sections(rows: Sequence[Example], rate: float, rng: random.Random) -> Planted:
    """This share of the rows lacks a section, or has two of them in the wrong order."""
    spoiled, truth = list(rows), {}
    for number in sorted(rng.sample(range(len(rows)), round(rate * len(rows)))):
        lines = rows[number].target.text.split("\n")
        truth[number] = rng.choice(("missing", "out of order"))
        if truth[number] == "missing":
            lines.pop(rng.randrange(len(lines)))
        else:
            lines[0], lines[1] = lines[1], lines[0]
        spoiled[number] = answered(rows[number], "\n".join(lines))
    return Planted(numbered(spoiled), truth)


def _without_key(value: dict[str, Any], rng: random.Random) -> str:
    del value[rng.choice(list(value))]
    return json.dumps(value)


def _misspelled_key(value: dict[str, Any], rng: random.Random) -> str:
    key = rng.choice([key for key in value if len(key) > 3])
    return json.dumps(
        {(name[0] + name[2] + name[1] + name[3:] if name == key else name): v for name, v in value.items()}
    )


def _other_type(value: dict[str, Any], rng: random.Random) -> str:
    key = rng.choice(list(value))
    return json.dumps(value | {key: [value[key]] if isinstance(value[key], str) else str(value[key])})


def _other_choice(value: dict[str, Any], rng: random.Random) -> str:
    return json.dumps(value | {"shipping": rng.choice(("Standard", "expres", "by ship"))})


def _cut(value: dict[str, Any], rng: random.Random) -> str:
    text = json.dumps(value)
    return text[: -rng.randint(1, 10)]


def _with_words(value: dict[str, Any], rng: random.Random) -> str:
    return f"Here is your order: {json.dumps(value)}"


_BREACHES: Mapping[str, Callable[[dict[str, Any], random.Random], str]] = {
    "key left out": _without_key,
    "key misspelled": _misspelled_key,
    "other type": _other_type,
    "other choice": _other_choice,
    "cut": _cut,
    "words around it": _with_words,
}
