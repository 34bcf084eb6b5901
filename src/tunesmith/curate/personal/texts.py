"""Personal values that are recognised by their form: e-mail, network addresses, dates of birth, plates, addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from tunesmith.curate.personal.found import Found

# ---------------------------------------------------------------- e-mail

_LOCAL = re.compile(r"[^\W_](?:[\w.!#$%&'*+/=?^{|}~\-]{0,62}[\w+\-])?\Z|[\w+\-]\Z")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w\-]{0,61}[^\W_])?\.){1,8}(?:[^\W\d_]{2,24}|xn--[a-z0-9\-]{2,40})(?![\w@])")
_SPELT = re.compile(
    r"(?i)[a-z0-9][\w.+\-]{0,63} ?[\[({] ?(?:at|apenstaartje|arobase|ät) ?[\])}] ?[a-z0-9\-]{1,63}"
    r"(?:(?: ?[\[({] ?(?:dot|punt|punkt|point) ?[\])}] ?| (?:dot|punt|punkt|point) |\.)[a-z0-9\-]{2,63}){1,4}"
)
_AT = re.compile(r"(?i)[\[({] ?(?:at|apenstaartje|arobase|ät) ?[\])}]")
RESERVED = ".invalid"
"""The top-level domain that belongs to nobody (RFC 2606): our own pseudonyms end in it."""


def emails(text: str) -> Iterator[Found]:
    """E-mail addresses, also with [at] and [dot]."""
    place = text.find("@")
    while place != -1:
        local = _LOCAL.search(text, max(0, place - 64), place)
        domain = _DOMAIN.match(text, place + 1)
        if local and domain and not domain.group().endswith(RESERVED):
            yield Found("email", local.start(), domain.end(), confidence=0.98)
        place = text.find("@", place + 1)
    if ("[" in text or "(" in text) and _AT.search(text):
        for match in _SPELT.finditer(text):
            yield Found("email", *match.span(), confidence=0.85)


# ---------------------------------------------------------------- network

_V4 = re.compile(r"(?<![\w.\-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w\-])(?!\.[0-9])")
_V6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?:[0-9]{1,3}\.){3}[0-9]{1,3})?(?![\w:])")
_MAC = re.compile(r"(?<![\w:\-])[0-9A-Fa-f]{2}([:\-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:\-])")
_CISCO = re.compile(r"(?<![\w.])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![\w.])")
_VERSION = re.compile(r"(?i)(?:\bv|version|versie|release|build|chapter|section|hoofdstuk|paragraaf|§)[ .:]{0,2}$")


_V4_START = re.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_V6_START = re.compile(r":[0-9A-Fa-f]{0,4}:")
_MAC_START = re.compile(r"[:\-][0-9A-Fa-f]{2}[:\-][0-9A-Fa-f]{2}[:\-][0-9A-Fa-f]{2}[:\-]")


def network(text: str, parts: list[tuple[int, int]], words: frozenset[str]) -> Iterator[Found]:
    """IP addresses that belong to somebody, and MAC addresses. ``words``: the text's, in lower case."""
    if len(parts) >= 4 and _V4_START.search(text):
        for match in _V4.finditer(text):
            yield from _address(text, match)
    if ":" in text and _V6_START.search(text):
        for match in _V6.finditer(text):
            if match.group().replace(":", "") and len(re.findall(r"[0-9A-Fa-f]+", match.group())) >= 3:
                yield from _address(text, match)
    if (":" in text or "-" in text) and _MAC_START.search(text):
        for match in _MAC.finditer(text):
            if len(set(match.group())) > 3:
                yield Found("mac", *match.span(), confidence=0.9)
    if "mac" in words:
        for match in _CISCO.finditer(text):
            yield Found("mac", *match.span(), confidence=0.9)


def _address(text: str, match: re.Match[str]) -> Iterator[Found]:
    try:
        address = ipaddress.ip_address(match.group())
    except ValueError:
        return
    # addresses of private networks, of examples and of the machine itself lead to nobody
    shared = address.is_loopback or address.is_unspecified or address.is_multicast
    shared = shared or (address.version == 4 and address.is_reserved)
    if not shared:
        private = address.is_private or address.is_link_local
        version = _VERSION.search(text, max(0, match.start() - 16), match.start())
        yield Found("ip", *match.span(), confidence=0.4 if version or private else 0.9)


# ---------------------------------------------------------------- dates of birth

_BIRTH_WORDS = """
born birth birthday birthdate birthdays dob geboren geb geboorte geboortedatum geboortedag geburt geburtsdatum
geburtstag jarig verjaardag née né nee naissance nato nata nascita nacido nacida nacimiento nascido nascida nascimento
urodzony urodzona urodzenia född födelsedatum født fødselsdato syntynyt syntymäaika
"""
BIRTH = frozenset(_BIRTH_WORDS.split())
_BIRTH = re.compile(
    r"(?i)(?<![^\W_])(?:born|birth|d\.?o\.?b|gebor|geb\b|geboorte|geburt|jarig|verjaar|née?\b|naissance|"
    r"nat[oa]\b|nascit|nacid|"
    r"nacim|nascid|nascim|urodz|föd|fød|synty)"
)
_MONTHS = (
    "jan|feb|fév|fev|mar|mrt|mär|maa|apr|avr|abr|may|mai|mei|maj|mag|jun|juin|giu|jul|juil|lug|aug|aoû|aou|ago|sep|set|"
    "oct|okt|ott|out|nov|dec|dez|déc|dic"
)
_YEAR = r"(?:19[0-9]{2}|20[0-2][0-9])"
_DATE = re.compile(
    rf"(?i)(?<![0-9])(?:[0-3]?[0-9][./\- ]{{1,2}}[0-3]?[0-9][./\- ]{{1,2}}(?:{_YEAR}|[0-9]{{2}})(?![0-9])|"
    rf"{_YEAR}[./\-][01]?[0-9][./\-][0-3]?[0-9](?![0-9])|"
    rf"[0-3]?[0-9](?:st|nd|rd|th|er|\.)? ?(?:of |de )?(?:{_MONTHS})[a-zéûä]*\.?,? (?:de )?{_YEAR}(?![0-9])|"
    rf"(?:{_MONTHS})[a-zéûä]*\.? [0-3]?[0-9](?:st|nd|rd|th)?,? {_YEAR}(?![0-9]))"
)
_STAR = re.compile(rf"\* ?(?P<date>[0-3]?[0-9]\.[01]?[0-9]\.{_YEAR})")


