"""Numbers, dates and times in running text, as English, Dutch, German, French and their neighbours write them.

``1.234`` is one thousand and something in Berlin and one and a bit in London; ``3/4/2026`` is in March or in April. A
value therefore has *readings*, and two values agree when any of their readings do: nothing is called different that may
be the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

Kind = Literal["number", "date", "time"]
Reading = tuple[object, ...]

_MONTH_NAMES = (
    "january jan januari janvier januar enero gennaio",
    "february feb februari février fevrier februar febrero febbraio",
    "march mar maart mars märz maerz mrt marzo",
    "april apr avril abril aprile",
    "may mei mai mayo maggio",
    "june jun juni juin junio giugno",
    "july jul juli juillet julio luglio",
    "august aug augustus août aout agosto",
    "september sep sept septembre septiembre settembre",
    "october oct oktober okt octobre octubre ottobre",
    "november nov novembre noviembre",
    "december dec dezember dez décembre decembre diciembre dicembre",
)
_MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, 1) for name in names.split()}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))

# Words that mean something else in a neighbouring language (onze, neuf, seize, cent, one, een, ein, un) are left out.
_WORDS = {
    2: "two twee zwei deux",
    3: "three drie drei trois",
    4: "four vier quatre",
    5: "five vijf fünf cinq",
    6: "six zes sechs",
    7: "seven zeven sieben",
    8: "eight acht huit",
    9: "nine negen neun",
    10: "ten tien zehn dix",
    11: "eleven elf",
    12: "twelve twaalf zwölf douze",
    13: "thirteen dertien dreizehn treize",
    14: "fourteen veertien vierzehn quatorze",
    15: "fifteen vijftien fünfzehn quinze",
    16: "sixteen zestien sechzehn",
    17: "seventeen zeventien siebzehn",
    18: "eighteen achttien achtzehn",
    19: "nineteen negentien neunzehn",
    20: "twenty twintig zwanzig vingt",
    30: "thirty dertig dreißig trente",
    40: "forty veertig vierzig quarante",
    50: "fifty vijftig fünfzig cinquante",
    60: "sixty zestig sechzig soixante",
    70: "seventy zeventig siebzig",
    80: "eighty tachtig achtzig",
    90: "ninety negentig neunzig",
    100: "hundred honderd hundert",
    1000: "thousand duizend tausend",
}
_NUMBER_WORDS = {word: str(number) for number, words in _WORDS.items() for word in words.split()}
_NUMBER_WORD_SET, _MONTH_SET = frozenset(_NUMBER_WORDS), frozenset(_MONTHS)

_ISO = r"(?P<iy>\d{4})-(?P<im>\d{1,2})-(?P<id>\d{1,2})"
_NUMERIC = r"(?P<na>\d{1,2})(?P<ns>[-/.])(?P<nb>\d{1,2})(?P=ns)(?P<ny>\d{4}|\d{2})"
_DAY_FIRST = (
    rf"(?P<da>\d{{1,2}})(?:st|nd|rd|th|er|e|\.)?(?: of| de)? (?P<dm>{_MONTH})\b\.?(?:,? (?:de )?(?P<dy>\d{{4}})\b)?"
)
_MONTH_FIRST = rf"\b(?P<mm>{_MONTH})\b\.? (?P<ma>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (?P<my>\d{{4}})\b)?"
_MONTH_YEAR = rf"\b(?P<ym>{_MONTH})\b\.?,? (?P<yy>\d{{4}})\b"
_START, _END = r"(?<![\w.,/-])", r"(?![\w/]|[-.]\d)"
_DATE = re.compile(rf"{_START}(?:{_ISO}|{_NUMERIC}|{_DAY_FIRST}|{_MONTH_FIRST}|{_MONTH_YEAR}){_END}", re.IGNORECASE)
_DIGIT_DATE = re.compile(rf"{_START}(?:{_ISO}|{_NUMERIC}){_END}")
_HALF = r"(?P<half>[ap]\.?m\b\.?)"
_TIME = re.compile(
    rf"(?<![\w:.,])(?:(?P<h>\d{{1,2}})[:h](?P<m>\d{{2}})(?::\d{{2}})?(?: ?{_HALF})?(?: ?(?:uur|uhr|heures))?"
    r"|(?P<h2>\d{1,2})(?:\.(?P<m2>\d{2}))? ?(?:(?P<half2>[ap]\.?m\b\.?)|uur\b|uhr\b|o'clock\b))(?![\w:])",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d(?<!\w\d)(?:\d{0,2}(?:[   ]\d{3})+(?![\d])(?:[.,]\d+)?|\d*(?:[.,'’]\d+)*)")
_SIGN = re.compile(r"(?<![\w.,)\]-])[-−]")
_DIGITS = re.compile(r"\d+(?:[.,'’   ]\d+)*")
_DIGIT = re.compile(r"\d+")
# quick looks before the exact ones
_DATE_LIKE = re.compile(r"\d[-/.]\d")
_TIME_LIKE = re.compile(r"\d(?:[:h]\d| ?[ap]\.?m| ?u[uh]r| ?o'c)", re.IGNORECASE)
_ASCII_LETTERS = str.maketrans({chr(code): " " for code in range(128) if not chr(code).isalpha()})
_LIST_MARK = re.compile(r"^[ \t]*(?:\d{1,2}[.)]|#{1,6})(?=\s)", re.MULTILINE)
_HAS_DIGIT = re.compile(r"\d")
_LETTERS = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Value:
    """A number, date or time: how it is written, where, and what it may mean."""

    kind: Kind
    text: str
    start: int
    readings: frozenset[Reading]

    def agrees(self, other: Value) -> bool:
        """Whether both may mean the same. What one of them leaves open (the year of a date) agrees with anything."""
        if self.kind != other.kind:
            return False
        if self.kind != "date":
            return bool(self.readings & other.readings)
        return any(
            all(x is None or y is None or x == y for x, y in zip(a, b, strict=True))
            for a in self.readings
            for b in other.readings
        )


def word_set(words: str) -> frozenset[str]:
    """The words of a list that is written as text."""
    return frozenset(words.split())


def values_in(text: str) -> list[Value]:
    """Numbers, dates and times of a text, in order. The marks of numbered lists are none."""
    found: list[Value] = []
    words = _words_of(text)  # the patterns with words are slow, and mostly not needed
    number_words = words & _NUMBER_WORD_SET
    if _HAS_DIGIT.search(text):
        text = _LIST_MARK.sub(lambda mark: " " * len(mark[0]), text)
        if not words.isdisjoint(_MONTH_SET):
            text = _take(text, _DATE, _date, found)
        elif _DATE_LIKE.search(text):
            text = _take(text, _DIGIT_DATE, _date, found)
        if _TIME_LIKE.search(text):
            text = _take(text, _TIME, _time, found)
        numbers = [_number(text, match) for match in _NUMBER.finditer(text)]
        found += numbers
        if number_words:  # a number is no part of a word any more
            for value in numbers:
                end = value.start + len(value.text)
                text = f"{text[: value.start]}{' ' * len(value.text)}{text[end:]}"
    if number_words:
        for match in _word_numbers(frozenset(number_words)).finditer(text):
            found.append(Value("number", match[0], match.start(), _word_reading(match[0].casefold())))
    return sorted(found, key=lambda value: value.start)


def _words_of(text: str) -> set[str]:
    """The words of a text, in lower case."""
    if text.isascii():
        return set(text.lower().translate(_ASCII_LETTERS).split())
    return set(_LETTERS.findall(text.casefold()))


@lru_cache(maxsize=1 << 10)
def _word_numbers(words: frozenset[str]) -> re.Pattern[str]:
    """A pattern of these words alone: one of all number words takes ten times as long."""
    return re.compile(r"(?<![\w-])(?:" + "|".join(sorted(words)) + r")(?![\w-])", re.IGNORECASE)


@cache
def _word_reading(word: str) -> frozenset[Reading]:
    return frozenset({("n", _NUMBER_WORDS[word])})


@lru_cache(maxsize=1 << 16)
def number_readings(text: str) -> frozenset[Reading]:
    """What a written number may mean: ``"1.234"`` → 1234 and 1.234."""
    separators = re.findall(r"[^\d]", text)
    kinds = set(separators)
    groups = re.split(r"[^\d]", text)
    thousands = 1 <= len(groups[0]) <= 3 and groups[0] != "0" and all(len(group) == 3 for group in groups[1:])
    if not kinds:
        return frozenset({_plain(text)})
    if len(kinds) == 1 and len(separators) == 1:
        decimal = set() if kinds & set("'’   ") else {_plain(groups[0], groups[1])}
        return frozenset(({_plain("".join(groups))} if thousands else set()) | decimal)
    if len(kinds) == 1:
        return frozenset({_plain("".join(groups)) if thousands else ("text", text)})
    is_decimal = separators.count(separators[-1]) == 1 and all(len(group) == 3 for group in groups[1:-1])
    return frozenset({_plain("".join(groups[:-1]), groups[-1]) if is_decimal else ("text", text)})


def missing(these: Sequence[Value], text: str, there: Sequence[Value] | None = None) -> list[Value]:
    """The values that a text does not have, in whatever form; ``there`` are its values, if known."""
    there = values_in(text) if there is None else there
    numbers = _atoms(text)
    return [
        value
        for value in these
        if not any(value.agrees(other) for other in there)
        and not (value.readings & numbers)
        and not _apart(value, numbers)
    ]


def _atoms(text: str) -> frozenset[Reading]:
    """Everything that any run of digits in the text may mean, inside dates, times and codes too."""
    runs = set(_DIGITS.findall(text))
    whole = [number_readings(run) for run in runs]
    parts = [_plain(part) for part in set(_DIGIT.findall(text))]
    words = [("n", _NUMBER_WORDS[word]) for word in _words_of(text) & _NUMBER_WORD_SET]
    return frozenset().union(*whole, parts, words)


def _apart(value: Value, numbers: frozenset[Reading]) -> bool:
    """Whether a date stands in the text in pieces: every number of one of its readings is there."""
    if value.kind != "date":
        return False
    return any(
        len([part for part in reading if part is not None]) > 1
        and all(part is None or ("n", str(part)) in numbers for part in reading)
        for reading in value.readings
    )


def _take(text: str, pattern: re.Pattern[str], read: object, found: list[Value]) -> str:
    """The text with the matches that are values blanked, and the values added to ``found``."""

    def take(match: re.Match[str]) -> str:
        value = read(match)  # type: ignore[operator]
        if value is None:
            return match[0]
        found.append(value)
        return " " * len(match[0])

    return pattern.sub(take, text)


def _date(match: re.Match[str]) -> Value | None:
    part: dict[str, str | None] = defaultdict(lambda: None, match.groupdict())
    if part["iy"]:
        readings = {(int(part["iy"]), int(part["im"]), int(part["id"]))}
    elif part["na"]:
        year = int(part["ny"]) + (0 if len(part["ny"]) == 4 else 2000 if int(part["ny"]) < 70 else 1900)
        a, b = int(part["na"]), int(part["nb"])
        readings = {(year, b, a), (year, a, b)}
    else:
        month = _MONTHS[(part["dm"] or part["mm"] or part["ym"]).casefold()]
        year_text, day = part["dy"] or part["my"] or part["yy"], part["da"] or part["ma"]
        readings = {(int(year_text) if year_text else None, month, int(day) if day else None)}  # type: ignore[arg-type]
    kept = {r for r in readings if 1 <= r[1] <= 12 and (r[2] is None or 1 <= r[2] <= 31)}
    return Value("date", match[0], match.start(), frozenset(kept)) if kept else None


def _time(match: re.Match[str]) -> Value | None:
    hour, minute = int(match["h"] or match["h2"]), int(match["m"] or match["m2"] or 0)
    half = (match["half"] or match["half2"] or "").lower()
    if hour > 24 or minute > 59:
        return None
    if half:
        hours = {hour % 12 + (12 if half.startswith("p") else 0)}
    else:
        hours = {hour, hour + 12} if hour < 12 else {hour, hour - 12} if hour == 12 else {hour}
    return Value("time", match[0], match.start(), frozenset(("t", h, minute) for h in hours))


def _number(text: str, match: re.Match[str]) -> Value:
    readings, start = number_readings(match[0]), match.start()
    if start and _SIGN.match(text, start - 1):
        readings, start = frozenset((kind, f"-{number}") for kind, number in readings), start - 1
    return Value("number", text[start : match.end()], start, readings)


@cache
def _plain(whole: str, part: str = "") -> Reading:
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return ("n", f"{whole}.{part}" if part else whole)


_SECRET_LIKE = re.compile(r"[^\s@]+@[^\s@]+|(?:\+?\d[\d\s().\-/]{5,}\d)|\b(?=\w*\d)(?=\w*[A-Za-z])\w{10,}\b")


def quoted(text: str, limit: int = 60) -> str:
    """A piece of text as evidence quotes it: one line, cut, and without what looks like an address, number or key."""
    text = " ".join(_SECRET_LIKE.sub(_mask, text).split())
    return f"“{text}”" if len(text) <= limit else f"“{text[:limit].rstrip()}…”"


def _mask(match: re.Match[str]) -> str:
    return match[0] if _DATE.fullmatch(match[0].strip()) else "[…]"


def listed(items: Iterable[str], limit: int = 3) -> str:
    """A few of the items, and how many more there are."""
    all_items = list(items)
    more = f" and {len(all_items) - limit} more" if len(all_items) > limit else ""
    return ", ".join(all_items[:limit]) + more
