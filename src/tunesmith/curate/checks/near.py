"""Texts that are nearly the same: found by MinHash, proven by true Jaccard.

A text is the set of its 5-grams: of words, or of characters where one of the two texts has fewer than 20 words. MinHash
(Broder, 1997) with 112 hashes in 14 bands of 8 (Leskovec, Rajaraman and Ullman, chapter 3) proposes pairs: one of
Jaccard 0.85 with a probability of 0.988, one of 0.8 with 0.924, one of 0.5 with 0.05. Every proposed pair is then
measured on the sets themselves, so nothing that is reported is below the threshold.

Two guards keep data of one mould from costing without end. 5-grams that stand in more than half of the texts are the
mould and are not compared, where they make up a fifth of the texts or more. And a band that throws very many texts
together compares each with a few of them; how many pairs went without a comparison is counted and said.

Nothing depends on the order of the texts: they are worked on in the order of hashes of their content.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from tunesmith.curate.checks.ngrams import BLOCK, char_grams, char_set, word_grams, word_set
from tunesmith.curate.keys import rank

if TYPE_CHECKING:
    import numpy as np

    Hashes = np.ndarray[Any, np.dtype[np.uint64]]

GRAM = 5
BANDS, ROWS = 14, 8
THRESHOLD = 0.8
SHORT = 20
"""Texts with fewer words are compared by characters."""

_LONGEST_SHORT = 32
"""Texts of up to so many words also stand among the short ones: a text of 19 words may have a near copy of 22."""

_SAMPLE, _ENOUGH, _COMMON, _MUCH = 512, 50, 0.5, 0.2
"""The mould is what more than half of a sample of at least 50 texts share, if it is a fifth of them or more."""

_CROWD, _ROUNDS = 64, 64
"""A band with more texts than this compares them with 64 representatives instead of each with each."""

_HOPELESS = 0.65
"""Pairs whose estimate from all 112 hashes is below this are not measured: it is 4 standard errors below 0.8."""

_HOPEFUL = math.ceil(_HOPELESS * BANDS * ROWS)

_SMALL = 16
"""Crowds of up to so many texts, nearly all of them, are looked at together."""

_FEW = 1024
"""So many texts need no bands: each is compared with each, and a pair at 0.8 is as good as never missed."""

_MEASURED = 10
"""How many pairs a text are measured at most, and 100,000 for all."""

_SETS = 4096
"""Sets of 5-grams that are kept at hand while pairs are measured."""

Tell = Callable[[int, int], None]
"""Receives texts done and texts in all."""


@dataclass(frozen=True)
class Cluster:
    """Texts that hang together by pairs at or over the threshold; ``lowest`` is the least Jaccard of these pairs."""

    members: tuple[int, ...]
    lowest: float


@dataclass(frozen=True)
class Near:
    """What was found: clusters by their first text, and how many proposed pairs were not compared."""

    clusters: tuple[Cluster, ...]
    measure: Measure
    threshold: float
    not_compared: int = 0
    measured: int = 0

    def spare(self, cluster: Cluster) -> tuple[list[int], list[int]]:
        """The texts of a cluster that stay, and those that are near duplicates of one that stays.

        A cluster is a chain: its first and its last text need not be alike, and then both stay.
        """
        stay: list[int] = []
        spare: list[int] = []
        for member in cluster.members:
            is_copy = any(self.measure.of(kept, member) >= self.threshold for kept in stay)
            (spare if is_copy else stay).append(member)
        return stay, spare


def near_duplicates(texts: Sequence[str], threshold: float = THRESHOLD, tell: Tell | None = None) -> Near:
    """Clusters of texts with a Jaccard of at least ``threshold``.

    Args:
        texts: normalised texts (`keys.normalise`), looked up by number more than once; they may lie in a file.
            Equal texts are near duplicates of each other.
        threshold: least Jaccard of a pair, over 0.7.
        tell: receives progress.
    """
    join = _Join(texts, threshold)
    words = [text.count(" ") + 1 if text else 0 for text in texts]
    for by_words in (False, True):
        chosen = [i for i, n in enumerate(words) if (n >= SHORT if by_words else 0 < n < _LONGEST_SHORT)]
        if len(chosen) > 1:
            sketch = _sketch(texts, chosen, by_words, tell)
            join.add(sketch, by_words, words)
    return Near(tuple(join.clusters()), join.measure, threshold, join.not_compared, join.measured)


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """Shared part of two sets; 0 for empty ones."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


