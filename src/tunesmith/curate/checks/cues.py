"""Which words of the answers stand for which facts of the inputs, learned from the rows themselves.

For every value of a fact (``area[riverside]``) the words that go with it are collected one after the other: each time
the phrase that explains most of the rows that no earlier phrase explains, as long as nearly all rows with the phrase
have the value (sequential covering, as rule learners do it: Cohen, "Fast effective rule induction", 1995). What stays
unexplained are mostly the rows whose answer leaves the value out, so the method bears many wrong rows. A phrase belongs
to the one fact that it goes with most closely, so facts that often come together do not lend each other their words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST_ROWS = 20
"""Rows that a value needs before its words are learned."""
FEWEST_SEEN = 5
"""Rows that a phrase needs."""
SURE = 0.7
"""Lower end of the 90 % interval of the share of rows with a phrase that have its value."""
SURE_OF_FACT = 0.8
"""The same for a phrase that tells only that the fact is spoken of, not its value."""
STRONG = 0.9
"""Share of rows from which a phrase alone says that the value is there."""
COVERED = 0.5
"""Share of the rows of a value that must be explained before missing words mean anything."""
SAME = 0.05
"""Share of the rows of one value that are worded as another from which the two count as the same."""

LONGEST_PHRASE = 4
_WORD = re.compile(r"[\w£$€]+")
_Z = 1.64


@dataclass(frozen=True)
class FactCues:
    """The words of one fact. Phrases are runs of words with single spaces between and around."""

    values: Mapping[str, Sequence[str]]
    """Value → phrases that go with it; only values whose rows are mostly explained."""
    strong: Mapping[str, Sequence[str]]
    spoken_of: Sequence[str]
    """Phrases that go with the fact, whatever its value."""
    alike: frozenset[tuple[str, str]]
    """(value, other): rows with the value are often worded as the other."""

    def said(self, words: str) -> set[str]:
        """The values that a text speaks of. ``words`` comes from `in_words`."""
        return {value for value, cues in self.values.items() if any(cue in words for cue in cues)}

    def said_surely(self, words: str) -> dict[str, str]:
        """The values that a text surely speaks of → the phrase."""
        found = {}
        for value, cues in self.strong.items():
            cue = next((cue for cue in cues if cue in words), None)
            if cue:
                found[value] = cue.strip()
        return found

    def is_spoken_of(self, words: str) -> bool:
        """Whether a text says anything about the fact."""
        return bool(self.said(words)) or any(cue in words for cue in self.spoken_of)


def in_words(text: str, hidden: Iterable[str] = ()) -> str:
    """Lower-case words with single spaces between and around; values in ``hidden`` become a mark."""
    text = text.lower()
    for value in hidden:
        if value:
            text = text.replace(value.lower(), " ○ ")
    return f" {' '.join(_WORD.findall(text))} "


def learn(words: Sequence[str], facts: Sequence[Mapping[str, str]], names: Sequence[str]) -> dict[str, FactCues]:
    """The words of each fact.

    Args:
        words: the answers, from `in_words`.
        facts: name → value of each row.
        names: the facts to learn; a fact has few values, each in many rows.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(
        ngram_range=(1, LONGEST_PHRASE), min_df=FEWEST_SEEN, binary=True, token_pattern=r"\S+", lowercase=False
    )
    try:
        matrix = counter.fit_transform(words)
    except ValueError:  # no phrase stands in enough rows
        return {}
    table = _Table(matrix, counter.get_feature_names_out(), facts, names)
    return {name: table.cues(name) for name in names}


