"""Rows of tokens in columns: lengths and counts of all rows without making each row.

Whoever sorts or sums over all rows asks here. Rows that lie in files (`TokenRows`) answer from their columns; a plain
list is gone through.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from tunesmith.core.records import TokenizedExample


class TokenRows(Sequence[TokenizedExample], ABC):
    """Tokenised rows that are read when they are asked for, with columns over all of them."""

    @property
    @abstractmethod
    def lengths(self) -> Sequence[int]:
        """Tokens of each row."""

    @property
    @abstractmethod
    def trained(self) -> Sequence[int]:
        """Trained tokens of each row."""

    @abstractmethod
    def endings(self) -> Iterable[tuple[int, float]]:
        """Last token and its weight of each trained answer, and of each plain text (not of each piece of it)."""


def lengths(rows: Sequence[TokenizedExample]) -> Sequence[int]:
    """Tokens of each row."""
    return rows.lengths if isinstance(rows, TokenRows) else [len(row.tokens) for row in rows]


def trained(rows: Sequence[TokenizedExample]) -> Sequence[int]:
    """Trained tokens of each row."""
    return rows.trained if isinstance(rows, TokenRows) else [row.trained_tokens for row in rows]


def endings(rows: Sequence[TokenizedExample]) -> Iterable[tuple[int, float]]:
    """Last token and its weight of each trained answer, and of each plain text (not of each piece of it)."""
    return rows.endings() if isinstance(rows, TokenRows) else _endings(rows)


def _endings(rows: Sequence[TokenizedExample]) -> Iterator[tuple[int, float]]:
    for number, row in enumerate(rows):
        for span in row.spans:
            if any(row.weights[span.start : span.end]):
                yield row.tokens[span.end - 1], row.weights[span.end - 1]
        is_last = number + 1 == len(rows) or rows[number + 1].example_id != row.example_id
        if not row.spans and is_last:
            yield row.tokens[-1], row.weights[-1]
