"""What counts as the same text, the same question and the same row."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable

from tunesmith.core.records import Example, Message


def normalise(text: str) -> str:
    """Text without differences that do not matter: Unicode form (NFKC), case, and kind and amount of white space."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def rank(text: str) -> int:
    """A number under 2^64 that follows from the content alone: texts in this order are in no order of a file."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def prompt_key(example: Example) -> str:
    """Hash of the normalised question (messages and tools, without the answer) or plain text. 32 hex digits."""
    if example.is_document:
        return _digest([normalise(example.target.text)])
    return _digest([*_parts(example.messages), *_tools(example)])


def row_key(example: Example) -> str:
    """Hash of the normalised question and answer. 32 hex digits."""
    if example.is_document:
        return prompt_key(example)
    return _digest([*_parts(example.conversation), *_tools(example)])


def _parts(messages: Iterable[Message]) -> Iterable[str]:
    for message in messages:
        yield message.role
        yield normalise(message.text)
        for call in message.tool_calls:
            yield f"{call.name}({normalise(call.arguments)})"


def _tools(example: Example) -> Iterable[str]:
    return [json.dumps(tool, sort_keys=True) for tool in example.tools]


def _digest(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
