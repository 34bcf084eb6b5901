"""Numbers that belong to a person: national ids, IBANs, cards, VAT numbers, phones.

One pass finds the runs of digits; everything else looks only at what stands around them, so text without long numbers
costs next to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tunesmith.curate.personal import checksums as check
from tunesmith.curate.personal.found import Found

RUN = re.compile(r"[0-9]+")
_JOINTS = re.compile(r"[ .\-/()+]{1,3}")
_OPEN = r"(?<![A-Za-z0-9_])(?<![0-9][.,/\-])"
_SHUT = r"(?![A-Za-z0-9_])(?![.,/\-][0-9])"
_SEPARATORS = str.maketrans("", "", " .-/()+")
_BEFORE, _AFTER = 48, 14

NOT_A_PERSON = re.compile(
    r"(?i)(?:order|bestel|factuur|invoice|rechnung|facture|artikel|article|product|item|ticket|serial|serie|isbn|issn|"
    r"\bean|gtin|barcode|tracking|zending|dossier|zaak|case|kvk|commit|version|versie|\bsku)\W{0,3}"
    r"(?:(?:nummer|number|num|nr|no|code|id)\b\W{0,3}){0,2}(?:(?:is|was|:|#)\W{0,2})?$"
)
"""Words that say that the number right behind them names a thing."""


@dataclass(frozen=True)
class Number:
    """A kind of national number: its form, its check, the words that announce it, and its confidence without them."""

    kind: str
    digits: int
    form: re.Pattern[str]
    valid: Callable[[str], bool]
    words: re.Pattern[str]
    alone: float


def _number(kind: str, digits: int, form: str, valid: Callable[[str], bool], words: str, alone: float) -> Number:
    return Number(kind, digits, re.compile(f"{_OPEN}(?:{form}){_SHUT}"), valid, re.compile(f"(?i){words}"), alone)


_INSURANCE = r"soci|sécu|secu|insurance|versicherung|verzeker|\bss[ni]|ahv|avs"
NUMBERS = (
    _number(
        "bsn",
        9,
        r"[0-9]{9}|[0-9]{3}[ .-][0-9]{3}[ .-][0-9]{3}|[0-9]{4}[ .-][0-9]{2}[ .-][0-9]{3}",
        check.bsn,
        r"bsn|burgerservice|sofi|citizen service",
        0.6,
    ),
    _number(
        "rijksregister",
        11,
        r"[0-9]{2}\.?[0-9]{2}\.?[0-9]{2}[- ]?[0-9]{3}[. -]?[0-9]{2}",
        check.rijksregister,
        r"rijksregister|\bins[sz]\b|registre national|\bniss\b|\brrn?\b|national (?:register )?number|numéro national",
        0.9,
    ),
    _number(
        "steuer_id",
        11,
        r"[0-9]{11}|[0-9]{2} [0-9]{3} [0-9]{3} [0-9]{3}",
        check.steuer_id,
        r"steuer|\bidnr|\btin\b|\btax",
        0.7,
    ),
    _number(
        "nir",
        15,
        r"[1-478] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        check.nir,
        rf"{_INSURANCE}|\bnir\b",
        0.95,
    ),
    _number("pesel", 11, r"[0-9]{11}", check.pesel, r"pesel", 0.85),
    _number("nif", 9, r"[0-9]{9}|[0-9]{3} [0-9]{3} [0-9]{3}", check.nif, r"\bnif\b|contribuinte|fiscal", 0.0),
    _number(
        "personnummer",
        10,
        r"(?:18|19|20)?[0-9]{6}[-+ ]?[0-9]{4}",
        check.personnummer,
        r"person(?:nummer|nr)|samordning|personal (?:identity|number)",
        0.75,
    ),
    _number(
        "fodselsnummer", 11, r"[0-9]{6} ?[0-9]{5}", check.fodselsnummer, r"f[øo]dsels|\bd-nummer|personnummer|fnr", 0.9
    ),
    _number("cpr", 10, r"[0-9]{6}-[0-9]{4}", check.cpr, r"\bcpr|person(?:nummer|nr)", 0.6),
    _number("cpr", 10, r"[0-9]{6} ?[0-9]{4}", check.cpr, r"\bcpr", 0.0),
    _number("nhs", 10, r"[0-9]{3}[ -][0-9]{3}[ -][0-9]{4}", check.nhs, r"\bnhs|health|patient", 0.55),
    _number("nhs", 10, r"[0-9]{10}", check.nhs, r"\bnhs", 0.0),
    _number("ahv", 13, r"756\.?[0-9]{4}\.?[0-9]{4}\.?[0-9]{2}", check.ahv, _INSURANCE, 0.9),
    _number("svnr", 10, r"[0-9]{4}[ -]?[0-9]{6}", check.svnr, rf"{_INSURANCE}|\bsv", 0.0),
    _number("hetu", 10, r"[0-9]{6}[-+][0-9]{4}", check.hetu, r"hetu|henkil|personbeteckning", 0.62),
    _number("rodne_cislo", 10, r"[0-9]{6}/[0-9]{4}", check.rodne_cislo, r"rodn|birth", 0.9),
    _number("rodne_cislo", 10, r"[0-9]{10}", check.rodne_cislo, r"rodn[éeáa]", 0.0),
    _number("cnp", 13, r"[1-9][0-9]{12}", check.cnp, r"\bcnp|numeric personal", 0.8),
    _number("egn", 10, r"[0-9]{10}", check.egn, r"\begn|\bегн", 0.0),
    _number("oib", 11, r"[0-9]{11}", check.mod11_10, r"\boib", 0.0),
    _number("baltic", 11, r"[1-8][0-9]{10}", check.baltic, r"isikukood|asmens|personal code", 0.85),
    _number("amka", 11, r"[0-9]{11}", check.amka, r"amka|αμκα", 0.7),
    _number("kennitala", 10, r"[0-9]{6}-[0-9]{4}", check.kennitala, r"kennital|\bkt\b", 0.85),
    _number("kennitala", 10, r"[0-9]{10}", check.kennitala, r"kennital", 0.0),
    _number("ssn", 9, r"[0-9]{3}-[0-9]{2}-[0-9]{4}", check.ssn, r"\bssn|social security", 0.8),
    _number("ssn", 9, r"[0-9]{3} ?[0-9]{2} ?[0-9]{4}", check.ssn, r"\bssn|social security", 0.0),
)
"""Kinds made of digits only. ``alone`` 0: reported only where a word announces it."""

LETTERED = (
    _number(
        "nir",
        6,
        r"[1-478] ?[0-9]{2} ?[0-9]{2} ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        check.nir,
        rf"{_INSURANCE}|\bnir\b",
        0.95,
    ),
    _number("dni", 7, r"(?i:[XYZ][ -]?[0-9]{7}|[0-9]{8})[ -]?[A-Za-z]", check.dni, r"\bdni|\bnie\b|\bnif\b", 0.9),
    _number(
        "hetu",
        6,
        r"[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]",
        check.hetu,
        r"hetu|henkil|personbeteckning",
        0.95,
    ),
    _number(
        "nino",
        6,
        r"(?i:[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]) ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-Da-d]",
        check.nino,
        r"national insurance|\bnin",
        0.85,
    ),
    _number("pps", 7, r"[0-9]{7}[A-Wa-w](?:[A-IWa-iw])?", check.pps, r"\bpps", 0.7),
)
"""Kinds with letters beside their digits."""

_FISCALE = re.compile(
    r"(?i)(?<![a-z0-9])[a-z]{6}[0-9lmnp-v]{2}[abcdehlmprst][0-9lmnp-v]{2}[a-z][0-9lmnp-v]{3}[a-z](?![a-z0-9])"
)
_CARD = re.compile(
    rf"{_OPEN}(?:[0-9]{{12,19}}|[0-9]{{4}}(?:[ -][0-9]{{4}}){{2,3}}(?:[ -][0-9]{{1,3}})?|"
    rf"[0-9]{{4}}[ -][0-9]{{6}}[ -][0-9]{{4,5}}){_SHUT}"
)
_CARD_WORDS = re.compile(r"(?i)card|kaart|karte|carte|\bcc\b|visa|master|maestro|amex|credit|kredit")
_VAT_WORDS = re.compile(r"(?i)btw|vat|tva|ust|mwst|umsatz|\biva\b|moms|ondernemings|entreprise|fiscal|nip")


def runs(text: str) -> list[tuple[int, int]]:
    """Where the runs of digits stand."""
    return [match.span() for match in RUN.finditer(text)]


def chunks(text: str, parts: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """(start, end, digits) of runs that stand together, with at most three separators between them."""
    start, end = parts[0]
    digits = end - start
    for left, right in parts[1:]:
        if left - end <= 3 and _JOINTS.fullmatch(text, end, left):
            digits += right - left
        else:
            yield start, end, digits
            start, digits = left, right - left
        end = right
    yield start, end, digits


def numbers(text: str, parts: list[tuple[int, int]], stretches: list[tuple[int, int, int]]) -> Iterator[Found]:
    """Everything that is found by its digits: ``parts`` are the runs of them, ``stretches`` their chunks."""
    for start, end in parts:
        if text[start - 1 : start].isalpha():
            yield from _after_letters(text, start, end)
        elif (
            text[start - 3 : start - 1] in check.VAT
            and text[start - 1] == " "
            and not text[start - 4 : start - 3].isalnum()
        ):
            yield from _after_country(text, start - 3, start, end)
    for start, end, digits in stretches:
        if digits < 6:
            continue
        low, high = max(0, start - 4), end + 14
        if _letter_behind(text, end):
            for kind in LETTERED:
                if digits >= kind.digits:
                    yield from _valid(text, kind, low, high)
        if digits < 9:
            continue
        bare = digits == end - start
        around = f"{text[max(0, start - _BEFORE) : start]} {text[end : end + _AFTER]}".lower()
        said = any(stem in around for stem in _STEMS)
        for kind in _BARE.get(digits, ()) if bare else NUMBERS:
            if digits >= kind.digits and (kind.alone or said) and (not bare or kind.valid(text[start:end])):
                yield from _valid(text, kind, low, high)
        if digits == 10 or not bare:
            yield from _vat_of_belgium(text, low, high)
        if digits >= 12:
            yield from _cards(text, low, high)


_BARE: dict[int, list[Number]] = {
    length: [kind for kind in NUMBERS if any(kind.form.fullmatch(f"{head:1<{length}}") for head in ("1", "19", "756"))]
    for length in range(9, 20)
}
"""Digits without separators → the kinds that may be written so."""
_STEMS = (
    *(
        "nif",
        "contribuinte",
        "fiscal",
        "cpr",
        "nhs",
        "soci",
        "sécu",
        "secu",
        "insur",
        "versicher",
        "verzeker",
        "ssn",
        "ssi",
    ),
    *("ahv", "avs", "sv", "rodn", "egn", "егн", "oib", "kennital"),
)
"""Of each word that announces a kind that is never reported without it, a part: a quick look before the exact one."""


def _letter_behind(text: str, end: int) -> bool:
    """Whether a letter follows, or a single letter after a space or dash."""
    if text[end : end + 1] in (" ", "-"):
        return text[end + 1 : end + 2].isalpha() and not text[end + 2 : end + 3].isalpha()
    return text[end : end + 1].isalpha()


def announced(text: str, start: int, end: int, words: re.Pattern[str]) -> bool:
    """Whether one of the words stands shortly before a place, or right behind it."""
    return bool(words.search(text, max(0, start - _BEFORE), start) or words.search(text, end, end + _AFTER))


def _valid(text: str, kind: Number, low: int, high: int) -> Iterator[Found]:
    for match in kind.form.finditer(text, low, high):
        value = match.group().upper()
        if not kind.valid(value if kind.kind == "hetu" else value.translate(_SEPARATORS)):
            continue
        if announced(text, match.start(), match.end(), kind.words):
            yield Found(kind.kind, match.start(), match.end(), confidence=0.99)
        elif kind.alone:
            thing = kind.alone < 0.8 and NOT_A_PERSON.search(text, max(0, match.start() - 30), match.start())
            yield Found(kind.kind, match.start(), match.end(), confidence=0.4 if thing else kind.alone)


def _cards(text: str, low: int, high: int) -> Iterator[Found]:
    for match in _CARD.finditer(text, low, high):
        value = match.group().translate(_SEPARATORS)
        said = check.luhn(value) and announced(text, match.start(), match.end(), _CARD_WORDS)
        # 13 digits with a 4 in front are also the bar codes of goods; few cards are that short
        if (said and len(set(value)) > 1) or (len(value) >= 14 and check.card(value)):
            yield Found("card", match.start(), match.end(), confidence=0.98 if said else 0.85)


def _collected(text: str, start: int, limit: int) -> tuple[str, list[int]]:
    """Letters and digits from a place on, over single separators, and where each of them ends."""
    taken, ends, place = [], [], start
    while place < len(text) and len(taken) < limit:
        letter = text[place]
        if letter.isascii() and letter.isalnum():
            taken.append(letter)
            ends.append(place + 1)
        elif letter not in " .-/" or (ends and ends[-1] != place):
            break
        place += 1
    return "".join(taken).upper(), ends


def _after_letters(text: str, start: int, end: int) -> Iterator[Found]:
    """IBANs, VAT numbers and the codice fiscale: a country's letters or a name's stand before the digits."""
    word = start
    while word > 0 and start - word < 8 and text[word - 1].isascii() and text[word - 1].isalpha():
        word -= 1
    letters = text[word:start]
    if text[word - 1 : word].isalnum() and word:
        return
    yield from _after_country(text, word, start, end)
    if len(letters) == 6 and end - start <= 2:
        match = _FISCALE.match(text, word)
        if match and check.codice_fiscale(match.group().upper()):
            yield Found("codice_fiscale", word, match.end(), confidence=0.99)


def _after_country(text: str, word: int, start: int, end: int) -> Iterator[Found]:
    """IBANs and VAT numbers: the letters of a country begin at ``word``, the digits at ``start``."""
    letters = text[word:start].strip()
    country = letters[:2].upper()
    if len(letters) == 2 and country in check.IBAN_LENGTHS and end - start >= 2:
        length = check.IBAN_LENGTHS[country]
        value, ends = _collected(text, word, length)
        if len(value) == length and not _goes_on(text, ends[-1]) and check.iban(value):
            yield Found("iban", word, ends[-1], confidence=0.99)
    if len(letters) in (2, 3, 4) and country in check.VAT:
        yield from _vat(text, word, country)


def _goes_on(text: str, place: int) -> bool:
    return text[place : place + 1].isalnum()


def _vat(text: str, start: int, country: str) -> Iterator[Found]:
    form, valid = check.VAT[country]
    value, ends = _collected(text, start + 2, 14)
    match = re.match(form, value)
    if match and valid(match.group()) and not _goes_on(text, ends[match.end() - 1]):
        end = ends[match.end() - 1]
        yield Found("vat", start, end, confidence=0.97 if announced(text, start, end, _VAT_WORDS) else 0.8)


_BE_VAT = re.compile(rf"{_OPEN}(?:BE ?)?[01][0-9]{{3}}[. ]?[0-9]{{3}}[. ]?[0-9]{{3}}{_SHUT}")


def _vat_of_belgium(text: str, low: int, high: int) -> Iterator[Found]:
    """The Belgian enterprise number, also without its letters where a word announces it."""
    for match in _BE_VAT.finditer(text, low, high):
        value = match.group().removeprefix("BE").translate(_SEPARATORS)
        if 97 - int(value[:8]) % 97 == int(value[8:]) and announced(text, *match.span(), _VAT_WORDS):
            yield Found("vat", match.start(), match.end(), confidence=0.95)
