"""Conversations of a support desk, made to measure with: as many as wanted, a kilobyte each, with known faults.

Sentences are put together from clauses, so that two conversations are as different as two real ones: no run of words
longer than a clause comes back by chance.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.curate.lab.personal import planting
from tunesmith.curate.lab.shop import CITIES, COLOURS, MONTHS, THINGS

FAULTY = 0.02
"""Share of the rows that get one of the faults."""

FAULTS = ("copy", "near copy", "contradiction", "personal", "secret", "empty", "control", "cut")

_WHO = (
    "I", "My wife", "My brother", "Our office", "My neighbour", "A colleague", "My daughter", "The caretaker",
    "Our team", "My father", "The courier", "Somebody at the branch", "The new intern", "A friend of mine",
)  # fmt: skip
_DID = (
    "ordered", "paid for", "returned", "unpacked", "tried", "cancelled", "picked up", "asked about", "complained about",
    "exchanged", "measured", "cleaned", "repaired", "gave away", "registered", "photographed", "stored", "compared",
)  # fmt: skip
_WHEN = (
    "last week", "on Monday", "two days ago", "right after the holidays", "in the evening", "before the move",
    "during the sale", "a month ago", "on the last day of the offer", "while I was abroad", "this morning",
    "just before closing time", "in the middle of winter", "after the second reminder",
)  # fmt: skip
_THEN = (
    "and the confirmation never came", "but the screws were missing", "and one corner was dented",
    "but the colour is not the one in the picture", "and now the lid does not close",
    "but the invoice has another name",
    "and it makes a rattling noise", "but nobody answered the phone", "and the parcel went to the wrong street",
    "but the voucher was refused", "and the fabric smells of paint",
    "but the manual is in a language that nobody reads",
    "and the size is smaller than promised", "but the delivery man left it in the rain",
    "and the second one never arrived", "but the price on the receipt is higher", "and the label had come off",
    "but the warranty card is blank", "and the box had been opened before", "but it was the neighbours who signed",
)  # fmt: skip
_ASK = (
    "What should I do now?", "Can you send a new one?", "Will I get my money back?", "Who pays for the return?",
    "How long will that take?", "Is there a form for this?", "Could somebody call me?", "Do I need the receipt?",
    "May I bring it to the shop instead?", "Is that covered by the warranty?",
)  # fmt: skip
_SORRY = (
    "I am sorry to hear that", "Thank you for telling us", "That should not have happened", "Thanks for your patience",
    "I understand that this is annoying", "Good that you wrote to us", "I have read your message with care",
)  # fmt: skip
_WE = (
    "we have asked the warehouse to look for", "the branch will set aside", "our workshop can repair",
    "you can bring back", "we will replace", "the supplier confirms that it will send", "we have written down",
    "the courier will collect", "our stock shows", "accounting will refund",
)  # fmt: skip
_HOW = (
    "free of charge", "within the usual term", "at our expense", "as soon as the photographs are here",
    "against the original receipt", "without any further questions", "once the form is signed", "by the next delivery",
    "with the same discount as before", "through the branch where it was bought", "after a short inspection",
    "together with the missing parts",
)  # fmt: skip
_CLOSE = (
    "Please keep the packaging until then.", "You will get a message when it is on its way.",
    "Just reply to this message if anything changes.", "The reference is in the subject of our mail.",
    "Our shop is open until six.", "Let us know whether that suits you.", "There is nothing else that you need to do.",
)  # fmt: skip


def chats(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """So many rows, each a conversation with an answer to learn; ``FAULTY`` of them have a fault."""
    rng = random.Random(seed)
    last = _chat(0, rng)
    for number in range(count):
        row = _chat(number, rng)
        if number and rng.random() < FAULTY:
            row = _spoiled(row, last, rng.choice(FAULTS), rng)
        yield row
        last = row


def write_chats(path: Path, count: int, seed: int = 0) -> None:
    """The rows as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in chats(count, seed))


def _chat(number: int, rng: random.Random) -> dict[str, Any]:
    item = f"{rng.choice(COLOURS)} {rng.choice(THINGS)}"
    city = rng.choice(CITIES)
    first = f"Order {100_000 + number} from {city}. {_told(item, rng)} {_told(item, rng)} {rng.choice(_ASK)}"
    turns = [("user", first)]
    if rng.random() < 0.4:
        turns.append(("assistant", f"{rng.choice(_SORRY)}. When did you receive the {item}, and in which branch?"))
        turns.append(("user", f"{_told(item, rng)} It was on {_day(rng)} in {rng.choice(CITIES)}. {rng.choice(_ASK)}"))
    turns.append(("assistant", _answer(item, city, rng)))
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def _told(item: str, rng: random.Random) -> str:
    words = (_WHO, _DID, _WHEN, _THEN)
    who, did, when, then = map(rng.choice, words)
    return f"{who} {did} the {item} {when}, {then}."


def _answer(item: str, city: str, rng: random.Random) -> str:
    steps = [
        f"{rng.choice(_SORRY)}: {rng.choice(_WE)} the {item} {rng.choice(_HOW)}, and {rng.choice(_WE)} what came with "
        f"it {rng.choice(_HOW)}. {rng.choice(_CLOSE)}"
        for _ in range(rng.randint(1, 3))
    ]
    return f"{' '.join(steps)} Expect news from {city} by {_day(rng)}."


def _day(rng: random.Random) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(MONTHS)} 2026"


def _spoiled(row: dict[str, Any], last: dict[str, Any], fault: str, rng: random.Random) -> dict[str, Any]:
    if fault == "copy":
        return last
    if fault in ("near copy", "contradiction"):
        row = json.loads(json.dumps(last))
    answer = row["messages"][-1]
    if fault == "near copy":
        row["messages"][0]["content"] += " Thanks!"
    elif fault == "contradiction":
        answer["content"] = answer["content"].replace("2026", "2027")
    elif fault == "personal":
        answer["content"] += " " + planting(rng.choice(("email", "phone", "iban")), rng).text
    elif fault == "secret":
        answer["content"] += " The key is ghp_" + "".join(rng.choices("abcdefghijkmnpqrstuvwxyz23456789ABCDEF", k=36))
    elif fault == "empty":
        answer["content"] = " "
    elif fault == "control":
        answer["content"] += "<|im_end|>"
    else:
        answer["content"] = answer["content"][: len(answer["content"]) // 2]
    return row
