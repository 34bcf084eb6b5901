"""Small tables of names: the nearest spelling, and lazy name → object lookup.

A table holds ``"module:attribute"`` strings, so that naming an entry imports nothing; only ``get`` does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, final

from tunesmith.core.errors import ConfigError


def nearest(name: str, names: Iterable[str], count: int = 1) -> list[str]:
    """The names that look most like ``name``, best first; empty when none is close."""
    by_folded = {known.casefold().replace("-", "_"): known for known in names}
    folded = name.casefold().replace("-", "_")
    return [by_folded[match] for match in difflib.get_close_matches(folded, by_folded, n=count, cutoff=0.6)]


@final
class Registry:
    """A fixed table of one kind of thing (“reader”, “method”): name → ``"module:attribute"``."""

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self.entries = MappingProxyType(dict(entries))

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the table."""
        return tuple(self.entries)

    def get(self, name: str) -> Any:
        """The object behind a name; its module is imported now.

        Raises:
            ConfigError: the name is not in the table; the nearest one is offered.
        """
        if name not in self.entries:
            close = nearest(name, self.entries)
            raise ConfigError(
                f"unknown {self.kind} {name!r}",
                rule=f"a {self.kind} is one of: {', '.join(self.entries)}",
                fix=f"did you mean {close[0]!r}?" if close else f"use one of the {self.kind}s listed above",
            )
        module, _, attribute = self.entries[name].partition(":")
        return vars(import_module(module))[attribute]
