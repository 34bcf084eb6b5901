"""Sections cut into passages: whole paragraphs while they fit, else sentences, else words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tunesmith.text.graders import words

_SENTENCE = re.compile(r"(?<=[.!?…。！？])[\"”')\]]*\s+|(?<=[。！？])")


def cut(text: str, longest: int, overlap: int) -> list[str]:
    """A text in passages of at most ``longest`` words; each begins with the last ``overlap`` words of the one before.

    The overlap is made of whole sentences (so it may be shorter), and never reaches over a paragraph that begins anew.
    """
    pieces = [piece for paragraph in re.split(r"\n\s*\n", text.strip()) for piece in _pieces(paragraph, longest)]
    passages: list[list[str]] = []
    current: list[str] = []
    for piece in pieces:
        if current and _count([*current, piece]) > longest:
            passages.append(current)
            current = _tail(current, min(overlap, longest - _count([piece])))
        current.append(piece)
    return ["\n".join(passage) for passage in [*passages, current] if passage]


def _pieces(paragraph: str, longest: int) -> Iterator[str]:
    """The paragraph itself if it fits; else its sentences, those too long cut between words."""
    paragraph = paragraph.strip()
    if not paragraph:
        return
    if _count([paragraph]) <= longest:
        yield paragraph
        return
    for sentence in _SENTENCE.split(paragraph):
        if _count([sentence]) <= longest:
            yield from [sentence.strip()] if sentence.strip() else []
            continue
        yield from _by_words(sentence, longest)


def _by_words(sentence: str, longest: int) -> Iterator[str]:
    tokens = sentence.split()
    if len(tokens) == 1:  # a script without spaces: one character a word
        yield from (sentence[i : i + longest] for i in range(0, len(sentence), longest))
        return
    current: list[str] = []
    for token in tokens:
        if current and _count([" ".join(current), token]) > longest:
            yield " ".join(current)
            current = []
        current.append(token)
    yield " ".join(current)


def _tail(pieces: Sequence[str], most: int) -> list[str]:
    """The last sentences of a passage, at most so many words."""
    kept: list[str] = []
    for sentence in reversed([s for s in _SENTENCE.split(pieces[-1]) if s.strip()]):
        if _count([sentence, *kept]) > most:
            break
        kept.insert(0, sentence.strip())
    return [" ".join(kept)] if kept else []


def _count(texts: Sequence[str]) -> int:
    return sum(len(words(text)) for text in texts)