def birth_dates(text: str, words: frozenset[str]) -> Iterator[Found]:
    """Whole dates near a word for birth; ``words``: the text's, in lower case. The year alone is no date of birth."""
    if not BIRTH.isdisjoint(words) or {"d", "o", "b"} <= words:
        for hint in _BIRTH.finditer(text):
            match = _DATE.search(text, hint.end(), hint.end() + 56)
            if match:
                yield Found("birth_date", *match.span(), confidence=0.9)
    if "*" in text:
        for match in _STAR.finditer(text):
            yield Found("birth_date", *match.span("date"), confidence=0.7)


# ---------------------------------------------------------------- plates

_PLATES_WORDS = """
kenteken kentekenplaat kentekens nummerplaat plate plates registration kennzeichen immatriculation immatriculé
immatriculée plaque nummernschild targa matrícula matricula
"""
PLATES = frozenset(_PLATES_WORDS.split())
_DOCUMENTS_WORDS = """
passport paspoort paspoortnummer reisepass reisepassnummer passeport rijbewijs rijbewijsnummer driver drivers driving
führerschein führerscheinnummer permis identiteitskaart identiteitsbewijs personalausweis personalausweisnummer
identité id
"""
DOCUMENTS = frozenset(_DOCUMENTS_WORDS.split())
"""Words of which one must stand in a text with the number of such a plate or document."""
_PLATE_HINTS = re.compile(
    r"(?i)kenteken|nummerplaat|licen[cs]e plate|number plate|registration (?:plate|number|mark)|kennzeichen|"
    r"immatricul|plaque|nummernschild|targa|matr[ií]cula|\bplate\b"
)
_PLATE = re.compile(
    r"(?<![\w\-])(?:(?:[A-Z]{2}-[0-9]{2}-[0-9]{2}|[0-9]{2}-[0-9]{2}-[A-Z]{2}|[0-9]{2}-[A-Z]{2}-[0-9]{2}|"
    r"[A-Z]{2}-[0-9]{2}-[A-Z]{2}|[A-Z]{2}-[A-Z]{2}-[0-9]{2}|[0-9]{2}-[A-Z]{2}-[A-Z]{2}|[0-9]{2}-[A-Z]{3}-[0-9]|"
    r"[0-9]-[A-Z]{3}-[0-9]{2}|[A-Z]{2}-[0-9]{3}-[A-Z]{1,2}|[A-Z]-[0-9]{3}-[A-Z]{2}|[A-Z]{3}-[0-9]{2}-[A-Z]|"
    r"[A-Z]-[0-9]{2}-[A-Z]{3}|[0-9]-[A-Z]{2}-[0-9]{3})|"
    r"[1-9]-[A-Z]{3}-[0-9]{3}|[A-ZÄÖÜ]{1,3}[- ][A-Z]{1,2} ?[1-9][0-9]{0,3}[EH]?|[A-Z]{2}[0-9]{2} ?[A-Z]{3}|"
    r"[A-Z]{2} ?[0-9]{3} ?[A-Z]{2})(?![\w\-])"
)


def plates(text: str) -> Iterator[Found]:
    """Licence plates of NL, BE, DE, FR, UK and IT where a word announces them; alone they look like article numbers."""
    for hint in _PLATE_HINTS.finditer(text):
        match = _PLATE.search(text, hint.end(), hint.end() + 40)
        if match:
            yield Found("plate", *match.span(), confidence=0.9)


# ---------------------------------------------------------------- documents

_DOCUMENT_HINTS = re.compile(
    r"(?i)(?:passport|paspoort|reisepass|passeport|rijbewijs|"
    r"driv(?:er'?s?|ing) licen[cs]e|führerschein|permis de conduire|"
    r"identiteitskaart|personalausweis|carte d'identité|id[- ]kaart|id[- ]card)"
)
_DOCUMENT = re.compile(r"(?<![\w\-])(?=[A-Z0-9\-]{6,16}(?![\w\-]))[A-Z]{0,3}[0-9][A-Z0-9\-]*[0-9A-Z](?![\w\-])")


def documents(text: str) -> Iterator[Found]:
    """Numbers of passports, identity cards and driving licences, right behind the word."""
    for hint in _DOCUMENT_HINTS.finditer(text):
        match = _DOCUMENT.search(text, hint.end(), hint.end() + 36)
        if match and sum(letter.isdigit() for letter in match.group()) >= 4:
            yield Found("document_id", *match.span(), confidence=0.85)
