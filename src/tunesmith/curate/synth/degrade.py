"""Preference pairs without a generator: each wanted answer beside the same answer made worse in a known way."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.core.records import Example
from tunesmith.curate.synth.methods import question_of

Degrade = Callable[[str, Sequence[str], random.Random], str | None]

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-ZÀ-Þ])")
_NUMBER = re.compile(r"\d+")


def _drops_a_fact(answer: str, others: Sequence[str], rng: random.Random) -> str | None:
    parsed = _object(answer)
    if parsed is not None:
        if len(parsed) < 2:
            return None
        gone = rng.choice(sorted(parsed))
        return json.dumps({key: value for key, value in parsed.items() if key != gone}, ensure_ascii=False)
    sentences = _SENTENCE.split(answer)
    if len(sentences) < 2:
        return None
    gone_at = rng.randrange(len(sentences))
    return " ".join(text for i, text in enumerate(sentences) if i != gone_at)


def _changes_a_value(answer: str, others: Sequence[str], rng: random.Random) -> str | None:
    parsed = _object(answer)
    if parsed is not None:
        keys = [key for key, value in parsed.items() if isinstance(value, str | int | float)]
        rng.shuffle(keys)
        for key in keys:
            values = [o[key] for o in map(_object, others) if o and key in o and o[key] != parsed[key]]
            if values:
                return json.dumps({**parsed, key: rng.choice(values)}, ensure_ascii=False)
        return None
    numbers = list(_NUMBER.finditer(answer))
    if not numbers:
        return None
    at = rng.choice(numbers)
    return answer[: at.start()] + str(int(at.group()) + rng.choice([1, 2, 10])) + answer[at.end() :]


def _breaks_off(answer: str, others: Sequence[str], rng: random.Random) -> str | None:
    words = answer.split(" ")
    return " ".join(words[: max(2, len(words) // 2)]) if len(words) >= 4 else None


def _loses_its_form(answer: str, others: Sequence[str], rng: random.Random) -> str | None:
    parsed = _object(answer)
    if parsed is None:
        return None
    return "; ".join(f"{key} is {value}" for key, value in parsed.items())


def _answers_another_question(answer: str, others: Sequence[str], rng: random.Random) -> str | None:
    different = [other for other in others if other != answer]
    return rng.choice(different) if different else None


DEGRADATIONS: Mapping[str, Degrade] = {
    "drops a fact": _drops_a_fact,
    "changes a value": _changes_a_value,
    "breaks off": _breaks_off,
    "loses its form": _loses_its_form,
    "answers another question": _answers_another_question,
}
"""Name → how an answer is made worse; None when it does not apply to this answer."""


def degraded_pairs(seeds: Sequence[Example], rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Preference pairs: ``prompt``, ``chosen``, ``rejected``, and the mark that says how the rejected one was made.

    Args:
        seeds: rows with a question and an answer.
        rows: pairs wanted; fewer come out when the seeds allow fewer different ones.
        seed: another number gives other pairs.
    """
    answers = [row.target.text for row in seeds]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for round_number in range(len(DEGRADATIONS)):
        for i, row in enumerate(seeds):
            if len(found) >= rows:
                return list(found.values())
            rng = random.Random(f"{seed}:{round_number}:{row.id}")
            names = rng.sample(sorted(DEGRADATIONS), len(DEGRADATIONS))
            name = names[(round_number + i) % len(names)]
            worse = DEGRADATIONS[name](answers[i], answers, rng)
            if worse is not None and worse.strip() != answers[i].strip():
                mark = {"method": f"degraded: {name}", "parents": [row.id]}
                found.setdefault(
                    (row.id, worse),
                    {"prompt": question_of(row), "chosen": answers[i], "rejected": worse, "synthetic": mark},
                )
    return list(found.values())


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
