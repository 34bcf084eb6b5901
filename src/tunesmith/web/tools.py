"""``tools``, ``tool_choice`` and ``response_format`` of a chat request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from tunesmith.core.records import Grammar
from tunesmith.serve import Tool, ToolUse
from tunesmith.web.fields import STRICT

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Schema = dict[str, Any]


class JsonSchema(BaseModel):
    """``response_format.json_schema``; an answer fits the schema with ``strict`` and without."""

    model_config = STRICT

    name: Name
    description: str | None = None
    schema_: Annotated[Schema | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """``response_format``."""

    model_config = STRICT

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_where_it_belongs(self) -> ResponseFormat:
        if (self.json_schema is not None) != (self.type == "json_schema"):
            raise PydanticCustomError(
                "json_schema", "json_schema belongs to the type json_schema", {"param": "json_schema"}
            )
        return self

    def grammar(self) -> Grammar | None:
        """What answers have to look like; None for text."""
        if self.type == "text":
            return None
        schema = self.json_schema.schema_ if self.json_schema else None
        if schema is None:
            return Grammar(kind="json_object")
        return Grammar(kind="json_schema", source=json.dumps(schema))


class FunctionBody(BaseModel):
    """A function that may be called."""

    model_config = STRICT

    name: Name
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class ToolBody(BaseModel):
    """An entry of ``tools``."""

    model_config = STRICT

    type: Literal["function"]
    function: FunctionBody

    @model_validator(mode="before")
    @classmethod
    def _only_functions(cls, body: object) -> object:
        kind = body.get("type") if isinstance(body, dict) else "function"
        if kind == "custom":
            raise PydanticCustomError("unsupported_parameter", "is not supported by this server: custom tools")
        return body

    def shown(self) -> dict[str, Any]:
        """The tool as a chat template takes it."""
        return self.model_dump(exclude_none=True)

    def tool(self) -> Tool:
        """The tool as a grammar takes it. Without parameters, a function takes none."""
        schema = self.function.parameters
        return Tool(
            self.function.name,
            {"properties": {}, "additionalProperties": False} if schema is None else schema,
            bool(self.function.strict),
        )


class FunctionName(BaseModel):
    """The name of a function."""

    model_config = STRICT

    name: Name


class NamedTool(BaseModel):
    """``tool_choice`` that names a function."""

    model_config = STRICT

    type: Literal["function"]
    function: FunctionName


class Allowance(BaseModel):
    """The functions that may be called, and whether one must be."""

    model_config = STRICT

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1)]


class ToolChoice(BaseModel):
    """``tool_choice``; a mode given as a string stands in ``type``."""

    model_config = STRICT

    type: Literal["none", "auto", "required", "function", "allowed_tools"]
    function: FunctionName | None = None
    allowed_tools: Allowance | None = None

    @model_validator(mode="after")
    def _says_which(self) -> ToolChoice:
        for name, part in (("function", self.function), ("allowed_tools", self.allowed_tools)):
            if (part is not None) != (self.type == name):
                raise PydanticCustomError(name, f"{name} belongs to the type {name}", {"param": name})
        return self

    def meaning(self) -> tuple[Literal["none", "auto", "required"], frozenset[str] | None]:
        """Whether a function may be called, and which; None: any of them."""
        if self.function is not None:
            return "required", frozenset({self.function.name})
        if self.allowed_tools is not None:
            return self.allowed_tools.mode, frozenset(tool.function.name for tool in self.allowed_tools.tools)
        return ("none", None) if self.type == "none" else ("required" if self.type == "required" else "auto", None)


def choice_of(value: object) -> object:
    """``tool_choice`` as an object; a form that is not known is refused by name."""
    if isinstance(value, str):
        if value not in ("none", "auto", "required"):
            raise PydanticCustomError("tool_choice", "it has to be none, auto, required or a function")
        return {"type": value}
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind not in ("function", "allowed_tools"):
        raise PydanticCustomError("unsupported_parameter", "is not supported by this server in this form")
    return value


def response_formats(value: object) -> object:
    """``response_format``; a type that is not known is refused by name."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind not in ("text", "json_object", "json_schema"):
        raise PydanticCustomError("unsupported_parameter", "is not supported by this server in this form")
    return value


def tool_use(tools: Sequence[ToolBody], choice: ToolChoice | None, parallel: bool) -> ToolUse | None:
    """What may be called, in the gateway's terms; None without tools.

    Raises:
        PydanticCustomError: one name twice, a choice without tools, or of a function that is not among them.
    """
    names = [tool.function.name for tool in tools]
    mode, allowed = choice.meaning() if choice else ("auto", None)
    if len(set(names)) < len(names):
        raise PydanticCustomError("tools", "two functions have the same name", {"param": "tools"})
    if not tools:
        if mode == "required" or allowed is not None:
            raise PydanticCustomError("tool_choice", "there are no tools to choose from", {"param": "tool_choice"})
        return None
    missing = sorted(allowed - set(names)) if allowed is not None else []
    if missing:
        raise PydanticCustomError(
            "tool_choice", f"no function called {missing[0]} stands in tools", {"param": "tool_choice"}
        )
    return ToolUse(
        tools=tuple(tool.tool() for tool in tools),
        shown=tuple(tool.shown() for tool in tools),
        choice=mode,
        allowed=allowed,
        parallel=parallel,
    )
