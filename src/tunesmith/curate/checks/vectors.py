"""Texts as unit vectors, and which of them are close: TF-IDF always, an embedding model where one is configured.

The features of TF-IDF are words and runs of four characters within words, hashed to 2^20 numbers, with 1 + log(count)
times log of the inverse document frequency. What stands in every text weighs nothing, so the mould of a data set does
not make all of it alike. The vectors are folded to 128 numbers (Charikar, Chen and Farach-Colton, 2002: the count
sketch), in which the search runs; what it finds is measured again on the whole vectors.

All of it is numpy, over the hashes of `ngrams`: the vectoriser of scikit-learn makes n-grams one by one in Python and
takes some sixty times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.curate.checks.near import Tell
from tunesmith.curate.checks.ngrams import BLOCK, inner_grams, word_grams
from tunesmith.curate.keys import rank
from tunesmith.text.embedder import Embedder, require_embedder

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.float32]]

READ = 2000
"""Characters of a text that are looked at: its beginning says what it is about."""

_GRAM, _FEATURES, _WIDTH = 4, 1 << 20, 128
_SAMPLE = 10_000
"""Document frequencies come from so many texts."""

_ENOUGH = 50
"""With fewer texts than this, what all of them share still counts."""

_DOUBT = 0.08
"""How far a folded cosine may lie below the true one; the error at 0.9 has a standard deviation of 0.02."""

_EACH_WITH_EACH, _CELL, _PROBES = 16_384, 256, 3
"""So many texts are compared each with each; more in cells of about 256, each text in its three nearest."""

_LARGEST_CELL = 16_384
_MEASURED = 4096
"""Pairs that are measured on whole vectors at a time."""


@dataclass(frozen=True)
class Space:
    """Texts as unit vectors of whatever made them (``name``); ``cosines`` measures pairs of numbers exactly."""

    name: str
    vectors: Matrix
    cosines: Callable[[Any], Any]
    doubt: float = 0.0


@dataclass(frozen=True)
class Close:
    """Pairs (first < second) with their cosines, by cosine from the top; and how many pairs were not compared."""

    pairs: Sequence[tuple[int, int, float]]
    not_compared: int = 0


def space_of(texts: Sequence[str], embedder: str = "", tell: Tell | None = None) -> Space:
    """The vectors of normalised texts, by the embedding model in the folder ``embedder`` if there is one."""
    return _embedded(texts, embedder, tell) if embedder else _tfidf(texts, tell)


# ---------------------------------------------------------------- embedding models


def _embedded(texts: Sequence[str], folder: str, tell: Tell | None) -> Space:
    require_embedder(folder)
    vectors = Embedder(folder).embed([text[:READ] for text in texts], tell)
    return Space(Path(folder).name, vectors, lambda pairs: (vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(axis=1))


# ---------------------------------------------------------------- TF-IDF


def _tfidf(texts: Sequence[str], tell: Tell | None) -> Space:
    import numpy as np

    weigher = _Weigher(texts)
    vectors = np.zeros((len(texts), _WIDTH), np.float32)
    place, sign = _folding()
    for start, block in _blocks(texts):
        owner, feature, weight = weigher.weigh(block)
        at = owner * _WIDTH + place[feature]
        folded = np.bincount(at, weight * sign[feature], len(block) * _WIDTH).reshape(-1, _WIDTH)
        length = np.sqrt((folded**2).sum(axis=1, keepdims=True))
        vectors[start : start + len(block)] = folded / np.where(length > 0, length, 1)
        if tell:
            tell(start + len(block), len(texts))
    return Space("TF-IDF", vectors, lambda pairs: _exact(texts, weigher, pairs), _DOUBT)


class _Weigher:
    """Weights of features, from the document frequencies of a sample that is the same in any order of the texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        import numpy as np

        chosen: Sequence[int] = range(len(texts))
        if len(texts) > _SAMPLE:
            chosen = np.argsort(np.array([rank(text) for text in texts], np.uint64))[:_SAMPLE].tolist()
        seen = np.zeros(_FEATURES, np.int64)
        for _, block in _blocks([texts[i] for i in chosen]):
            np.add.at(seen, self._counted(block)[1], 1)
        least = 1.0 if len(chosen) < _ENOUGH else 0.0
        self._idf = (np.log((1 + len(chosen)) / (1 + seen)) + least).astype(np.float32)

    def weigh(self, block: Sequence[str]) -> tuple[Any, Any, Any]:
        """(number in the block, feature, weight) of every feature of every text, sorted; each text has length 1."""
        import numpy as np

        owner, feature, count = self._counted(block)
        weight = (1 + np.log(count)) * self._idf[feature]
        length = np.sqrt(np.bincount(owner, weight * weight, len(block)))
        return owner, feature, weight / np.where(length > 0, length, 1)[owner]

    def _counted(self, block: Sequence[str]) -> tuple[Any, Any, Any]:
        import numpy as np

        read = [text[:READ] for text in block]
        parts = [inner_grams(read, _GRAM), word_grams(read, 1)]
        keys = np.concatenate(
            [(owner.astype(np.uint64) << np.uint64(20)) | (hashes >> np.uint64(44)) for hashes, owner in parts]
        )
        keys.sort()
        firsts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)])
        count = np.diff(np.append(firsts, len(keys)))
        keys = keys[firsts]
        return (keys >> np.uint64(20)).astype(np.int64), (keys & np.uint64(_FEATURES - 1)).astype(np.int64), count