# ---------------------------------------------------------------- sketches


@dataclass(frozen=True)
class _Sketch:
    """MinHash of the texts ``numbers``, in the order of their content."""

    numbers: Any
    bands: Hashes
    """(texts, BANDS): one hash for each band of eight."""
    marks: Any
    """(texts, BANDS * ROWS): the lowest byte of every MinHash, to estimate a Jaccard."""
    mould: frozenset[int]


def _sketch(texts: Sequence[str], chosen: Sequence[int], by_words: bool, tell: Tell | None) -> _Sketch:
    import numpy as np

    order = np.array([rank(texts[i]) for i in chosen], np.uint64)
    numbers = np.array(chosen)[np.argsort(order, kind="stable")]
    mould = _mould([texts[i] for i in numbers[:_SAMPLE].tolist()], by_words)
    bands = np.zeros((len(numbers), BANDS), np.uint64)
    marks = np.zeros((len(numbers), BANDS * ROWS), np.uint8)
    kept = np.zeros(len(numbers), bool)
    for start, block in _blocks(texts, numbers.tolist()):
        hashes, owner = word_grams(block, GRAM) if by_words else char_grams(block, GRAM)
        if mould:
            fresh = ~np.isin(hashes, np.fromiter(mould, np.uint64, len(mould)))
            hashes, owner = hashes[fresh], owner[fresh]
        least, seen = _least(hashes, owner, len(block))
        rows = slice(start, start + len(block))
        kept[rows], marks[rows], bands[rows] = seen, least.astype(np.uint8), _bands(least)
        if tell:
            tell(start + len(block), len(numbers))
    return _Sketch(numbers[kept], bands[kept], marks[kept], mould)


def _mould(sample: Sequence[str], by_words: bool) -> frozenset[int]:
    """5-grams of more than half of the sample, which is the same for any order of the texts."""
    if len(sample) < _ENOUGH:
        return frozenset()
    counts = Counter(gram for text in sample for gram in _set_of(text, by_words))
    common = {gram: n for gram, n in counts.items() if n > _COMMON * len(sample)}
    return frozenset(common) if sum(common.values()) >= _MUCH * counts.total() else frozenset()


def _set_of(text: str, by_words: bool) -> frozenset[int]:
    return word_set(text, GRAM) if by_words else char_set(text, GRAM)


