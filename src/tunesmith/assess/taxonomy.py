"""What is wrong with an answer: one main error for each wrong one, by rules in a fixed order.

    refusal            it is empty, or says that it cannot help, in its first sentence
    format             JSON is wanted and it is not strict JSON with the wanted keys; a label is wanted and it is none
                       of the labels; free text is wanted and it was cut at the limit, or is a code fence, list or
                       heading where no training answer is
    stale knowledge    it says what used to be true (declared, or the answer to the same question in an older row)
    missing knowledge  a wanted fact is missing that the question does not give
    reasoning          a wanted fact is missing that the question does give, or a label or value is wrong
    terminology        all facts are there, and it says a word of the glossary that a house term should replace, or
                       leaves out a house term of the wanted answer
    style              all facts and terms are there, and yet it is not close enough to the wanted answer; or it begins
                       with a phrase like "Sure", or is twice as long or half as long as any training answer

A wanted fact is a number, a quoted text, a capitalised name inside a sentence, or a value of a JSON answer. A refusal
where the question gives the facts is a fault of form; where it does not, the model lacks the knowledge, honestly.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tunesmith.core.advice import FORM, KNOWLEDGE, ErrorKind, Share
from tunesmith.core.records import Completion, Example
from tunesmith.core.stats import proportion_interval
from tunesmith.text import graders

_REFUSAL = re.compile(
    r"(i('m| am) (sorry|afraid|unable|not able)|i (can ?not|can't|won't|do not|don't) (help|assist|answer|know|have|"
    r"provide)|as an ai|unfortunately,? i|sorry,|no information|het spijt me|ik kan (hier|u|je|daar)?[\w ]{0,20}niet|"
    r"ik weet (het|dat) niet|helaas kan ik|als ai)",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"(sure|certainly|of course|here (is|are)|as requested|natuurlijk|zeker|hier (is|zijn))\b", re.IGNORECASE
)
_MARKUP = re.compile(r"^\s*(```|#{1,6} |[-*•] |\d+[.)] )", re.MULTILINE)
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_QUOTED = re.compile(r"[\"“„]([^\"”“]{2,60})[\"”]")
_NAME = re.compile(r"(?<![.!?…]\s)(?<!^)(?<=\s)[A-ZÀ-Þ][\w'’-]+(?:\s+[A-ZÀ-Þ][\w'’-]+)*")


def facts_of(text: str) -> tuple[str, ...]:
    """What a wanted answer states, as words to look for: values of JSON, else names, numbers, quoted texts."""
    try:
        value = graders.parse_json(text)
    except ValueError:
        value = None
    if isinstance(value, dict | list):
        found = [str(leaf) for leaf in _leaves(value) if not isinstance(leaf, bool | None)]
    else:
        found = [*_NUMBER.findall(text), *_QUOTED.findall(text), *(m[0] for m in _NAME.finditer(text.strip()))]
    return tuple(dict.fromkeys(key for one in found if (key := fold(one))))


def fold(text: str) -> str:
    """A text for comparing: words only, lower case, blanks between them; numbers keep their points and colons."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\d+(?:[.,:/]\d+)*|\w+", plain))


def holds(text: str, fact: str) -> bool:
    """Whether a folded text states a folded fact, as whole words."""
    return f" {fact} " in f" {text} "


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    if isinstance(value, list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]


@dataclass(frozen=True)
class Wanted:
    """One held-out row as the rules need it. ``unknown``: the facts that the question does not give."""

    example: Example
    facts: tuple[str, ...]
    unknown: tuple[str, ...]
    stale: tuple[str, ...] = ()


@dataclass(frozen=True)
class House:
    """What the training rows and the configuration say about good answers."""

    kind: str
    """json, label or text."""
    labels: frozenset[str]
    has_markup: bool
    shortest: int
    longest: int
    glossary: Mapping[str, tuple[str, ...]]
    outdated: Mapping[str, str]
    older: Mapping[str, tuple[str, ...]]
    """Folded question → facts of the answers that older rows gave to it."""
    common: frozenset[str] = frozenset()
    """Facts that training answers repeat: a closed set that examples teach, not knowledge."""

    @cached_property
    def avoided(self) -> dict[str, str]:
        """Folded word that must not be said → the house term."""
        return {fold(word): term for term, words in self.glossary.items() for word in words}


LONGEST_LABEL = 4
"""Words of a wanted answer up to which it counts as a label, as in evaluation."""


COMMON = 0.05
"""Share of training answers from which a fact that they repeat counts as one of a closed set; three at least."""


