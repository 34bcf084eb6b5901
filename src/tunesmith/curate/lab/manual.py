"""Rows of real English prose: paragraphs of the manual that stands in the modules of the standard library."""

from __future__ import annotations

import ast
import random
import sysconfig
from functools import cache
from pathlib import Path

from tunesmith.core.records import Example
from tunesmith.curate.keys import normalise
from tunesmith.curate.lab.planted import row

_WORDS = (25, 150)


def manual_rows(count: int, rng: random.Random) -> list[Example]:
    """Different paragraphs as questions, each answered by another one; no two of them are alike.

    Raises:
        ValueError: the modules of this Python hold fewer paragraphs.
    """
    texts = list(_paragraphs())
    if 2 * count > len(texts):
        raise ValueError(f"{count} rows need {2 * count} paragraphs, the standard library here has {len(texts)}")
    rng.shuffle(texts)
    return [row(texts[2 * i], texts[2 * i + 1], i) for i in range(count)]


@cache
def _paragraphs() -> tuple[str, ...]:
    """Paragraphs of docstrings of 25 to 150 words that have no run of eight words in common."""
    found: list[str] = []
    seen: set[tuple[str, ...]] = set()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for text in _documented(path):
            words = normalise(text).split()
            runs = {tuple(words[i : i + 8]) for i in range(len(words) - 7)}
            if _WORDS[0] <= len(words) <= _WORDS[1] and not runs & seen:
                seen |= runs
                found.append(" ".join(text.split()))
    return tuple(found)


def _documented(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    notes = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
    return [part for note in notes if note for part in note.split("\n\n") if ">>>" not in part]
