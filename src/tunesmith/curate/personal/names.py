"""Names of persons: from a list of one's own, and behind words that introduce a person.

Without a model that knows language no rule finds all names; what was used is said in the report in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tunesmith.core.errors import DataError
from tunesmith.curate.personal.found import Found

_WORD = re.compile(r"[^\W\d_](?:[\w'’.\-]*[\w])?")
_CAPITALISED = r"[A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĘĚĞĢĪİĶŁŃŇŌŐŒŘŚŞŠŤŪŮŰŹŻŽ](?=[\w'’\-]*[a-zà-ÿ])[\w'’\-]+"
_PARTICLE = (
    r"(?:van der|van den|van de|van 't|van|von der|von|der|den|de la|de|du|da|di|dos|ten|ter|el|al|bin|Mc|Mac|le|la|te)"
)
_PERSON = rf"{_CAPITALISED}(?:(?: {_PARTICLE})? {_CAPITALISED}| [A-Z]\.){{0,3}}"
_INITIALS = r"(?:[A-Z]\.[ ]?){1,4}"
_TITLE = (
    r"(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Dhr|dhr|Mevr|mevr|Mw|mw|Meneer|meneer|Mevrouw|mevrouw|De heer|de heer|heer|"
    r"Herr|Herrn|"
    r"Frau|Monsieur|Madame|Mademoiselle|Mme|Mlle|Sig|Signor|Signora|Sr|Sra|Señor|Señora|Senhor|Senhora|Ing|Drs|Ir|Mag)"
)
_TITLED = re.compile(
    rf"(?<![\w&]){_TITLE}\.? (?P<name>{_INITIALS}(?:{_PARTICLE} )?{_CAPITALISED}|(?:{_PARTICLE} )?{_PERSON})"
)
_ALONE = {
    "name": ("my name is ", "My name is "),
    "naam": ("ijn naam is ",),
    "heet": ("k heet ",),
    "heiße": ("ch heiße ",),
    "ist": ("ein Name ist ",),
    "appelle": ("e m'appelle ", "e m’appelle "),
    "est": ("on nom est ",),
    "chiamo": ("i chiamo ",),
    "llamo": ("e llamo ",),
    "nome": (" meu nome é ",),
    "regards": ("egards,\n", "egards,\n\n", "egards, "),
    "groet": ("roet,\n", "roet,\n\n", "roet, "),
    "groeten": ("roeten,\n", "roeten,\n\n", "roeten, "),
    "grüßen": ("Grüßen\n", "Grüßen\n\n", "Grüßen,\n", "Grüßen "),
    "cordialement": ("ordialement,\n", "ordialement,\n\n", "ordialement, "),
    "sincerely": ("incerely,\n", "incerely,\n\n", "incerely, "),
    "signed": ("igned, ", "igned by ", "igned: "),
}
"""Word → what introduces a name, also one of a single word."""
_IN_FULL = {
    "name": ("Name: ", "Name:", "name: "),
    "naam": ("Naam: ", "Naam:", "naam: "),
    "nom": ("Nom : ", "Nom: "),
    "dear": ("Dear ",),
    "beste": ("Beste ",),
    "geachte": ("Geachte ",),
    "lieve": ("Lieve ",),
    "lieber": ("Lieber ",),
    "cher": ("Cher ",),
    "chère": ("Chère ",),
}
"""Word → what introduces a name of two words at least."""
_ONE = re.compile(_PERSON)
_TWO = re.compile(rf"{_CAPITALISED} (?:{_PARTICLE} )?{_CAPITALISED}")
TITLES = frozenset(_TITLE.removeprefix("(?:").removesuffix(")").lower().replace("de heer|", "").split("|"))
_NO_NAMES = """
Sir Madam Customer Team Support All Friend Friends Klant Heer Mevrouw Meneer Lezer Collega Damen Herren Herr Frau Client
Monsieur Madame God Lord Santa Hiring Manager Editor Reader Readers Colleague Colleagues Everyone Kunde
He She They It The If When Then But And We You In On At Each Every His Her
"""
_NO_NAME = frozenset(_NO_NAMES.split())

LONGEST = 6
"""Words of the longest name that a list may hold."""


class NameList:
    """A list of names, matched as whole words in any case; single words only where written with a capital."""

    def __init__(self, names: Iterable[str]) -> None:
        self.entries = frozenset(
            words for name in names if 0 < len(words := tuple(_WORD.findall(name.lower()))) <= LONGEST
        )
        self.first: dict[str, tuple[int, ...]] = {}
        for words in self.entries:
            self.first[words[0]] = tuple(sorted({len(words), *self.first.get(words[0], ())}, reverse=True))

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, text: str) -> Iterator[Found]:
        """The longest entries that begin at each word."""
        folded = text.lower()
        if len(folded) != len(text):  # a few letters become two: those stay as they are
            folded = "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)
        spans = [match.span() for match in _WORD.finditer(folded)]
        words = [folded[start:end] for start, end in spans]
        skip = 0
        for place, word in enumerate(words):
            if place < skip or word not in self.first:
                continue
            for length in self.first[word]:
                if tuple(words[place : place + length]) not in self.entries:
                    continue
                start, end = spans[place][0], spans[place + length - 1][1]
                if length > 1 or text[start].isupper():
                    yield Found("name", start, end, engine="dictionary", confidence=0.97)
                    skip = place + length
                    break


def read_names(path: str) -> NameList:
    """A list of names, one a line; empty lines and lines that begin with # do not count.

    Raises:
        DataError: the file cannot be read, or holds no name.
    """
    try:
        lines = Path(path).expanduser().read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the list of names cannot be read: {error}",
            where=f"checks.personal.dictionary: {path}",
            rule="a text file in UTF-8 with one name a line",
            fix="correct the path, or leave dictionary out",
        ) from error
    names = NameList(line for line in lines if line.strip() and not line.startswith("#"))
    if not names:
        raise DataError(
            "the list of names is empty",
            where=f"checks.personal.dictionary: {path}",
            rule=f"a text file in UTF-8 with one name a line, of at most {LONGEST} words",
            fix="fill it, or leave dictionary out",
        )
    return names


def introduced(text: str, words: frozenset[str]) -> Iterator[Found]:
    """Names behind titles, introductions, salutations and greetings; ``words``: the text's, in lower case."""
    if not TITLES.isdisjoint(words):
        for match in _TITLED.finditer(text):
            if match.group("name").split()[0] not in _NO_NAME:
                yield Found("name", *match.span("name"), confidence=0.75)
    for phrases, form in ((_ALONE, _ONE), (_IN_FULL, _TWO)):
        for word in phrases.keys() & words:
            for phrase in phrases[word]:
                yield from _behind(text, phrase, form)


def _behind(text: str, phrase: str, form: re.Pattern[str]) -> Iterator[Found]:
    place = text.find(phrase)
    while place != -1:
        match = form.match(text, place + len(phrase))
        if match and match.group().split()[0] not in _NO_NAME:
            yield Found("name", *match.span(), confidence=0.7)
        place = text.find(phrase, place + 1)
