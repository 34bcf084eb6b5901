"""Short ways to write conversations in tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tunesmith.core.records import Example, Message, Reply, Source, TokenizedExample, ToolCall
from tunesmith.text.template import TemplateRenderer

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Temperature in a city, in °C",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def say(role: Any, text: str = "", **fields: Any) -> Message:
    return Message(role=role, content=text, **fields)


def row(*messages: Message, tools: Sequence[dict[str, Any]] = ()) -> Example:
    """The last message is the target."""
    return Example(
        messages=messages[:-1],
        target=Reply(message=messages[-1]),
        tools=tuple(tools),
        source=Source(path="rows.jsonl", line=17),
    )


def call(name: str, id: str = "", **arguments: Any) -> ToolCall:
    return ToolCall(id=id, name=name, arguments=json.dumps(arguments))


def trained(renderer: TemplateRenderer, tokens: TokenizedExample) -> str:
    """Text of the trained tokens, control tokens included."""
    return "".join(piece.text for piece in renderer.pieces(tokens) if piece.trained)


def shown(renderer: TemplateRenderer, ids: Sequence[int]) -> str:
    """Text of ids, control tokens included."""
    return renderer.tokenizer.decode(ids, skip_special=False)
