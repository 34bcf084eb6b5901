"""The personal values and secrets of rows, for a search whether a model gives them away. They go nowhere else."""

from __future__ import annotations

from collections.abc import Iterable

from tunesmith.core.protocols import Tagger
from tunesmith.core.records import Example
from tunesmith.curate.checks.privacy import detector_of
from tunesmith.curate.config import Config
from tunesmith.curate.personal.redact import texts_of


def personal_values(examples: Iterable[Example], config: Config, tagger: Tagger | None = None) -> list[tuple[str, str]]:
    """(Kind, value) of everything that the detectors of a configuration find in rows, each once, as they come.

    Raises:
        ConfigError: an engine is not installed. DataError: the list of names cannot be read.
    """
    detector = detector_of(config.checks.personal, tagger)
    found: dict[tuple[str, str], None] = {}
    for example in examples:
        for place in texts_of(example):
            for one in (*detector.find(place.text), *detector.find_secrets(place.text)):
                found[one.kind, place.text[one.start : one.end]] = None
    return list(found)
