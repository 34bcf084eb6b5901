"""The longest run of words that texts share with texts of another set, for many texts at once.

The 8-grams of one set are sorted; those of the other are looked up in them, block after block, and hits that follow
each other on the same diagonal are runs. An 8-gram that stands in more than ten texts is a common phrase or the mould
of the data, and is not looked at (as Brown et al., 2020, appendix C, do with theirs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.curate.checks.near import Tell
from tunesmith.curate.checks.ngrams import BLOCK, word_grams

if TYPE_CHECKING:
    pass

GRAM = 8
COMMON = 10
"""An 8-gram in more texts of either set than this is common."""


@dataclass(frozen=True)
class Run:
    """Text ``held`` shares ``words`` words in a row with text ``other``: the longest run of the held text."""

    held: int
    other: int
    words: int


def longest_runs(held: Sequence[str], others: Sequence[str], tell: Tell | None = None) -> list[Run]:
    """For every text of ``held`` that shares eight words in a row with one of ``others``: its longest run."""
    import numpy as np

    index = _Index(held)
    if not len(index.hashes):
        return []
    for numbers, texts in _long(others):
        index.count(*word_grams(texts, GRAM), np.array(numbers))
    index.forget_common(len(others))
    best: dict[int, tuple[int, int]] = {}
    for numbers, texts in _long(others):
        for a, b, length in index.runs(*word_grams(texts, GRAM), np.array(numbers)):
            if length > best.get(a, (0, 0))[0]:
                best[a] = (length, b)
        if tell:
            tell(numbers[-1] + 1, len(others))
    return [Run(a, b, longest_run(held[a], others[b])) for a, (_, b) in sorted(best.items())]


def longest_run(a: str, b: str) -> int:
    """Words of the longest run that two normalised texts share; 0 if it is shorter than eight words."""
    if min(a.count(" "), b.count(" ")) < GRAM - 1:
        return 0
    places: dict[tuple[str, ...], list[int]] = {}
    for j, gram in enumerate(_tuples(b)):
        places.setdefault(gram, []).append(j)
    longest, before = 0, dict[int, int]()
    for gram in _tuples(a):
        here = {j: before.get(j - 1, 0) + 1 for j in places.get(gram, ())}
        longest, before = max(longest, *here.values()) if here else longest, here
    return longest + GRAM - 1 if longest else 0


def _tuples(text: str) -> Iterator[tuple[str, ...]]:
    words = text.split(" ")
    return zip(*(words[i:] for i in range(GRAM)), strict=False)


class _Index:
    """The 8-grams of a set of texts, sorted, with the texts and places where each stands."""

    def __init__(self, texts: Sequence[str]) -> None:
        import numpy as np

        parts = [(*word_grams(block, GRAM), np.array(numbers)) for numbers, block in _long(texts)]
        hashes = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.uint64)
        owner = np.concatenate([part[2][part[1]] for part in parts]) if parts else np.zeros(0, np.int64)
        place = np.concatenate([_places(part[1]) for part in parts]) if parts else np.zeros(0, np.int64)
        order = np.argsort(hashes, kind="stable")
        self.hashes, self.first = np.unique(hashes[order], return_index=True)
        self.owner, self.place = owner[order], place[order]
        self.size = np.diff(np.append(self.first, len(order)))
        self.seen = np.zeros(len(self.hashes), np.int64)
        # most of what is looked up is not there: one glance into a table of 2^22 to 2^26 marks says so
        self.shift = np.uint64(64 - min(26, max(22, len(self.hashes).bit_length() + 4)))
        self.marks = np.zeros(1 << (64 - int(self.shift)), bool)
        self.marks[(self.hashes >> self.shift).astype(np.int64)] = True

    def count(self, hashes: Any, owner: Any, numbers: Any) -> None:
        """Note in how many texts each 8-gram stands."""
        import numpy as np

        which, hits = self._hits(hashes)
        texts = len(numbers)
        pairs = np.unique(which * texts + owner[hits])  # one number for a pair: sorting rows of two takes far longer
        self.seen += np.bincount(pairs // texts, minlength=len(self.seen))

    def forget_common(self, others: int) -> None:
        """Leave out what stands in many texts, or in more than half of at least four."""
        few = self.seen <= (min(COMMON, others // 2) if others >= 4 else COMMON)
        self.keep = few & (self.size <= COMMON) & (self.seen > 0)

    def runs(self, hashes: Any, owner: Any, numbers: Any) -> Iterator[tuple[int, int, int]]:
        """(text here, text there, words) of the longest run of each pair of texts."""
        import numpy as np

        which, hits = self._hits(hashes)
        rare = self.keep[which]
        which, hits = which[rare], hits[rare]
        if not len(which):
            return
        times = self.size[which]
        spread = np.repeat(self.first[which] - np.cumsum(times) + times, times) + np.arange(int(times.sum()))
        mine, there = self.owner[spread], np.repeat(numbers[owner[hits]], times)
        place, other = self.place[spread], np.repeat(_places(owner)[hits], times)
        diagonal = other - place
        order = np.lexsort((place, diagonal, there, mine))
        mine, there, place, diagonal = mine[order], there[order], place[order], diagonal[order]
        broken = (np.diff(mine) != 0) | (np.diff(there) != 0) | (np.diff(diagonal) != 0) | (np.diff(place) != 1)
        starts = np.concatenate(([0], np.flatnonzero(broken) + 1))
        lengths = np.diff(np.append(starts, len(mine))) + GRAM - 1
        by_length = np.argsort(-lengths, kind="stable")
        mine, there, lengths = mine[starts][by_length], there[starts][by_length], lengths[by_length]
        _, firsts = np.unique(mine * (int(there.max()) + 1) + there, return_index=True)
        yield from zip(mine[firsts].tolist(), there[firsts].tolist(), lengths[firsts].tolist(), strict=True)

    def _hits(self, hashes: Any) -> tuple[Any, Any]:
        """Numbers of 8-grams of ours, and where in ``hashes`` they stand."""
        import numpy as np

        maybe = np.flatnonzero(self.marks[(hashes >> self.shift).astype(np.int64)])
        at = np.minimum(np.searchsorted(self.hashes, hashes[maybe]), len(self.hashes) - 1)
        found = self.hashes[at] == hashes[maybe]
        return at[found], maybe[found]


def _places(owner: Any) -> Any:
    """The place of each 8-gram within its text."""
    import numpy as np

    firsts = np.flatnonzero(np.diff(owner, prepend=-1))
    return np.arange(len(owner)) - np.repeat(firsts, np.diff(np.append(firsts, len(owner))))


def _long(texts: Sequence[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Blocks of the texts with eight words or more, and their numbers."""
    numbers: list[int] = []
    block: list[str] = []
    size = 0
    for number, text in enumerate(texts):
        if text.count(" ") >= GRAM - 1:
            numbers.append(number)
            block.append(text)
            size += len(text)
        if size > BLOCK:
            yield numbers, block
            numbers, block, size = [], [], 0
    if numbers:
        yield numbers, block
