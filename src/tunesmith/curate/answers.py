"""Two answers to one question: the same thing said twice, or a contradiction.

JSON and labels are brought into one form and compared exactly. For running text only evidence counts as *certain*: a
number, date or time that the two do not share, yes against no, a negated sentence against the same sentence. Texts that
merely look different (chrF below 40) may both be right, and are reported as such.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tunesmith.curate.keys import normalise
from tunesmith.curate.values import listed, missing, number_readings, quoted, values_in, word_set

ALIKE = 40.0
"""chrF below which two texts count as different. Source: requirement of the data checks; configurable."""

SAME_WORDS = 0.6
"""Share of content words that two sentences have in common when only a "not" tells them apart."""

_FENCE = re.compile(r"^\s*```[\w-]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_ELISION = re.compile(r"^(?:[cdjlmnst]|qu)'")
_NUMBER = re.compile(r"[-−]?\d+(?:[.,]\d+)?")
_YES = word_set("yes yep yeah ja jawel jazeker oui sí true correct right waar juist klopt richtig vrai")
_NO = word_set("no nope nee neen nein non false incorrect wrong onwaar onjuist falsch faux")
_NOT = word_set(
    "not no never cannot without none neither nor nothing nobody niet geen nooit zonder noch niemand niets nicht kein "
    "keine keinen keiner keinem keines nie niemals ohne pas jamais sans aucun aucune nunca sin ningún non mai senza "
    "nee nein"
)
_OPPOSITE_PAIRS = (
    "open closed, open closes, allowed forbidden, allowed prohibited, possible impossible, true false, "
    "free paid, included excluded, includes excludes, accept reject, accepts rejects, accepted rejected, enabled "
    "disabled, enable disable, valid invalid, before after, increase decrease, increases decreases, more less, above "
    "below, required optional, toegestaan verboden, mogelijk onmogelijk, gratis betaald, geldig ongeldig, "
    "voor na, meer minder, erlaubt verboten, möglich unmöglich, gültig ungültig, offen geschlossen, vor nach, "
    "mehr weniger, ouvert fermé, autorisé interdit, possible impossible, avant après, plus moins, refundable "
    "nonrefundable, available unavailable, safe unsafe, legal illegal, correct incorrect, positive negative"
)
_OPPOSITES = {frozenset(pair.split()) for pair in _OPPOSITE_PAIRS.split(", ")}
_FILLERS = word_set(
    "a an the is are was were be been do does did will would has have had to of in on at for by with it its this that "
    "you your we our they their i he she and or so as de het een is zijn was en of op te van voor met dat dit die er "
    "je u uw wij ons ze der die das ein eine einen ist sind war und oder zu von mit für im am es sie wir ihr le la les "
    "un une des est sont et ou à de du en pour avec il elle vous nous ne n"
)


@dataclass(frozen=True)
class Difference:
    """How two answers differ. ``certain``: they cannot both be right; else only that they read differently."""

    kind: str
    text: str
    certain: bool


def canonical(answer: str) -> tuple[str, Any]:
    """``("json", value)`` for an object or a list, in one form; else ``("text", normalised text)``."""
    value = parsed(answer)
    return ("text", _plain_text(answer)) if value is None else ("json", _one_form(value))


def parsed(answer: str) -> dict[str, Any] | list[Any] | None:
    """The JSON object or list that an answer is (a code fence around it does not matter), or None."""
    fence = _FENCE.match(answer) if "```" in answer else None
    text = (fence[1] if fence else answer).strip()
    if not text or text[0] not in "{[" or text[-1] not in "}]":
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def difference(one: str, other: str, *, labels: bool = False, alike: float = ALIKE) -> Difference | None:
    """How two answers to one question differ; None when they say the same.

    Args:
        one: an answer.
        other: another answer.
        labels: the answers are labels, so that any other word is another answer.
        alike: chrF (0 to 100) from which two texts count as the same.
    """
    (kind, a), (other_kind, b) = canonical(one), canonical(other)
    if kind == other_kind and a == b:
        return None
    if kind == other_kind == "json":
        fields = listed(f"{path}: {left} ≠ {right}" for path, left, right in differing(a, b))
        return Difference("fields", fields, certain=True)
    if "json" in (kind, other_kind):
        return Difference("form", "one answer is JSON, the other is text", certain=True)
    if labels:
        return Difference("label", f"{quoted(one)} ≠ {quoted(other)}", certain=True)
    return _text_difference(one, other, alike)


def differing(one: Any, other: Any, path: str = "$") -> Iterator[tuple[str, str, str]]:
    """Path and both values, shortened, of every field in which two values in one form differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            if key not in one or key not in other:
                present = quoted(_short((one if key in one else other)[key]), 30)
                yield (f"{path}.{key}", present, "absent") if key in one else (f"{path}.{key}", "absent", present)
            else:
                yield from differing(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            yield path, f"{len(one)} items", f"{len(other)} items"
        else:
            for i, (a, b) in enumerate(zip(one, other, strict=True)):
                yield from differing(a, b, f"{path}[{i}]")
    elif one != other:
        yield path, quoted(_short(one), 30), quoted(_short(other), 30)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _one_form(value: Any) -> Any:
    """A JSON value without differences that do not matter: order, case, white space, number form."""
    if isinstance(value, dict):
        return {str(key): _one_form(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return sorted(
            (_one_form(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True, default=str)
        )
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return value if abs(value) > 1e15 or value != int(value) else int(value)
    text = normalise(value)
    if _NUMBER.fullmatch(text):
        readings = number_readings(text.lstrip("-−"))
        if len(readings) == 1:
            number = float(str(next(iter(readings))[1])) * (-1 if text[0] in "-−" else 1)
            return _one_form(number) if len(text) < 15 and not re.match(r"[-−]?0\d", text) else text
    return text


def _plain_text(text: str) -> str:
    """A text without case, white space, and the marks that close it."""
    return normalise(text).strip(" .!\"'“”‘’`*")


# ---------------------------------------------------------------- running text


def _text_difference(one: str, other: str, alike: float) -> Difference | None:
    first, second = _starts(one), _starts(other)
    if first and second and first != second:
        return Difference("yes or no", f"one says {first}, the other says {second}", certain=True)
    disagreement = _values_disagree(one, other) or _polarity(one, other)
    if disagreement:
        return disagreement
    words, others = set(_words(one)), set(_words(other))
    if max(len(words), len(others)) <= 3 and (words <= others or others <= words):
        return None
    score = _chrf(one, other)
    if score < alike:
        return Difference("wording", f"the texts have little in common (chrF {score:.0f})", certain=False)
    return None


def _starts(text: str) -> str:
    match = _WORD.search(text[:40])
    word = match[0].casefold() if match and not text[: match.start()].strip(" \t\n\"'“*") else ""
    # "no problem", "no longer", "right after" say nothing about yes or no; a mark after the word does
    after = text[match.end() : match.end() + 1] if match else ""
    if word and after not in ("", ",", ".", "!", ";", ":", "\n", "*", "—", "–"):
        return ""
    return "yes" if word in _YES else "no" if word in _NO else ""


def _values_disagree(one: str, other: str) -> Difference | None:
    """Both texts have a date, time or number that the other one lacks; leaving one out is no contradiction."""
    mine, theirs = values_in(one), values_in(other)
    for kind in ("date", "time", "number"):
        left = [value for value in missing(mine, other, theirs) if value.kind == kind]
        right = [value for value in missing(theirs, one, mine) if value.kind == kind]
        if left and right:
            return Difference(kind, f"{quoted(left[0].text, 30)} ≠ {quoted(right[0].text, 30)}", certain=True)
    return None


def _polarity(one: str, other: str) -> Difference | None:
    """The same words, and exactly one of the two is negated (or turned round by an opposite)."""
    a, b = _words(one), _words(other)
    if not a or not b or max(len(a), len(b)) > 60:
        return None
    negations = abs(_negations(a) - _negations(b))
    mine, theirs = _content(a), _content(b)
    turned = [pair for pair in _OPPOSITES if len(pair & set(a) - set(b)) == 1 and len(pair & set(b) - set(a)) == 1]
    for pair in turned:
        mine, theirs = mine - {_stem(word) for word in pair}, theirs - {_stem(word) for word in pair}
    if (negations + len(turned)) % 2 == 0 or not (mine | theirs or turned):
        return None
    shared = len(mine & theirs) / len(mine | theirs) if mine | theirs else 1.0
    if shared < SAME_WORDS or (not turned and len(mine & theirs) < 2 and mine != theirs):
        return None
    word = next((w for w in (*a, *b) if _is_not(w) and (w in a) != (w in b)), "")
    said = " and ".join(sorted(turned[0])) if turned else word or "not"
    return Difference("negation", f"the same words, turned round by {quoted(said, 30)}", certain=True)


def _words(text: str) -> list[str]:
    return [_ELISION.sub("", word.casefold().replace("’", "'")) for word in _WORD.findall(text)]


def _is_not(word: str) -> bool:
    return word in _NOT or word.endswith("n't")


def _negations(words: list[str]) -> int:
    return sum(map(_is_not, words))


def _content(words: list[str]) -> set[str]:
    kept = (word for word in words if word not in _FILLERS and not _is_not(word))
    return {_stem(word) for word in kept}


@cache
def _stem(word: str) -> str:
    """The first letters of a word, without accents: enough to see that "opens" is "open"."""
    plain = "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
    return plain[:5] if len(plain) > 6 else plain[:4]


@cache
def _chrf_metric() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _chrf(one: str, other: str) -> float:
    """chrF of two texts, 0 to 100, the same in both directions."""
    one, other = normalise(one)[:2000], normalise(other)[:2000]
    metric = _chrf_metric()
    return (metric.sentence_score(one, [other]).score + metric.sentence_score(other, [one]).score) / 2
