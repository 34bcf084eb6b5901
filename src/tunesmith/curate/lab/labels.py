"""Planted label errors: a share of the rows gets the label of another row."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tunesmith.core.records import Example
from tunesmith.curate.lab.planted import Planted, answered, numbered


def flip_labels(rows: Sequence[Example], rate: float, rng: random.Random) -> Planted:
    """This share of the rows, chosen at random, gets another label, each of the others being equally likely."""
    labels = sorted({row.target.text for row in rows})
    chosen = sorted(rng.sample(range(len(rows)), round(rate * len(rows))))
    spoiled = list(rows)
    for number in chosen:
        others = [label for label in labels if label != rows[number].target.text]
        spoiled[number] = answered(rows[number], rng.choice(others))
    return Planted(numbered(spoiled), dict.fromkeys(chosen, "other label"))
