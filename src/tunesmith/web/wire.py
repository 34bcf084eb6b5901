"""Answers in OpenAI's shapes: whole objects, and server-sent events while they are made."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tunesmith.core.errors import TunesmithError
from tunesmith.serve import Answer, Choice, Piece, ServedModel, TokenScore
from tunesmith.web.envelope import describe

log = logging.getLogger(__name__)

Json = dict[str, object]
DONE = "data: [DONE]\n\n"


class Shape(Protocol):
    """How one route words its answers. ``None`` choices make no chunk."""

    prefix: str
    whole: str
    chunk: str

    def choice(self, index: int, choice: Choice) -> Json:
        """A finished choice."""
        ...

    def opening(self, index: int) -> Json | None:
        """The first chunk of a choice."""
        ...

    def piece(self, piece: Piece) -> Json:
        """Text, tokens or a call, or the end of a choice."""
        ...


class ChatShape:
    """``chat.completion`` and its chunks. ``logprobs``: whether tokens are shown with their log-probabilities."""

    prefix, whole, chunk = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def __init__(self, logprobs: bool = False) -> None:
        self._logprobs = logprobs

    def choice(self, index: int, choice: Choice) -> Json:
        """A finished choice."""
        message: Json = {"role": "assistant", "content": choice.text, "refusal": None}
        if choice.calls:
            message["content"] = choice.text or None
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in choice.calls
            ]
        logprobs = self._scores(choice.tokens)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish_reason}

    def opening(self, index: int) -> Json:
        """The role, before any text."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def piece(self, piece: Piece) -> Json:
        """Text or a part of a call, or an empty delta with the reason of the end."""
        delta: Json = {} if piece.finish_reason else {"content": piece.text}
        if piece.call is not None:
            function = {"name": piece.call.name} if piece.call.name else {}
            head = {"id": piece.call.id, "type": "function"} if piece.call.id else {}
            function["arguments"] = piece.call.arguments
            delta = {"tool_calls": [{"index": piece.call.index, **head, "function": function}]}
        logprobs = None if piece.finish_reason else self._scores(piece.tokens)
        return {"index": piece.choice, "delta": delta, "logprobs": logprobs, "finish_reason": piece.finish_reason}

    def _scores(self, tokens: Sequence[TokenScore]) -> Json | None:
        if not self._logprobs:
            return None
        content = [
            {
                **_token(token.token, token.logprob),
                "top_logprobs": [_token(likely, logprob) for likely, logprob in token.top],
            }
            for token in tokens
        ]
        return {"content": content, "refusal": None}


class CompletionShape:
    """``text_completion``, whole and in chunks. ``logprobs``: whether tokens are shown with their log-probabilities."""

    prefix, whole, chunk = "cmpl-", "text_completion", "text_completion"

    def __init__(self, logprobs: bool = False) -> None:
        self._logprobs = logprobs
        self._offsets: dict[int, int] = {}

    def choice(self, index: int, choice: Choice) -> Json:
        """A finished choice."""
        logprobs = self._scores(index, choice.tokens)
        return {"index": index, "text": choice.text, "logprobs": logprobs, "finish_reason": choice.finish_reason}

    def opening(self, index: int) -> None:
        """Plain text has no role to announce."""

    def piece(self, piece: Piece) -> Json:
        """Text, or no text with the reason of the end."""
        logprobs = None if piece.finish_reason else self._scores(piece.choice, piece.tokens)
        return {"index": piece.choice, "text": piece.text, "logprobs": logprobs, "finish_reason": piece.finish_reason}

    def _scores(self, index: int, tokens: Sequence[TokenScore]) -> Json | None:
        if not self._logprobs:
            return None
        offsets = []
        for token in tokens:
            offsets.append(self._offsets.get(index, 0))
            self._offsets[index] = offsets[-1] + len(_text(token.token))
        return {
            "tokens": [_text(token.token) for token in tokens],
            "token_logprobs": [None if token.logprob is None else _number(token.logprob) for token in tokens],
            "top_logprobs": [_likeliest(token) for token in tokens] if any(token.top for token in tokens) else None,
            "text_offset": offsets,
        }


def _likeliest(token: TokenScore) -> Json | None:
    """The likeliest tokens and, as OpenAI has it, the one that stands there. Of two spellings alike, the likelier."""
    if token.logprob is None:
        return None
    pairs = [*token.top, (token.token, token.logprob)]
    return {_text(spelling): _number(logprob) for spelling, logprob in sorted(pairs, key=lambda pair: pair[1])}


def _token(spelling: bytes, logprob: float | None) -> Json:
    return {"token": _text(spelling), "logprob": _number(logprob or 0.0), "bytes": list(spelling)}


def _text(spelling: bytes) -> str:
    return spelling.decode("utf-8", "replace")


def _number(logprob: float) -> float:
    """A log-probability as JSON can hold it; OpenAI's number for a token that is never chosen."""
    return max(logprob, -9999.0)


def headers(answer: Answer) -> dict[str, str]:
    """Which weights answer, and under which id the request is traced."""
    return {"x-request-id": answer.request_id, "x-adapter-digest": answer.model.adapter_digest or "none"}


def _head(shape: Shape, answer: Answer, object_: str) -> Json:
    return {
        "id": shape.prefix + answer.request_id.removeprefix("req_"),
        "object": object_,
        "created": answer.created,
        "model": answer.model.name,
        "system_fingerprint": answer.model.fingerprint,
    }


def _usage(answer: Answer) -> Json:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
    }


def whole(shape: Shape, answer: Answer, choices: Sequence[Choice]) -> Json:
    """The finished answer as one object."""
    listed = [shape.choice(index, choice) for index, choice in enumerate(choices)]
    return {**_head(shape, answer, shape.whole), "choices": listed, "usage": _usage(answer)}


async def events(shape: Shape, answer: Answer, include_usage: bool) -> AsyncIterator[str]:
    """The answer as server-sent events, each sent as soon as its token is made.

    Opening chunks first, then text, the end of each choice, the usage where it was asked for, and ``[DONE]``. When the
    engine fails, one event with the error envelope, and nothing after it.
    """
    head = _head(shape, answer, shape.chunk)
    tail: Json = {"usage": None} if include_usage else {}
    openings = [shape.opening(index) for index in range(answer.choices)]
    for opening in openings:
        if opening is not None:
            yield _event({**head, "choices": [opening], **tail})
    try:
        async for piece in answer:
            yield _event({**head, "choices": [shape.piece(piece)], **tail})
    except TunesmithError as error:
        log.error("request %s broke off: %s", answer.request_id, error)
        yield _event(describe(error)[1])
        return
    if include_usage:
        yield _event({**head, "choices": [], "usage": _usage(answer)})
    yield DONE


def _event(content: Mapping[str, object]) -> str:
    # ASCII only: some clients take U+2028 inside a JSON string for the end of a line.
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n"


class EventStream(StreamingResponse):
    """Sends `events`; when the client leaves, the engine is told at once."""

    def __init__(self, shape: Shape, answer: Answer, include_usage: bool) -> None:
        super().__init__(
            events(shape, answer, include_usage),
            headers={**headers(answer), "cache-control": "no-cache", "x-accel-buffering": "no"},
            media_type="text/event-stream",
        )
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, and cancel whatever still runs when sending ends for any reason."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.cancel()


def model_object(model: ServedModel, context_length: int) -> Json:
    """An entry of the model list; the last four keys are ours."""
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "tunesmith",
        "parent": model.parent or None,
        "adapter_digest": model.adapter_digest or None,
        "system_fingerprint": model.fingerprint,
        "context_length": context_length,
    }
