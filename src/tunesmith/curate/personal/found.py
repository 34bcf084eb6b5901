"""What a detector found in a text: where, of which kind, and how sure it is. Never the value itself."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """Characters ``start``..``end`` (half open) of a text. ``confidence`` is 0 to 1: how rarely this form means
    something else.
    """

    kind: str
    start: int
    end: int
    engine: str = "rules"
    confidence: float = 0.9


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value: the class that policies speak of, the placeholder, and its name for people.

    ``plural``: of the name, where it is not the name with an s.
    """

    group: str
    label: str
    title: str
    plural: str = ""

    def counted(self, number: int) -> str:
        """How many, in words: ``2 dates of birth``."""
        return f"{number} {self.title if number == 1 else self.plural or self.title + 's'}"


def _ids() -> dict[str, Kind]:
    titles = {
        "bsn": "Dutch BSN",
        "rijksregister": "Belgian national register number",
        "steuer_id": "German tax id",
        "nir": "French social security number",
        "dni": "Spanish DNI or NIE",
        "codice_fiscale": "Italian codice fiscale",
        "pesel": "Polish PESEL",
        "nif": "Portuguese NIF",
        "personnummer": "Swedish personnummer",
        "fodselsnummer": "Norwegian fødselsnummer",
        "cpr": "Danish CPR number",
        "hetu": "Finnish HETU",
        "nhs": "British NHS number",
        "nino": "British national insurance number",
        "pps": "Irish PPS number",
        "ahv": "Swiss AHV number",
        "svnr": "Austrian insurance number",
        "rodne_cislo": "Czech or Slovak birth number",
        "cnp": "Romanian CNP",
        "egn": "Bulgarian EGN",
        "oib": "Croatian OIB",
        "baltic": "Estonian or Lithuanian personal code",
        "amka": "Greek AMKA",
        "kennitala": "Icelandic kennitala",
        "ssn": "US social security number",
    }
    return {kind: Kind("national_id", kind.upper(), title) for kind, title in titles.items()}


KINDS: dict[str, Kind] = {
    "email": Kind("email", "EMAIL", "e-mail address", "e-mail addresses"),
    "phone": Kind("phone", "PHONE", "phone number"),
    "iban": Kind("iban", "IBAN", "IBAN"),
    "card": Kind("card", "CARD", "card number"),
    "vat": Kind("vat", "VAT", "VAT number"),
    "ip": Kind("ip", "IP", "IP address", "IP addresses"),
    "mac": Kind("mac", "MAC", "MAC address", "MAC addresses"),
    "birth_date": Kind("birth_date", "BIRTH_DATE", "date of birth", "dates of birth"),
    "address": Kind("address", "ADDRESS", "postal address", "postal addresses"),
    "plate": Kind("plate", "PLATE", "licence plate"),
    "name": Kind("name", "PERSON", "name of a person", "names of persons"),
    "organisation": Kind("organisation", "ORGANISATION", "name of an organisation", "names of organisations"),
    "place": Kind("place", "PLACE", "name of a place", "names of places"),
    "document_id": Kind(
        "document_id", "DOCUMENT_ID", "number of an identity document", "numbers of identity documents"
    ),
    "national_id": Kind("national_id", "NATIONAL_ID", "national id"),
    **_ids(),
}
"""Every kind of personal value. Policies name a class (``national_id``) or one of its kinds (``bsn``)."""

GROUPS = tuple(dict.fromkeys(kind.group for kind in KINDS.values()))


def without_overlaps(found: Iterable[Found], least: float = 0.0) -> list[Found]:
    """The surest and then longest of those that overlap, in the order of the text."""
    ranked = sorted(
        (one for one in found if one.confidence >= least),
        key=lambda one: (-one.confidence, one.start - one.end, one.start),
    )
    kept: list[Found] = []
    starts: list[int] = []
    for one in ranked:
        place = bisect_left(starts, one.start)
        before_ends = place == 0 or kept[place - 1].end <= one.start
        if before_ends and (place == len(kept) or one.end <= starts[place]):
            kept.insert(place, one)
            starts.insert(place, one.start)
    return kept
