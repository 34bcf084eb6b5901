"""Tool calls as chat templates write them: read from the template, forced by a grammar, found again in an answer.

No list of model families: the template is shown two calls, and what it writes around their names and arguments is the
form, whatever it is called elsewhere. Hermes and Qwen (``<tool_call>{"name": …}</tool_call>``), Llama 3
(``{"name": …, "parameters": …}``), Mistral (``[TOOL_CALLS] [{…}]``) and Phi 4 are found so. A template that writes
arguments otherwise than as a JSON object has no form that could be read back, and is refused by name.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from tunesmith.core.errors import InputError
from tunesmith.core.protocols import CallPiece
from tunesmith.core.records import ToolCall

NAME = r"[A-Za-z0-9_-]{1,64}"
"""What a function may be called, as OpenAI has it."""

PROBES = (
    ToolCall(id="probecal1", name="probe_first", arguments='{"probe_key": "probe value"}'),
    ToolCall(id="probecal2", name="probe_other", arguments='{"probe_two": "other value"}'),
)
PROBE_TOOLS: tuple[dict[str, Any], ...] = tuple(
    {"type": "function", "function": {"name": call.name, "description": "", "parameters": {"type": "object"}}}
    for call in PROBES
)
_ID = "\0"
"""Stands for the id of a call inside the literals of a form."""

_SPACING = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
"""JSON as ``tojson`` of a template writes it, which is what the model was trained on."""


@dataclass(frozen=True)
class Tool:
    """A function that may be called: its name and the JSON schema of its arguments.

    ``strict``: what is called has to fit the schema even where the model is free not to call.
    """

    name: str
    schema: Mapping[str, Any]
    strict: bool = False


@final
@dataclass(frozen=True)
class ToolFormat:
    """What a template writes around a call: ``before`` NAME ``middle`` ARGUMENTS ``after``.

    ``joint``: what stands between the arguments of a call and the name of the next; None: one call in an answer.
    ``control``: control tokens, text → id; an answer's text does not show them.
    """

    before: str
    middle: str
    after: str
    joint: str | None
    control: Mapping[str, int]

    @cached_property
    def marker(self) -> str:
        """The text that announces a call anywhere in an answer; "": calls stand at its beginning only."""
        found = re.match(r"[^\s{\"]+", self.visible(self.before).lstrip())
        return found[0] if found and len(found[0]) > 2 else ""

    @property
    def has_ids(self) -> bool:
        """Whether the template writes ids of calls."""
        return _ID in self.after

    def visible(self, literal: str) -> str:
        """A literal as it stands in the text of an answer: without control tokens."""
        for token in self.control:
            literal = literal.replace(token, "")
        return literal

    def new_id(self) -> str:
        """An id for a call; templates that write ids want nine letters or digits."""
        if self.has_ids:
            return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))
        return "call_" + secrets.token_hex(12)

    def grammar(self, tools: Sequence[Tool], *, many: bool, otherwise: str | None = None) -> str:
        """A Lark grammar (in llguidance's dialect) of answers that call tools, in the very spelling of the template.

        Args:
            tools: what may be called.
            many: more than one call is allowed.
            otherwise: right-hand side of what may stand in place of calls ("TEXT": any text without a call).

        Raises:
            InputError: free text and calls cannot be told apart in this form.
        """
        rules = [f"calls: {self._literal(self.before)} one {self._rest(many)}"]
        rules += ["one: " + " | ".join(f"one_{index}" for index in range(len(tools)))]
        for index, tool in enumerate(tools):
            schema = {"type": "object", **tool.schema, "x-guidance": _SPACING}
            rules.append(f"one_{index}: {json.dumps(tool.name)} {self._literal(self.middle)} args_{index}")
            rules.append(f"args_{index}: %json {json.dumps(schema)}")
        if otherwise is None:
            return "\n".join(["start: calls", *rules]) + "\n"
        if otherwise == "TEXT":
            rules.append(f"TEXT: {self._text_without_calls()}")
        return "\n".join([f"start: calls | other\nother: {otherwise}", *rules]) + "\n"

    def parser(self, names: Sequence[str], many: bool = True) -> CallParser:
        """A fresh parser of one answer that may call the functions ``names``."""
        return CallParser(self, frozenset(names), many)

    def _rest(self, many: bool) -> str:
        after = self._literal(self.after)
        return f"({self._literal(self.joint)} one)* {after}" if many and self.joint is not None else after

    def _literal(self, text: str) -> str:
        """A literal of the grammar: control tokens by their ids, an id by its form, the rest as it is written."""
        known = [re.escape(token) for token in sorted(self.control, key=len, reverse=True)]
        pieces = re.split(f"({'|'.join([_ID, *known])})", text)
        written = []
        for piece in pieces:
            if piece == _ID:
                written.append("/[a-zA-Z0-9]{9}/")
            elif piece in self.control:
                written.append(f"<[{self.control[piece]}]>")
            elif piece:
                written.append(json.dumps(piece))
        return " ".join(written)

    def _text_without_calls(self) -> str:
        if any(token in self.before for token in self.control):
            return r"/(?s:.*)/"  # a text holds no control token
        if not self.marker:
            raise InputError(
                "this model's chat template writes calls as bare JSON, which free text cannot be told from",
                rule="a strict function needs calls that are marked, or a forced call",
                fix="set tool_choice to required or to the function, or leave strict out",
            )
        escaped = re.sub(r"([\\.^$*+?{}()|/\[\]])", r"\\\1", self.marker)
        return rf"/(?s:.*)/ & ~/(?s:.*){escaped}(?s:.*)/"


def read_format(write: Callable[[Sequence[ToolCall]], str], control: Mapping[str, int]) -> ToolFormat:
    """The form in which a template writes calls.

    Args:
        write: the template's text of an answer that makes the given calls, without its stop token.
        control: control tokens of the tokenizer, text → id.

    Raises:
        InputError: calls are not written as a name and a JSON object, or not shown at all.
    """
    one = PROBES[0]
    text = write([one])
    start, end = _arguments_in(text, one)
    name = text.rfind(one.name, 0, start)
    before, middle, after = text[:name], text[name + len(one.name) : start], text[end:]
    if name < 0 or one.id in before + middle:
        raise _unreadable("a call's name stands behind its arguments, or its id before them")
    form = ToolFormat(before, middle, after.replace(one.id, _ID), _joint(write, end), control)
    if not form.marker and "{" not in form.visible(before):
        raise _unreadable("nothing in the text of an answer shows where a call begins")
    return form


def _joint(write: Callable[[Sequence[ToolCall]], str], end: int) -> str | None:
    one, other = PROBES
    try:
        text = write(PROBES)
        start, _ = _arguments_in(text, other)
    except InputError:  # the template takes one call only
        return None
    name = text.find(other.name, end)
    return text[end:name].replace(one.id, _ID) if 0 <= name < start else None


def _arguments_in(text: str, call: ToolCall) -> tuple[int, int]:
    [(key, value)] = json.loads(call.arguments).items()
    found = re.search(rf'\{{\s*"{key}"\s*:\s*"{value}"\s*\}}', text)
    if found is None:
        raise _unreadable("arguments are not written as a JSON object")
    return found.span()


def _unreadable(why: str) -> InputError:
    return InputError(
        f"this model's chat template writes tool calls in a form that cannot be read back: {why}",
        rule="a call is written as the function's name and its arguments as a JSON object",
        fix="leave the tools out, or use a chat template that writes calls so",
    )


def _flexible(literal: str) -> str:
    """A pattern of a literal that lets a model space it otherwise."""
    words = re.findall(rf"{_ID}|\w+|[^\w\s]", literal)
    return r"\s*".join("[A-Za-z0-9]*" if word == _ID else re.escape(word) for word in words)


@final
class CallParser:
    """Takes the text of an answer as it comes and tells calls from content. Implements ``core.protocols.CallStream``.

    What looks like a call and names no known function, or never becomes one, is content: nothing is lost.
    """

    def __init__(self, form: ToolFormat, names: frozenset[str], many: bool) -> None:
        self._form, self._names, self._many = form, names, many
        before, middle = (_flexible(form.visible(part)) for part in (form.before, form.middle))
        name = rf"\s*(?P<name>{NAME})\s*"
        self._first = re.compile(rf"\s*{before}{name}{middle}\s*(?=\{{)")
        joint = None if form.joint is None else _flexible(form.visible(form.joint))
        self._next = None if joint is None else re.compile(rf"\s*{joint}{name}{middle}\s*(?=\{{)")
        self._after = re.compile(rf"\s*{_flexible(form.visible(form.after))}")
        self._patience = len(form.before) + len(form.middle) + len(form.joint or "") + 128
        self._buffer = ""
        self._step: Callable[[], list[str | CallPiece] | None] = self._in_text
        self._said = self._plain = False
        self.calls = 0
        """Calls that were begun."""
        self._whole = 0
        self._depth, self._quoted, self._escaped = 0, False, False

    @property
    def complete(self) -> bool:
        """At least one call is whole and none is open."""
        return bool(self.calls) and self._whole == self.calls

    @property
    def enough(self) -> bool:
        """The one call that is allowed is whole."""
        return self.complete and not self._many

    def push(self, text: str) -> list[str | CallPiece]:
        """Take more text; give out what is certain now."""
        self._buffer += text
        out: list[str | CallPiece] = []
        while not self.enough and (news := self._step()) is not None:
            out += [piece for piece in news if piece != ""]
        return out

    def finish(self) -> list[str | CallPiece]:
        """Give out what was held back, when no more text comes."""
        rest, self._buffer = self._buffer, ""
        if self._step == self._behind:
            squeezed = "".join(self._form.visible(self._form.after).split())
            rest = "" if squeezed.startswith("".join(rest.split())) else rest
        if self.enough or (self.calls and not rest.strip()):
            return []
        return [rest] if rest else []

    def _in_text(self) -> list[str | CallPiece] | None:
        """Content, up to where a call may begin. None: more text is needed."""
        marker = self._form.marker
        if not marker:
            return self._at_beginning()
        at = self._buffer.find(marker)
        if at >= 0:
            self._step = self._opening
            return self._content(at)
        keep = next((n for n in range(len(marker) - 1, 0, -1) if self._buffer.endswith(marker[:n])), 0)
        end = len(self._buffer) - keep
        return self._content(len(self._buffer[:end].rstrip())) or None

    def _at_beginning(self) -> list[str | CallPiece] | None:
        stripped = self._buffer.lstrip()
        if not self._said and not self._plain and not stripped:
            return None
        if self._said or self._plain or stripped[0] != self._form.visible(self._form.before).lstrip()[:1]:
            return self._content(len(self._buffer)) or None
        self._step = self._opening
        return []

    def _content(self, end: int) -> list[str | CallPiece]:
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        if self.calls and not text.strip():
            return []  # the line breaks between two calls
        self._said = self._said or bool(text)
        return [text] if text else []

    def _opening(self) -> list[str | CallPiece] | None:
        found = self._first.match(self._buffer)
        if found and found["name"] in self._names:
            return self._begin(found)
        if not found and len(self._buffer) <= self._patience:
            return None
        self._step, self._plain = self._in_text, True
        return self._content(len(self._form.marker) or len(self._buffer))

    def _begin(self, found: re.Match[str]) -> list[str | CallPiece]:
        self._buffer = self._buffer[found.end() :]
        self._step = self._arguments
        self.calls += 1
        return [CallPiece(self.calls - 1, self._form.new_id(), found["name"], "")]

    def _arguments(self) -> list[str | CallPiece] | None:
        for at, char in enumerate(self._buffer):
            if self._quoted:
                self._quoted = self._escaped or char != '"'
                self._escaped = char == "\\" and not self._escaped
            elif char == '"':
                self._quoted = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self._whole += 1
                    self._step = self._behind
                    return self._fragment(at + 1)
        return self._fragment(len(self._buffer)) or None

    def _fragment(self, end: int) -> list[str | CallPiece]:
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        return [CallPiece(self.calls - 1, "", "", text)] if text else []

    def _behind(self) -> list[str | CallPiece] | None:
        found = self._next.match(self._buffer) if self._next else None
        if found and found["name"] in self._names:
            return self._begin(found)
        closed = self._after.match(self._buffer)
        if closed:
            self._buffer = self._buffer[closed.end() :]
        elif len(self._buffer) <= self._patience:
            return None
        self._step, self._plain = self._in_text, True
        return []
