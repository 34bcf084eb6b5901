"""All engines over one text: rules always, and a list of names, a model of names or euredact where they are given."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.core.errors import ConfigError
from tunesmith.curate.personal.addresses import addresses
from tunesmith.curate.personal.found import Found, without_overlaps
from tunesmith.curate.personal.names import NameList, introduced
from tunesmith.curate.personal.numbers import chunks, numbers, runs
from tunesmith.curate.personal.phones import phones
from tunesmith.curate.personal.secrets import secrets
from tunesmith.curate.personal.texts import DOCUMENTS, PLATES, birth_dates, documents, emails, network, plates

Engine = Callable[[str], Iterable[Found]]
LEAST = 0.5
"""Confidence below which nothing is reported, unless the configuration says otherwise."""

_ALIKE = str.maketrans(
    "\u00a0\u2007\u2009\u202f\u2010\u2011\u2012\u2013\u2014\u2212\uff0d\uff0e\uff1a\uff20\uff0b０１２３４５６７８９",
    "    " + "-------" + ".:@+0123456789",
)
"""Signs that only look different, one for one, so that places stay."""
_LOOKS_ALIKE = re.compile(f"[{re.escape(''.join(map(chr, _ALIKE)))}]")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


_WORD = re.compile(r"[^\W\d_]+")
_NO_WORD = str.maketrans(dict.fromkeys(string.punctuation + string.digits, " "))


def rules(text: str) -> Iterator[Found]:
    """Everything that our own rules find."""
    parts = runs(text)
    # one set of words serves all rules that need a word: hundreds of searches for words would cost more
    lowered = text.lower()
    words = frozenset(lowered.translate(_NO_WORD).split() if text.isascii() else _WORD.findall(lowered))
    if "@" in text or ("at" in words and ("[" in text or "(" in text or "{" in text)):
        yield from emails(text)
    yield from introduced(text, words)
    yield from network(text, parts, words)
    if not parts:
        return
    yield from addresses(text, parts)
    digits = sum(end - start for start, end in parts)
    if digits < 4:
        return
    yield from birth_dates(text, words)
    if not PLATES.isdisjoint(words):
        yield from plates(text)
    if not DOCUMENTS.isdisjoint(words):
        yield from documents(text)
    if digits >= 6:
        stretches = list(chunks(text, parts))
        yield from numbers(text, parts, stretches)
        for start, end, count in stretches:
            if count >= 7:
                yield from phones(text, start, end, count)


@dataclass(frozen=True)
class Detector:
    """What looks for personal values, and how sure it must be.

    ``names``: a list of one's own; ``engines``: further ones, such as a model of names.
    """

    names: NameList | None = None
    engines: tuple[Engine, ...] = ()
    least: float = LEAST

    def find(self, text: str) -> list[Found]:
        """Personal values of a text, in order, none overlapping another."""
        return self._found(text, personal=True, secret=False)

    def find_secrets(self, text: str) -> list[Found]:
        """Secrets of a text, in order."""
        return self._found(text, personal=False, secret=True)

    def _found(self, text: str, personal: bool, secret: bool) -> list[Found]:
        seen, places = _readable(text)
        found: list[Found] = []
        if personal:
            found += rules(seen)
            found += self.names.find(seen) if self.names else ()
            for engine in self.engines:
                found += engine(seen)
        if secret:
            found += secrets(seen)
        found = without_overlaps(found, self.least)
        if places is None:
            return found
        return [Found(f.kind, places[f.start], places[f.end], f.engine, f.confidence) for f in found]


def _readable(text: str) -> tuple[str, list[int] | None]:
    r"""The text with its look-alike signs and its ``\uXXXX`` resolved, and where each place was before."""
    seen = text if text.isascii() or not _LOOKS_ALIKE.search(text) else text.translate(_ALIKE)
    if "\\u" not in seen:
        return seen, None
    letters: list[str] = []
    places: list[int] = []
    last = 0
    for match in _ESCAPE.finditer(seen):
        letters.append(seen[last : match.start()])
        places.extend(range(last, match.start()))
        letters.append(chr(int(match.group(1), 16)).translate(_ALIKE))
        places.append(match.start())
        last = match.end()
    letters.append(seen[last:])
    places.extend(range(last, len(seen) + 1))
    return "".join(letters), places


# ---------------------------------------------------------------- euredact, where it is installed

_EUREDACT = {
    "EMAIL": "email",
    "PHONE": "phone",
    "BANK_ACCOUNT": "iban",
    "CREDIT_CARD": "card",
    "DOB": "birth_date",
    "NATIONAL_ID": "national_id",
    "SSN": "national_id",
    "TAX_ID": "national_id",
    "VAT": "vat",
    "IP_ADDRESS": "ip",
    "IPV6_ADDRESS": "ip",
    "MAC_ADDRESS": "mac",
    "LICENSE_PLATE": "plate",
    "ADDRESS": "address",
    "POSTAL_CODE": "address",
    "PASSPORT": "document_id",
    "DRIVERS_LICENSE": "document_id",
    "RESIDENCE_PERMIT": "document_id",
    "HEALTH_INSURANCE": "national_id",
}
"""Its types that are personal values, as our classes."""


def euredact_engine(countries: Sequence[str] = ()) -> Engine:
    """The rules of the package euredact beside ours.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import euredact
    except ImportError as error:
        raise ConfigError(
            "the engine euredact is not installed",
            where="checks.personal.engines",
            rule="euredact is an optional package",
            fix='install it with: pip install "tunesmith[personal]"; or leave engines out',
        ) from error
    instance: Any = euredact.EuRedact()

    def find(text: str) -> Iterator[Found]:
        result = instance.redact(text, countries=list(countries) or None, detect_dates=True, cache=False)
        for one in result.detections:
            kind = _EUREDACT.get(str(one.entity_type.value))
            if kind:
                yield Found(kind, one.start, one.end, engine="euredact", confidence=0.6)

    return find
