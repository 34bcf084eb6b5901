"""One request being answered: the bridge from the engine's thread to the event loop that waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tunesmith.core.generation import TokenOut
from tunesmith.core.protocols import CallPiece, CallStream
from tunesmith.core.records import FinishReason, ToolCall, Trace
from tunesmith.serve.models import ServedModel

End = Literal["stop", "length", "cancelled", "tool_calls"]
BEGINNING = 400
"""Characters of an answer that are kept, in memory and until it is over, to see whether it is a refusal."""


@dataclass(frozen=True)
class TokenScore:
    """A token of an answer: what it stands for, its log-probability, and the likeliest tokens at its place."""

    token: bytes
    logprob: float | None
    top: tuple[tuple[bytes, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """News of one choice: more text, tokens or a call, or (``finish_reason`` set, last of its choice) its end."""

    choice: int
    text: str = ""
    finish_reason: End | None = None
    tokens: tuple[TokenScore, ...] = ()
    call: CallPiece | None = None


@dataclass(frozen=True)
class Choice:
    """A finished answer."""

    text: str
    finish_reason: End
    tokens: tuple[TokenScore, ...] = ()
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Route:
    """How a request came to its model: the alias that was called, the arm that was drawn, what was retrieved."""

    alias: str = ""
    arm: str = ""
    tenant: str = ""
    key: str = ""
    retrieved: tuple[str, ...] = ()


class Answer:
    """The choices of one request, as they come. Iterate it once, or `collect` it; `cancel` it when nobody listens.

    Args:
        request_id: identity of the request in traces and logs.
        model: what answers.
        choices: how many sequences belong to it.
        prompt_tokens: tokens of all prompts, each counted once.
        on_cancel, on_done: called on `cancel`, and (on the engine's thread) when the last choice is over.
        per_prompt: choices of each prompt.
        route: how the request came here.
    """

    def __init__(
        self,
        request_id: str,
        model: ServedModel,
        choices: int,
        prompt_tokens: int,
        on_cancel: Callable[[], None],
        on_done: Callable[[Answer], None],
        per_prompt: int = 1,
        route: Route | None = None,
    ) -> None:
        self.request_id, self.model, self.prompt_tokens = request_id, model, prompt_tokens
        self.route = route or Route()
        self.created = int(time.time())
        self.completion_tokens = 0
        """Tokens made so far, stop tokens included."""
        self.device_seconds = 0.0
        self.failed = False
        self.beginning = ""
        self._on_cancel, self._on_done, self._per_prompt = on_cancel, on_done, per_prompt
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        self._ends: dict[int, End | None] = dict.fromkeys(range(choices))
        self._cached: dict[int, int] = {}
        self._waiting = choices
        self._start = time.perf_counter()
        self._taken = self._first = 0.0

    @property
    def choices(self) -> int:
        """How many answers it has."""
        return len(self._ends)

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompts that were not computed anew, each prompt counted once."""
        return sum(self._cached.get(choice, 0) for choice in range(0, self.choices, self._per_prompt))

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Pieces of all choices, mixed, each choice in order.

        Raises:
            TunesmithError: the engine refused or failed.
        """
        open_choices = self.choices
        while open_choices:
            news = await self._news.get()
            if isinstance(news, Exception):
                raise news
            open_choices -= news.finish_reason is not None
            yield news

    async def collect(self) -> list[Choice]:
        """All choices, whole, in order."""
        pieces: list[list[Piece]] = [[] for _ in range(self.choices)]
        async for piece in self:
            pieces[piece.choice].append(piece)
        return [_whole(of_choice) for of_choice in pieces]

    def cancel(self) -> None:
        """Stop generating what is not over yet; harmless when everything is."""
        if self._waiting:
            self._on_cancel()

    def trace(self, price_per_hour: float | None = None) -> Trace:
        """What is known about the request when it is over; no content."""
        ends = set(self._ends.values())
        order = ("cancelled", "length", "tool_calls", "stop")
        route = self.route
        return Trace(
            request_id=self.request_id,
            model=self.model.name,
            adapter_digest=self.model.adapter_digest,
            finish_reason="error" if self.failed else next(reason for reason in order if reason in ends),
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            seconds=time.perf_counter() - self._start,
            seconds_to_first_token=self._first,
            created_at=float(self.created),
            tenant=route.tenant,
            key=route.key,
            alias=route.alias,
            arm=route.arm,
            cached_tokens=self.cached_tokens,
            seconds_queued=self._taken,
            device_seconds=self.device_seconds,
            cost=None if price_per_hour is None else self.device_seconds / 3600 * price_per_hour,
            retrieved=route.retrieved,
        )

    def listener(
        self, choice: int, calls: CallStream | None = None, token_bytes: Callable[[int], bytes] | None = None
    ) -> ChoiceListener:
        """What the engine's thread tells about choice number ``choice``.

        Args:
            calls: finds tool calls in its text.
            token_bytes: what a token stands for; given where log-probabilities are wanted.
        """
        return ChoiceListener(self, choice, calls, token_bytes)

    def hear_taken(self) -> None:
        """Engine's thread: the engine takes it on."""
        self._taken = self._taken or time.perf_counter() - self._start

    def hear_token(self, choice: int, pieces: Sequence[Piece], out: TokenOut, device_seconds: float) -> None:
        """Engine's thread: a token was made."""
        if not self.completion_tokens:
            self._first = time.perf_counter() - self._start
        self.completion_tokens += 1
        self.device_seconds += device_seconds
        self._cached[choice] = max(self._cached.get(choice, 0), out.cached)
        self.hear(pieces)

    def hear(self, pieces: Sequence[Piece]) -> None:
        """Engine's thread: text that needed no token."""
        for piece in pieces:
            if len(self.beginning) < BEGINNING:
                self.beginning += piece.text or ("." if piece.call else "")
            self._post(piece)

    def hear_end(self, choice: int, reason: End) -> None:
        """Engine's thread: a choice is over."""
        self._ends[choice] = reason
        self._settle(Piece(choice, "", reason))

    def hear_error(self, error: Exception) -> None:
        """Engine's thread: a choice broke, and with it the request."""
        self.failed = True
        self._settle(error)

    def _settle(self, news: Piece | Exception) -> None:
        self._waiting -= 1
        if not self._waiting:
            # Before the client can know: whoever has read the whole answer finds its slot free.
            self._on_done(self)
        self._post(news)

    def _post(self, news: Piece | Exception) -> None:
        try:
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)
        except RuntimeError:
            # The event loop is closed: nobody is left to listen.
            self.cancel()


