"""Postal addresses: a street with its number, and the postcode and town behind it.

Looked for around numbers of up to five digits, since a street without a number is not an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tunesmith.curate.personal.found import Found
from tunesmith.curate.personal.numbers import announced

_CAPITAL = r"[A-ZÀ-ÖØ-ÞŁŚŻČŠŽ]"
_WORD = rf"{_CAPITAL}[\w'’.\-]*"
_LINK = (
    r"(?:de|den|der|het|ten|ter|van|von|vom|zum|zur|am|an|la|le|les|du|des|da|do|das|dos|del|della|d'|l'|op|in|of|the|"
    r"en|'t|St\.)"
)
_NAME = rf"(?:{_LINK}[ ]){{0,3}}{_WORD}(?:[ ](?:{_WORD}|{_LINK}(?=[ ]))){{0,4}}"

_SUFFIXES = (
    *(
        "straat",
        "str.",
        "laan",
        "weg",
        "plein",
        "gracht",
        "kade",
        "singel",
        "dreef",
        "hof",
        "pad",
        "dijk",
        "steeg",
        "markt",
    ),
    *("park", "baan", "plantsoen", "steenweg", "heuvel", "wal", "erf", "kamp", "veld", "donk", "hoek", "lei", "straße"),
    *("strasse", "platz", "allee", "gasse", "damm", "ufer", "chaussee", "steig", "gatan", "vägen", "gade", "gata"),
    *("veien", "vej", "katu", "kuja", "tie"),
)
_BEHIND = (
    *(
        "Straße",
        "Strasse",
        "Str.",
        "Weg",
        "Platz",
        "Allee",
        "Ring",
        "Straat",
        "Laan",
        "Gracht",
        "Kade",
        "Singel",
        "Plein",
    ),
    *("Dijk", "Markt", "Dreef", "Street", "St", "Road", "Avenue", "utca", "út", "tér", "ulica"),
)
_BEFORE = (
    *("Via", "Viale", "Piazza", "Corso", "Vicolo", "Largo", "Calle", "C/", "Avenida", "Avda", "Avda.", "Av.", "Plaza"),
    *(
        "Paseo",
        "Rua",
        "Praça",
        "Travessa",
        "ul.",
        "Ul.",
        "ulica",
        "al.",
        "os.",
        "Rue",
        "Avenue",
        "Boulevard",
        "Am",
        "Im",
    ),
    *("An der", "Unter den", "Zum", "Op de", "Aan de"),
)
_ENGLISH_WORDS = """
Street St Road Rd Avenue Ave Lane Ln Drive Dr Court Ct Place Pl Square Sq Terrace Close Crescent Way Boulevard Blvd
Gardens Grove Hill Row Mews Walk Parade Highway Parkway
"""
_FRENCH_WORDS = """
rue avenue av. boulevard bd place chemin allée impasse quai route square cours passage faubourg
"""
_ENGLISH, _FRENCH = tuple(_ENGLISH_WORDS.split()), tuple(_FRENCH_WORDS.split())


def _any_of(words: Iterable[str]) -> str:
    return "(?:" + "|".join(re.escape(word) for word in words) + ")"


_BEFORE_NUMBER = re.compile(
    rf"(?:(?:{_CAPITAL}[\w'’.\-]*[ ]|{_LINK}[ ]){{0,3}}(?:{_CAPITAL}[\w'’\-]*?{_any_of(_SUFFIXES)}|"
    rf"{_CAPITAL}[\w'’\-]+[ ]{_any_of(_BEHIND)})|"
    rf"{_any_of(_BEFORE)}[ ]{_NAME}),?[ ](?:n[º°o]\.?[ ]?|nr\.?[ ]?)?$"
)
_AFTER_NUMBER = re.compile(
    rf"(?:[ ]?[A-Za-z](?=[ ])|-[0-9]+)?,?[ ](?:(?:{_WORD}[ ]){{1,4}}{_any_of(_ENGLISH)}(?!\w)\.?|"
    rf"(?:(?:bis|ter|quater)[ ])?(?i:{_any_of(_FRENCH)})[ ]{_NAME})"
)
_WORDS_BEFORE = frozenset((*_BEHIND, *_BEFORE, "An", "Unter", "Op", "Aan", "nr", "nr.", "no.", "n°", "nº"))
_WORDS_AFTER = frozenset((*_ENGLISH, *_FRENCH, *(word.capitalize() for word in _FRENCH)))
_ADDITION = re.compile(
    r"(?:[ ]?[A-Za-z](?![A-Za-z0-9'])|[-/][0-9]{1,4}[a-z]?(?![\w])|[ ](?:bus|bis|hs|[IV]{1,3})(?:[ ][0-9]+)?(?!\w))?"
)
_DUTCH_CODE = r"[1-9][0-9]{3}[ ]?(?!SA|SD|SS)[A-Z]{2}(?![A-Za-z0-9])"
_BRITISH_CODE = r"[A-Z]{1,2}[0-9][0-9A-Z]?[ ][0-9][ABD-HJLNP-UW-Z]{2}(?![A-Za-z0-9])"
_TOWN = rf"{_WORD}(?:[ -](?:{_WORD}|aan|am|an|sur|de|den|der|la|le|upon|bei|op))*"
_REST = re.compile(
    rf"(?:,[ ]?|\s{{1,3}}|,?\n)(?:(?:{_TOWN}(?:,[ ]?|[ ]))?{_BRITISH_CODE}|"
    rf"(?:[A-Z]{{1,2}}-)?(?:{_DUTCH_CODE}|[0-9]{{3}}[ ][0-9]{{2}}|[0-9]{{2}}-[0-9]{{3}}|"
    rf"(?:[0-9]{{4}}(?:-[0-9]{{3}})?|[0-9]{{5}})(?![0-9]))"
    rf"(?:,?[ ]{_TOWN})?)"
)
_DUTCH = re.compile(rf"(?<![\w.\-]){_DUTCH_CODE}")
_BRITISH = re.compile(rf"(?<![\w.\-]){_BRITISH_CODE}")
_CODE_WORDS = re.compile(r"(?i)post ?cod|postal|\bzip|plz|adres|address|anschrift|woon|wohn|live|living|lives|habit")
_NOT_DUTCH = """
MB GB KB TB PB HZ KM CM MM KG MG ML AD BC AM PM EU US UK VN WK EN IN OF OP BY TO ON AT IS IT IF OR ET PX DM KW CC PK NM
"""
_UNITS = frozenset(_NOT_DUTCH.split())
_TOWN_BEHIND = re.compile(rf",?[ ](?={_CAPITAL}[a-zà-ÿ'’\-]{{2,}}){_TOWN}")


def addresses(text: str, parts: list[tuple[int, int]]) -> Iterator[Found]:
    """Streets with numbers, and postcodes that are unmistakable or announced."""
    for start, end in parts:
        length = end - start
        if length > 5 or text[start - 1 : start].isalnum():
            continue
        if length <= 4 and text[start - 1 : start] == " " and _street_before(text, start):
            before = _BEFORE_NUMBER.search(text, max(0, start - 56), start)
            if before and (before.start() == 0 or not text[before.start() - 1].isalnum()):
                yield Found("address", before.start(), _whole(text, end), confidence=0.85)
        if not _WORDS_AFTER.isdisjoint(text[end : end + 48].replace(",", " ").replace(".", " ").split()):
            after = _AFTER_NUMBER.match(text, end, end + 64)
            if after:
                yield Found("address", start, _whole(text, after.end()), confidence=0.85)
        if length == 4:
            yield from _dutch_code(text, start)
        elif length == 1 and text[start - 1 : start] == " " and text[end : end + 2].isupper():
            yield from _british_code(text, start)


def _street_before(text: str, start: int) -> bool:
    """Whether the words before a number may be a street: a quick look before the exact one."""
    words = text[max(0, start - 56) : start].replace(",", " ").split()
    return bool(words) and (words[-1].endswith(_SUFFIXES) or not _WORDS_BEFORE.isdisjoint(words))


def _whole(text: str, end: int) -> int:
    """The end with house letter, postcode and town."""
    addition = _ADDITION.match(text, end)
    end = addition.end() if addition else end
    rest = _REST.match(text, end, end + 64)
    return rest.end() if rest else end


def _dutch_code(text: str, start: int) -> Iterator[Found]:
    match = _DUTCH.match(text, start)
    if match is None:
        return
    town = _TOWN_BEHIND.match(text, match.end())
    unit = match.group()[-2:] in _UNITS
    if announced(text, *match.span(), _CODE_WORDS):
        confidence = 0.8
    else:
        confidence = 0.75 if town and not unit else 0.55 if " " not in match.group() and not unit else 0.4
    yield Found("address", match.start(), town.end() if town else match.end(), confidence=confidence)


def _british_code(text: str, start: int) -> Iterator[Found]:
    """The postcode whose second half begins here."""
    match = _BRITISH.search(text, max(0, start - 5), start + 3)
    if match:
        yield Found("address", *match.span(), confidence=0.6)
