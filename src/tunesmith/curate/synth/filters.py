"""Why a generated row is not kept. Each filter is asked in order; the first that objects names the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.core.records import Completion, Example
from tunesmith.curate.keys import normalise
from tunesmith.curate.synth.methods import Attempt, question_of, values_of

REASONS: Mapping[str, str] = {
    "empty": "the generator gave nothing",
    "cut": "the answer was cut at its longest length",
    "refusal": "the generator declined",
    "copy": "eight words in a row stand in a row that it was shown",
    "not new": "its words are those of a row that is there (ROUGE-L at or above the limit)",
    "facts lost": "a value of the answer, or of the request that was rewritten, is missing",
    "schema": "the answer does not follow the JSON Schema",
    "personal data": "it holds something that looks like personal data or a secret",
    "language": "it is in another language than its parent",
}
"""Reason → what it means."""

_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable)|i can(?:'t|not) (?:help|assist|do|provide|fulfil)|as an ai\b|"
    r"het spijt me|ik kan (?:u |je )?(?:daar|hier)?(?:bij|mee)? ?niet helpen|es tut mir leid)",
    re.IGNORECASE,
)
_GRAM = 8


def of_answer(answer: Completion) -> str:
    """What is wrong with a generator's answer as such: empty, cut or a refusal; "" when nothing is."""
    if not answer.text.strip():
        return "empty"
    if answer.finish_reason != "stop":
        return "cut"
    return "refusal" if _REFUSAL.search(answer.text[:200]) else ""


def is_copy(question: str, shown: Sequence[Example]) -> bool:
    """Whether eight words in a row, or all of a shorter question, stand in a row that the generator was shown."""
    words = normalise(question).split()
    size = min(_GRAM, len(words))
    if not size:
        return False
    grams = {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}
    for row in shown:
        theirs = normalise(question_of(row)).split()
        if size < _GRAM and theirs != words:
            continue
        if any(tuple(theirs[i : i + size]) in grams for i in range(len(theirs) - size + 1)):
            return True
    return False


def rouge_l(one: Sequence[str], other: Sequence[str]) -> float:
    """ROUGE-L F1 of two word lists (Lin 2004): longest common subsequence against both lengths."""
    from rapidfuzz.distance import LCSseq

    if not one or not other:
        return 0.0
    common = LCSseq.similarity(one, other)
    return 2 * common / (len(one) + len(other))


class Novelty:
    """The questions that are there, and whether another is new: ROUGE-L below the limit to every one of them."""

    def __init__(self, questions: Sequence[str], limit: float) -> None:
        self._known = [normalise(question).split() for question in questions]
        self._limit = limit

    def is_new(self, question: str) -> bool:
        """Whether it is new; questions too different in length to reach the limit are not compared."""
        words = normalise(question).split()
        for known in self._known:
            short, long = sorted((len(words), len(known)))
            if 2 * short >= self._limit * (short + long) and rouge_l(words, known) >= self._limit:
                return False
        return True

    def add(self, question: str) -> None:
        """From now on it is there."""
        self._known.append(normalise(question).split())


def keeps_facts(attempt: Attempt, question: str, method: str) -> bool:
    """Whether every value stands in the new question: of the answer it is made from, or of the request it rewrites."""
    text = normalise(question)
    source = attempt.parent.target.text if method == "from-answers" else question_of(attempt.parent)
    return all(normalise(value) in text for value in values_of(source))


def schema_filter(schema: Mapping[str, Any] | None) -> Callable[[str], bool]:
    """A test of answers against a JSON Schema; without one every answer passes."""
    if schema is None:
        return lambda answer: True
    import jsonschema

    validator = jsonschema.validators.validator_for(schema)(schema)

    def follows(answer: str) -> bool:
        try:
            return bool(validator.is_valid(json.loads(answer)))
        except ValueError:
            return False

    return follows


def has_personal(text: str) -> bool:
    """Whether a text holds something that looks like personal data or a secret."""
    from tunesmith.curate.personal.detector import Detector

    detector = Detector()
    return bool(detector.find(text) or detector.find_secrets(text))


def same_language(one: str, other: str) -> bool:
    """Whether two texts are in one language, as far as can be told: short texts are in any."""
    from tunesmith.curate.checks.language import detector

    language = detector()
    if language is None:
        return True
    first, second = language(one), language(other)
    return not first or not second or first == second
