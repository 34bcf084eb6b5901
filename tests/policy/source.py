"""The package's source as the policy tests read it: files, syntax trees, names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "tunesmith"
VERBS = ("curate", "train", "evaluate", "serve")


@dataclass(frozen=True)
class Module:
    """One file: ``name`` is its path inside the package, such as ``core/store.py``."""

    name: str
    text: str
    tree: ast.Module

    def where(self, node: ast.AST) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 1)}"


@cache
def modules() -> tuple[Module, ...]:
    """Every Python file of the package."""
    return tuple(
        parse(str(path.relative_to(PACKAGE)), path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    )


def parse(name: str, text: str) -> Module:
    return Module(name, text, ast.parse(text))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the dotted name that it is made under; calls on other expressions as ``?.name``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def dotted(node: ast.expr) -> str:
    """``os.path.join`` of a name or an attribute chain; what is not a plain name becomes ``?``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def imports(tree: ast.AST) -> Iterator[tuple[str, str, ast.stmt]]:
    """Every import, also inside functions: (module, imported name or "", statement)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name, node) for alias in node.names)


def allowed(name: str, places: tuple[str, ...]) -> bool:
    """Whether a file is one of the places (a place that ends in ``/`` is a folder)."""
    return any(name == place or (place.endswith("/") and name.startswith(place)) for place in places)


@cache
def exceptions(file: str) -> dict[str, str]:
    """An exceptions file: ``what  reason`` a line, ``#`` for comments. Every exception needs a reason."""
    found = {}
    for line in (Path(__file__).parent / file).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            what, _, reason = line.partition("  ")
            assert reason.strip(), f"{file}: {what!r} has no reason (two blanks stand between the two)"
            found[what] = reason.strip()
    return found
