"""Write tickets.jsonl: customer messages and the JSON ticket that each should become.

The rows are made from sentence patterns with a fixed seed, so everybody gets the same file and nobody's mail is in it.

    python make_data.py [ROWS]
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

PRODUCTS = {
    "coffee machine": ("leaks water", "does not heat up", "shows error 4"),
    "washing machine": ("stops in the middle", "makes a loud noise", "does not drain"),
    "router": ("loses the connection", "does not start", "blinks red"),
    "headset": ("has no sound on the left", "does not charge", "cuts out during calls"),
    "printer": ("jams after every page", "prints stripes", "is not found by my laptop"),
    "bicycle lamp": ("flickers", "switches itself off", "came with a cracked lens"),
}
GREETINGS = ("Hello,", "Hi there,", "Good morning,", "Dear team,", "Hi,")
OPENINGS = (
    "my {product} {problem}",
    "the {product} that I bought {when} {problem}",
    "since {when} my {product} {problem}",
)
WHENS = ("last week", "in March", "two days ago", "yesterday")
URGENCIES = {
    "high": ("I need it today.", "This is urgent, please call me back.", "Our shop cannot work without it."),
    "normal": ("Can you help?", "What should I do?", "Please tell me how to go on."),
    "low": ("No hurry.", "It can wait until next month.", "Whenever you find the time."),
}
WISHES = {
    "refund": "I would like my money back.",
    "repair": "Can it be repaired?",
    "replacement": "Please send me a new one.",
    "none": "",
}
INSTRUCTION = "Turn the message into a ticket. Answer with JSON only: product, problem, urgency, wish."


def row(chance: random.Random) -> dict[str, str]:
    """One message and its ticket."""
    product = chance.choice(sorted(PRODUCTS))
    problem = chance.choice(PRODUCTS[product])
    urgency, wish = chance.choice(sorted(URGENCIES)), chance.choice(sorted(WISHES))
    opening = chance.choice(OPENINGS).format(product=product, problem=problem, when=chance.choice(WHENS))
    sentences = [f"{opening}.", chance.choice(URGENCIES[urgency]), WISHES[wish]]
    message = " ".join([chance.choice(GREETINGS), *filter(None, sentences)])
    ticket = {"product": product, "problem": problem, "urgency": urgency, "wish": wish}
    return {"prompt": f"{INSTRUCTION}\n\n{message}", "completion": json.dumps(ticket)}


def rows(count: int, seed: int = 7) -> list[dict[str, str]]:
    """``count`` different rows, always the same ones."""
    chance = random.Random(seed)
    made: dict[str, dict[str, str]] = {}
    while len(made) < count:
        new = row(chance)
        made[new["prompt"]] = new
    return list(made.values())


if __name__ == "__main__":
    lines = [json.dumps(made, ensure_ascii=False) for made in rows(int(sys.argv[1]) if sys.argv[1:] else 300)]
    Path("tickets.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {len(lines)} rows to tickets.jsonl")
