"""One turn of a conversation, as files have it, to a ``Message``; and the cleaning of every text on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tunesmith.core.records import Message, Role, ToolCall
from tunesmith.core.registry import nearest
from tunesmith.curate.reading.place import Place, kind_of, shown

_CHAT_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_SHAREGPT_ROLES: Mapping[str, Role] = {
    **_CHAT_ROLES,
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
_CHAT_KEYS = ("role", "content", "tool_calls", "tool_call_id", "weight", "name")
_TURN_RULE = 'a turn is {"role": "user", "content": "…"}'


def clean(value: object, place: Place, field: str) -> str:
    """Text of a field: null is empty, lists and objects become compact JSON.

    Raises:
        DataError: a NUL character, half a surrogate pair, or a value that JSON does not have.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise place.error(
                f"is of a kind that has no text: {type(value).__name__}",
                code="no-text-kind",
                field=field,
                rule="values are text, numbers, lists or objects",
                fix="convert the column to text",
            ) from error
    if "\0" in value:
        raise place.error(
            "has a NUL character (U+0000)",
            code="nul-character",
            field=field,
            rule="text has no NUL characters",
            fix="remove it",
        )
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise place.error(
                f"has half a surrogate pair (U+{ord(value[error.start]):04X}) at character {error.start + 1}",
                code="half-surrogate",
                field=field,
                rule="text is valid Unicode; an emoji cut in two is not",
                fix="write the whole character, or remove the rest of it",
            ) from error
    return value


