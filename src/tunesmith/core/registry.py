"""Tables of names that people type: the nearest entry for a name that is not in the table."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str], count: int = 1) -> list[str]:
    """The names that look most like ``name``, best first; empty when none is close. Case and ``-``/``_`` are alike."""
    by_folded = {_fold(known): known for known in names}
    return [by_folded[match] for match in difflib.get_close_matches(_fold(name), by_folded, n=count, cutoff=0.6)]


def _fold(name: str) -> str:
    return name.casefold().replace("-", "_")
