"""The general suite: about six hundred questions of our own, far from anybody's trade, in English and Dutch.

It ships with the package and needs no network. Its digest stands in every report: other items are another suite.
"""

from __future__ import annotations

from functools import lru_cache

from tunesmith.core.records import digest_of
from tunesmith.evaluate.forgetting.facts import knowledge
from tunesmith.evaluate.forgetting.instructions import instructions
from tunesmith.evaluate.forgetting.items import LANGUAGES, Item, Task
from tunesmith.evaluate.forgetting.passages import reading
from tunesmith.evaluate.forgetting.safety import safety
from tunesmith.evaluate.forgetting.sums import arithmetic
from tunesmith.evaluate.forgetting.written import written

MAKERS = (instructions, arithmetic, reading, knowledge, safety)


@lru_cache(maxsize=1)
def items() -> tuple[Item, ...]:
    """All questions whose answers are chosen by likelihood, suite after suite."""
    return tuple(item for make in MAKERS for language in LANGUAGES for item in make(language))


@lru_cache(maxsize=1)
def tasks() -> tuple[Task, ...]:
    """All instructions whose answers are generated and checked."""
    return tuple(task for language in LANGUAGES for task in written(language))


def digest() -> str:
    """Identity of the suite: 16 hex digits."""
    return digest_of([part.model_dump(mode="json") for part in (*items(), *tasks())])[:16]
