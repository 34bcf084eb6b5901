"""Which shape a file has, from the fields of its first row. No registry file: the field names say it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from tunesmith.curate.reading.place import Place

Row = Mapping[str, Any]

_TEXT_NAMES = ("text", "sentence", "utterance", "content", "premise")
_LABEL_NAMES = ("label", "labels", "intent", "category", "class")
_ABOUT_A_TEXT = ("id", "meta", "metadata", "source", "url", "title", "timestamp", "date", "language")
_QUESTION_NAMES = (
    "question",
    "prompt",
    "instruction",
    "input",
    "query",
    "user",
    "source",
    "request",
    "problem",
    "text",
)
_ANSWER_NAMES = ("answer", "completion", "output", "response", "reply", "assistant", "target", "solution", "label")


def _has(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(name in row for name in names)


def _is_classification(row: Row) -> bool:
    return any(name in row for name in _TEXT_NAMES) and any(name in row for name in _LABEL_NAMES)


def _is_unpaired(row: Row) -> bool:
    return _has("prompt", "completion", "label")(row) and str(row["label"]).lower() in ("true", "false", "0", "1")


READABLE: Mapping[str, Callable[[Row], bool]] = {
    "chat": _has("messages"),
    "sharegpt": _has("conversations"),
    "alpaca": _has("instruction", "output"),
    "prompt-completion": lambda row: _has("prompt", "completion")(row) and not _is_unpaired(row),
    "text": lambda row: "text" in row and row.keys() <= {"text", *_ABOUT_A_TEXT},
}
"""Format → whether a row has that shape."""

_NEEDS_TASK: Mapping[str, tuple[Callable[[Row], bool], str]] = {
    "preference pairs": (
        lambda row: _has("chosen", "rejected")(row) or _has("preferred_output", "non_preferred_output")(row),
        "preference tuning (a better and a worse answer to each question)",
    ),
    "unpaired labels": (_is_unpaired, "preference tuning from single answers marked good or bad"),
    "classification rows": (_is_classification, "classification (a label for each text)"),
}
"""Shape that is recognised and refused → (whether a row has it, the task it would need)."""


def detect(row: Row, place: Place) -> str:
    """The format of a file whose first row is ``row``.

    Raises:
        DataError: the row fits no shape, two shapes, or one that needs a task which is not there.
    """
    fits = [name for name, test in READABLE.items() if test(row)]
    needs = {name: task for name, (test, task) in _NEEDS_TASK.items() if test(row)}
    found = [*fits, *needs]
    if len(found) > 1:
        raise place.error(
            f"its fields ({_names(row)}) fit two shapes: {' and '.join(found)}",
            code="two-shapes",
            rule="a file has one shape; which one is not guessed",
            fix=f"say it with format: {fits[0]}" if fits else "leave out the fields of one of them",
        )
    if needs:
        _refuse_task(place, *next(iter(needs.items())), row)
    if not fits:
        _refuse_unknown(place, row)
    return fits[0]


def _names(row: Row) -> str:
    return ", ".join(map(str, row)) or "none"


def _refuse_task(place: Place, shape: str, task: str, row: Row) -> NoReturn:
    way_out = "give examples with a question and the one wanted answer (messages, or prompt and completion)"
    pair = _guess(row) if shape == "classification rows" else None
    if _has("prompt", "chosen")(row):
        pair = ("prompt", "chosen")
    if pair:
        way_out += f"; or train on a part of it: {_columns(*pair)}"
    raise place.error(
        f"the rows are {shape} (fields {_names(row)})",
        code="other-task",
        rule=f"this needs a task that this version does not have: {task}",
        fix=way_out,
    )


def _refuse_unknown(place: Place, row: Row) -> NoReturn:
    known = ("messages", "conversations", "instruction", "output", "prompt", "completion")
    near = [
        (name, hit[0]) for name in row if (hit := difflib.get_close_matches(name, known, 1, 0.8)) and hit[0] != name
    ]
    pair = _guess(row)
    if near:
        fix = f"did you mean {near[0][1]} instead of {near[0][0]}?"
    elif pair:
        fix = f"name the columns: {_columns(*pair)}"
    else:
        fix = f"name the columns: {_columns('YOUR_QUESTION', 'YOUR_ANSWER')}"
    raise place.error(
        f"its fields ({_names(row)}) make no shape that is known",
        code="unknown-shape",
        rule="known shapes: messages; conversations; instruction and output; prompt and completion; text alone",
        fix=fix,
    )


def _columns(question: str, answer: str) -> str:
    """How to name the columns, in a config file and on the command line."""
    return (
        f"columns: {{prompt: {question}, completion: {answer}}} "
        f"(on the command line: --column prompt={question} --column completion={answer})"
    )


def _guess(row: Row) -> tuple[str, str] | None:
    """Columns that look like question and answer: for advice only, never used silently."""
    by_name = {str(name).strip().lower(): str(name) for name in row}
    asks = [by_name[name] for name in _QUESTION_NAMES if name in by_name]
    answers = [by_name[name] for name in (*_ANSWER_NAMES, *_LABEL_NAMES) if name in by_name]
    return (asks[0], answers[0]) if asks and answers and asks[0] != answers[0] else None
