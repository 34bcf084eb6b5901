"""Two answers to one question: the same thing said twice, or a contradiction.

JSON and labels are brought into one form and compared exactly. For running text only evidence counts as *certain*: a
number, date or time that the two do not share, yes against no, a negated sentence against the same sentence. Texts that
merely look different (chrF below 40) may both be right, and are reported as such.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from typing import Any

from tunesmith.curate.checks.values import Value, listed, missing, number_readings, quoted, values_in, word_set
from tunesmith.curate.keys import normalise

ALIKE = 40.0
"""chrF below which two texts count as different. Source: requirement of the data checks; configurable."""

SAME_WORDS = 0.4
"""Share of content words that two texts have in common when one negates the other."""

_NEAR = 30
"""Characters before and after a number that say what it is about."""
_CURRENCIES = {"€": "euro", "$": "dollar", "£": "pound"}

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
    "un une ce ça cela des est sont et ou à de du en pour avec il elle vous nous ne n"
)


@dataclass(frozen=True)
class Difference:
    """How two answers differ. ``certain``: they cannot both be right; else only that they read differently."""

    kind: str
    text: str
    certain: bool


@lru_cache(maxsize=256)
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


def difference(one: str, other: str, *, labels: bool = False) -> Difference | None:
    """How two answers to one question contradict each other; None when they do not.

    Args:
        one: an answer.
        other: another answer.
        labels: the answers are labels, so that any other word is another answer.
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
    return _starts_differ(one, other) or _values_disagree(one, other) or _polarity(one, other)


def wording(one: str, other: str, alike: float = ALIKE) -> Difference | None:
    """Whether two texts that do not contradict each other have so little in common that they may mean other things.

    Args:
        one: an answer.
        other: another answer.
        alike: chrF (0 to 100) from which two texts count as the same.
    """
    words, others = set(_words(one)), set(_words(other))
    if max(len(words), len(others)) <= 3 and (words <= others or others <= words):
        return None
    score = _chrf(one, other)
    return (
        Difference("wording", f"the texts have little in common (chrF {score:.0f})", False) if score < alike else None
    )


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


def _starts_differ(one: str, other: str) -> Difference | None:
    first, second = _starts(one), _starts(other)
    if first and second and first != second:
        return Difference("yes or no", f"one says {first}, the other says {second}", certain=True)
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
    """Both texts have a date, time or number about the same thing that the other one lacks; leaving one out is fine."""
    mine, theirs = _values(one), _values(other)
    if not mine or not theirs:
        return None
    for kind in ("date", "time", "number"):
        left = [value for value in missing(mine, other, theirs) if value.kind == kind]
        right = [value for value in missing(theirs, one, mine) if value.kind == kind]
        for a, b in product(left, right):
            around, there = _around(one, a), _around(other, b)
            if around & there or not around or not there:
                return Difference(kind, f"{quoted(a.text, 30)} ≠ {quoted(b.text, 30)}", certain=True)
    return None


def _around(text: str, value: Value) -> set[str]:
    """What a value is about: the words and the currency near it."""
    end = value.start + len(value.text)
    before, after = text[max(0, value.start - _NEAR) : value.start], text[end : end + _NEAR]
    # half words at the ends say nothing
    before = before.partition(" ")[2] if value.start > _NEAR else before
    after = after.rpartition(" ")[0] if end + _NEAR < len(text) else after
    signs = {_CURRENCIES[sign] for sign in (before + after) if sign in _CURRENCIES}
    return _content(_words(f"{before} {after}")) | {_stem(word) for word in signs}


def _polarity(one: str, other: str) -> Difference | None:
    """One text negates what the other one says, or says the opposite, in nearly the same words."""
    a, b = _words(one), _words(other)
    if not a or not b:
        return None
    mine, theirs = _content(a), _content(b)
    turned = [pair for pair in _OPPOSITES if len(pair & set(a) - set(b)) == 1 and len(pair & set(b) - set(a)) == 1]
    for pair in turned:
        mine, theirs = mine - {_stem(word) for word in pair}, theirs - {_stem(word) for word in pair}
    negated = any(map(_is_not, a)) - any(map(_is_not, b))
    if bool(negated) == bool(len(turned) % 2):
        return None
    shared = len(mine & theirs) / len(mine | theirs) if mine | theirs else 1.0
    if shared < SAME_WORDS:
        return None
    if negated:
        words, said = (a, theirs) if negated > 0 else (b, mine)
        about = _negated(words)
        if not about or not about <= said | {_stem(word) for pair in turned for word in pair}:
            return None
    word = " and ".join(sorted(turned[0])) if turned else next(word for word in (*a, *b) if _is_not(word))
    return Difference("negation", f"the same words, turned round by {quoted(word, 30)}", certain=True)


def _negated(words: Sequence[str]) -> set[str]:
    """The content words beside the negations of a text."""
    places = [i for i, word in enumerate(words) if _is_not(word)]
    return _content([word for i in places for word in words[max(0, i - 2) : i + 4]])


@lru_cache(maxsize=256)
def _values(text: str) -> Sequence[Value]:
    return tuple(values_in(text))


@lru_cache(maxsize=256)
def _words(text: str) -> Sequence[str]:
    return [_ELISION.sub("", word.casefold().replace("’", "'")) for word in _WORD.findall(text)]


def _is_not(word: str) -> bool:
    return word in _NOT or word.endswith("n't")


def _content(words: Sequence[str]) -> set[str]:
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
