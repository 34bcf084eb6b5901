"""Reading: short passages with invented facts, and a question whose answer stands in them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from tunesmith.evaluate.forgetting.items import Item, Language, chosen, drawing

NAMES = ("Anna", "Bram", "Clara", "David", "Eva", "Finn", "Greta", "Hugo", "Iris", "Jonas", "Karin", "Lukas")

WORDS: Mapping[str, Mapping[Language, Sequence[str]]] = {
    "things": {
        "en": ("bicycle", "boat", "garden", "piano", "camera", "tent", "horse", "guitar"),
        "nl": ("fiets", "boot", "tuin", "piano", "camera", "tent", "paard", "gitaar"),
    },
    "places": {
        "en": ("the library", "the pool", "the museum", "the town hall", "the market", "the cinema"),
        "nl": ("de bibliotheek", "het zwembad", "het museum", "het stadhuis", "de markt", "de bioscoop"),
    },
    "jobs": {
        "en": (
            "wash the dishes",
            "feed the cat",
            "water the plants",
            "sweep the floor",
            "write a letter",
            "bake bread",
        ),
        "nl": (
            "de afwas doen",
            "de kat voeren",
            "de planten water geven",
            "de vloer vegen",
            "een brief schrijven",
            "brood bakken",
        ),
    },
    "cities": {
        "en": ("Milden", "Orverdale", "Castlow", "Brenham", "Tilsworth", "Hartley Mere"),
        "nl": ("Mildenburg", "Overdal", "Kasteloo", "Brenhem", "Tilswoud", "Hartemeer"),
    },
    "goods": {
        "en": ("the lamp", "the chair", "the clock", "the vase", "the mirror", "the carpet"),
        "nl": ("de lamp", "de stoel", "de klok", "de vaas", "de spiegel", "het kleed"),
    },
}

Passage = tuple[str, str, list[str]]
"""Passage with its question, the answer, and other answers."""


def reading(language: Language) -> list[Item]:
    """Sixty passages: ten of each kind of six."""
    draw = drawing("reading", language)
    kinds = (_owners, _hours, _order, _homes, _prices, _taller)
    items = []
    for number in range(60):
        text, answer, others = kinds[number % len(kinds)](draw, language)
        items.append(chosen("reading", language, number, text, answer, others, draw))
    return items


def _owners(draw: random.Random, language: Language) -> Passage:
    names, things = draw.sample(NAMES, 4), draw.sample(WORDS["things"][language], 4)
    form = {"en": "{} has a {}.", "nl": "{} heeft een {}."}[language]
    ask = {"en": "Who has the {}? Give the name.", "nl": "Wie heeft een {}? Geef de naam."}[language]
    return _asked(draw, [form.format(*pair) for pair in zip(names, things, strict=True)], ask, things, names)


def _hours(draw: random.Random, language: Language) -> Passage:
    places, hours = draw.sample(WORDS["places"][language], 4), [f"{h}:00" for h in draw.sample(range(7, 20), 4)]
    form = {"en": "On Saturdays {} opens at {}.", "nl": "Op zaterdag opent {} om {}."}[language]
    ask = {"en": "At what time does {} open on Saturdays?", "nl": "Hoe laat opent {} op zaterdag?"}[language]
    return _asked(draw, [form.format(*pair) for pair in zip(places, hours, strict=True)], ask, places, hours)


def _homes(draw: random.Random, language: Language) -> Passage:
    names, cities = draw.sample(NAMES, 4), draw.sample(WORDS["cities"][language], 4)
    form = {"en": "{} moved to {} last year.", "nl": "{} verhuisde vorig jaar naar {}."}[language]
    ask = {"en": "Where does {} live now?", "nl": "Waar woont {} nu?"}[language]
    return _asked(draw, [form.format(*pair) for pair in zip(names, cities, strict=True)], ask, names, cities)


def _prices(draw: random.Random, language: Language) -> Passage:
    goods, prices = draw.sample(WORDS["goods"][language], 4), [f"{p} euro" for p in draw.sample(range(11, 99), 4)]
    form = {"en": "At the fair {} costs {}.", "nl": "Op de beurs kost {} {}."}[language]
    ask = {"en": "How much does {} cost?", "nl": "Hoeveel kost {}?"}[language]
    return _asked(draw, [form.format(*pair) for pair in zip(goods, prices, strict=True)], ask, goods, prices)


def _order(draw: random.Random, language: Language) -> Passage:
    name, jobs = draw.choice(NAMES), draw.sample(WORDS["jobs"][language], 4)
    form, places = {
        "en": ("{} has to {} first, then {}, after that {}, and last {}.", ("first", "second", "third", "last")),
        "nl": (
            "{} moet eerst {}, dan {}, daarna {} en tot slot {}.",
            ("als eerste", "als tweede", "als derde", "als laatste"),
        ),
    }[language]
    which = draw.randrange(4)
    ask = {"en": "What does {} do {}?", "nl": "Wat doet {} {}?"}[language].format(name, places[which])
    return f"{form.format(name, *jobs)} {ask}", jobs[which], jobs[:which] + jobs[which + 1 :]


def _taller(draw: random.Random, language: Language) -> Passage:
    names = draw.sample(NAMES, 4)
    form = {"en": "{} is taller than {}.", "nl": "{} is langer dan {}."}[language]
    lines = [form.format(names[i], names[i + 1]) for i in range(3)]
    tallest = draw.random() < 0.5
    ask = {
        "en": ("Who is the tallest of all? Give the name.", "Who is the shortest of all? Give the name."),
        "nl": ("Wie is de langste van allemaal? Geef de naam.", "Wie is de kortste van allemaal? Geef de naam."),
    }[language][0 if tallest else 1]
    answer = names[0] if tallest else names[-1]
    draw.shuffle(lines)
    return f"{' '.join(lines)} {ask}", answer, [name for name in names if name != answer]


def _asked(draw: random.Random, lines: list[str], ask: str, about: Sequence[str], answers: Sequence[str]) -> Passage:
    """Lines in a random order, and a question about one of them."""
    which = draw.randrange(len(lines))
    draw.shuffle(lines)
    others = [answer for i, answer in enumerate(answers) if i != which]
    return f"{' '.join(lines)} {ask.format(about[which])}", answers[which], others