def _whole(pieces: Sequence[Piece]) -> Choice:
    """The pieces of one choice as one."""
    calls: list[ToolCall] = []
    for piece in pieces:
        if piece.call is not None and piece.call.index == len(calls):
            calls.append(ToolCall(id=piece.call.id, name=piece.call.name, arguments=piece.call.arguments))
        elif piece.call is not None:
            so_far = calls[piece.call.index]
            more = so_far.arguments + piece.call.arguments
            calls[piece.call.index] = so_far.model_copy(update={"arguments": more})
    reason = next(piece.finish_reason for piece in pieces if piece.finish_reason)
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return Choice("".join(piece.text for piece in pieces), reason, tokens, tuple(calls))


class ChoiceListener:
    """Implements `tunesmith.serve.worker.Listener` for one choice of an answer."""

    def __init__(
        self,
        answer: Answer,
        choice: int,
        calls: CallStream | None = None,
        token_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        self._answer, self._choice, self._calls, self._token_bytes = answer, choice, calls, token_bytes
        self._held: list[TokenScore] = []

    def on_taken(self) -> None:
        """The engine takes the sequence on."""
        self._answer.hear_taken()

    def on_prompt(self, text: str, tokens: Sequence[int], scores: Sequence[TokenOut]) -> None:
        """The prompt is given back before the answer, with the scores of its tokens where they are wanted."""
        scored: list[TokenScore] = []
        if self._token_bytes is not None:
            scored = [TokenScore(self._token_bytes(tokens[0]), None), *map(self._score, scores)]
        self._answer.hear([Piece(self._choice, text, tokens=tuple(scored))])

    def on_token(self, text: str, out: TokenOut, device_seconds: float = 0.0) -> bool:
        """A token was made. True: nothing more is wanted."""
        if self._token_bytes is not None and out.finished != "stop":
            self._held.append(self._score(out))
        pieces = self._pieces([text] if self._calls is None else self._calls.push(text))
        self._answer.hear_token(self._choice, pieces, out, device_seconds)
        return self._calls is not None and self._calls.enough

    def on_end(self, reason: FinishReason) -> None:
        """The choice is over."""
        end: End = reason
        if self._calls is not None:
            self._answer.hear(self._pieces(self._calls.finish()))
            end = "tool_calls" if reason == "stop" and self._calls.complete else reason
        if self._held and reason == "length":
            self._answer.hear([Piece(self._choice, "", tokens=self._release())])
        self._answer.hear_end(self._choice, end)

    def on_error(self, error: Exception) -> None:
        """The choice broke."""
        self._answer.hear_error(error)

    def _pieces(self, news: Sequence[str | CallPiece]) -> list[Piece]:
        """Pieces of what became certain; the tokens that made it go with the first."""
        pieces: list[Piece] = []
        for part in news:
            if part == "":
                continue
            tokens = () if pieces else self._release()
            if isinstance(part, str):
                pieces.append(Piece(self._choice, part, tokens=tokens))
            else:
                pieces.append(Piece(self._choice, tokens=tokens, call=part))
        return pieces

    def _release(self) -> tuple[TokenScore, ...]:
        held, self._held = tuple(self._held), []
        return held

    def _score(self, out: TokenOut) -> TokenScore:
        assert self._token_bytes is not None
        top = tuple((self._token_bytes(token), logprob) for token, logprob in out.top)
        return TokenScore(self._token_bytes(out.token), out.logprob, top)
