"""Planted drift of style: some answers in another language, another notation or another form of address."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence

from tunesmith.core.records import Example
from tunesmith.curate.lab.planted import Planted, answered, numbered, row
from tunesmith.curate.lab.shop import MONTHS

DUTCH = "Wij sturen het pakket morgen naar het adres dat bij ons bekend is. Dat kost niets extra."
_MONTH = "|".join(MONTHS)


def _iso(answer: str) -> str:
    date = re.search(rf"(\d+) ({_MONTH}) (\d+)", answer)
    assert date
    iso = f"{date[3]}-{MONTHS.index(date[2]) + 1:02}-{int(date[1]):02}"
    return answer.replace(date[0], iso)


DRIFTS: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "language": ("euros", lambda answer: DUTCH),
    "dates": ("We expect", _iso),
    "amounts of money": ("euros", lambda answer: re.sub(r"(\d+) euros", r"€ \1", answer)),
    "length": ("washable", lambda answer: " ".join([answer] * 60)),
}
"""Kind of drift → words that a fitting answer holds, and what is done to it."""


def drift(rows: Sequence[Example], kind: str, total: int, rng: random.Random) -> Planted:
    """``total`` of the fitting rows drift."""
    words, change = DRIFTS[kind]
    fitting = [number for number, example in enumerate(rows) if words in example.target.text]
    changed, chosen = list(rows), sorted(rng.sample(fitting, total))
    for number in chosen:
        changed[number] = answered(rows[number], change(rows[number].target.text))
    return Planted(numbered(changed), dict.fromkeys(chosen, kind))


def letters(count: int, informal: int) -> list[Example]:
    """Dutch answers in the formal form of address; the first ``informal`` of them in the familiar one."""
    formal = "Geachte klant, u ontvangt uw pakket nummer {} morgen op het adres dat u ons hebt gegeven."
    familiar = "Beste klant, je ontvangt jouw pakket nummer {} morgen op het adres dat je ons hebt gegeven."
    return [row(f"Waar is pakket {i}?", (familiar if i < informal else formal).format(i), i) for i in range(count)]
