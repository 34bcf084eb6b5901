"""The smallest honest `Renderer`: one id a byte, three control tokens. For tests that need no template."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.core.records import Example, Message, Reply, Span, TokenizedExample

START, STOP = 1, 2
OFFSET = 3


class ByteStream:
    def __init__(self, stop: Sequence[str]) -> None:
        self.stop, self.text, self.given, self.stopped = tuple(stop), b"", 0, False

    def push(self, token: int) -> str:
        self.text += bytes([token - OFFSET]) if OFFSET <= token < OFFSET + 256 else b""
        return ""

    def finish(self) -> str:
        return self.text.decode("utf-8", "replace")


class ByteRenderer:
    """Bytes shifted by three; every turn is START, role letter, text, STOP."""

    digest = "byte-renderer"
    stop_ids = frozenset({STOP})
    vocab_size = 384

    def prompt(self, messages: Sequence[Message], tools: Sequence[object] = ()) -> tuple[int, ...]:
        turns = [t for m in messages for t in (START, *self._ids(m.role[0] + m.text), STOP)]
        return (*turns, START, *self._ids("a"))

    def example(self, example: Example) -> list[TokenizedExample]:
        before = self.prompt(example.messages)
        answer = (*self._ids(example.target.text), STOP)
        weights = (*([0.0] * len(before)), *([1.0] * len(answer)))
        span = Span(start=len(before), end=len(before) + len(answer))
        return [TokenizedExample(example_id=example.id, tokens=before + answer, weights=weights, spans=(span,))]

    def text(self, text: str) -> tuple[int, ...]:
        return (START, *self._ids(text))

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i - OFFSET for i in ids if OFFSET <= i < OFFSET + 256).decode("utf-8", "replace")

    def stream(self, stop: Sequence[str] = ()) -> ByteStream:
        return ByteStream(stop)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(b + OFFSET for b in text.encode())


def example(question: str, answer: str) -> Example:
    reply = Reply(message=Message(role="assistant", content=answer))  # type: ignore[arg-type]
    return Example(messages=(Message(role="user", content=question),), target=reply)  # type: ignore[arg-type]
