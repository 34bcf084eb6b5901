"""Which passages share words with a question: BM25 through bm25s, TF-IDF over runs of characters beside it.

Both keep their weights as a sparse matrix by term, so that they are stored as plain arrays and read back without work.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from tunesmith.core import store
from tunesmith.text.graders import words

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float32]]

GRAM = 4
"""Characters of a run in TF-IDF; shorter words count as a whole."""


def has_bm25() -> bool:
    """Whether the package bm25s is installed."""
    return find_spec("bm25s") is not None


def grams(text: str) -> list[str]:
    """Words and the runs of four characters in them: what survives endings, compounds and a slip of the pen."""
    found: list[str] = []
    for word in words(text):
        padded = f" {word} "
        found.append(word)
        found += [padded[i : i + GRAM] for i in range(len(padded) - GRAM + 1)]
    return found


@final
class Lexical:
    """Weights of terms in passages. ``kind`` is "bm25" or "tfidf"; both give a score for every passage."""

    def __init__(self, kind: str, terms: Sequence[str], arrays: Mapping[str, Any]) -> None:
        self.kind = kind
        self._terms = {term: number for number, term in enumerate(terms)}
        self._arrays = arrays

    @classmethod
    def build(cls, kind: str, texts: Sequence[str]) -> Lexical:
        """Weigh the terms of texts."""
        split = _SPLITTERS[kind]
        rows = [split(text) for text in texts]
        terms = sorted({term for row in rows for term in row})
        numbers = {term: number for number, term in enumerate(terms)}
        ids = [[numbers[term] for term in row] for row in rows]
        return cls(kind, terms, (_bm25 if kind == "bm25" else _tfidf)(ids, len(terms)))

    def scores(self, question: str) -> Array:
        """A score for each passage, 0 where it shares no term with the question."""
        import numpy as np

        counts = Counter(self._terms[term] for term in _SPLITTERS[self.kind](question) if term in self._terms)
        data, indices, starts = (self._arrays[name] for name in ("data", "indices", "indptr"))
        found = np.zeros(int(self._arrays["passages"][0]), dtype=np.float64)
        for number, count in sorted(counts.items()):
            span = slice(int(starts[number]), int(starts[number + 1]))
            times = float(count) if self.kind == "bm25" else (1 + math.log(count)) * float(self._arrays["idf"][number])
            found[indices[span]] += times * data[span]
        return found.astype(np.float32)

    def write(self, folder: Path) -> None:
        """Store the terms and weights."""
        from safetensors.numpy import save

        store.write_text(folder / f"{self.kind}.json", json.dumps(list(self._terms), ensure_ascii=False))
        store.write_bytes(folder / f"{self.kind}.safetensors", save(dict(self._arrays)))

    @classmethod
    def read(cls, kind: str, folder: Path) -> Lexical:
        """Read back what `write` stored."""
        from safetensors.numpy import load_file

        terms = json.loads((folder / f"{kind}.json").read_text("utf-8"))
        return cls(kind, terms, load_file(folder / f"{kind}.safetensors"))


_SPLITTERS: Mapping[str, Callable[[str], list[str]]] = {"bm25": words, "tfidf": grams}


def _bm25(rows: Sequence[Sequence[int]], terms: int) -> dict[str, Any]:
    """BM25 in Lucene's form, k1 1.5, b 0.75. Source: Robertson and Zaragoza 2009; Lù, arXiv:2407.03618 (bm25s)."""
    import bm25s  # type: ignore[import-untyped]
    import numpy as np

    model = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    vocabulary = {str(number): number for number in range(terms)}
    model.index((list(map(list, rows)), vocabulary), create_empty_token=False, show_progress=False)
    found = {name: np.ascontiguousarray(model.scores[name]) for name in ("data", "indices", "indptr")}
    return {**found, "passages": np.array([len(rows)], np.int64)}


def _tfidf(rows: Sequence[Sequence[int]], terms: int) -> dict[str, Any]:
    """(1 + log tf) · idf, each passage of length 1. The question's length is left out: it changes no order."""
    import numpy as np

    counts = [Counter(row) for row in rows]
    holding = Counter(term for row in counts for term in row)
    idf = np.array([math.log((1 + len(rows)) / (1 + holding[term])) + 1 for term in range(terms)], np.float32)
    columns: list[list[tuple[int, float]]] = [[] for _ in range(terms)]
    for passage, row in enumerate(counts):
        weights = {term: (1 + math.log(count)) * float(idf[term]) for term, count in row.items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        for term, weight in weights.items():
            columns[term].append((passage, weight / length))
    return {
        "data": np.array([weight for column in columns for _, weight in column], np.float32),
        "indices": np.array([passage for column in columns for passage, _ in column], np.int32),
        "indptr": np.cumsum([0, *map(len, columns)], dtype=np.int64),
        "idf": idf,
        "passages": np.array([len(rows)], np.int64),
    }