def house_of(
    rows: Sequence[Example],
    training: Sequence[Example],
    glossary: Mapping[str, tuple[str, ...]],
    outdated: Mapping[str, str],
) -> House:
    """The rules' knowledge of a task, from the wanted answers of training rows (of ``rows`` where there are none)."""
    texts = [row.target.text for row in training or rows]
    wanted = [row.target.text for row in rows]
    short = all(len(graders.words(text)) <= LONGEST_LABEL for text in wanted)
    kind = "json" if all(_is_structure(text) for text in wanted) else "label" if short else "text"
    known = {text.strip() for text in [*texts, *wanted]}
    # Short answers that hardly repeat are no labels, however short they are: names, dates, amounts.
    kind = "short" if kind == "label" and len(known) > len([*texts, *wanted]) / 2 else kind
    lengths = [len(graders.words(text)) for text in [*texts, *wanted]] or [0]
    newest: dict[str, str] = {}
    for row in [*training, *rows]:
        question = fold(_question(row))
        newest[question] = max(newest.get(question, ""), row.time)
    older: dict[str, tuple[str, ...]] = {}
    for row in training:
        question = fold(_question(row))
        if row.time and row.time < newest[question]:
            older[question] = (*older.get(question, ()), *facts_of(row.target.text), fold(row.target.text))
    return House(
        kind=kind,
        labels=frozenset(known) if kind == "label" else frozenset(),
        has_markup=any(_MARKUP.search(text) for text in texts),
        shortest=min(lengths),
        longest=max(lengths),
        glossary=glossary,
        outdated=outdated,
        older=older,
        common=_common([facts_of(row.target.text) for row in training]),
    )


def _common(facts: Sequence[Sequence[str]]) -> frozenset[str]:
    counts = Counter(fact for some in facts for fact in some)
    return frozenset(fact for fact, count in counts.items() if count >= max(3, COMMON * len(facts)))


def wanted_of(row: Example, house: House) -> Wanted:
    """The facts of a row, those that its question does not give, and what would be out of date."""
    text = row.target.text
    facts = facts_of(text)
    if not facts and house.kind == "short":
        facts = (fold(text),)
    asked = fold(" ".join(message.text for message in row.messages))
    right = fold(text)
    old = [fold(one) for one in house.outdated if not holds(right, fold(one))]
    old += [one for one in house.older.get(fold(_question(row)), ()) if not holds(right, one)]
    known = () if house.kind == "label" else facts
    unknown = tuple(fact for fact in known if not holds(asked, fact) and fact not in house.common)
    return Wanted(row, known, unknown, tuple(old))


def errors_of(wanted: Wanted, answer: Completion, house: House, score: float) -> tuple[bool, tuple[ErrorKind, ...]]:
    """Whether an answer is right, and its errors, the main one first.

    Args:
        score: of the answer, as a share of what makes it right: 1 or more is close enough.
    """
    text = answer.text.strip()
    said = fold(text)
    refused = not text or bool(_REFUSAL.match(text))
    missing = [fact for fact in wanted.facts if not holds(said, fact)]
    form = _form_faults(wanted, answer, house)
    stale = any(holds(said, old) for old in wanted.stale)
    right = score >= 1 and not missing and not stale and not refused
    if house.kind in ("json", "label"):
        right = score >= 1
    if right:
        return True, form
    found: list[ErrorKind] = []
    if refused:
        found.append("missing knowledge" if wanted.unknown else "refusal")
    found += [kind for kind in form if kind == "format"]
    if stale:
        found.append("stale knowledge")
    elif any(fact in wanted.unknown for fact in missing):
        found.append("missing knowledge")
    if any(fact not in wanted.unknown for fact in missing) or (house.kind == "label" and "format" not in found):
        found.append("reasoning")
    found += [kind for kind in form if kind == "terminology"]
    if not found or "style" in form:
        found.append("style" if house.kind in ("text", "short") else "reasoning")
    return False, tuple(dict.fromkeys(found))


def _form_faults(wanted: Wanted, answer: Completion, house: House) -> tuple[ErrorKind, ...]:
    """Faults of form, whatever the content: format, terminology, style."""
    text, found = answer.text.strip(), list[ErrorKind]()
    if not text:
        return ()
    if house.kind == "json":
        bad = not _same_keys(text, wanted.example.target.text)
    elif house.kind == "label":
        bad = text not in house.labels
    else:
        bad = answer.finish_reason == "length" or (bool(_MARKUP.search(text)) and not house.has_markup)
    if bad:
        found.append("format")
    if house.kind == "json" or house.kind == "label":
        return tuple(found)
    said, right = fold(text), fold(wanted.example.target.text)
    avoided = any(holds(said, word) and not holds(right, word) for word in house.avoided)
    left_out = any(holds(right, fold(term)) and not holds(said, fold(term)) for term in house.glossary)
    if avoided or left_out:
        found.append("terminology")
    length = len(graders.words(text))
    if length > 2 * house.longest or 2 * length < house.shortest or _PREAMBLE.match(text):
        found.append("style")
    return tuple(found)


def _same_keys(text: str, reference: str) -> bool:
    try:
        value = graders.parse_json(text)
    except ValueError:
        return False
    return _keys(value) >= _keys(json.loads(reference)) if isinstance(value, dict | list) else False


def _keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value)
    return {key for item in value for key in _keys(item)} if isinstance(value, list) else set()


def _is_structure(text: str) -> bool:
    try:
        return isinstance(graders.parse_json(text), dict | list)
    except ValueError:
        return False


def _question(row: Example) -> str:
    return next((message.text for message in reversed(row.messages) if message.role == "user"), "")


def share(count: int, n: int, confidence: float = 0.95) -> Share:
    """A share with its exact interval."""
    low, high = proportion_interval(count, n, confidence) if n else (0.0, 1.0)
    return Share(count=count, n=n, low=low, high=high)


def group_of(kind: ErrorKind) -> str:
    """form, knowledge or reasoning."""
    return "form" if kind in FORM else "knowledge" if kind in KNOWLEDGE else "reasoning"
