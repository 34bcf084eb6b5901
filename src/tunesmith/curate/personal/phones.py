"""Phone numbers: international, and as they are written in European countries and North America."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunesmith.curate.personal.found import Found
from tunesmith.curate.personal.numbers import NOT_A_PERSON

_GAP = r"[ .\-/()\u00a0]{0,3}"
_EXTENSION = r"(?:[ ,]{0,2}(?:x|ext\.?|toestel|tst\.?|Durchwahl)[ .:]{0,2}[0-9]{1,6})?"
_SHUT = r"(?![A-Za-z0-9_@])(?![.,][0-9])"
_INTERNATIONAL = re.compile(rf"(?<![A-Za-z0-9+])(?:\(?\+ ?|00 ?)[1-9](?:{_GAP}[0-9]){{6,14}}{_EXTENSION}{_SHUT}")
_NATIONAL = re.compile(rf"(?<![A-Za-z0-9+.,])(?<![0-9][/\-])\(?0[1-9](?:{_GAP}[0-9]){{6,10}}{_EXTENSION}{_SHUT}")
_NORTH_AMERICAN = re.compile(
    rf"(?<![A-Za-z0-9.,/\-])(?:\+?1[ .\-]?)?(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}[ .\-])[2-9][0-9]{{2}}[ .\-]"
    rf"[0-9]{{4}}{_EXTENSION}{_SHUT}"
)
_ANNOUNCED = re.compile(
    rf"(?<![A-Za-z0-9+.,$€£=*<>])\(?[0-9](?:(?:[ .\-()]{{0,2}}|/)[0-9]){{6,13}}{_EXTENSION}{_SHUT}(?! ?[=*/+<>])"
)
_WORDS = re.compile(
    r"(?i)\b(?:tel|t\b|phone|telephone|telefo|tél|téléphone|mobi|gsm|cell|call|bel\b|bellen|bereik|rufnummer|anruf|"
    r"ruf\b|rufen|fax|whatsapp|sms|portable|appel|joign|handy|dial|numéro|desk|office|work|home|contact|hotline|"
    r"reach|ring\b|text me|06\b)"
)
_STRONG_WORDS = re.compile(
    r"(?i)(?:\btel\b|phone|telef|\btél\b|télé|mobi|\bgsm|\bcell\b|\bcall\b|\bbel\b|\bbellen|bereikbaar|"
    r"rufnummer|anruf|\bfax|"
    r"whatsapp|\bsms\b|"
    r"portable|appele[rz]|handy|hotline|answering at|\b(?:desk|office|work|home|t|m) ?: ?$)"
)
_STEMS = (
    *(
        "tel",
        "phone",
        "tél",
        "mobi",
        "gsm",
        "cell",
        "call",
        "bel",
        "bereik",
        "ruf",
        "fax",
        "whatsapp",
        "sms",
        "portable",
    ),
    *("appele", "handy", "hotline", "answering", "desk", "office", "work", "home", "t:", "m:", "t :", "m :"),
)
"""Of each of them a part: a quick look before the exact one."""
_YEARS = re.compile(r"(?:(?:19|20)[0-9]{2}){2}")
_DATE = re.compile(
    r"\(?(?:0?[1-9]|[12][0-9]|3[01])([./\-])(?:0?[1-9]|1[0-2])\1(?:(?:19|20)[0-9]{2}|[0-9]{2}(?![./\-][0-9]))(?![0-9])|"
    r"\(?(?:19|20)[0-9]{2}[./\-]"
)
_COUNTRY_CODE = re.compile(
    r"(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|21[1-8]|2[2-689][0-9]|35[0-9]|37[0-9]|38[0-9]|"
    r"42[0-9]|50[0-9]|59[0-9]|67[0-9]|68[0-9]|69[0-9]|80[08]|85[0-9]|87[0-9]|88[0-9]|96[0-9]|97[0-9]|99[0-9])"
)
_MOBILE = re.compile(r"0(?:6[1-58]?|4[5-9]|7[0-9]|15[0-9]|16[0-9]|17[0-9])")
_NO_PHONE = re.compile(
    r"(?i)(?:isbn|issn|\bean|gtin|iban|bic|account|rekening|konto|card|kaart|cvv|postcode|\bzip)\W*\w*\W*$"
)


def phones(text: str, start: int, end: int, digits: int) -> Iterator[Found]:
    """Phone numbers in a stretch of numbers that stand together."""
    low, high = max(0, start - 3), end + 12
    for form, confidence in _forms(text, start, end, digits):
        for match in form.finditer(text, low, high):
            place, stop = _trimmed(text, *match.span())
            value = "".join(letter for letter in text[place:stop] if letter.isdigit())
            if _is_phone(text, place, stop, value, form):
                said = bool(_WORDS.search(text, max(0, place - 48), place))
                yield Found("phone", place, stop, confidence=0.95 if said and confidence < 0.95 else confidence)


def _forms(text: str, start: int, end: int, digits: int) -> Iterator[tuple[re.Pattern[str], float]]:
    """The forms that are possible here, with their confidence: a quick look before the exact one."""
    stretch = text[max(0, start - 2) : end]
    if "+" in stretch or "00" in stretch:
        yield _INTERNATIONAL, 0.96
    if digits >= 10 and digits != end - start:
        yield _NORTH_AMERICAN, 0.7
    if digits >= 9 and "0" in stretch:
        yield _NATIONAL, 0.65
    before = text[max(0, start - 32) : start].lower()
    if any(stem in before for stem in _STEMS) and _STRONG_WORDS.search(text, max(0, start - 32), start):
        yield _ANNOUNCED, 0.6


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without a bracket that has no partner."""
    if text[start] == "(" and ")" not in text[start:end]:
        start += 1
    return start, end


def _is_phone(text: str, start: int, end: int, value: str, form: re.Pattern[str]) -> bool:
    if len(set(value)) < 3 or _DATE.match(text, start):
        return False
    if NOT_A_PERSON.search(text, max(0, start - 30), start) or _NO_PHONE.search(text, max(0, start - 24), start):
        return False
    if form is _INTERNATIONAL:
        number = value.removeprefix("00")
        return 8 <= len(number) <= 16 and bool(_COUNTRY_CODE.match(number))
    if form is _NATIONAL:
        plain = end - start == len(value)
        return 9 <= len(value) <= 12 and (not plain or len(value) in (10, 11) or bool(_MOBILE.match(value)))
    return len(value) >= 7 and not _YEARS.match(value)