@dataclass
class _Table:
    """Phrases by rows, and which rows have which value."""

    matrix: Any
    phrases: Sequence[str]
    facts: Sequence[Mapping[str, str]]
    names: Sequence[str]
    by_phrase: Any = field(init=False)
    totals: NDArray[np.float64] = field(init=False)
    closest: dict[str, NDArray[np.bool_]] = field(init=False)
    _rows: dict[tuple[str, str | None], NDArray[np.bool_]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        import numpy as np

        self.matrix = self.matrix.astype(np.float64)
        self.by_phrase = self.matrix.T.tocsr()
        self.totals = np.asarray(self.matrix.sum(axis=0)).ravel()
        self.closest = self._closest()

    def rows_of(self, name: str, value: str | None = None) -> NDArray[np.bool_]:
        """Which rows have the fact (with this value)."""
        import numpy as np

        if (name, value) not in self._rows:
            has = [(name in row) if value is None else row.get(name) == value for row in self.facts]
            self._rows[name, value] = np.array(has, bool)
        return self._rows[name, value]

    def values(self, name: str) -> list[str]:
        counts = Counter(row[name] for row in self.facts if name in row)
        return sorted(value for value, n in counts.items() if n >= FEWEST_ROWS)

    def _closest(self) -> dict[str, NDArray[np.bool_]]:
        """Which phrases go with a fact more closely (phi coefficient) than with any other one."""
        import numpy as np

        n, best = len(self.facts), {}
        for name in self.names:
            targets = [self.rows_of(name), *(self.rows_of(name, value) for value in self.values(name))]
            top = np.zeros(len(self.totals))
            for target in targets:
                size = float(target.sum())
                spread = np.sqrt(np.maximum(self.totals * (n - self.totals) * size * (n - size), 1.0))
                together = self.by_phrase @ target.astype(np.float64)
                top = np.maximum(top, (together * n - self.totals * size) / spread)
            best[name] = top
        highest = np.maximum.reduce(list(best.values()))
        return {name: top >= 0.8 * highest for name, top in best.items()}

    def cover(
        self, target: NDArray[np.bool_], rest: NDArray[np.bool_], allowed: NDArray[np.bool_], least: float
    ) -> tuple[list[tuple[str, float]], NDArray[np.bool_]]:
        """Phrases that explain the target, each with its share of rows on target, and the rows left unexplained."""
        import numpy as np

        found: list[tuple[str, float]] = []
        rest = rest.copy()
        while True:
            total = self.by_phrase @ rest.astype(np.float64)
            hits = self.by_phrase @ (rest & target).astype(np.float64)
            base = (rest & target).sum() / max(rest.sum(), 1)
            share = hits / np.maximum(total, 1)
            bound = _lower(hits, total)
            usable = allowed & (hits >= FEWEST_SEEN) & (bound >= max(least, base))
            if not usable.any():
                return found, rest
            gain = np.where(usable, hits * np.log2(np.maximum(share, 1e-9) / max(base, 1e-9)), -1.0)
            best = int(gain.argmax())
            has = np.zeros(len(self.facts), bool)
            has[self.by_phrase.indices[self.by_phrase.indptr[best] : self.by_phrase.indptr[best + 1]]] = True
            found.append((str(self.phrases[best]), float(share[best])))
            rest &= ~has

    def cues(self, name: str) -> FactCues:
        """The words of one fact."""
        import numpy as np

        everyone, allowed = np.ones(len(self.facts), bool), self.closest[name]
        values: dict[str, list[str]] = {}
        strong: dict[str, list[str]] = {}
        explained: dict[str, NDArray[np.bool_]] = {}
        unexplained = everyone.copy()
        for value in self.values(name):
            target = self.rows_of(name, value)
            found, rest = self.cover(target, everyone, allowed, SURE)
            if (target & ~rest).sum() >= COVERED * target.sum():
                values[value] = [f" {phrase} " for phrase, _ in found]
                strong[value] = [f" {phrase} " for phrase, share in found if share >= STRONG]
                explained[value] = ~rest
                unexplained &= rest
        spoken, _ = self.cover(self.rows_of(name), unexplained, allowed, SURE_OF_FACT)
        phrases = {*(phrase for phrase, _ in spoken), *self._own_words(name)}
        return FactCues(values, strong, [f" {phrase} " for phrase in sorted(phrases)], self._alike(name, explained))

    def _own_words(self, name: str) -> list[str]:
        """Words that share their beginning with a word of the fact's name, and go with the fact."""
        stems = {_stem(word) for word in name_words(name) if len(word) > 3}
        shares = _lower(self.by_phrase @ self.rows_of(name).astype(float), self.totals)
        return [
            str(p) for p, share in zip(self.phrases, shares, strict=True) if share >= SURE_OF_FACT and _stem(p) in stems
        ]

    def _alike(self, name: str, explained: Mapping[str, NDArray[np.bool_]]) -> frozenset[tuple[str, str]]:
        pairs = set()
        for value, own in explained.items():
            rows = self.rows_of(name, value)
            for other, theirs in explained.items():
                if other != value and (rows & ~own & theirs).sum() >= SAME * rows.sum():
                    pairs.add((value, other))
        return frozenset(pairs)


def name_words(name: str) -> list[str]:
    """The words of a fact's name: ``familyFriendly`` → family, friendly."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def _stem(word: str) -> str:
    return word if " " in word else word[: max(4, len(word) - 3)]


def _lower(hits: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower end of the Wilson interval of ``hits`` of ``total``; 0 for phrases with too few hits."""
    import numpy as np

    n = np.maximum(total, 1)
    share = hits / n
    middle = share + _Z * _Z / (2 * n)
    half = _Z * np.sqrt(share * (1 - share) / n + _Z * _Z / (4 * n * n))
    return np.where(hits >= FEWEST_SEEN, (middle - half) / (1 + _Z * _Z / n), 0.0)
