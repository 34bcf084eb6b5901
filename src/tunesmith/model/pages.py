"""Keys and values of beginnings that were computed before, in pages, found by what they are made of.

A page holds `PAGE` tokens of one beginning. Its name is a chain of hashes over the tokens up to its end, on top of the
base's fingerprint, the adapter's digest and the request's salt: never over a name or a path, so that a page can only
be found by a request that would compute the same numbers, for the same tenant. What was not asked for longest goes
first.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

import torch

Tensor = torch.Tensor
PAGE = 32
"""Tokens of a page."""

Page = tuple[Tensor, ...]
"""One tensor (layers, heads, PAGE, width) for each size of keys and values that the model has."""


class Chain:
    """The names of a sequence's pages, made as far as they are asked for.

    Args:
        parts: what the sequence is computed by and for: fingerprint, digest, salt.
    """

    def __init__(self, *parts: str) -> None:
        self._last = hashlib.sha256(repr(parts).encode()).digest()
        self._links: list[bytes] = []

    def links(self, tokens: Sequence[int], count: int) -> list[bytes]:
        """Names of the first ``count`` pages of ``tokens``."""
        while len(self._links) < count:
            start = len(self._links) * PAGE
            self._last = hashlib.sha256(self._last + array("q", tokens[start : start + PAGE]).tobytes()).digest()
            self._links.append(self._last)
        return self._links[:count]


class PageCache:
    """Pages by name, the one that was asked for longest ago first."""

    def __init__(self) -> None:
        self._pages: OrderedDict[bytes, Page] = OrderedDict()
        self.size = 0
        """Bytes of all pages."""

    def __len__(self) -> int:
        return len(self._pages)

    def __contains__(self, link: bytes) -> bool:
        return link in self._pages

    def find(self, links: Sequence[bytes]) -> list[Page]:
        """The pages of the longest known beginning."""
        found = []
        for link in links:
            page = self._pages.get(link)
            if page is None:
                break
            found.append(page)
        for link in reversed(links[: len(found)]):  # a beginning outlives what follows it
            self._pages.move_to_end(link)
        return found

    def keep(self, link: bytes, page: Page) -> None:
        """Remember a page."""
        if link not in self._pages:
            self._pages[link] = page
            self.size += size_of(page)

    def shrink(self, size: int) -> None:
        """Forget pages until they take at most ``size`` bytes."""
        while self._pages and self.size > size:
            _, page = self._pages.popitem(last=False)
            self.size -= size_of(page)


def size_of(page: Page) -> int:
    """Bytes of a page."""
    return sum(part.nbytes for part in page)
