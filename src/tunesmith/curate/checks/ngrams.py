"""Sets of n-grams as numbers: 64-bit hashes of all runs of n words or n characters, for many texts at once.

Texts come normalised (`keys.normalise`): words with single spaces between them. A text of up to a few thousand
characters costs a handful of passes of numpy over its characters, so a hundred thousand of them cost a second or two.

The hash of a run is polynomial in its characters, modulo 2^64, and mixed afterwards (the finaliser of SplitMix64). Two
different runs share a hash with a probability of about 2^-64: sets of hashes stand for sets of runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Hashes = np.ndarray[Any, np.dtype[np.uint64]]
    Numbers = np.ndarray[Any, np.dtype[np.int64]]

BLOCK = 1 << 18
"""Characters of the texts that are hashed together; a longer text is cut into pieces of this length."""

_BASE = 0x9E3779B97F4A7C15
_SPACE, _LINE = 32, 10


def word_grams(texts: Sequence[str], n: int) -> tuple[Hashes, Numbers]:
    """Hashes of the runs of ``n`` words, in order, and the number of the text that each belongs to.

    A text with fewer words has one run: all of it.
    """
    import numpy as np

    return _joined([_of_words(pieces, owners, n, np) for pieces, owners in _blocks(_cut_words(texts, n))])


def char_grams(texts: Sequence[str], n: int) -> tuple[Hashes, Numbers]:
    """Hashes of the runs of ``n`` characters, in order, and the number of the text that each belongs to.

    A text with fewer characters has one run: all of it.
    """
    import numpy as np

    return _joined([_of_chars(pieces, owners, n, np) for pieces, owners in _blocks(_cut_chars(texts, n))])


def inner_grams(texts: Sequence[str], n: int) -> tuple[Hashes, Numbers]:
    """Hashes of the runs of ``n`` characters within words, each word with a space on both sides, and their texts."""
    import numpy as np

    padded = _cut_chars((f" {text} " for text in texts), n)
    return _joined([_within_words(pieces, owners, n, np) for pieces, owners in _blocks(padded)])


def word_set(text: str, n: int) -> frozenset[int]:
    """The different runs of ``n`` words of one text."""
    return frozenset(word_grams([text], n)[0].tolist())


def char_set(text: str, n: int) -> frozenset[int]:
    """The different runs of ``n`` characters of one text."""
    return frozenset(char_grams([text], n)[0].tolist())


# ---------------------------------------------------------------- blocks of bounded size


def _cut_words(texts: Iterable[str], n: int) -> Iterator[tuple[int, str]]:
    """Text by text; a long one in pieces that share n - 1 words, so that every run stands whole in one of them."""
    for number, text in enumerate(texts):
        start = 0
        while len(text) - start > BLOCK:
            end = text.rfind(" ", start, start + BLOCK)
            if end <= start:  # one word without end
                end = text.find(" ", start + BLOCK)
            back = end
            for _ in range(n - 1):
                back = text.rfind(" ", start, back) if back > start else -1
            if end < 0 or back <= start:
                break
            yield number, text[start:end]
            start = back + 1
        yield number, text[start:] if start else text


def _cut_chars(texts: Iterable[str], n: int) -> Iterator[tuple[int, str]]:
    for number, text in enumerate(texts):
        if len(text) <= BLOCK:
            yield number, text
        else:
            step = BLOCK - n + 1
            yield from ((number, text[i : i + BLOCK]) for i in range(0, len(text) - n + 1, step))


def _blocks(pieces: Iterable[tuple[int, str]]) -> Iterator[tuple[list[str], list[int]]]:
    texts: list[str] = []
    owners: list[int] = []
    size = 0
    for number, text in pieces:
        if texts and size + len(text) > BLOCK:
            yield texts, owners
            texts, owners, size = [], [], 0
        texts.append(text)
        owners.append(number)
        size += len(text) + 1
    if texts:
        yield texts, owners


def _joined(parts: list[tuple[Hashes, Numbers]]) -> tuple[Hashes, Numbers]:
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    if not parts:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    hashes, owners = zip(*parts, strict=True)
    return np.concatenate(hashes), np.concatenate(owners)


# ---------------------------------------------------------------- hashing


def _of_words(texts: list[str], owners: list[int], n: int, np: Any) -> tuple[Hashes, Numbers]:
    codes, total, back = _sums(texts, np)
    gaps = np.flatnonzero((codes == _SPACE) | (codes == _LINE))  # the last of a text is its line end
    begins = np.concatenate(([0], gaps[:-1] + 1))
    ends_text = codes[gaps] == _LINE
    text_of = np.concatenate(([0], np.cumsum(ends_text)[:-1]))
    last_word = np.flatnonzero(ends_text)
    first_word = np.concatenate(([0], last_word[:-1] + 1))
    last = np.arange(len(begins)) + n - 1
    whole = last <= last_word[text_of]
    short = np.zeros(len(begins), bool)
    short[first_word[last_word - first_word + 1 < n]] = True
    chosen = np.flatnonzero(whole | short)
    starts, stops = begins[chosen], gaps[np.minimum(last[chosen], last_word[text_of[chosen]])]
    return _mixed((total[stops] - total[starts]) * back[starts], np), np.asarray(owners)[text_of[chosen]]


def _of_chars(texts: list[str], owners: list[int], n: int, np: Any) -> tuple[Hashes, Numbers]:
    _, total, back = _sums(texts, np)
    lengths = np.array([len(text) for text in texts])
    begins = np.concatenate(([0], np.cumsum(lengths + 1)[:-1]))
    runs = np.maximum(lengths - n + 1, 1)
    text_of = np.repeat(np.arange(len(texts)), runs)
    offset = np.arange(int(runs.sum())) - np.repeat(np.cumsum(runs) - runs, runs)
    starts = begins[text_of] + offset
    stops = starts + np.minimum(n, lengths[text_of])
    return _mixed((total[stops] - total[starts]) * back[starts], np), np.asarray(owners)[text_of]


def _within_words(texts: list[str], owners: list[int], n: int, np: Any) -> tuple[Hashes, Numbers]:
    codes, total, back = _sums(texts, np)
    if len(codes) < n:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    lines = codes == _LINE
    gaps = np.zeros(len(codes) + 1, np.int32)
    np.cumsum(lines | (codes == _SPACE), out=gaps[1:])
    count = len(codes) - n + 1
    good = (gaps[n - 1 : n - 1 + count] == gaps[1 : 1 + count]) & ~lines[:count] & ~lines[n - 1 :]
    starts = np.flatnonzero(good)
    text_of = np.cumsum(lines, dtype=np.int32)[starts]
    return _mixed((total[starts + n] - total[starts]) * back[starts], np), np.asarray(owners)[text_of]


def _sums(texts: list[str], np: Any) -> tuple[Any, Any, Any]:
    """Code points of the texts with a line end after each, sums of code · base^position, and base^-position."""
    joined = "\n".join(texts) + "\n"
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    size = 1 << max(12, len(codes).bit_length())
    powers, back = _powers(_BASE, size)[: len(codes)], _powers(pow(_BASE, -1, 1 << 64), size)
    total = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * powers, out=total[1:])
    return codes, total, back


@cache
def _powers(base: int, count: int) -> Any:
    import numpy as np

    factors = np.full(count, base, np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)


def _mixed(values: Any, np: Any) -> Any:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
