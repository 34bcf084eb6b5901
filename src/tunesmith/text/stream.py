"""Token ids to text, piece by piece: for answers that arrive token by token, and for showing a row's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple, final

from tunesmith.text.tokenizer import Tokenizer

_UNKNOWN = "\ufffd"
"""What a decoder writes for bytes that are not (yet) a character."""


class Piece(NamedTuple):
    """Text of one token (of a few, where they share a character) and whether it is trained."""

    text: str
    trained: bool


@final
class Stream:
    """Text of one answer as its tokens come. Implements ``core.protocols.TextStream``.

    Nothing is given out that later tokens could change: no half character, no beginning of a stop string. Without
    stop strings all pieces together are ``Tokenizer.decode`` of all tokens; with them, the text before the stop
    string that is complete first.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._silent = frozenset(tokenizer.control.values())
        self._stop = tuple(s for s in stop if s)
        self._ids: list[int] = []
        # Decoding starts at `_start`, the first token of the last piece that came out (`_shown` is its text), for a
        # decoder may treat the first token of a text differently. `_read` counts the tokens whose text came out.
        self._start = self._read = 0
        self._shown = ""
        self._in_bytes = False
        self._held = ""
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._stopped

    def push(self, token: int) -> str:
        """Take the next token; give out the text that is certain now."""
        if self._stopped:
            return ""
        self._ids.append(token)
        if token in self._tokenizer.byte_ids:
            self._in_bytes = True  # a later byte may still turn this whole run of bytes into something else
        elif token not in self._silent:
            self._in_bytes = False
        return self._release(self._decode(), last=False)

    def finish(self) -> str:
        """Give out what was held back, when no more tokens come."""
        if self._stopped:
            return ""
        return self._release(self._decode(last=True), last=True)

    def _decode(self, last: bool = False) -> str:
        text = self._tokenizer.decode(self._ids[self._start :])
        if not last and (self._in_bytes or text.endswith(_UNKNOWN)):
            return ""
        new = text[len(self._shown) :]
        if new:
            self._start, self._read = self._read, len(self._ids)
            self._shown = self._tokenizer.decode(self._ids[self._start :])
        return new

    def _release(self, text: str, last: bool) -> str:
        self._held += text
        found = [(at + len(s), at) for s in self._stop if (at := self._held.find(s)) >= 0]
        if found:
            self._stopped = True
            out, self._held = self._held[: min(found)[1]], ""
            return out
        keep = 0 if last else max((_overlap(self._held, s) for s in self._stop), default=0)
        cut = len(self._held) - keep
        out, self._held = self._held[:cut], self._held[cut:]
        return out


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that is a beginning of ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def pieces(tokenizer: Tokenizer, tokens: Sequence[int], weights: Sequence[float]) -> list[Piece]:
    """The tokens of a row as text, control tokens included, each with the mark whether it is trained.

    Tokens that share a character come as one piece. All texts together are the decoded row.
    """
    out: list[Piece] = []
    before: list[int] = []
    shown = ""
    for trained, run in groupby(zip(tokens, weights, strict=True), key=lambda pair: pair[1] > 0):
        ids = [token for token, _ in run]
        group: list[int] = []
        for i, token in enumerate(ids):
            group.append(token)
            text = tokenizer.decode([*before, *group], skip_special=False)[len(shown) :]
            if text.endswith(_UNKNOWN) and i + 1 < len(ids):
                continue
            out.append(Piece(text, trained))
            if text:
                before, group = group, []
                shown = tokenizer.decode(before, skip_special=False)
            else:
                before, group = [*before, *group], []
    return out
