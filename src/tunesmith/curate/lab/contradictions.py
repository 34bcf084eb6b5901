"""Planted contradictions: a question stands twice, and the second answer says something else."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence

from tunesmith.core.records import Example
from tunesmith.curate.lab.planted import Planted, answered, numbered


def contradict_json(rows: Sequence[Example], count: int, rng: random.Random) -> Planted:
    """``count`` rows get a twin with another value in one field, ``count`` others one that only looks different."""
    return _plant(rows, count, rng, _other_field, _other_form)


def contradict_text(rows: Sequence[Example], count: int, rng: random.Random) -> Planted:
    """``count`` rows get a twin with another number, date or polarity, ``count`` others one in other words."""
    return _plant(rows, count, rng, _other_fact, _other_words)


def _plant(
    rows: Sequence[Example],
    count: int,
    rng: random.Random,
    spoil: Callable[[str, random.Random], str],
    reword: Callable[[str, random.Random], str],
) -> Planted:
    chosen = rng.sample(range(len(rows)), 2 * count)
    twins = [(number, answered(rows[number], spoil(rows[number].target.text, rng))) for number in chosen[:count]]
    decoys = [(number, answered(rows[number], reword(rows[number].target.text, rng))) for number in chosen[count:]]
    added = [twin for _, twin in (*twins, *decoys)]
    return Planted(numbered([*rows, *added]), {number: "contradiction" for number, _ in twins})


def _other_field(answer: str, rng: random.Random) -> str:
    value = json.loads(answer)
    key = rng.choice([key for key in value if key != "order"])
    value[key] = value[key] + rng.randint(1, 9) if isinstance(value[key], int) else f"{value[key]}ish"
    return json.dumps(value)


def _other_form(answer: str, rng: random.Random) -> str:
    value = json.loads(answer)
    keys = list(value)
    rng.shuffle(keys)
    changed = {key: float(value[key]) if isinstance(value[key], int) else value[key].upper() for key in keys}
    return json.dumps(changed, indent=rng.choice((None, 2)))


def _other_fact(answer: str, rng: random.Random) -> str:
    if answer.startswith(("Yes", "No,")):
        flipped = answer.replace("Yes", "No").replace("can be", "can not be")
        return flipped if answer.startswith("Yes") else answer.replace("No,", "Yes,").replace("can not be", "can be")
    numbers = list(re.finditer(r"\d+", answer))
    if numbers:
        match = rng.choice(numbers[:1])
        return f"{answer[: match.start()]}{int(match[0]) % 27 + 1}{answer[match.end() :]}"
    return answer.replace("is not ", "is ") if "is not " in answer else answer.replace("is ", "is not ", 1)


_SYNONYMS = (
    ("In our shop in ", "At the branch of "),
    ("delivery is included in that price", "that includes the delivery"),
    ("We expect the", "Our suppliers promise us the"),
    ("We can send you a message on that day.", "Shall we write to you then?"),
    ("can be returned to", "may come back to"),
    ("can not be returned to", "may not come back to"),
    ("Sending", "Shipping"),
    ("You get a tracking code by mail.", "We mail you a code to follow it."),
    ("washable at thirty degrees", "washable at 30 degrees"),
    ("and it should dry flat", "please let it dry flat"),
    (" euros", " EUR"),
    ("working days", "business days"),
)


def _other_words(answer: str, rng: random.Random) -> str:
    for one, other in _SYNONYMS:
        answer = answer.replace(one, other)
    return rng.choice(("", "Thank you for asking. ", "Hello! ")) + answer
