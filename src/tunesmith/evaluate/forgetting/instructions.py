"""Following instructions: what is asked for is stated in full, and the wrong answers ignore a part of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from tunesmith.evaluate.forgetting.items import Item, Language, chosen, drawing

NOUNS: Mapping[Language, Sequence[str]] = {
    "en": (
        *("garden", "window", "river", "bottle", "candle", "forest", "ladder", "mirror", "pencil", "rocket"),
        *("silver", "summer", "ticket", "button", "carpet", "engine", "island", "lemon", "market", "needle"),
    ),
    "nl": (
        *("tuin", "venster", "rivier", "fles", "kaars", "woud", "ladder", "spiegel", "potlood", "raket"),
        *("zilver", "zomer", "kaartje", "knoop", "tapijt", "motor", "eiland", "citroen", "markt", "naald"),
    ),
}

PHRASES: Mapping[Language, Sequence[str]] = {
    "en": (
        "The train leaves at noon.",
        "Blue lamps hang low.",
        "My uncle paints boats.",
        "Seven geese crossed the road.",
        "The soup needs more salt.",
        "Rain fell on the tin roof.",
        "Her brother sells old maps.",
        "Nobody opened the green door.",
    ),
    "nl": (
        "De trein vertrekt om twaalf uur.",
        "Blauwe lampen hangen laag.",
        "Mijn oom schildert boten.",
        "Zeven ganzen staken de weg over.",
        "De soep heeft meer zout nodig.",
        "Regen viel op het zinken dak.",
        "Haar broer verkoopt oude kaarten.",
        "Niemand deed de groene deur open.",
    ),
}

Question = tuple[str, str, list[str]]


def instructions(language: Language) -> list[Item]:
    """Sixty instructions: ten of each kind of six."""
    draw = drawing("instructions", language)
    kinds = (_repeat, _capitals, _commas, _pick, _sorted, _marked)
    items = []
    for number in range(60):
        question, answer, others = kinds[number % len(kinds)](draw, language)
        items.append(chosen("instructions", language, number, question, answer, others, draw))
    return items


def _repeat(draw: random.Random, language: Language) -> Question:
    phrase, *others = draw.sample(PHRASES[language], 4)
    ask = {
        "en": "Repeat this sentence exactly, and nothing else: {}",
        "nl": "Herhaal precies deze zin en niets anders: {}",
    }
    return ask[language].format(phrase), phrase, others


def _capitals(draw: random.Random, language: Language) -> Question:
    word = draw.choice(NOUNS[language])
    ask = {"en": "Write the word “{}” in capital letters only.", "nl": "Schrijf het woord “{}” in alleen hoofdletters."}
    return ask[language].format(word), word.upper(), [word, word.capitalize(), word[0] + word[1:].upper()]


def _commas(draw: random.Random, language: Language) -> Question:
    a, b, c = draw.sample(NOUNS[language], 3)
    ask = {
        "en": "Write the words {} {} {} in this order with commas between them.",
        "nl": "Schrijf de woorden {} {} {} in deze volgorde met komma's ertussen.",
    }
    right = f"{a}, {b}, {c}"
    return ask[language].format(a, b, c), right, [f"{a} {b} {c}", f"{c}, {b}, {a}", f"{a}; {b}; {c}"]


def _pick(draw: random.Random, language: Language) -> Question:
    words, which = draw.sample(NOUNS[language], 4), draw.randrange(4)
    places = {"en": ("first", "second", "third", "last"), "nl": ("eerste", "tweede", "derde", "laatste")}[language]
    ask = {"en": "Give only the {} word of this list: {}.", "nl": "Geef alleen het {} woord van deze lijst: {}."}
    others = [word for word in words if word != words[which]]
    return ask[language].format(places[which], ", ".join(words)), words[which], others


def _sorted(draw: random.Random, language: Language) -> Question:
    words = draw.sample(NOUNS[language], 3)
    ask = {
        "en": "Put these words in alphabetical order, with commas between them: {}.",
        "nl": "Zet deze woorden op alfabetische volgorde, met komma's ertussen: {}.",
    }
    a, b, c = sorted(words)
    others = [", ".join(order) for order in ((b, a, c), (c, b, a), (a, c, b))]
    return ask[language].format(", ".join(words)), f"{a}, {b}, {c}", others


def _marked(draw: random.Random, language: Language) -> Question:
    word, (left, right) = draw.choice(NOUNS[language]), draw.choice((("[", "]"), ("(", ")"), ("*", "*")))
    names = {
        "en": {"[": "square brackets", "(": "round brackets", "*": "asterisks"},
        "nl": {"[": "vierkante haken", "(": "ronde haken", "*": "sterretjes"},
    }[language]
    ask = {"en": "Write the word “{}” between {}.", "nl": "Schrijf het woord “{}” tussen {}."}
    wrong = [pair for pair in (("[", "]"), ("(", ")"), ("*", "*"), ("<", ">")) if pair[0] != left]
    others = [f"{a}{word}{b}" for a, b in wrong]
    return ask[language].format(word, names[left]), f"{left}{word}{right}", others
