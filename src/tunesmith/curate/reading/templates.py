"""Texts made of the columns of a row: ``"{customer} ordered {items[0].name}"``.

The language is columns, fields and numbers, nothing else: no formats, no calls, no attributes, so a template can only
say what stands in the row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.core.errors import ConfigError
from tunesmith.core.registry import nearest
from tunesmith.curate.reading.place import Place

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_PATH = re.compile(r"([^.\[\]]+)((?:\.[^.\[\]]+|\[\d+\])*)")


@dataclass(frozen=True)
class Template:
    """A text with holes. ``pieces`` are texts, and column paths as tuples."""

    text: str
    pieces: tuple[str | tuple[str | int, ...], ...]

    def fill(self, row: Mapping[str, Any], place: Place) -> str:
        """The text for a row; null is empty, and what is no text is compact JSON.

        Raises:
            DataError: the row has no such column or field.
        """
        return "".join(p if isinstance(p, str) else _shown(_value(p, row, place, self.text)) for p in self.pieces)


def parse(text: str, option: str = "--template") -> Template:
    """A template from its text; ``{{`` and ``}}`` are braces.

    Raises:
        ConfigError: a brace that belongs to nothing, or something in braces that is no column.
    """
    pieces: list[str | tuple[str | int, ...]] = []
    for match in _PIECE.finditer(text):
        piece, inside = match[0], match[1]
        if inside is not None:
            pieces.append(_path(inside, text, option))
        elif piece in "{}":
            raise ConfigError(
                f"a brace stands alone in the template {text!r}",
                where=option,
                rule="{column} stands for what the column holds; a brace itself is written twice",
                fix="close it, or write {{ or }}",
            )
        else:
            pieces.append({"{{": "{", "}}": "}"}.get(piece, piece))
    return Template(text, tuple(pieces))


def _path(inside: str, text: str, option: str) -> tuple[str | int, ...]:
    match = _PATH.fullmatch(inside.strip())
    if match is None or set("!:") & set(inside):
        raise ConfigError(
            f"{{{inside}}} is not a column in the template {text!r}",
            where=option,
            rule="in braces stands the name of a column, with .field or [0] behind it where it holds more than a text",
            fix="for example {name}, {address.city} or {items[0]}",
        )
    steps = _STEP.finditer(match[2])
    return (match[1], *(int(step[2]) if step[2] else step[1] for step in steps))


def _value(path: Sequence[str | int], row: Mapping[str, Any], place: Place, text: str) -> object:
    value: Any = row
    for i, step in enumerate(path):
        if (isinstance(step, int) and isinstance(value, list) and step < len(value)) or (
            isinstance(step, str) and isinstance(value, Mapping) and step in value
        ):
            value = value[step]
        else:
            names = list(map(str, value)) if isinstance(value, Mapping) else []
            near = nearest(str(step), names)
            raise place.error(
                f"has no {'.'.join(map(str, path[: i + 1]))}, which the template {text!r} names",
                code="missing-template-field",
                rule=f"there are {', '.join(names)}" if names else "a field is taken from what has fields",
                fix=f"did you mean {near[0]}?" if near else "correct the template, or complete the row",
            )
    return value


def _shown(value: object) -> str:
    if value is None:
        return ""
    return (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    )