def nested(value: object, place: Place, field: str) -> Any:
    """A list or object that tables keep as JSON text; anything else comes back as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise place.error(
            f"holds text that is not valid JSON: {error}",
            code="invalid-json-text",
            field=field,
            rule=f"{field} is a list, or the same list as JSON text",
            fix="write it with a JSON library",
        ) from error


def _role(value: object, roles: Mapping[str, Role], place: Place, field: str) -> Role:
    if isinstance(value, str) and value in roles:
        return roles[value]
    known = sorted(roles)
    fix = f"use one of: {', '.join(known)}"
    if isinstance(value, str):
        low = value.strip().lower()
        near = nearest(low, known)
        meant = _SHAREGPT_ROLES.get(low) or (near[0] if near else "")
        fix = f"did you mean {meant}? ({fix})" if meant else fix
    raise place.error(
        f"unknown role {shown(value)}" if value is not None else "has no role",
        code="unknown-role",
        field=field,
        rule="every turn has a role that the model's chat template knows",
        fix=fix,
    )


def _weight(value: object, role: str, place: Place, field: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise place.error(
            f"weight is {shown(value)}",
            code="invalid-weight",
            field=field,
            rule="weight is a number of 0 or more; 0 keeps the turn out of training",
            fix="use 0 or 1, or leave it out",
        )
    if role != "assistant":
        raise place.error(
            f"a turn of role {role} has a weight",
            code="weight-on-context",
            field=field,
            rule="only assistant turns are trained, so only they have a weight",
            fix="remove it",
        )
    return float(value)


def _content(value: object, place: Place, field: str) -> str:
    """Text of a message: a string, or parts of type text joined."""
    if not isinstance(value, list):
        if isinstance(value, (dict, int, float)):
            raise place.error(
                f"content is {kind_of(value)}: {shown(value)}",
                code="invalid-content",
                field=field,
                rule='content is a text, or a list of {"type": "text", "text": "…"}',
                fix="write the content as text",
            )
        return clean(value, place, field)
    texts = []
    for i, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise place.error(
                f"a content part of type {shown(kind)} cannot be trained" if kind else f"is not a part: {shown(part)}",
                code="unknown-part",
                field=f"{field}[{i}]",
                rule='this version trains on text: parts are {"type": "text", "text": "…"}',
                fix="remove the part, or put what it says into text",
            )
        texts.append(clean(part["text"], place, f"{field}[{i}].text"))
    return "".join(texts)


def _call(value: object, place: Place, field: str) -> ToolCall:
    call = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise place.error(
            f"is not a tool call: {shown(value)}",
            code="invalid-tool-call",
            field=field,
            rule='a tool call is {"id", "type": "function", "function": {"name", "arguments"}}',
            fix="write tool calls as the OpenAI API has them",
        )
    arguments = call.get("arguments") or {}
    text = clean(arguments, place, f"{field}.function.arguments")
    try:
        known = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        known = False
    if not known:
        raise place.error(
            f"arguments are not a JSON object: {shown(text)}",
            code="invalid-arguments",
            field=f"{field}.function.arguments",
            rule='arguments are a JSON object as text, e.g. "{\\"city\\": \\"Utrecht\\"}"',
            fix="write them with a JSON library",
        )
    return ToolCall(id=str(value.get("id") or ""), name=clean(call["name"], place, f"{field}.name"), arguments=text)


def chat_message(turn: object, place: Place, field: str) -> Message:
    """A turn as the OpenAI API has it. Keys that would be ignored are refused: they may be a typing error."""
    if not isinstance(turn, dict):
        what = f"is {kind_of(turn)}: {shown(turn)}"
        raise place.error(what, code="invalid-turn", field=field, rule=_TURN_RULE, fix="write it so")
    for key, value in turn.items():
        if key not in _CHAT_KEYS and value not in (None, "", [], {}):
            near = nearest(key, _CHAT_KEYS)
            raise place.error(
                f"unknown key {shown(key)} in a turn",
                code="unknown-key",
                field=field,
                rule=f"a turn has the keys {', '.join(_CHAT_KEYS)}; others would be ignored without a word",
                fix=f"did you mean {near[0]}?" if near else "remove it, or put what it says into content",
            )
    role = _role(turn.get("role"), _CHAT_ROLES, place, f"{field}.role")
    if turn.get("name") and role != "tool":
        raise place.error(
            f"a turn of role {role} has a name",
            code="name-on-turn",
            field=f"{field}.name",
            rule="chat templates leave names out, so the model would never see it",
            fix="remove it, or put the name into content",
        )
    calls = nested(turn.get("tool_calls"), place, f"{field}.tool_calls") or []
    if calls and (role != "assistant" or not isinstance(calls, list)):
        raise place.error(
            f"a turn of role {role} has tool_calls" if role != "assistant" else "tool_calls is not a list",
            code="misplaced-tool-calls",
            field=f"{field}.tool_calls",
            rule="tool_calls is a list, and only the assistant calls tools",
            fix="correct the role, or remove tool_calls",
        )
    called = turn.get("tool_call_id")
    return Message(
        role=role,
        content=_content(turn.get("content"), place, f"{field}.content"),
        tool_calls=tuple(_call(call, place, f"{field}.tool_calls[{i}]") for i, call in enumerate(calls)),
        tool_call_id=None if called is None else str(called),
        weight=_weight(turn.get("weight"), role, place, f"{field}.weight"),
    )


def sharegpt_message(turn: object, place: Place, field: str) -> Message:
    """A turn with from and value, or with role and content."""
    if not isinstance(turn, dict):
        rule = 'a turn is {"from": "human", "value": "…"}'
        what = f"is {kind_of(turn)}: {shown(turn)}"
        raise place.error(what, code="invalid-turn", field=field, rule=rule, fix="write it so")
    if "role" in turn and "from" not in turn:
        return chat_message(turn, place, field)
    role = _role(turn.get("from"), _SHAREGPT_ROLES, place, f"{field}.from")
    text = _content(turn.get("value"), place, f"{field}.value")
    weight = _weight(turn.get("weight"), role, place, f"{field}.weight")
    if turn["from"] in ("function_call", "tool_call"):
        call = _call(nested(text, place, f"{field}.value"), place, f"{field}.value")
        return Message(role=role, tool_calls=(call,), weight=weight)
    return Message(role=role, content=text, weight=weight)
