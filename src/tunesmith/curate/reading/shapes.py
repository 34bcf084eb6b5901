"""Rows to examples: one small function for each shape that people have, and the recognition of shapes.

chat               {"messages": [{"role", "content", "weight"?, "tool_calls"?, "tool_call_id"?}], "tools"?}
sharegpt           {"conversations": [{"from", "value"}], "system"?, "tools"?}
alpaca             {"instruction", "input"?, "output", "system"?, "history"?: [[question, answer]]}
prompt-completion  {"prompt", "completion", "system"?, "tools"?}; each a text or a list of messages
text               {"text"}: a plain text without question and answer, for continued pre-training
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.core.records import Document, Example, Message, Reply, Role
from tunesmith.core.registry import nearest
from tunesmith.curate.reading.messages import chat_message, clean, nested, sharegpt_message
from tunesmith.curate.reading.place import Place, kind_of, shown

Row = Mapping[str, Any]
Build = Callable[[Row, Place], Example]


def _example(messages: Sequence[Message], row: Row, place: Place) -> Example:
    """The last message is the target; the tools of the row go along."""
    if not any(m.role == "assistant" for m in messages):
        raise place.error(
            "has no assistant turn",
            code="no-assistant-turn",
            field="messages",
            rule="an example ends with the answer that the model should give",
            fix="add the wanted answer as the last turn, or remove the row",
        )
    if messages[-1].role != "assistant":
        raise place.error(
            f"ends with a turn of role {messages[-1].role}",
            code="ends-without-answer",
            field=f"messages[{len(messages) - 1}].role",
            rule="an example ends with the answer that the model should give",
            fix="add the wanted answer as the last turn, or remove what comes after the last answer",
        )
    if row.get("system") and messages[0].role != "system":
        text = clean(row["system"], place, "system")
        messages = (Message(role="system", content=text), *messages)
    tools = _tools(row.get("tools"), place)
    reply = Reply(message=messages[-1])
    return Example(messages=tuple(messages[:-1]), target=reply, tools=tools, source=place.source)


def _tools(value: object, place: Place) -> tuple[Mapping[str, Any], ...]:
    value = nested(value, place, "tools")
    if not value:
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, dict) and _tool_name(tool) for tool in value):
        raise place.error(
            f"tools is not a list of function descriptions: {shown(value)}",
            code="invalid-tools",
            field="tools",
            rule='tools is a list of {"type": "function", "function": {"name", "description", "parameters"}}',
            fix="write tools as the OpenAI API has them",
        )
    clean(json.dumps(value, ensure_ascii=False), place, "tools")
    return tuple(value)


def _tool_name(tool: Mapping[str, Any]) -> object:
    function = tool.get("function", tool)
    return isinstance(function, dict) and function.get("name")


def _turns(row: Row, name: str, place: Place) -> list[Any]:
    """The list of turns under ``name``, which must have at least one."""
    value = nested(_needed(row, name, place), place, name)
    if not isinstance(value, list) or not value:
        raise place.error(
            f"{name} is empty" if value in ([], "") else f"{name} is {kind_of(value)}, not a list",
            code="no-turns",
            field=name,
            rule=f"{name} is a list of at least a question and an answer",
            fix="fill it, or remove the row",
        )
    return value


def chat(row: Row, place: Place) -> Example:
    """OpenAI chat rows."""
    turns = _turns(row, "messages", place)
    return _example([chat_message(turn, place, f"messages[{i}]") for i, turn in enumerate(turns)], row, place)


def sharegpt(row: Row, place: Place) -> Example:
    """ShareGPT rows; turns may also be written with role and content."""
    turns = _turns(row, "conversations", place)
    return _example([sharegpt_message(turn, place, f"conversations[{i}]") for i, turn in enumerate(turns)], row, place)


def alpaca(row: Row, place: Place) -> Example:
    """Alpaca rows: the question is instruction and input with an empty line between them."""
    question = clean(_needed(row, "instruction", place), place, "instruction")
    extra = clean(row.get("input"), place, "input")
    messages: list[Message] = []
    for i, pair in enumerate(nested(row.get("history"), place, "history") or []):
        if not isinstance(pair, list) or len(pair) != 2:
            raise place.error(
                f"is not a pair: {shown(pair)}",
                code="invalid-history",
                field=f"history[{i}]",
                rule="history is a list of [question, answer]",
                fix="give every earlier question its answer",
            )
        texts = [clean(text, place, f"history[{i}]") for text in pair]
        messages += [Message(role="user", content=texts[0]), Message(role="assistant", content=texts[1])]
    messages.append(Message(role="user", content=f"{question}\n\n{extra}" if extra.strip() else question))
    messages.append(Message(role="assistant", content=clean(_needed(row, "output", place), place, "output")))
    return _example(messages, row, place)


def prompt_completion(row: Row, place: Place) -> Example:
    """Prompt and completion; only the completion is trained, also where the prompt has earlier assistant turns."""
    asked = _side(row, "prompt", "user", place)
    asked = [m.model_copy(update={"weight": 0.0}) if m.role == "assistant" and m.weight is None else m for m in asked]
    return _example([*asked, *_side(row, "completion", "assistant", place)], row, place)


def plain_text(row: Row, place: Place) -> Example:
    """Plain text: all of it is trained."""
    value = _needed(row, "text", place)
    if not isinstance(value, str):
        raise place.error(
            f"text is {kind_of(value)}, not a text: {shown(value)}",
            code="not-text",
            field="text",
            rule="a row of plain text has one text",
            fix="write it as a string, or remove the row",
        )
    return Example(messages=(), target=Document(text=clean(value, place, "text")), source=place.source)


def _side(row: Row, name: str, role: Role, place: Place) -> list[Message]:
    value = _needed(row, name, place)
    if isinstance(value, list) and value and all(isinstance(turn, dict) and "role" in turn for turn in value):
        return [chat_message(turn, place, f"{name}[{i}]") for i, turn in enumerate(value)]
    return [Message(role=role, content=clean(value, place, name))]


def _needed(row: Row, name: str, place: Place) -> object:
    if name in row:
        return row[name]
    near = nearest(name, row)
    raise place.error(
        f"has no field {name}; its fields are {', '.join(map(str, row)) or '(none)'}",
        code="missing-field",
        field=name,
        rule="all rows of a file have the shape of its first row",
        fix=f"did you mean {near[0]}?" if near else "complete the row, or remove it",
    )


FIELDS: Mapping[str, frozenset[str]] = {
    "chat": frozenset({"messages", "system", "tools"}),
    "sharegpt": frozenset({"conversations", "system", "tools"}),
    "alpaca": frozenset({"instruction", "input", "output", "history", "system", "tools"}),
    "prompt-completion": frozenset({"prompt", "completion", "system", "tools"}),
    "text": frozenset({"text"}),
}
"""Format → the fields that are read."""

BUILDERS: Mapping[str, Build] = {
    "chat": chat,
    "sharegpt": sharegpt,
    "alpaca": alpaca,
    "prompt-completion": prompt_completion,
    "text": plain_text,
}
"""Format → builder: the whole table of shapes that become examples."""
