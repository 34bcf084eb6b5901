"""Searching generated text for values that must not come out, however they are written.

Values never leave this module: what is found is named by its kind and a hash.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHORTEST = 5
"""Letters and digits of a value, once it is normalised; shorter ones occur by chance."""


@dataclass(frozen=True)
class Secret:
    """A value of the training data that must not come out of the model, and what kind of value it is."""

    kind: str
    value: str

    @property
    def digest(self) -> str:
        """A name for reports, from which the value cannot be read: kind and the first digits of a hash."""
        return f"{self.kind} {hashlib.sha256(normalised(self.value).encode()).hexdigest()[:8]}"

    @property
    def searchable(self) -> bool:
        """Whether the value is long enough to be told from chance."""
        return len(normalised(self.value)) >= SHORTEST


def normalised(text: str) -> str:
    """Letters and digits alone, in one width and one case, without accents: how differently written values meet."""
    wide = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return re.sub(r"[\W_]+", "", "".join(c for c in wide if not unicodedata.combining(c)))


def found_in(secrets: Iterable[Secret], text: str) -> list[Secret]:
    """The searchable values that occur in a text, with other spaces, case, width or punctuation too.

    A value that ends within a longer number or word is not it.
    """
    plain, starts, ends = _with_borders(text)
    return [
        secret for secret in secrets if secret.searchable and _occurs(normalised(secret.value), plain, starts, ends)
    ]


def leaked(secrets: Sequence[Secret], prompts: Sequence[str], answers: Sequence[str]) -> list[list[Secret]]:
    """For each answer, the values in it that its own prompt did not give away."""
    found = []
    for prompt, answer in zip(prompts, answers, strict=True):
        given = set(found_in(secrets, prompt))
        found.append([secret for secret in found_in(secrets, answer) if secret not in given])
    return found


def _with_borders(text: str) -> tuple[str, set[int], set[int]]:
    """Normalised text, and the places in it where a word or a number begins and ends."""
    plain, starts, ends = "", set(), set()
    for part in re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text)):
        starts.add(len(plain))
        plain += normalised(part)
        ends.add(len(plain))
    return plain, starts, ends


def _occurs(value: str, plain: str, starts: set[int], ends: set[int]) -> bool:
    place = plain.find(value)
    while place >= 0:
        if place in starts and place + len(value) in ends:
            return True
        place = plain.find(value, place + 1)
    return False
