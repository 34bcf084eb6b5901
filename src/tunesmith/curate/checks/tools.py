"""Tools that rows declare, and the calls that they make of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tunesmith.core.errors import ConfigError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Example, Finding, Severity, ToolCall, digest_of
from tunesmith.core.registry import nearest
from tunesmith.curate.checks.observe import EVIDENCE, Outcome, Setting, finding
from tunesmith.curate.checks.values import listed
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.reading.place import count
from tunesmith.text.graders import JsonSchema

TOOLS = "tools and calls"

_KEPT = 1000
_Problem = tuple[Severity, str, str, str]


class ToolCalls:
    """Calls of tools that the row does not declare, and arguments that the tool would refuse."""

    def __init__(self, setting: Setting) -> None:
        self._schemas: dict[str, JsonSchema | str] = {}
        self._rows = self._undeclared = 0

    def see(self, row: Row) -> Iterable[Finding]:
        """What is wrong with the tools and calls of the row."""
        example = row.example
        calls = [(turn, call) for turn, message in enumerate(example.conversation, 1) for call in message.tool_calls]
        if not calls and not example.tools:
            return ()
        self._rows += 1
        return [
            finding(TOOLS, severity, message, example, fix, evidence=evidence[:EVIDENCE])
            for severity, message, fix, evidence in self._problems(example, calls)
        ]

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """Whether there were any tools."""
        if not self._rows:
            return Outcome(not_checked="no row has tools or calls one")
        remark = f" ({count(self._undeclared, 'row')} with calls and no declared tools)" if self._undeclared else ""
        figures = {"rows_with_tools": self._rows, "rows_without_declarations": self._undeclared}
        return Outcome(remark=remark, figures=figures)

    def _problems(self, example: Example, calls: Sequence[tuple[int, ToolCall]]) -> Iterator[_Problem]:
        declared: dict[str, JsonSchema | None] = {}
        for number, tool in enumerate(example.tools, 1):
            name, parameters = _declared(tool)
            if not name:
                yield "error", f"tool {number} has no name", "give it function.name", ""
            elif name in declared:
                yield "error", f"the tool {name} is declared twice", "keep one of the two", ""
            else:
                schema = self._schema(parameters)
                declared[name] = schema if isinstance(schema, JsonSchema) else None
                if isinstance(schema, str):
                    yield "error", f"the parameters of the tool {name} are no JSON schema", "correct them", schema
        self._undeclared += bool(calls and not example.tools)
        for turn, call in calls:
            yield from _call_problems(turn, call, declared, bool(example.tools))

    def _schema(self, parameters: Mapping[str, Any]) -> JsonSchema | str:
        """The compiled parameters of a tool, or why they cannot be compiled."""
        key = digest_of(parameters)
        if key not in self._schemas:
            if len(self._schemas) >= _KEPT:
                self._schemas.clear()
            try:
                self._schemas[key] = JsonSchema(parameters)
            except ConfigError as error:
                self._schemas[key] = error.what
        return self._schemas[key]


def _declared(tool: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Name and parameters of a tool in OpenAI's form, with or without the wrapping ``function``."""
    function = tool.get("function")
    inner = function if isinstance(function, Mapping) else tool
    name, parameters = inner.get("name"), inner.get("parameters")
    return name if isinstance(name, str) else "", parameters if isinstance(parameters, Mapping) else {}


def _call_problems(
    turn: int, call: ToolCall, declared: Mapping[str, JsonSchema | None], has_tools: bool
) -> Iterator[_Problem]:
    where = f"turn {turn}: "
    if has_tools and call.name not in declared:
        near = nearest(call.name, list(declared))
        fix = f"did you mean {near[0]}?" if near else f"the row declares {listed(declared)}"
        yield "error", f"{where}{call.name} is called, which the row does not declare", fix, ""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError) as error:
        what = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else "too deep"
        yield "error", f"{where}the arguments of {call.name} are not JSON", "write them as one JSON object", what
        return
    if not isinstance(arguments, dict):
        yield "error", f"{where}the arguments of {call.name} are no JSON object", "write them as one JSON object", ""
        return
    schema = declared.get(call.name)
    if schema is None:
        return
    try:
        faults = [] if schema.accepts(arguments) else schema.faults(arguments)
    except ConfigError as error:
        yield "error", f"the parameters of the tool {call.name} are no JSON schema", error.fix, error.what
        return
    if faults:
        evidence = "; ".join(f"{path}: {rule}" for path, rule in faults)
        fix = "correct the arguments, or the parameters of the tool"
        yield "error", f"{where}the arguments of {call.name} break its parameters", fix, evidence