def _folding() -> tuple[Any, Any]:
    """Feature → one of the 128 places, and its sign."""
    import numpy as np

    random = np.random.default_rng(20252)
    signs = random.integers(0, 2, _FEATURES, dtype=np.int8) * 2 - 1
    return random.integers(0, _WIDTH, _FEATURES, dtype=np.int64), signs.astype(np.float32)


def _blocks(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    block: list[str] = []
    start = size = 0
    for number, text in enumerate(texts):
        block.append(text)
        size += min(len(text), READ)
        if size > BLOCK or number + 1 == len(texts):
            yield start, block
            block, size, start = [], 0, number + 1


def _exact(texts: Sequence[str], weigher: _Weigher, pairs: Any) -> Any:
    """Cosines of pairs on the whole vectors."""
    import numpy as np

    result = np.zeros(len(pairs), np.float64)
    for start in range(0, len(pairs), _MEASURED):
        part = pairs[start : start + _MEASURED]
        numbers, where = np.unique(part, return_inverse=True)
        first, second = where.reshape(part.shape).T
        owner, feature, weight = weigher.weigh([texts[i] for i in numbers.tolist()])
        keys = owner * _FEATURES + feature
        begin = np.searchsorted(owner, np.arange(len(numbers) + 1))
        sizes = np.diff(begin)[first]
        spread = np.repeat(begin[first] - np.cumsum(sizes) + sizes, sizes) + np.arange(int(sizes.sum()))
        wanted = np.repeat(second, sizes) * _FEATURES + feature[spread]
        at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        shared = np.where(keys[at] == wanted, weight[at] * weight[spread], 0.0) if len(keys) else np.zeros(0)
        pair = np.repeat(np.arange(len(part)), sizes)
        result[start : start + len(part)] = np.bincount(pair, shared, len(part))
    return np.minimum(result, 1.0)


# ---------------------------------------------------------------- search


def close_pairs(space: Space, least: float, most: int = 5, tell: Tell | None = None) -> Close:
    """Pairs of texts with a cosine of at least ``least``: of every text, the ``most`` closest."""
    import numpy as np

    found: list[Any] = []
    left = 0
    for members in _cells(space.vectors):
        left += max(0, len(members) - _LARGEST_CELL) ** 2 // 2
        for start in range(0, len(members), _LARGEST_CELL):
            found.append(_within(space.vectors, members[start : start + _LARGEST_CELL], least - space.doubt, most))
            if tell:
                tell(len(found), len(found) + 1)
    pairs = np.unique(np.concatenate(found), axis=0) if found else np.zeros((0, 2), np.int64)
    cosines = space.cosines(pairs)
    close = np.flatnonzero(cosines >= least)
    close = close[np.argsort(-cosines[close], kind="stable")]
    rows = zip(pairs[close, 0].tolist(), pairs[close, 1].tolist(), cosines[close].tolist(), strict=True)
    return Close(list(rows), left)


def _cells(vectors: Matrix) -> Iterator[Any]:
    """Numbers of texts that may be close, in ascending order; a text stands in several cells."""
    import numpy as np

    count = len(vectors)
    if count <= _EACH_WITH_EACH:
        for start in range(1 if count else 0):
            yield np.arange(start, count)
        return
    leaders = vectors[:: max(1, count // (count // _CELL))]
    nearest = np.zeros((count, _PROBES), np.int64)
    for start in range(0, count, 4096):
        likeness = vectors[start : start + 4096] @ leaders.T
        nearest[start : start + 4096] = np.argpartition(-likeness, _PROBES, axis=1)[:, :_PROBES]
    order = np.argsort(nearest.ravel(), kind="stable")
    bounds = np.searchsorted(nearest.ravel()[order], np.arange(len(leaders) + 1))
    for i in range(len(leaders)):
        yield np.sort(order[bounds[i] : bounds[i + 1]] // _PROBES)


def _within(vectors: Matrix, members: Any, least: float, most: int) -> Any:
    """Pairs of members, in ascending order, whose folded cosine is at least ``least``; the closest of each member."""
    import numpy as np

    found = [np.zeros((0, 2), np.int64)]
    mine = vectors[members]
    for start in range(0, len(members), 1024):
        likeness = mine[start : start + 1024] @ mine.T
        likeness[np.arange(len(likeness)), start + np.arange(len(likeness))] = -1
        rows, columns = np.nonzero(likeness >= least)
        order = np.lexsort((columns, -likeness[rows, columns], rows))
        rows, columns = rows[order], columns[order]
        firsts = np.searchsorted(rows, rows)
        kept = np.arange(len(rows)) - firsts < most
        pairs = np.stack([members[start + rows[kept]], members[columns[kept]]], axis=1)
        found.append(np.sort(pairs, axis=1))
    return np.concatenate(found)


def closest(space: Space, ours: Sequence[int], theirs: Sequence[int], most: int = 5) -> list[list[tuple[int, float]]]:
    """For every text of ``ours``, the closest of ``theirs`` with their cosines, from the top."""
    import numpy as np

    candidates = min(len(theirs), 3 * most)
    there = np.asarray(theirs)
    result: list[list[tuple[int, float]]] = []
    for start in range(0, len(ours), 256):
        mine = np.asarray(ours[start : start + 256])
        best = np.full((len(mine), candidates), -2.0, np.float32)
        which = np.zeros((len(mine), candidates), np.int64)
        for begin in range(0, len(there), 16_384):
            part = there[begin : begin + 16_384]
            likeness = space.vectors[mine] @ space.vectors[part].T
            few = np.argpartition(-likeness, min(candidates, len(part)) - 1, axis=1)[:, :candidates]
            both = np.concatenate([best, np.take_along_axis(likeness, few, 1)], axis=1)
            numbers = np.concatenate([which, part[few]], axis=1)
            top = np.argsort(-both, axis=1, kind="stable")[:, :candidates]
            best, which = np.take_along_axis(both, top, 1), np.take_along_axis(numbers, top, 1)
        pairs = np.stack([np.repeat(mine, candidates), which.ravel()], axis=1)
        cosines = space.cosines(pairs).reshape(which.shape)
        for numbers, values in zip(which.tolist(), cosines.tolist(), strict=True):
            ranked = sorted(zip(numbers, values, strict=True), key=lambda item: (-item[1], item[0]))
            result.append(ranked[:most])
    return result
