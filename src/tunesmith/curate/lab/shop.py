"""Rows of an invented shop: questions of customers with the answers of an assistant, and orders as JSON.

Every question stands once, every answer follows from its question, and all answers keep to one form. So a check that
reports one of these rows cries wolf.
"""

from __future__ import annotations

import json
import random

from tunesmith.core.records import Example
from tunesmith.curate.lab.planted import row

THINGS = [
    "desk lamp", "oak table", "wool blanket", "garden hose", "bread knife", "rain coat", "hiking boots", "wall clock",
    "coffee grinder", "bath towel", "reading chair", "bicycle pump", "tea kettle", "yoga mat", "picture frame",
    "paper tray", "door mat", "flower pot", "storage box", "pillow case", "kitchen scale", "winter gloves",
    "travel mug", "camping stove", "tool bag", "shower curtain", "book shelf", "night stand", "salad bowl",
    "spice rack",
]  # fmt: skip
COLOURS = ["black", "white", "green", "blue", "red", "grey", "yellow", "brown", "purple", "orange", "pink", "beige"]
CITIES = ["Utrecht", "Ghent", "Aachen", "Lille", "Bern", "Graz", "Leuven", "Bremen", "Lyon", "Basel", "Linz", "Breda"]
MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
]  # fmt: skip


def text_rows(count: int, rng: random.Random) -> list[Example]:
    """Questions with answers in sentences."""
    places = [(thing, colour, city) for thing in THINGS for colour in COLOURS for city in CITIES]
    rng.shuffle(places)
    return [_text_row(i, *places[i % len(places)], rng) for i in range(count)]


def _text_row(number: int, thing: str, colour: str, city: str, rng: random.Random) -> Example:
    item, days, price = f"{colour} {thing}", rng.randint(2, 9), rng.randint(5, 480)
    day, month, year = rng.randint(1, 28), rng.choice(MONTHS), rng.choice((2025, 2026))
    can = rng.random() < 0.5
    again = f" (order {number})" if number >= len(THINGS) * len(COLOURS) * len(CITIES) else ""
    pairs = (
        (
            f"How much does the {item} cost in {city}?{again}",
            f"In our shop in {city} the {item} costs {price} euros, and delivery is included in that price.",
        ),
        (
            f"When will the {item} be back in {city}?{again}",
            f"We expect the {item} in {city} again on {day} {month} {year}. We can send you a message on that day.",
        ),
        (
            f"May I return the {item} to the shop in {city}?{again}",
            f"{'Yes' if can else 'No'}, the {item} can {'' if can else 'not '}be returned to our shop in {city}.",
        ),
        (
            f"How long does it take to send the {item} to {city}?{again}",
            f"Sending the {item} to {city} takes {days} working days. You get a tracking code by mail.",
        ),
        (
            f"Is the {item} washable? It goes to {city}.{again}",
            f"The {item} is {'' if can else 'not '}washable at thirty degrees, and it should dry flat.",
        ),
    )
    return row(*pairs[number % len(pairs)], number)


def order_rows(count: int, rng: random.Random) -> list[Example]:
    """Orders in words, answered with one JSON object each."""
    rows = []
    for number in range(count):
        thing, colour, city = rng.choice(THINGS), rng.choice(COLOURS), rng.choice(CITIES)
        amount, price = rng.randint(1, 60), rng.randint(5, 480)
        express = rng.random() < 0.3
        question = (
            f"Order {10_000 + number}: please send {amount} of the {colour} {thing} to {city} for {price} euros"
            f"{', as express' if express else ''}."
        )
        answer = {
            "order": 10_000 + number,
            "item": thing,
            "colour": colour,
            "amount": amount,
            "price": price,
            "city": city,
            "shipping": "express" if express else "standard",
        }
        rows.append(row(question, json.dumps(answer), number))
    return rows


def ticket_rows(count: int, rng: random.Random) -> list[Example]:
    """Messages of customers, answered with the name of the desk that they belong to."""
    words = {
        "billing": "invoice charge refund payment bank card receipt discount total currency",
        "delivery": "parcel courier address tracking late driver neighbour door package arrived",
        "warranty": "broken crack repair defect part screw leak noise burnt replace",
        "account": "password login email profile username locked code settings privacy newsletter",
    }
    openings = ("I have a question about", "There is a problem with", "Can somebody look at", "I am writing about")
    rows = []
    for number in range(count):
        desk = rng.choice(sorted(words))
        own = rng.sample(words[desk].split(), 2)
        thing, city = rng.choice(THINGS), rng.choice(CITIES)
        question = f"{rng.choice(openings)} the {own[0]} and the {own[1]} of my {thing}, ordered in {city}."
        rows.append(row(question, desk, number))
    return rows
