"""Changing the words of a row in the shape that it was written in: every other field stays as it is."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.core.records import Edit, Example
from tunesmith.curate.reading.messages import clean, nested
from tunesmith.curate.reading.place import Place
from tunesmith.curate.reading.shapes import BUILDERS

Path = tuple[str | int, ...]
Cell = tuple[Path, str]
"""Where a text stands in a row, and the text."""

_JOIN = "\n\n"
"""Between instruction and input of an Alpaca row."""

_NESTED = {"chat": "messages", "sharegpt": "conversations", "alpaca": "history"}
"""Shape → its list of turns, which tables keep as JSON text."""


def amended(fields: Mapping[str, Any], shape: str, example: Example, edits: Sequence[Edit]) -> dict[str, Any]:
    """The fields of a row after edits, in the same shape.

    Args:
        fields: the row under our field names.
        shape: its format, as `detect` names it.
        example: what is made of it; edits count its turns and characters.
        edits: they do not overlap; order does not matter.

    Raises:
        DataError: an edit lies outside of the text that it changes.
    """
    row: dict[str, Any] = copy.deepcopy(dict(fields))
    place = Place(example.source.path, example.source.line)
    name = _NESTED.get(shape, "")
    if name in row:
        row[name] = nested(row[name], place, name)
    turns = [example.target.text] if example.is_document else [message.text for message in example.conversation]
    cells = _cells(row, shape, place)
    if len(cells) == len(turns) - 1:
        cells.insert(0, [(("system",), turns[0])])
    for turn, call in sorted({(edit.turn, -1 if edit.call is None else edit.call) for edit in edits}):
        wanted = sorted((e for e in edits if e.turn == turn and e.call == (None if call < 0 else call)), key=_start)
        text = _text_at(example, turns, turn, call)
        if text is None or any(not 0 <= e.start <= e.end <= len(text) for e in wanted):
            raise place.error(
                f"an edit does not fit: turn {turn + 1} has no such characters",
                code="edit-outside",
                rule="an edit replaces characters that are there",
                fix="check the file again: the findings belong to another version of it",
            )
        if call >= 0:
            _put_arguments(row, cells[turn][0][0][:-1], call, replace(text, wanted))
            continue
        for path, changed in _changed(cells[turn], wanted):
            _put(row, path, changed)
    return row


def _start(edit: Edit) -> int:
    return edit.start


def _text_at(example: Example, turns: Sequence[str], turn: int, call: int) -> str | None:
    """What a turn says, or the arguments of one of its tool calls; None where there is no such place."""
    if not 0 <= turn < len(turns):
        return None
    if call < 0:
        return turns[turn]
    calls = example.conversation[turn].tool_calls if example.conversation else ()
    return calls[call].arguments if call < len(calls) else None


def _put_arguments(row: Any, path: Path, number: int, arguments: str) -> None:
    """Change the arguments of a tool call, which may stand as text or as an object, also inside of JSON text."""
    for step in path:
        row = row[step]
    name = "value" if row.get("from") in ("function_call", "tool_call") else "tool_calls"
    made = json.loads(row[name]) if isinstance(row[name], str) else row[name]
    call = made if name == "value" else made[number]
    holder = call.get("function", call)
    holder["arguments"] = arguments if isinstance(holder.get("arguments"), str) else json.loads(arguments)
    row[name] = json.dumps(made, ensure_ascii=False) if isinstance(row[name], str) else made


def rebuilt(fields: Mapping[str, Any], shape: str, example: Example) -> Example:
    """The example that changed fields make, at the same place."""
    return BUILDERS[shape](fields, Place(example.source.path, example.source.line))


def replace(text: str, edits: Sequence[Edit], offset: int = 0) -> str:
    """A text with edits of one turn applied; they are sorted by their start."""
    for edit in reversed(edits):
        text = text[: edit.start - offset] + edit.text + text[edit.end - offset :]
    return text


def _changed(cells: Sequence[Cell], edits: Sequence[Edit]) -> list[Cell]:
    """The cells of a turn after its edits. One that goes over the border of two cells joins them in the first."""
    starts = [sum(len(text) + len(_JOIN) for _, text in cells[:i]) for i in range(len(cells))]
    owners = []
    for edit in edits:
        inside = [
            i for i, (_, text) in enumerate(cells) if starts[i] <= edit.start and edit.end <= starts[i] + len(text)
        ]
        owners.append(inside[0] if inside else -1)
    if -1 in owners:
        whole = replace(_JOIN.join(text for _, text in cells), edits)
        return [(cells[0][0], whole), *((path, "") for path, _ in cells[1:])]
    return [
        (path, replace(text, [edit for edit, owner in zip(edits, owners, strict=True) if owner == i], starts[i]))
        for i, (path, text) in enumerate(cells)
    ]


def _put(row: Any, path: Path, value: str) -> None:
    for step in path[:-1]:
        row = row[step]
    row[path[-1]] = value


def _cells(row: Mapping[str, Any], shape: str, place: Place) -> list[list[Cell]]:
    """The texts of every turn and where they stand; a system field is left to the caller."""
    if shape == "text":
        return [[(("text",), row["text"])]]
    if shape in ("chat", "sharegpt"):
        name = "messages" if shape == "chat" else "conversations"
        return _turns(row[name], (name,), place)
    if shape == "alpaca":
        return _alpaca(row, place)
    return [*_side(row, "prompt", place), *_side(row, "completion", place)]


def _turns(turns: Sequence[Mapping[str, Any]], path: Path, place: Place) -> list[list[Cell]]:
    return [[((*path, i, _text_key(turn)), _text_of(turn.get(_text_key(turn)), place))] for i, turn in enumerate(turns)]


def _text_key(turn: Mapping[str, Any]) -> str:
    return "value" if "from" in turn else "content"


def _text_of(value: object, place: Place) -> str:
    if isinstance(value, list):
        return "".join(part["text"] for part in value)
    return clean(value, place, "content")


def _side(row: Mapping[str, Any], name: str, place: Place) -> list[list[Cell]]:
    if isinstance(row[name], list) and row[name] and isinstance(row[name][0], dict) and "role" in row[name][0]:
        return _turns(row[name], (name,), place)
    return [[((name,), clean(row[name], place, name))]]


def _alpaca(row: Mapping[str, Any], place: Place) -> list[list[Cell]]:
    cells: list[list[Cell]] = []
    for i, pair in enumerate(row.get("history") or []):
        cells += [[(("history", i, side), clean(pair[side], place, "history"))] for side in (0, 1)]
    question: list[Cell] = [(("instruction",), clean(row["instruction"], place, "instruction"))]
    if (extra := clean(row.get("input"), place, "input")).strip():
        question.append((("input",), extra))
    return [*cells, question, [(("output",), clean(row["output"], place, "output"))]]
