"""One request being answered: the bridge from the engine's thread to the event loop that waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from tunesmith.core.records import FinishReason, Trace
from tunesmith.serve.models import ServedModel


@dataclass(frozen=True)
class Piece:
    """News of one choice: more text, or (``finish_reason`` set, last of its choice) its end."""

    choice: int
    text: str
    finish_reason: FinishReason | None = None


@dataclass(frozen=True)
class Choice:
    """A finished answer."""

    text: str
    finish_reason: FinishReason


class Answer:
    """The choices of one request, as they come. Iterate it once, or `collect` it; `cancel` it when nobody listens.

    Args:
        request_id: identity of the request in traces and logs.
        model: what answers.
        choices: how many sequences belong to it.
        prompt_tokens: tokens of all prompts, each counted once.
        on_cancel, on_done: called on `cancel`, and (on the engine's thread) when the last choice is over.
    """

    def __init__(
        self,
        request_id: str,
        model: ServedModel,
        choices: int,
        prompt_tokens: int,
        on_cancel: Callable[[], None],
        on_done: Callable[[Answer], None],
    ) -> None:
        self.request_id, self.model, self.prompt_tokens = request_id, model, prompt_tokens
        self.created = int(time.time())
        self.completion_tokens = 0
        """Tokens made so far, stop tokens included."""
        self._on_cancel, self._on_done = on_cancel, on_done
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        self._ends: dict[int, FinishReason | None] = dict.fromkeys(range(choices))
        self._waiting = choices
        self._broke = False
        self._start = time.perf_counter()
        self._first = 0.0

    @property
    def choices(self) -> int:
        """How many answers it has."""
        return len(self._ends)

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
        texts = [""] * self.choices
        ends: dict[int, FinishReason] = {}
        async for piece in self:
            texts[piece.choice] += piece.text
            if piece.finish_reason:
                ends[piece.choice] = piece.finish_reason
        return [Choice(text, ends[index]) for index, text in enumerate(texts)]

    def cancel(self) -> None:
        """Stop generating what is not over yet; harmless when everything is."""
        if self._waiting:
            self._on_cancel()

    def trace(self) -> Trace:
        """What is known about the request when it is over; no content."""
        ends = set(self._ends.values())
        reason = "error" if self._broke else next(r for r in ("cancelled", "length", "stop") if r in ends)
        return Trace(
            request_id=self.request_id,
            model=self.model.name,
            adapter_digest=self.model.adapter_digest,
            finish_reason=reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            seconds=time.perf_counter() - self._start,
            seconds_to_first_token=self._first,
        )

    def listener(self, choice: int) -> ChoiceListener:
        """What the engine's thread tells about choice number ``choice``."""
        return ChoiceListener(self, choice)

    def hear_token(self, choice: int, text: str) -> None:
        """Engine's thread: a token was made."""
        if not self.completion_tokens:
            self._first = time.perf_counter() - self._start
        self.completion_tokens += 1
        if text:
            self._post(Piece(choice, text))

    def hear_end(self, choice: int, reason: FinishReason) -> None:
        """Engine's thread: a choice is over."""
        self._ends[choice] = reason
        self._settle(Piece(choice, "", reason))

    def hear_error(self, error: Exception) -> None:
        """Engine's thread: a choice broke, and with it the request."""
        self._broke = True
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


class ChoiceListener:
    """Implements `tunesmith.serve.worker.Listener` for one choice of an answer."""

    def __init__(self, answer: Answer, choice: int) -> None:
        self._answer, self._choice = answer, choice

    def on_token(self, text: str) -> None:
        """A token was made."""
        self._answer.hear_token(self._choice, text)

    def on_end(self, reason: FinishReason) -> None:
        """The choice is over."""
        self._answer.hear_end(self._choice, reason)

    def on_error(self, error: Exception) -> None:
        """The choice broke."""
        self._answer.hear_error(error)
