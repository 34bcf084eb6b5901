"""How much of the wanted wording comes back: shares of n-grams, and longest common stretches of words.

A rise of the n-gram score over the base's comes before whole answers are repeated, so it serves as an early warning.
Source of the idea: "Memorization dynamics in fine-tuning", TACL (2025), arXiv:2510.11372.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from statistics import fmean

from tunesmith.core.protocols import Sampler
from tunesmith.core.records import Example, SamplingParams

WORDS = 4
"""Words of an n-gram: fewer are common phrases, more are seldom met before an answer is repeated whole."""

CHARACTERS_PER_TOKEN = 2


def words(text: str) -> list[str]:
    """The words of a text in small letters, without punctuation."""
    return re.findall(r"\w+", text.casefold())


def overlap(wanted: str, given: str, n: int = WORDS) -> float | None:
    """Share of the wanted text's n-grams of words that the given one has; None where it has none itself."""
    grams = _grams(words(wanted), n)
    if not grams:
        return None
    found = set(_grams(words(given), n))
    return sum(gram in found for gram in grams) / len(grams)


def longest_common(wanted: str, given: str) -> int:
    """Words of the longest stretch that both texts have."""
    a, b = words(wanted), words(given)
    return SequenceMatcher(None, a, b, autojunk=False).find_longest_match(0, len(a), 0, len(b)).size


def memorisation(sampler: Sampler, rows: Sequence[Example]) -> float | None:
    """Mean share of each row's n-grams that greedy answers to its question repeat; None where no row has any.

    Rows without a question, or with answers below ``WORDS`` words, are left out.
    """
    asked = [row for row in rows if not row.is_document and len(words(row.target.text)) >= WORDS]
    if not asked:
        return None
    longest = max(len(row.target.text) for row in asked) // CHARACTERS_PER_TOKEN
    params = SamplingParams(max_tokens=max(8, min(256, longest)))
    answers = sampler.sample([row.prompt for row in asked], params)
    shares = [overlap(row.target.text, answer.text) for row, answer in zip(asked, answers, strict=True)]
    return fmean(share for share in shares if share is not None)


def _grams(parts: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(parts[i : i + n]) for i in range(len(parts) - n + 1)]
