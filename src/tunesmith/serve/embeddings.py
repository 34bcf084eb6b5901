"""Embeddings beside the answers: one local model, one text batch at a time, off the event loop."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Protocol, final

from tunesmith.serve.errors import RequestError


class EmbeddingModel(Protocol):
    """What embeds: see `tunesmith.model.embedding.SentenceModel`."""

    size: int
    longest: int

    def ids(self, text: str) -> list[int]:
        """Token ids of a text."""
        ...

    def checked(self, ids: list[int]) -> list[int]:
        """The ids, if the model can read them."""
        ...

    def embed(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """A vector for each text."""
        ...


@final
class Embeddings:
    """The embedding model of a server.

    Args:
        name: what clients write into ``model``.
        model: what embeds.
    """

    def __init__(self, name: str, model: EmbeddingModel) -> None:
        self.name, self._model, self._lock = name, model, threading.Lock()

    def embed(self, texts: Sequence[str | tuple[int, ...]], dimensions: int | None) -> tuple[list[list[float]], int]:
        """A vector for each text, and the number of tokens. ``dimensions``: the first so many, at length 1 again.

        Raises:
            InputError: a text is empty or too long. RequestError: more dimensions than there are.
        """
        if dimensions is not None and dimensions > self._model.size:
            raise RequestError(
                "invalid_value",
                f"The embeddings of {self.name} have {self._model.size} numbers, not {dimensions}.",
                fix=f"Set dimensions to {self._model.size} or less, or leave it out.",
                param="dimensions",
            )
        ids = [self._model.ids(text) if isinstance(text, str) else self._model.checked(list(text)) for text in texts]
        with self._lock:
            vectors = self._model.embed(ids)
        if dimensions is not None and dimensions < self._model.size:
            vectors = [_unit(vector[:dimensions]) for vector in vectors]
        return vectors, sum(map(len, ids))


def _unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector)) or 1.0
    return [x / length for x in vector]
