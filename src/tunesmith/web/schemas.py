"""Request bodies: each field is honoured, bookkeeping, or refused by name (tables in `tunesmith.web.fields`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from tunesmith.core.records import Grammar, Message, TextPart, ToolCall
from tunesmith.serve import Options, ToolUse
from tunesmith.web.fields import (
    NEUTRAL_CHAT,
    NEUTRAL_COMPLETION,
    NEUTRAL_MESSAGE,
    SERVED_ROLES,
    STRICT,
    Penalty,
    Seed,
    StopString,
    Who,
    biases,
    half_character,
    one_or_more,
    parts,
    prompt_list,
    settle,
)
from tunesmith.web.tools import ResponseFormat, ToolBody, ToolChoice, choice_of, response_formats, tool_use


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
    content: Annotated[list[TextPart], BeforeValidator(parts)] | None = None
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
    stop: Annotated[list[StopString], Field(max_length=4), BeforeValidator(one_or_more)] = []
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    logit_bias: Annotated[dict[int, float], PlainValidator(biases)] = {}
    user: Who | None = None
    safety_identifier: Who | None = None

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, body: object) -> object:
        kept = settle(body, cls.neutral, cls.model_fields)
        broken = half_character(kept)
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

    @property
    def on_behalf_of(self) -> str:
        """Whom the request is for: one user keeps to one arm of a split."""
        return self.safety_identifier or self.user or ""

    @abstractmethod
    def token_limit(self) -> int | None:
        """Most tokens of an answer; None: as long as there is room."""

    @abstractmethod
    def most_likely(self) -> int | None:
        """How many of the likeliest tokens come with each token; None: no log-probabilities."""

    def tool_use(self) -> ToolUse | None:
        """What may be called."""
        return None

    def grammar(self) -> Grammar | None:
        """What answers have to look like."""
        return None

    def options(self) -> Options:
        """The request in the gateway's terms."""
        return Options(
            max_tokens=self.token_limit(),
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=tuple(self.stop),
            n=self.n,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=self.logit_bias,
            logprobs=self.most_likely(),
            grammar=self.grammar(),
            tools=self.tool_use(),
        )


class ChatBody(GenerationBody):
    """Body of ``POST /v1/chat/completions``."""

    neutral: ClassVar[Mapping[str, tuple[object, ...]]] = NEUTRAL_CHAT

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 0
    response_format: Annotated[ResponseFormat | None, BeforeValidator(response_formats)] = None
    tools: Annotated[list[ToolBody], Field(max_length=128)] = []
    tool_choice: Annotated[ToolChoice | None, BeforeValidator(choice_of)] = None
    parallel_tool_calls: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> ChatBody:
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise PydanticCustomError(
                "two_limits", "it contradicts max_completion_tokens; give one of them", {"param": "max_tokens"}
            )
        if self.top_logprobs and not self.logprobs:
            raise PydanticCustomError(
                "top_logprobs", "it may only be given when logprobs is true", {"param": "top_logprobs"}
            )
        self.tool_use()
        return self

    def token_limit(self) -> int | None:
        """``max_completion_tokens``, or ``max_tokens``, its older name."""
        return self.max_completion_tokens or self.max_tokens

    def most_likely(self) -> int | None:
        """``top_logprobs``, where ``logprobs`` is true."""
        return self.top_logprobs if self.logprobs else None

    def grammar(self) -> Grammar | None:
        """``response_format``."""
        return self.response_format.grammar() if self.response_format else None

    def tool_use(self) -> ToolUse | None:
        """``tools``, ``tool_choice`` and ``parallel_tool_calls``."""
        return tool_use(self.tools, self.tool_choice, self.parallel_tool_calls)


class CompletionBody(GenerationBody):
    """Body of ``POST /v1/completions``."""

    neutral: ClassVar[Mapping[str, tuple[object, ...]]] = NEUTRAL_COMPLETION

    prompt: Annotated[tuple[str | tuple[int, ...], ...], PlainValidator(prompt_list)]
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool = False

    @model_validator(mode="after")
    def _nothing_needs_echo(self) -> CompletionBody:
        if self.max_tokens == 0 and not self.echo:
            raise PydanticCustomError(
                "no_tokens",
                "an answer has a token at least, unless echo gives the prompt back",
                {"param": "max_tokens"},
            )
        return self

    def token_limit(self) -> int:
        """``max_tokens``; 16 where it is not given, as OpenAI has it for this route."""
        return 16 if self.max_tokens is None else self.max_tokens

    def most_likely(self) -> int | None:
        """``logprobs``."""
        return self.logprobs
