"""Request bodies. A field is honoured, or it is bookkeeping that changes no answer, or it is refused by name.

Three tables say so for the fields of OpenAI's requests that have no meaning here; a null always means “not given”.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from tunesmith.core.records import Message, Role, TextPart, ToolCall
from tunesmith.serve import Options

BOOKKEEPING = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
    }
)
"""Accepted and ignored: they change who pays, caches or is counted, never the answer."""

NEUTRAL_CHAT: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True,),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Fields of a chat request that are not served → the values that ask for nothing."""

NEUTRAL_COMPLETION: Mapping[str, tuple[object, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (),
    "presence_penalty": (0,),
    "suffix": ("",),
}
"""The same for a completion request."""

NEUTRAL_MESSAGE: Mapping[str, tuple[object, ...]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "name": (),
    "refusal": (),
}
"""The same for a message, with what a client sends back when it appends an answer to the conversation."""

SERVED_ROLES: Mapping[str, Role] = {
    "assistant": "assistant",
    "developer": "system",
    "system": "system",
    "tool": "tool",
    "user": "user",
}
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
StopString = Annotated[str, Field(min_length=1, max_length=256)]


def _unsupported(param: str, why: str) -> PydanticCustomError:
    # Double braces: the message is a template of pydantic's.
    return PydanticCustomError("unsupported_parameter", why, {"param": param})


def settle(body: object, neutral: Mapping[str, tuple[object, ...]], known: Mapping[str, object]) -> object:
    """The body without nulls, bookkeeping and fields that ask for nothing.

    Raises:
        PydanticCustomError: a field that asks for something that is not served.
    """
    if not isinstance(body, dict):
        return body
    kept = {}
    for name, value in body.items():
        if name in neutral:
            if value is not None and not any(_same(value, allowed) for allowed in neutral[name]):
                raise _unsupported(name, "is not supported by this server; leave it out")
        elif name not in BOOKKEEPING and not (value is None and name in known):
            kept[name] = value
    return kept


def _same(value: object, allowed: object) -> bool:
    return isinstance(value, bool) == isinstance(allowed, bool) and value == allowed


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _parts(value: object) -> object:
    """Content as a list of text parts; a part of another kind is refused by its name."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    for part in value if isinstance(value, list) else ():
        kind = part.get("type") if isinstance(part, dict) else "text"
        if kind != "text":
            raise PydanticCustomError(
                "unsupported_parameter", "has a part that is not text; this server reads text only"
            )
    return value


def _prompts(value: object) -> tuple[str | tuple[int, ...], ...]:
    """OpenAI's four shapes of a prompt, as a tuple of texts or token ids."""
    given = value if isinstance(value, list) and not _are_ids(value) else [value]
    prompts: list[str | tuple[int, ...]] = []
    for prompt in given:
        if isinstance(prompt, str):
            prompts.append(prompt)
        elif isinstance(prompt, list) and prompt and _are_ids(prompt):
            prompts.append(tuple(prompt))
        else:
            break
    if not prompts or len(prompts) < len(given):
        raise PydanticCustomError(
            "prompt_type", "it has to be a string, a list of strings, a list of token ids, or a list of such lists"
        )
    return tuple(prompts)


def _half_character(value: object, path: str = "") -> str | None:
    """Where a string has half of a surrogate pair, which JSON can say and no tokenizer can read."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return path
        return None
    steps: Iterable[tuple[str, object]] = ()
    if isinstance(value, list):
        steps = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, dict):
        both = ((name, part) for name, item in value.items() for part in (name, item))
        steps = ((f"{path}.{name}" if path else name, part) for name, part in both)
    return next((found for step, item in steps if (found := _half_character(item, step)) is not None), None)


def _are_ids(value: list[object]) -> bool:
    return bool(value) and all(isinstance(item, int) and not isinstance(item, bool) for item in value)


STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)
"""Types as JSON has them (no "3" for 3), unknown fields refused."""


class StreamOptions(BaseModel):
    """``stream_options``."""

    model_config = STRICT

    include_usage: bool = False

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, body: object) -> object:
        return settle(body, {"include_obfuscation": (False,)}, cls.model_fields)


class FunctionPart(BaseModel):
    """Name and arguments of a function call that stands in the conversation."""

    model_config = STRICT

    name: str
    arguments: str


class ToolCallPart(BaseModel):
    """A function call that stands in the conversation."""

    model_config = STRICT

    id: str
    type: Literal["function"]
    function: FunctionPart


class ChatMessage(BaseModel):
    """One message of a chat request."""

    model_config = STRICT

    role: Literal["assistant", "developer", "system", "tool", "user"]
    content: Annotated[list[TextPart], BeforeValidator(_parts)] | None = None
    tool_calls: list[ToolCallPart] = []
    tool_call_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, body: object) -> object:
        return settle(body, NEUTRAL_MESSAGE, cls.model_fields)

    @model_validator(mode="after")
    def _is_complete(self) -> ChatMessage:
        if self.tool_calls and self.role != "assistant":
            raise PydanticCustomError("role_mismatch", "only an assistant message may have tool_calls")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise PydanticCustomError("role_mismatch", "tool_call_id belongs to tool messages, and only to them")
        if self.content is None and not self.tool_calls:
            raise PydanticCustomError("no_content", "the message has no content")
        return self

    def to_message(self) -> Message:
        """The message as the renderer takes it; a developer is a system."""
        return Message(
            role=SERVED_ROLES[self.role],
            content=tuple(self.content or ()),
            tool_calls=tuple(
                ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
                for call in self.tool_calls
            ),
            tool_call_id=self.tool_call_id,
        )


class GenerationBody(BaseModel, ABC):
    """What chat and completion requests have in common."""

    model_config = STRICT

    neutral: ClassVar[Mapping[str, tuple[object, ...]]] = {}

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0
    top_p: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    n: Annotated[int, Field(ge=1)] = 1
    seed: Seed | None = None
    stop: Annotated[list[StopString], Field(max_length=4), BeforeValidator(_one_or_more)] = []

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, body: object) -> object:
        kept = settle(body, cls.neutral, cls.model_fields)
        broken = _half_character(kept)
        if broken is not None:
            broken = broken.encode("utf-8", "backslashreplace").decode()
            raise PydanticCustomError(
                "unicode", "it holds half of a surrogate pair, which is no text", {"param": broken}
            )
        return kept

    @model_validator(mode="after")
    def _stream_options_need_stream(self) -> Any:
        if self.stream_options and not self.stream:
            raise PydanticCustomError(
                "stream_options", "it may only be given when stream is true", {"param": "stream_options"}
            )
        return self

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a chunk that has the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @abstractmethod
    def token_limit(self) -> int | None:
        """Most tokens of an answer; None: as long as there is room."""

    def options(self) -> Options:
        """The request in the gateway's terms."""
        return Options(self.token_limit(), self.temperature, self.top_p, self.seed, tuple(self.stop), self.n)


class ChatBody(GenerationBody):
    """Body of ``POST /v1/chat/completions``."""

    neutral: ClassVar[Mapping[str, tuple[object, ...]]] = NEUTRAL_CHAT

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> ChatBody:
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise PydanticCustomError(
                "two_limits", "it contradicts max_completion_tokens; give one of them", {"param": "max_tokens"}
            )
        return self

    def token_limit(self) -> int | None:
        """``max_completion_tokens``, or ``max_tokens``, its older name."""
        return self.max_completion_tokens or self.max_tokens


class CompletionBody(GenerationBody):
    """Body of ``POST /v1/completions``."""

    neutral: ClassVar[Mapping[str, tuple[object, ...]]] = NEUTRAL_COMPLETION

    prompt: Annotated[tuple[str | tuple[int, ...], ...], PlainValidator(_prompts)]

    def token_limit(self) -> int:
        """``max_tokens``; 16 where it is not given, as OpenAI has it for this route."""
        return self.max_tokens or 16
