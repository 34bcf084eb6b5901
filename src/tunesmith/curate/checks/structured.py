"""Inputs that list facts: ``name[The Punter], food[Italian]``, JSON objects, lines of ``key: value``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MOST_FACTS = 60

_OPENS = re.compile(r"[\[(=]\s*([^\[\]()=]{1,200}?)\s*[\])](?=\s*(?:[,;|]|$|\n))")
_NAMED = re.compile(r"([A-Za-z_][\w .-]{0,40}?)\s*\Z")
_LONGEST_NAME = 41
_LINE = re.compile(r"^\s*[-*•]?\s*([A-Za-z_][\w .()/-]{0,40}?)\s*(?::|=|\t)\s*(\S.{0,200}?)\s*[;,]?\s*$")
_PAIR = re.compile(r"(?:^|[,;|(]|\n)\s*([A-Za-z_][\w .-]{0,40}?)\s*=\s*([^=,;|()\n]{1,200}?)\s*(?=[,;|)\n]|$)")


def facts(text: str) -> dict[str, str] | None:
    """Name → value of the facts that an input lists; None when it is no list of facts.

    Nested JSON gives dotted names; a value that is empty or null is no fact. An instruction before or after the facts
    does not matter.
    """
    found = _of_json(text) or _of_slots(text) or _of_lines(text)
    return found if found and len(found) <= MOST_FACTS else None


def _of_json(text: str) -> dict[str, str] | None:
    start = text.find("{")
    if start < 0 or "}" not in text:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    leaves: dict[str, str] = {}
    _leaves(value, "", leaves)
    return leaves if len(leaves) > 1 else None


def _leaves(value: Any, name: str, into: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _leaves(item, f"{name}.{key}" if name else str(key), into)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _leaves(item, f"{name}[{i}]", into)
    elif value is not None and value != "":
        into[name] = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _of_slots(text: str) -> dict[str, str] | None:
    if "[" not in text and "(" not in text and text.count("=") < 2:
        return None
    found = list(_slots(text))
    if len(found) < 2 and text.count("=") > 1:
        found = [(match[1].strip(), match[2].strip()) for match in _PAIR.finditer(text)]
    return _joined(found) if len(found) > 1 else None


def _slots(text: str) -> Iterator[tuple[str, str]]:
    """Name and value of every ``name[value]``. Looked for from the bracket on: names can begin anywhere."""
    end = 0
    for value in _OPENS.finditer(text):
        start = value.start()
        named = len(text[end:start].rstrip()) + end
        name = _NAMED.search(text, max(end, named - _LONGEST_NAME), start)
        if name:
            yield name[1].strip(), value[1].strip()
            end = value.end()


def _of_lines(text: str) -> dict[str, str] | None:
    lines = [line for line in text.split("\n") if line.strip()]
    found = [(match[1].strip(), match[2]) for match in map(_LINE.match, lines) if match]
    return _joined(found) if len(found) > 1 and len(found) >= len(lines) - 2 else None


def _joined(found: list[tuple[str, str]]) -> dict[str, str]:
    """The facts by name; the values of a name that stands twice are joined."""
    facts: dict[str, str] = {}
    for name, value in found:
        facts[name] = f"{facts[name]}; {value}" if name in facts else value
    return facts
