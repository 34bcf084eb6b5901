"""Messages as a chat template sees them, and the check that no text forges a control token."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tunesmith.core.errors import InputError
from tunesmith.core.records import Message

View = dict[str, Any]
"""One message as a template sees it: plain JSON values only, so that a template meets no object of ours."""


def view(messages: Sequence[Message]) -> list[View]:
    """Messages in the form of transformers' chats: content as a string, arguments of tool calls as objects.

    Raises:
        InputError: the arguments of a tool call are not a JSON object.
    """
    names: dict[str, str] = {}
    views = []
    for message in messages:
        shown: View = {"role": message.role, "content": message.text}
        if message.tool_calls:
            names.update({call.id: call.name for call in message.tool_calls if call.id})
            shown["tool_calls"] = [
                {
                    **({"id": call.id} if call.id else {}),
                    "type": "function",
                    "function": {"name": call.name, "arguments": _arguments(call.name, call.arguments)},
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            shown["tool_call_id"] = message.tool_call_id
            if message.tool_call_id in names:
                shown["name"] = names[message.tool_call_id]
        views.append(shown)
    return views


def plain_tools(tools: Sequence[object]) -> list[View] | None:
    """Tools as plain JSON objects; None when there are none, which is what templates test for.

    Raises:
        InputError: a tool is not a JSON object.
    """
    plain = []
    for number, tool in enumerate(tools, start=1):
        try:
            value = json.loads(json.dumps(dict(tool))) if isinstance(tool, Mapping) else None
        except (TypeError, ValueError):
            value = None
        if value is None:
            raise InputError(
                f"tool {number} is not a JSON object",
                rule="tools are objects in OpenAI's form: {type: function, function: {name, description, parameters}}",
                fix="write each tool as such an object",
            )
        plain.append(value)
    return plain or None


def _arguments(name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InputError(
            f"the arguments of the call to {name!r} are not a JSON object: {text[:80]!r}",
            rule="arguments of a tool call are a string that holds a JSON object",
            fix='write them as JSON, for example "{\\"city\\": \\"Delft\\"}"',
        )
    return value


def control_pattern(tokens: Collection[str]) -> re.Pattern[str] | None:
    """A pattern that finds any of the control tokens (the longest first)."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def refuse_control_tokens(
    pattern: re.Pattern[str] | None, messages: Sequence[Message], tools: Sequence[object] | None
) -> None:
    """Raise InputError when a text holds the spelling of a control token: it would become that token."""
    for place, text in _texts(messages, tools):
        refuse_spelled_tokens(pattern, f"the text of {place}", text)


def refuse_spelled_tokens(pattern: re.Pattern[str] | None, place: str, text: str) -> None:
    """Raise InputError when a text holds the spelling of a control token: it would become that token."""
    if pattern is not None and (found := pattern.search(text)):
        raise InputError(
            f"the control token {found[0]!r} stands in {place}",
            rule="control tokens come from the renderer only; in a text they would end it, or forge a turn",
            fix="remove it, or break it up with a space",
        )


def _texts(messages: Sequence[Message], tools: Sequence[object] | None) -> Iterator[tuple[str, str]]:
    for number, message in enumerate(messages, start=1):
        place = f"message {number} ({message.role})"
        yield place, message.text
        for call in message.tool_calls:
            # Parsed and written again, for JSON can spell a token with escapes.
            arguments = json.dumps(_arguments(call.name, call.arguments), ensure_ascii=False)
            yield place, "\n".join((call.id, call.name, arguments))
        if message.tool_call_id:
            yield place, message.tool_call_id
    for number, tool in enumerate(tools or (), start=1):
        yield f"tool {number}", json.dumps(tool, ensure_ascii=False)
