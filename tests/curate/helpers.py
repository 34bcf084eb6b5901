"""What the tests of this folder share: writing files, and reading the error that comes back."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core.errors import DataError
from tunesmith.core.protocols import TextStream
from tunesmith.core.records import Example, Message, Reply, Source, Span, TokenizedExample


def write(path: Path, content: str | bytes) -> str:
    """A file with exactly this content; its path as text."""
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def jsonl(path: Path, *rows: object) -> str:
    return write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def pair(question: str, answer: str) -> dict[str, Any]:
    return {"prompt": question, "completion": answer}


def chat(*turns: tuple[str, str], **extra: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in turns], **extra}


def example(question: str = "What?", answer: str = "That.", line: int = 1, **change: Any) -> Example:
    return Example(
        messages=(Message(role="user", content=question),),
        target=Reply(message=Message(role="assistant", content=answer)),
        source=Source(path="data.jsonl", line=line),
    ).model_copy(update=change)


def error_of(act: Callable[[], object]) -> DataError:
    """The DataError that the call raises; it is complete."""
    with pytest.raises(DataError) as caught:
        act()
    error = caught.value
    assert error.where
    assert error.rule
    assert error.fix
    return error


class WordRenderer:
    """A renderer that needs no model: a token is a word; the answer and its stop token are trained."""

    digest = "words"
    stop_ids = frozenset({0})
    vocab_size = 1000

    def prompt(self, messages: Sequence[Message], tools: Sequence[object] = ()) -> tuple[int, ...]:
        return tuple(1 for message in messages for _ in message.text.split())

    def example(self, example: Example) -> list[TokenizedExample]:
        if "<|im_end|>" in example.target.text:
            raise DataError("the text holds <|im_end|>", where="here", rule="no control tokens", fix="remove it")
        tokens: list[int] = []
        weights: list[float] = []
        for message in example.conversation:
            words = [1] * len(message.text.split())
            trained = message.role == "assistant" and message.weight != 0
            tokens += [*words, 0]
            weights += [1.0 if trained else 0.0] * (len(words) + 1)
        span = Span(start=len(tokens) - 1, end=len(tokens))
        return [TokenizedExample(example_id=example.id, tokens=tuple(tokens), weights=tuple(weights), spans=(span,))]

    def text(self, text: str) -> tuple[int, ...]:
        return tuple(1 for _ in text.split())

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join("word" for _ in ids)

    def stream(self, stop: Sequence[str] = ()) -> TextStream:
        raise LookupError("not used")
