"""Rows with personal values in known places: invented ones that keep every rule of the real ones.

Numbers with a check are drawn until the check holds, so they look like anybody's; nobody's data is used.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunesmith.core.records import Example, Message, Reply
from tunesmith.curate.lab.planted import Planted, numbered
from tunesmith.curate.personal import checksums as check

Draw = random.Random
Make = Callable[[Draw], str]


@dataclass(frozen=True)
class Planting:
    """A sentence with one personal value: its kind, and where it stands."""

    text: str
    kind: str
    start: int
    end: int
    language: str

    @property
    def value(self) -> str:
        """The value itself."""
        return self.text[self.start : self.end]


def digits(rng: Draw, length: int) -> str:
    """Random digits, the first of them not 0."""
    return str(rng.randint(1, 9)) + "".join(rng.choice(string.digits) for _ in range(length - 1))


def day(rng: Draw, form: str) -> str:
    """A date of birth as y (two digits), m and d in a form such as ``{y:02}{m:02}{d:02}``."""
    return form.format(y=rng.randint(30, 99), m=rng.randint(1, 12), d=rng.randint(1, 28))


def _valid(make: Make, test: Callable[[str], bool], show: Callable[[Draw, str], str] | None = None) -> Make:
    """A maker that draws until the check holds, then shows the value in one of its usual forms."""

    def made(rng: Draw) -> str:
        while not test(value := make(rng)):
            pass
        return show(rng, value) if show else value

    return made


def _grouped(*groups: int, by: str = " ") -> Callable[[Draw, str], str]:
    """Half of the values bare, half in groups."""

    def show(rng: Draw, value: str) -> str:
        if rng.random() < 0.5:
            return value
        parts, place = [], 0
        for size in groups:
            parts.append(value[place : place + size])
            place += size
        return by.join(parts)

    return show


def _always(size: int, by: str) -> Callable[[Draw, str], str]:
    return lambda rng, value: f"{value[:size]}{by}{value[size:]}"


def _fours(rng: Draw, value: str) -> str:
    return value if rng.random() < 0.5 else " ".join(value[i : i + 4] for i in range(0, len(value), 4))


def _iban(rng: Draw) -> str:
    country, bank, length = rng.choice(
        (
            *(
                ("NL", "ABNA", 10),
                ("NL", "INGB", 10),
                ("DE", "", 18),
                ("BE", "", 12),
                ("FR", "", 23),
                ("GB", "WEST", 14),
            ),
            *(("ES", "", 20), ("IT", "X", 22), ("AT", "", 16), ("CH", "", 17), ("PL", "", 24), ("IE", "AIBK", 14)),
        )
    )
    body = bank + digits(rng, length)
    return f"{country}{98 - check.mod97(body + country + '00'):02}{body}"


def _card(rng: Draw) -> str:
    prefix, length = rng.choice((("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16)))
    return prefix + digits(rng, length - len(prefix))


def _rijksregister(rng: Draw, value: str) -> str:
    dotted = f"{value[:2]}.{value[2:4]}.{value[4:6]}-{value[6:9]}.{value[9:]}"
    return rng.choice((value, dotted))


def _steuer_id(rng: Draw) -> str:
    ten = rng.sample(string.digits, 9)
    ten.insert(rng.randint(1, 9), rng.choice(ten))
    return "".join(ten) + rng.choice(string.digits)


def _fiscale(rng: Draw) -> str:
    letters = "".join(rng.choice("BCDFGLMNPRSTVZ") for _ in range(6))
    town = f"{rng.choice('ABCDEFGHL')}{rng.randint(100, 999)}"
    return f"{letters}{day(rng, '{y:02}')}{rng.choice('ABCDEHLMPRST')}{rng.randint(1, 28):02}{town}{_letter(rng)}"


def _letter(rng: Draw) -> str:
    return rng.choice(string.ascii_uppercase)


_YMD, _DMY = "{y:02}{m:02}{d:02}", "{d:02}{m:02}{y:02}"
IDS: dict[str, Make] = {
    "bsn": _valid(lambda rng: digits(rng, 9), check.bsn, _grouped(4, 2, 3, by=".")),
    "rijksregister": _valid(lambda rng: day(rng, _YMD) + digits(rng, 5), check.rijksregister, _rijksregister),
    "steuer_id": _valid(_steuer_id, check.steuer_id, _grouped(2, 3, 3, 3)),
    "nir": _valid(
        lambda rng: rng.choice("12") + day(rng, "{y:02}{m:02}") + f"{rng.randint(10, 95)}" + digits(rng, 8),
        check.nir,
        _grouped(1, 2, 2, 2, 3, 3, 2),
    ),
    "dni": _valid(lambda rng: rng.choice(("X", "Y", "Z", "7", "5")) + digits(rng, 7) + _letter(rng), check.dni),
    "codice_fiscale": _valid(_fiscale, check.codice_fiscale),
    "pesel": _valid(lambda rng: day(rng, _YMD) + digits(rng, 5), check.pesel),
    "nif": _valid(lambda rng: digits(rng, 9), check.nif, _grouped(3, 3, 3)),
    "personnummer": _valid(lambda rng: day(rng, _YMD) + digits(rng, 4), check.personnummer, _always(6, "-")),
    "fodselsnummer": _valid(lambda rng: day(rng, _DMY) + digits(rng, 5), check.fodselsnummer, _grouped(6, 5)),
    "cpr": _valid(lambda rng: day(rng, _DMY) + digits(rng, 4), check.cpr, _always(6, "-")),
    "hetu": _valid(
        lambda rng: day(rng, _DMY) + "-" + digits(rng, 3) + rng.choice("0123456789ABCDEFHJKLMNPRSTUVWXY"), check.hetu
    ),
    "nhs": _valid(lambda rng: digits(rng, 10), check.nhs, _grouped(3, 3, 4)),
    "nino": _valid(
        lambda rng: rng.choice(("AB", "CE", "JK", "PW")) + digits(rng, 6) + rng.choice("ABCD"),
        check.nino,
        _grouped(2, 2, 2, 2, 1),
    ),
    "pps": _valid(lambda rng: digits(rng, 7) + rng.choice("ABCDEFGHIJKLMNOPQRSTUVW") + "A", check.pps),
    "ahv": _valid(lambda rng: "756" + digits(rng, 10), check.ahv, _grouped(3, 4, 4, 2, by=".")),
    "svnr": _valid(lambda rng: digits(rng, 4) + day(rng, _DMY), check.svnr, _grouped(4, 6)),
    "rodne_cislo": _valid(lambda rng: day(rng, _YMD) + digits(rng, 4), check.rodne_cislo, _always(6, "/")),
    "cnp": _valid(lambda rng: rng.choice("12") + day(rng, _YMD) + f"{rng.randint(10, 46)}" + digits(rng, 4), check.cnp),
    "egn": _valid(lambda rng: day(rng, _YMD) + digits(rng, 4), check.egn),
    "oib": _valid(lambda rng: digits(rng, 11), check.mod11_10),
    "baltic": _valid(lambda rng: rng.choice("34") + day(rng, _YMD) + digits(rng, 4), check.baltic),
    "amka": _valid(lambda rng: day(rng, _DMY) + digits(rng, 5), check.amka),
    "kennitala": _valid(lambda rng: day(rng, _DMY) + digits(rng, 3) + "9", check.kennitala, _always(6, "-")),
}
"""Kind of national id → its maker."""

LABELS = {
    "bsn": "BSN",
    "rijksregister": "rijksregisternummer",
    "steuer_id": "Steuer-ID",
    "nir": "numéro de sécurité sociale",
    "dni": "DNI",
    "codice_fiscale": "codice fiscale",
    "pesel": "PESEL",
    "nif": "NIF",
    "personnummer": "personnummer",
    "fodselsnummer": "fødselsnummer",
    "cpr": "CPR-nummer",
    "hetu": "HETU",
    "nhs": "NHS number",
    "nino": "national insurance number",
    "pps": "PPS number",
    "ahv": "AHV-Nummer",
    "svnr": "SV-Nummer",
    "rodne_cislo": "rodné číslo",
    "cnp": "CNP",
    "egn": "EGN",
    "oib": "OIB",
    "baltic": "isikukood",
    "amka": "AMKA",
    "kennitala": "kennitala",
}
"""What people call each number."""

FIRST = ("Sanne", "Daan", "Femke", "Bram", "Lotte", "Élise", "Jürgen", "Käthe", "Anaïs", "Oliver", "Amelia", "Thijs")
LAST = ("Vermeulen", "Bakker", "Hendriks", "Schäfer", "Lefebvre", "Whitmore", "Okonkwo", "Dubois", "Krüger", "Moretti")
HOSTS = ("kpnmail.nl", "bedrijf-de-vries.nl", "post.example.org", "firma-krueger.de", "courriel.fr", "mail.co.uk")
PHONES = {
    "nl": ("06-{8}", "06 {2} {2} {2} {2}", "06{8}", "+31 6 {8}", "0031 20 {3} {4}", "020-{7}", "(010) {3} {2} {2}"),
    "de": ("030 {7}", "0171 {7}", "+49 30 {8}", "+49 (0)89 {6}", "0221/{7}", "0049 171 {7}"),
    "fr": ("01 {2} {2} {2} {2}", "06.{2}.{2}.{2}.{2}", "+33 6 {2} {2} {2} {2}", "0033 1 {2} {2} {2} {2}"),
    "en": ("020 7{3} {4}", "07{3} {6}", "+44 20 7{3} {4}", "+44 7{3} {6}", "+353 1 {3} {4}", "+1 415 555 {4}"),
}
SAYS = {
    "email": {
        "nl": ("Stuur het naar {v}, dank.", "Mijn adres is {v}."),
        "en": ("Please write to {v} today.", "You can reach me at {v}."),
        "de": ("Bitte an {v} senden.", "Meine Adresse lautet {v}."),
        "fr": ("Écrivez à {v} s'il vous plaît.", "Mon adresse est {v}."),
    },
    "phone": {
        "nl": ("Bel mij op {v} na vijven.", "Mijn nummer is {v}."),
        "en": ("Call me on {v} after five.", "My number is {v}."),
        "de": ("Rufen Sie mich unter {v} an.", "Meine Nummer ist {v}."),
        "fr": ("Appelez-moi au {v} ce soir.", "Mon numéro est le {v}."),
    },
    "iban": {
        "nl": ("Maak het over naar {v}.",),
        "en": ("Transfer it to {v} please.",),
        "de": ("Überweisen Sie es auf {v}.",),
        "fr": ("Faites le virement sur {v}.",),
    },
    "card": {
        "nl": ("Mijn kaart {v} is kwijt.",),
        "en": ("I lost card {v} today.",),
        "de": ("Meine Karte {v} ist weg.",),
        "fr": ("J'ai perdu la carte {v}.",),
    },
    "address": {
        "nl": ("Ik woon op de {v}.", "Stuur het naar {v}."),
        "en": ("I live at {v}.", "Send it to {v}."),
        "de": ("Ich wohne in der {v}.", "Schicken Sie es an {v}."),
        "fr": ("J'habite {v}.", "Envoyez-le au {v}."),
    },
    "birth_date": {
        "nl": ("Ik ben geboren op {v}.", "Geboortedatum: {v}."),
        "en": ("I was born on {v}.", "Date of birth: {v}."),
        "de": ("Ich bin geboren am {v}.", "Geburtsdatum: {v}."),
        "fr": ("Je suis née le {v}.", "Date de naissance : {v}."),
    },
    "ip": {"en": ("Login from {v} was refused.",), "nl": ("Ingelogd vanaf {v}.",)},
    "mac": {"en": ("The device {v} is offline.",), "de": ("Das Gerät {v} ist aus.",)},
    "name": {
        "nl": ("Geachte heer {l}, dank voor uw brief.", "{f} {l} heeft gebeld."),
        "en": ("Dear Mr {l}, thank you.", "{f} {l} called this morning."),
        "de": ("Sehr geehrte Frau {l}, danke.", "{f} {l} hat angerufen."),
        "fr": ("Bonjour Monsieur {l}, merci.", "{f} {l} a appelé."),
    },
}
ID_SAYS = ("{label}: {v}", "My {label} is {v}.", "Mijn {label} is {v}.", "Votre {label} {v} est noté.")
TOWNS = ("Utrecht", "Den Haag", "Leeuwarden", "Bergen op Zoom")


def _phone(rng: Draw, language: str) -> str:
    form = rng.choice(PHONES[language])
    for size in range(2, 9):
        while f"{{{size}}}" in form:
            form = form.replace(f"{{{size}}}", digits(rng, size), 1)
    return form


def _email(rng: Draw, language: str) -> str:
    first, last = rng.choice(FIRST).lower(), rng.choice(LAST).lower()
    local = rng.choice((f"{first}.{last}", f"{first[0]}{last}", f"{first}_{last}{rng.randint(1, 99)}", f"{last}+web"))
    return f"{local}@{rng.choice(HOSTS)}"


def _address(rng: Draw, language: str) -> str:
    number = rng.randint(1, 180)
    if language == "nl":
        code = f"{rng.randint(1000, 9999)} {rng.choice(('AB', 'KL', 'XT', 'GH'))}"
        street = rng.choice(("Dorpsstraat", "Prinses Margrietlaan", "Stationsplein", "Oude Gracht", "Havenkade"))
        return f"{street} {number}, {code} {rng.choice(TOWNS)}"
    if language == "de":
        street = rng.choice(("Hauptstraße", "Goethestr.", "Lindenallee", "Berliner Platz", "Mühlenweg"))
        return f"{street} {number}, {rng.randint(10000, 99999)} {rng.choice(('Berlin', 'Köln', 'Bad Homburg'))}"
    if language == "fr":
        street = rng.choice(("rue de la République", "avenue Victor Hugo", "place du Marché", "boulevard Voltaire"))
        return f"{number} {street}, {rng.randint(10000, 95000)} {rng.choice(('Lyon', 'Paris', 'Saint-Étienne'))}"
    street = rng.choice(("High Street", "Station Road", "Church Lane", "Victoria Gardens"))
    code = rng.choice(("LS1 4AP", "SW1A 2AB", "M1 1AE", "EH12 9DN"))
    return f"{number} {street}, {rng.choice(('London', 'Leeds', 'York'))} {code}"


def _birth_date(rng: Draw, language: str) -> str:
    months = {"nl": "maart mei oktober", "en": "March May October", "de": "März Mai Oktober", "fr": "mars mai octobre"}
    d, m, y = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1930, 2015)
    return rng.choice((f"{d:02}-{m:02}-{y}", f"{d}.{m}.{y}", f"{d} {rng.choice(months[language].split())} {y}"))


def _ip(rng: Draw, language: str) -> str:
    return ".".join(str(rng.randint(11, 99)) for _ in range(4))


def _mac(rng: Draw, language: str) -> str:
    return rng.choice(":-").join(f"{rng.randint(0, 255):02X}" for _ in range(6))


MAKERS: dict[str, Callable[[Draw, str], str]] = {
    "email": _email,
    "phone": _phone,
    "iban": lambda rng, language: _fours(rng, _iban(rng)),
    "card": lambda rng, language: _fours(rng, _valid(_card, check.card)(rng)),
    "address": _address,
    "birth_date": _birth_date,
    "ip": _ip,
    "mac": lambda rng, language: _mac(rng, language).replace("-", ":"),
}


def planting(kind: str, rng: Draw) -> Planting:
    """A sentence with a value of this kind."""
    if kind in IDS:
        value, language = IDS[kind](rng), "en"
        before, after = rng.choice(ID_SAYS).format(label=LABELS[kind], v="\0").split("\0")
    else:
        language = rng.choice(list(SAYS[kind]))
        sentence = rng.choice(SAYS[kind][language])
        if kind == "name":
            first, last = rng.choice(FIRST), rng.choice(LAST)
            value = f"{first} {last}" if "{f}" in sentence else last
            before, after = sentence.replace("{f} {l}", "\0").replace("{l}", "\0").split("\0")
        else:
            value = MAKERS[kind](rng, language)
            before, after = sentence.format(v="\0").split("\0")
    return Planting(f"{before}{value}{after}", kind, len(before), len(before) + len(value), language)


KINDS = (*SAYS, *IDS)
"""Every kind that can be planted."""


def corpus(per_kind: int, rng: Draw, kinds: Sequence[str] = KINDS) -> list[Planting]:
    """So many sentences of each kind."""
    return [planting(kind, rng) for kind in kinds for _ in range(per_kind)]


def plant(rows: Sequence[Example], rate: float, rng: Draw) -> Planted:
    """Rows of which a share says something personal, at the end of the question or of the answer."""
    planted, truth = [], {}
    for number, row in enumerate(rows):
        if rng.random() < rate and not row.is_document:
            kind = rng.choice([kind for kind in KINDS if kind != "name"])
            row, truth[number] = _with(row, planting(kind, rng).text, rng), kind
        planted.append(row)
    return Planted(numbered(planted), truth)


def _with(row: Example, words: str, rng: Draw) -> Example:
    turns = list(row.conversation)
    place = rng.choice((len(turns) - 1, max(0, len(turns) - 2)))
    turns[place] = Message(role=turns[place].role, content=f"{turns[place].text} {words}")
    return row.model_copy(update={"messages": tuple(turns[:-1]), "target": Reply(message=turns[-1])})
