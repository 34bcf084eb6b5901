"""Whether the answers of a data set are labels: a few short texts that come again and again."""

from __future__ import annotations

from collections import Counter

from tunesmith.curate.keys import normalise

MOST_LABELS = 200
LONGEST_LABEL = 80
"""Characters."""
FEWEST_ROWS = 5
"""Rows that a text needs to count as a label."""

_SHARE = 0.95
_GIVE_UP = 5000


class LabelCounts:
    """Counts short answers as rows go by; holds at most a few thousand texts."""

    def __init__(self) -> None:
        self.rows = 0
        self._counts: Counter[str] = Counter()

    def add(self, answer: str) -> str | None:
        """Count an answer; gives its normalised text when it is short enough to be a label."""
        self.rows += 1
        if len(answer) > LONGEST_LABEL or "\n" in answer.strip() or len(self._counts) >= _GIVE_UP:
            return None
        label = normalise(answer)
        if not label or label[0] in "{[":
            return None
        self._counts[label] += 1
        return label

    @property
    def labels(self) -> dict[str, int] | None:
        """Label → rows, most frequent first; None when the answers are not labels."""
        if len(self._counts) >= _GIVE_UP:
            return None
        often = {label: n for label, n in self._counts.most_common() if n >= FEWEST_ROWS}
        if not 2 <= len(often) <= MOST_LABELS or sum(often.values()) < max(_SHARE * self.rows, 20):
            return None
        return often

    @property
    def rare(self) -> dict[str, int]:
        """Texts that stand too seldom to be labels."""
        return {label: n for label, n in sorted(self._counts.items()) if n < FEWEST_ROWS}
