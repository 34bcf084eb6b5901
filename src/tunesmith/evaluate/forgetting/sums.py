"""Arithmetic: bare sums and small stories, with wrong answers that lie near the right one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from tunesmith.evaluate.forgetting.items import Item, Language, chosen, drawing

Sum = tuple[str, int]

BARE: Mapping[Language, str] = {
    "en": "What is {}? Answer with the number.",
    "nl": "Hoeveel is {}? Antwoord met het getal.",
}

STORIES: tuple[tuple[Mapping[Language, str], Callable[[int, int], int]], ...] = (
    (
        {
            "en": "Tom has {a} apples and buys {b} more. How many apples does he have now?",
            "nl": "Tom heeft {a} appels en koopt er {b} bij. Hoeveel appels heeft hij nu?",
        },
        lambda a, b: a + b,
    ),
    (
        {
            "en": "There are {a} birds in a tree and {b} fly away. How many are left?",
            "nl": "Er zitten {a} vogels in een boom en er vliegen er {b} weg. Hoeveel blijven er over?",
        },
        lambda a, b: a - b,
    ),
    (
        {
            "en": "One ticket costs {b} euro. How much do {c} tickets cost, in euro?",
            "nl": "Eén kaartje kost {b} euro. Hoeveel euro kosten {c} kaartjes?",
        },
        lambda b, c: b * c,
    ),
    (
        {
            "en": "{d} sweets are shared equally among {c} children. How many does each child get?",
            "nl": "{d} snoepjes worden eerlijk verdeeld over {c} kinderen. Hoeveel krijgt elk kind?",
        },
        lambda d, c: d // c,
    ),
)


def arithmetic(language: Language) -> list[Item]:
    """Sixty sums: eight of each bare kind of five, five of each story of four."""
    draw = drawing("arithmetic", language)
    sums = [BARE_KINDS[i % len(BARE_KINDS)](draw, language) for i in range(40)]
    sums += [_story(draw, language, i % len(STORIES)) for i in range(20)]
    return [
        chosen("arithmetic", language, number, question, str(value), _near(value, draw), draw)
        for number, (question, value) in enumerate(sums)
    ]


def _plus(draw: random.Random, language: Language) -> Sum:
    a, b = draw.randint(2, 60), draw.randint(2, 39)
    return BARE[language].format(f"{a} + {b}"), a + b


def _minus(draw: random.Random, language: Language) -> Sum:
    b, rest = draw.randint(2, 40), draw.randint(1, 50)
    return BARE[language].format(f"{b + rest} - {b}"), rest


def _times(draw: random.Random, language: Language) -> Sum:
    a, b = draw.randint(2, 12), draw.randint(2, 10)
    return BARE[language].format(f"{a} × {b}"), a * b


def _divided(draw: random.Random, language: Language) -> Sum:
    a, b = draw.randint(2, 10), draw.randint(2, 12)
    return BARE[language].format(f"{a * b} ÷ {a}"), b


def _three(draw: random.Random, language: Language) -> Sum:
    a, b, c = (draw.randint(2, 20) for _ in range(3))
    return BARE[language].format(f"{a} + {b} + {c}"), a + b + c


BARE_KINDS: tuple[Callable[[random.Random, Language], Sum], ...] = (_plus, _minus, _times, _divided, _three)


def _story(draw: random.Random, language: Language, which: int) -> Sum:
    texts, value = STORIES[which]
    c, each = draw.randint(2, 9), draw.randint(2, 9)
    b = draw.randint(2, 15)
    numbers = {"a": b + draw.randint(2, 30), "b": b, "c": c, "d": c * each}
    first, second = (numbers[name] for name in "abcd" if f"{{{name}}}" in texts["en"])
    if which == 3:
        first, second = numbers["d"], numbers["c"]
    return texts[language].format(**numbers), value(first, second)


def _near(value: int, draw: random.Random) -> list[str]:
    """Three other numbers from 0 on that somebody might arrive at."""
    near = [value + step for step in (1, -1, 2, -2, 10, -10, 3) if value + step >= 0]
    return [str(number) for number in draw.sample(near, 3)]
