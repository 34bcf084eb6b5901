"""The trials of the planted-truth lab: for each check, what is planted, how it is counted, and what must hold.

Everything is drawn from one seed, so a trial gives the same figures whenever it is repeated on the same rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.core.records import Example, Finding
from tunesmith.curate.checks.conflicts import CONFLICTS
from tunesmith.curate.checks.controls import CONTROL
from tunesmith.curate.checks.diversity import DIVERSITY, REPRESENTATIVE
from tunesmith.curate.checks.duplicates import COPIES, NEAR
from tunesmith.curate.checks.faithful import FAITHFUL
from tunesmith.curate.checks.form import FORM
from tunesmith.curate.checks.labels import LABELS
from tunesmith.curate.checks.lengths import RENDERING, TOO_LONG, TRAINED
from tunesmith.curate.checks.overlap import CONTAMINATION, OVERLAP
from tunesmith.curate.checks.privacy import PERSONAL, SECRETS
from tunesmith.curate.checks.semantic import SEMANTIC
from tunesmith.curate.checks.style import STYLE
from tunesmith.curate.checks.synthetic import SYNTHETIC
from tunesmith.curate.checks.tools import TOOLS
from tunesmith.curate.checks.turns import EMPTY_ANSWERS, EMPTY_QUESTIONS, ROLE_ORDER
from tunesmith.curate.lab import copies, keys, leaked, measures, personal
from tunesmith.curate.lab.contradictions import contradict_json, contradict_text
from tunesmith.curate.lab.facts import break_facts
from tunesmith.curate.lab.forms import break_json, break_sections, section_rows
from tunesmith.curate.lab.labels import flip_labels
from tunesmith.curate.lab.manual import manual_rows
from tunesmith.curate.lab.planted import Measured, Planted, numbered, row
from tunesmith.curate.lab.shop import order_rows, text_rows, ticket_rows
from tunesmith.curate.lab.styles import DRIFTS, drift
from tunesmith.curate.lab.turns import break_turns, made_by_a_model, with_calls

Rows = Sequence[Example]
AnyPlanted = Planted | copies.Copied | leaked.Leaked
Plant = Callable[[Rows, random.Random], AnyPlanted]
Judge = Callable[[Any, Sequence[Finding]], Measured]


@dataclass(frozen=True)
class Trial:
    """One kind of fault for one check.

    ``recall`` and ``precision`` are the least that must hold; None: measured, and nothing is promised. ``rows`` makes
    the clean rows into which is planted. ``own``: any question with an answer will do, so that the rows of a user can
    take their place.
    """

    check: str
    what: str
    rows: Callable[[random.Random], Rows]
    plant: Plant
    judge: Judge = measures.by_row
    recall: float | None = 1.0
    precision: float | None = 1.0
    own: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def _prose(count: int) -> Callable[[random.Random], Rows]:
    return lambda rng: manual_rows(count, rng)


def _shop(count: int) -> Callable[[random.Random], Rows]:
    return lambda rng: text_rows(count, rng)


def _leak(plant: Callable[[Rows, int, random.Random], AnyPlanted]) -> Plant:
    return lambda rows, rng: plant(rows, min(30, len(rows) // 10), rng)


def _copied(plant: Callable[[Rows, int, random.Random], AnyPlanted], count: int) -> Plant:
    return lambda rows, rng: plant(rows, min(count, len(rows) // 2), rng)


def _turn(kind: str) -> Plant:
    return lambda rows, rng: break_turns(rows, kind, min(50, len(rows) // 4), rng)


def _values(*kinds: str) -> Plant:
    """Rows of which every fourth says a value of one of the kinds, which take turns."""

    def plant(rows: Rows, rng: random.Random) -> Planted:
        planted, truth = list(rows), {}
        for turn, number in enumerate(range(0, len(rows), 4)):
            kind = kinds[turn % len(kinds)]
            planted[number] = personal.with_words(rows[number], personal.planting(kind, rng).text, rng)
            truth[number] = kind
        return Planted(numbered(planted), truth)

    return plant


def _every_secret(rows: Rows, rng: random.Random) -> Planted:
    planted, truth = list(rows), {}
    for number, kind in zip(range(0, len(rows), 2), keys.FORMS, strict=False):
        planted[number], truth[number] = keys.with_secret(rows[number], kind, rng), kind
    return Planted(numbered(planted), truth)


def _whole(change: Callable[[Rows, random.Random], Rows]) -> Plant:
    """One fault of the data set as a whole."""
    return lambda rows, rng: Planted(list(change(rows, rng)), {0: "the whole data set"})


def _one_sided(rows: Rows, rng: random.Random) -> Rows:
    same = [row(f"At what time does the shop open on day {n}?", "At nine.") for n in range(3 * len(rows))]
    return numbered([*rows, *same])


_CHECKED = (*personal.IDS, "iban", "card")

TRIALS: tuple[Trial, ...] = (
    Trial(COPIES, "other case, white space, Unicode form", _prose(600), _copied(copies.exact_copies, 200),
          measures.by_copy, own=True),
    Trial(NEAR, "a few words changed, Jaccard ≥ 0.85", _prose(600), _copied(copies.near_copies, 400),
          measures.by_near_copy, recall=0.95, own=True),
    Trial(SEMANTIC, "the same in other words, cosine ≥ 0.8 asked for", _prose(400), _copied(copies.paraphrases, 100),
          measures.by_copy, recall=0.8, options={"semantic_duplicates": {"report": 0.8, "review": 0.8}}),
    Trial(CONFLICTS, "another value in a JSON answer", lambda rng: order_rows(1000, rng),
          lambda rows, rng: contradict_json(rows, 100, rng), recall=0.95, precision=0.9),
    Trial(CONFLICTS, "another number, date or a negation in a text", _shop(1000),
          lambda rows, rng: contradict_text(rows, 100, rng), recall=0.8, precision=0.9),
    Trial(EMPTY_ANSWERS, "no words", _shop(200), _turn("empty answer"), own=True),
    Trial(EMPTY_QUESTIONS, "no words", _shop(200), _turn("empty question"), own=True),
    Trial(ROLE_ORDER, "turns missing, twice, or in a wrong place", _shop(200), _turn("wrong order"), own=True),
    Trial(TOOLS, "unknown name, missing or wrong argument, no JSON",
          lambda rng: with_calls(text_rows(200, rng), rng), _turn("wrong call")),
    Trial(CONTROL, "a token of a chat template in an answer", _shop(200), _turn("control token"), own=True),
    Trial(OVERLAP, "a test question in training", _prose(300), _leak(leaked.question_leaks),
          measures.by_shared_question, own=True),
    Trial(SYNTHETIC, "60 % of the rows made by a model", _shop(100),
          _whole(lambda rows, rng: made_by_a_model(rows, 0.6)), measures.once),
    Trial(PERSONAL, f"{len(_CHECKED)} kinds of numbers with a check digit", _shop(40 * len(_CHECKED)),
          _values(*_CHECKED), own=True),
    Trial(PERSONAL, "e-mail addresses and telephone numbers", _shop(800), _values("email", "phone"), recall=0.99,
          own=True),
    Trial(PERSONAL, "addresses, birth dates, IP and MAC addresses", _shop(800),
          _values("address", "birth_date", "ip", "mac"), recall=0.95, own=True),
    Trial(SECRETS, f"{len(keys.FORMS)} forms of keys and passwords", _shop(4 * len(keys.FORMS)),
          _every_secret, own=True),
    Trial(DIVERSITY, "three rows in four of one kind", _shop(400), _whole(_one_sided), measures.once),
    Trial(CONTAMINATION, "a test question, word for word", _prose(400), _leak(leaked.question_leaks),
          measures.by_leak, own=True),
    Trial(CONTAMINATION, "a test answer under another question", _prose(400), _leak(leaked.answer_leaks),
          measures.by_leak, own=True),
    Trial(CONTAMINATION, "fifteen words in a row of a test question", _prose(400), _leak(leaked.passage_leaks),
          measures.by_leak, own=True),
    Trial(CONTAMINATION, "options of a test question in another order", lambda rng: (),
          lambda rows, rng: leaked.option_leaks(600, 30, rng), measures.by_leak),
    Trial(FORM, "JSON answers with a wrong key, type, choice or syntax", lambda rng: order_rows(800, rng),
          lambda rows, rng: break_json(rows, 0.03, rng)),
    Trial(FORM, "a section missing or out of order", lambda rng: section_rows(500, rng),
          lambda rows, rng: break_sections(rows, 0.03, rng)),
    Trial(FAITHFUL, "a listed fact left out or told otherwise", lambda rng: (),
          lambda rows, rng: break_facts(1500, 0.1, rng), recall=0.9, precision=0.9),
    Trial(LABELS, "10 % of the labels flipped; the first of the ranking", lambda rng: ticket_rows(1000, rng),
          lambda rows, rng: flip_labels(rows, 0.1, rng), measures.first_k, recall=0.3, precision=0.3),
    *(
        Trial(STYLE, f"another way of writing: {kind}", _shop(600),
              lambda rows, rng, kind=kind: drift(rows, kind, 12, rng), measures.by_all_rows)  # type: ignore[misc]
        for kind in sorted(DRIFTS)
    ),
)  # fmt: skip

NOT_TRIED: Mapping[str, str] = {
    RENDERING: "needs the chat template of a model",
    TRAINED: "needs the tokens of a model",
    TOO_LONG: "needs the tokens of a model",
    REPRESENTATIVE: "needs a file of real requests",
}
"""Check → why nothing is planted for it."""