def _blocks(texts: Sequence[str], numbers: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
    block: list[str] = []
    size = start = 0
    for place, number in enumerate(numbers):
        block.append(texts[number])
        size += len(block[-1])
        if size > BLOCK or place + 1 == len(numbers):
            yield start, block
            block, size, start = [], 0, place + 1


def _least(hashes: Hashes, owner: Any, count: int) -> tuple[Any, Any]:
    """The least value of each of the hash functions over the set of each text, and which texts have a set.

    The functions are linear modulo 2^32 on values that are mixed already.
    """
    import numpy as np

    factors, offsets = _functions()
    least = np.full((count, BANDS * ROWS), 0xFFFFFFFF, np.uint32)
    values = (hashes >> np.uint64(32)).astype(np.uint32)
    for start in range(0, len(values), 1 << 15):
        part, of = values[start : start + (1 << 15)], owner[start : start + (1 << 15)]
        firsts = np.flatnonzero(np.diff(of, prepend=-1))
        hashed = factors[:, None] * part + offsets[:, None]
        here = of[firsts]
        least[here] = np.minimum(least[here], np.minimum.reduceat(hashed, firsts, axis=1).T)
    seen = np.zeros(count, bool)
    seen[owner] = True
    return least, seen


def _functions() -> tuple[Any, Any]:
    import numpy as np

    random = np.random.default_rng(20250)
    size = BANDS * ROWS
    factors = random.integers(0, 1 << 32, size, dtype=np.uint32) | np.uint32(1)
    return factors, random.integers(0, 1 << 32, size, dtype=np.uint32)


def _bands(least: Any) -> Hashes:
    import numpy as np

    factors = np.random.default_rng(20251).integers(0, 1 << 63, (BANDS, ROWS), dtype=np.uint64) * np.uint64(2)
    rows = least.reshape(-1, BANDS, ROWS).astype(np.uint64)
    mixed: Hashes = (rows * (factors + np.uint64(1))).sum(axis=2, dtype=np.uint64)
    return mixed ^ (mixed >> np.uint64(29))


# ---------------------------------------------------------------- pairs


@dataclass
class _Join:
    """Texts that are joined by measured pairs."""

    texts: Sequence[str]
    threshold: float
    not_compared: int = 0
    measured: int = 0
    measure: Measure = field(init=False)
    _parent: list[int] = field(init=False)
    _budget: int = field(init=False)
    _lowest: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.measure = Measure(self.texts)
        self._parent = list(range(len(self.texts)))
        self._budget = _MEASURED * len(self.texts) + 100_000

    def add(self, sketch: _Sketch, by_words: bool, words: Sequence[int]) -> None:
        """Measure what the bands propose, band after band."""
        self.measure.moulds[by_words] = sketch.mould
        numbers = sketch.numbers.tolist()
        refused: set[tuple[int, int]] = set()
        for crowds in _crowds(sketch):
            self._prepare(crowds, numbers, by_words, refused)
            for crowd in crowds:
                if len(crowd.places) < 2 or self._is_one([numbers[i] for i in crowd.places.tolist()]):
                    continue
                for i, j in _alike(crowd.places, sketch, crowd.few) if crowd.pairs is None else crowd.pairs:
                    a, b = numbers[i], numbers[j]
                    meant = by_words or min(words[a], words[b]) < SHORT
                    if not meant or (i, j) in refused or self._root(a) == self._root(b):
                        continue
                    if self.measured >= self._budget:
                        self.not_compared += 1
                    elif not self._tie(a, b, self.measure.of(a, b, by_words)):
                        refused.add((i, j))
                if not crowd.few:
                    self.not_compared += self._left(crowd.places, numbers)

    def _prepare(
        self, crowds: Sequence[_Crowd], numbers: Sequence[int], by_words: bool, refused: set[tuple[int, int]]
    ) -> None:
        """Make the sets of the texts that are going to be measured, many at once."""
        wanted: dict[int, None] = {}
        for crowd in crowds:
            for pair in crowd.pairs or ():
                a, b = numbers[pair[0]], numbers[pair[1]]
                if pair not in refused and self._root(a) != self._root(b):
                    wanted[a] = wanted[b] = None
        self.measure.prepare(list(wanted), by_words)

    def _is_one(self, members: Sequence[int]) -> bool:
        root = self._root(members[0])
        return all(self._root(member) == root for member in members[1:])

    def _left(self, crowd: Any, numbers: Sequence[int]) -> int:
        """Pairs of a great crowd that stand in different clusters and were not both compared."""
        rest = [numbers[i] for i in crowd.tolist()[_ROUNDS:]]
        sizes = Counter(map(self._root, rest)).values()
        return (len(rest) ** 2 - sum(n * n for n in sizes)) // 2

    def _root(self, i: int) -> int:
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def _tie(self, a: int, b: int, value: float) -> bool:
        self.measured += 1
        if value < self.threshold:
            return False
        one, other = sorted((self._root(a), self._root(b)))
        self._parent[other] = one
        self._lowest[one] = min(value, self._lowest.get(one, 1.0), self._lowest.pop(other, 1.0))
        return True

    def clusters(self) -> Iterator[Cluster]:
        """Clusters of two or more texts, by their first."""
        members: dict[int, list[int]] = {}
        for i in range(len(self.texts)):
            members.setdefault(self._root(i), []).append(i)
        for root, found in members.items():
            if len(found) > 1:
                yield Cluster(tuple(found), self._lowest[root])


class Measure:
    """True Jaccard of two texts; the sets of the last few thousand texts are kept."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self.moulds: dict[bool, frozenset[int]] = {}
        """By words, by characters: what most texts share, which is not compared."""
        self._kept: OrderedDict[tuple[int, bool], frozenset[int]] = OrderedDict()

    def of(self, a: int, b: int, by_words: bool | None = None) -> float:
        """Jaccard of two texts by number, by characters where one of them is short."""
        if by_words is None:
            by_words = min(self._texts[n].count(" ") for n in (a, b)) + 1 >= SHORT
        return jaccard(self._set(a, by_words), self._set(b, by_words))

    def prepare(self, numbers: Sequence[int], by_words: bool) -> None:
        """Make the sets of texts that will be asked for soon: many at once cost a tenth each."""
        import numpy as np

        numbers = [number for number in numbers[:_SETS] if (number, by_words) not in self._kept]
        texts = [self._texts[number] for number in numbers]
        hashes, owner = word_grams(texts, GRAM) if by_words else char_grams(texts, GRAM)
        values, mould = hashes.tolist(), self.moulds.get(by_words, frozenset())
        ends = np.searchsorted(owner, np.arange(len(numbers) + 1)).tolist()
        for place, number in enumerate(numbers):
            self._keep((number, by_words), frozenset(values[ends[place] : ends[place + 1]]) - mould)

    def _set(self, number: int, by_words: bool) -> frozenset[int]:
        key = (number, by_words)
        found = self._kept.get(key)
        if found is None:
            found = _set_of(self._texts[number], by_words) - self.moulds.get(by_words, frozenset())
            self._keep(key, found)
        else:
            self._kept.move_to_end(key)
        return found

    def _keep(self, key: tuple[int, bool], found: frozenset[int]) -> None:
        self._kept[key] = found
        if len(self._kept) > 2 * _SETS:
            self._kept.popitem(last=False)


@dataclass(frozen=True)
class _Crowd:
    """Places of texts that may be alike, whether they are few enough to compare each with each, and those that look
    alike, where these were looked for already.
    """

    places: Any
    few: bool
    pairs: list[tuple[int, int]] | None = None


def _crowds(sketch: _Sketch) -> Iterator[list[_Crowd]]:
    """The crowds of all bands, some hundred at a time."""
    import numpy as np

    if len(sketch.numbers) <= _FEW:
        yield [_Crowd(np.arange(len(sketch.numbers)), True)]
        return
    for band in range(BANDS):
        several: list[Any] = []
        size = 0
        for crowd in _same(sketch.bands[:, band]):
            several.append(crowd)
            size += len(crowd) ** 2 if _is_small(crowd) else 0
            if size > 2 * _SETS:
                yield _looked_at(several, sketch)
                several, size = [], 0
        yield _looked_at(several, sketch)


def _is_small(crowd: Any) -> bool:
    return len(crowd) <= min(_SMALL, _CROWD)


def _looked_at(several: Sequence[Any], sketch: _Sketch) -> list[_Crowd]:
    """Crowds with their pairs: those of all small ones are compared at once."""
    import numpy as np

    firsts, seconds, bounds = [], [], [0]
    for crowd in several:
        if _is_small(crowd):
            first, second = _corners(len(crowd))
            firsts.append(crowd[first])
            seconds.append(crowd[second])
            bounds.append(bounds[-1] + len(first))
    if firsts:
        one, other = np.concatenate(firsts), np.concatenate(seconds)
        alike = np.flatnonzero(np.count_nonzero(sketch.marks[one] == sketch.marks[other], axis=1) >= _HOPEFUL)
        pairs = list(zip(one[alike].tolist(), other[alike].tolist(), strict=True))
        cuts = iter(np.searchsorted(alike, bounds).tolist())
        start = next(cuts)
    found = []
    for crowd in several:
        if _is_small(crowd):
            end = next(cuts)
            found.append(_Crowd(crowd, True, pairs[start:end]))
            start = end
        else:
            found.append(_Crowd(crowd, len(crowd) <= _CROWD))
    return found


@cache
def _corners(count: int) -> tuple[Any, Any]:
    """All pairs of so many places, the first ones first."""
    import numpy as np

    return np.triu_indices(count, 1)


def _alike(crowd: Any, sketch: _Sketch, few: bool) -> Iterator[tuple[int, int]]:
    """Each text of a crowd with those after it that look alike; of a great crowd, a few texts with all others."""
    import numpy as np

    for place, i in enumerate(crowd.tolist() if few else crowd[:_ROUNDS].tolist()):
        rest = crowd[place + 1 :] if few else crowd[crowd != i]
        alike = np.count_nonzero(sketch.marks[rest] == sketch.marks[i], axis=1) >= _HOPEFUL
        yield from ((i, j) for j in rest[alike].tolist())


def _same(hashes: Any) -> Iterator[Any]:
    """Groups of two or more places with the same hash, each in ascending order."""
    import numpy as np

    order = np.argsort(hashes, kind="stable")
    ends = np.flatnonzero(np.diff(hashes[order])) + 1
    bounds = np.concatenate(([0], ends, [len(order)]))
    sizes = np.diff(bounds)
    for k in np.flatnonzero(sizes > 1).tolist():
        yield order[bounds[k] : bounds[k + 1]]
