"""Errors say what is wrong and where or how out, and a test reads every message."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from tests.policy.source import ROOT, Module, dotted, exceptions, modules, parse

WORDS = 2
"""A message counts as read when a test holds this many consecutive words of it."""


@cache
def error_names() -> frozenset[str]:
    """The classes of the error tree."""
    (tree,) = (m.tree for m in modules() if m.name == "core/errors.py")
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def made_errors(module: Module) -> Iterator[tuple[ast.Call, ast.expr | None]]:
    """Every place that makes an error of ours, with the expression of its ``what``."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in error_names():
            named = [keyword.value for keyword in node.keywords if keyword.arg == "what"]
            yield node, node.args[0] if node.args else named[0] if named else None


def helpless(module: Module) -> Iterator[str]:
    """Errors that say neither where nor how out, or not what."""
    for node, what in made_errors(module):
        given = {keyword.arg for keyword in node.keywords}
        if what is None or not given & {"where", "fix", None}:
            yield module.where(node)


def fixed_texts(what: ast.expr) -> list[str]:
    """The parts of a message that are the same whenever it is shown; [] for a message made elsewhere."""
    if isinstance(what, ast.BinOp) and isinstance(what.op, ast.Add):
        return [*fixed_texts(what.left), *fixed_texts(what.right)]
    if isinstance(what, ast.IfExp):
        return [*fixed_texts(what.body), *fixed_texts(what.orelse)]
    parts = what.values if isinstance(what, ast.JoinedStr) else [what]
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def word_runs(text: str) -> Iterator[str]:
    """Every run of consecutive words (or the whole text, if it is shorter)."""
    words = text.split()
    count = min(WORDS, len(words))
    yield from (" ".join(words[i : i + count]) for i in range(len(words) - count + 1) if count)


def unread(module: Module, tests: str) -> Iterator[tuple[str, str]]:
    """(key for the exceptions file, place) of every message that no test reads."""
    for node, what in made_errors(module):
        texts = fixed_texts(what) if what is not None else []
        runs = [run for text in texts for run in word_runs(text) if len(run) >= 6]
        if runs and not any(run in tests for run in runs):
            yield f"{module.name}: {' '.join(' … '.join(texts).split()[:6])}", module.where(node)


@cache
def test_strings() -> str:
    """All string constants of all tests outside this folder, regular expressions without their backslashes."""
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if "policy" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(re.sub(r"\s+", " ", node.value.replace("\\", "")))
    return "\n".join(found)


test_strings.__test__ = False  # type: ignore[attr-defined]


def test_every_error_says_where_or_how_out() -> None:
    assert [place for m in modules() if m.name != "core/errors.py" for place in helpless(m)] == []


def test_every_message_is_read_by_a_test() -> None:
    granted = exceptions("message_exceptions.txt")
    found = {key: place for m in modules() for key, place in unread(m, test_strings())}
    missing = [f"{place}  {key}" for key, place in found.items() if key not in granted]
    assert not missing, "no test reads these messages:\n" + "\n".join(missing)
    assert [key for key in granted if key not in found] == [], "these exceptions are no longer needed"


def test_these_rules_bite() -> None:
    text = "raise DataError('no wheels', rule='four')\nraise InputError(f'row {n} has no answer', fix='add one')"
    module = parse("x.py", text)
    assert list(helpless(module)) == ["x.py:1"]
    assert [key for key, _ in unread(module, "something else")] == ["x.py: no wheels", "x.py: row … has no answer"]
    assert list(unread(module, "match='no wheels'\nrow 7 has no answer")) == []
