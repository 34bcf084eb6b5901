"""Planted unfaithful answers: texts about listed facts that leave one out, or tell another value."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from tunesmith.core.records import Example
from tunesmith.curate.lab.planted import Planted, answered, numbered, row
from tunesmith.curate.lab.shop import CITIES, COLOURS, THINGS

_NAMES = (
    "Aldora",
    "Brimwell",
    "Castano",
    "Delvira",
    "Everlon",
    "Fernoak",
    "Galtwick",
    "Harmony",
    "Ironvale",
    "Juniper",
)
_TOLD: Mapping[str, Mapping[str, Sequence[str]]] = {
    "washable": {
        "yes": ("it can be washed", "washing it is no problem", "it is machine washable"),
        "no": ("it cannot be washed", "keep it away from the washing machine", "it is not washable"),
    },
    "price": {
        "low": ("it is cheap", "you get it for little money", "it is a bargain"),
        "middle": ("it is fairly priced", "its price is moderate", "it costs about as much as others"),
        "high": ("it is expensive", "you pay a lot for it", "it is one for the rich"),
    },
    "rating": {
        "poor": ("buyers were disappointed", "reviews are bad"),
        "good": ("buyers liked it", "reviews are good"),
        "excellent": ("buyers love it", "reviews are brilliant"),
    },
}


def fact_rows(count: int, rng: random.Random) -> list[Example]:
    """Listed facts, answered with a text that tells all of them and nothing else."""
    rows = []
    for number in range(count):
        facts = _facts(rng)
        listed = ", ".join(f"{name}[{value}]" for name, value in facts.items())
        rows.append(row(listed, _text(facts, rng), number))
    return rows


def break_facts(count: int, rate: float, rng: random.Random) -> Planted:
    """Such rows, and this share of them leaves a fact out or tells another value."""
    rows = fact_rows(count, rng)
    chosen = sorted(rng.sample(range(count), round(rate * count)))
    truth = {}
    for number in chosen:
        given = dict(part[:-1].split("[") for part in rows[number].messages[0].text.split(", "))
        name = rng.choice([name for name in given if name in _TOLD or name == "colour"])
        told = dict(given)
        if rng.random() < 0.5:
            del told[name]
            truth[number] = f"{name} left out"
        else:
            values = [*_TOLD[name]] if name in _TOLD else COLOURS
            told[name] = rng.choice([value for value in values if value != given[name]])
            truth[number] = f"another {name}"
        rows[number] = answered(rows[number], _text(told, rng))
    return Planted(numbered(rows), truth)


def _facts(rng: random.Random) -> dict[str, str]:
    facts = {"name": rng.choice(_NAMES), "thing": rng.choice(THINGS), "colour": rng.choice(COLOURS)}
    facts |= {name: rng.choice([*values]) for name, values in _TOLD.items() if rng.random() < 0.75}
    return facts | ({"city": rng.choice(CITIES)} if rng.random() < 0.6 else {})


def _text(facts: Mapping[str, str], rng: random.Random) -> str:
    """The facts in words, in changing order."""
    place = f" from {facts['city']}" if "city" in facts else ""
    colour = f"{facts['colour']} " if "colour" in facts else ""
    start = rng.choice(("{} is a {}{}{}", "meet {}, a {}{}{}", "the {} is our {}{}{}"))
    said = [rng.choice(_TOLD[name][facts[name]]) for name in _TOLD if name in facts]
    rng.shuffle(said)
    first = start.format(facts["name"], colour, facts["thing"], place)
    return ". ".join(text[0].upper() + text[1:] for text in (first, *said)) + "."
