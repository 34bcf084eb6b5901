"""Parts of the configuration that are records of their own: prices, the judge, and documents of graders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from tunesmith.core import yamlfile
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Completion, Record


class Prices(Record):
    """What tokens cost. A price without currency, source and date is none."""

    prompt: float = Field(ge=0.0, description="price of a million prompt tokens")
    completion: float = Field(ge=0.0, description="price of a million tokens of answers")
    currency: str = Field(min_length=1, description="EUR, USD, …")
    source: str = Field(min_length=1, description="where the prices come from")
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="when they held, YYYY-MM-DD")

    def of(self, answer: Completion) -> float:
        """What one answer costs."""
        return (self.prompt * answer.prompt_tokens + self.completion * answer.completion_tokens) / 1e6


class JudgeOptions(Record):
    """A model that compares two answers."""

    model: str = Field(min_length=1, description="model, run or MODEL@http://host/v1 that judges")
    criteria: str = Field(
        default="Which answer is more correct, complete and helpful?",
        description="what the judge is asked to compare by",
    )
    calibration: str | None = Field(
        default=None,
        description="JSONL file of comparisons that people decided: question, a, b, human (a, b or tie); 100 or more",
    )
    max_tokens: int = Field(default=16, ge=1, description="most tokens of a judgement")


def load_graders(given: Sequence[Mapping[str, Any] | str]) -> list[Mapping[str, Any]]:
    """Documents of graders: as they stand, or read from JSON or YAML files; a file may hold a list of them.

    Raises:
        ConfigError: a file that cannot be read, or that holds something else.
    """
    found: list[Mapping[str, Any]] = []
    for entry in given:
        documents = [entry] if isinstance(entry, Mapping) else _read(entry)
        for document in documents:
            if not isinstance(document, Mapping):
                raise ConfigError(
                    f"{entry} holds no grader, but {type(document).__name__}",
                    where="graders",
                    rule="a grader is an object with a type and a name",
                    fix="see the examples in docs/guides/metrics.md",
                )
            found.append(document)
    return found


def _read(path: str) -> list[Any]:
    try:
        text = Path(path).read_text("utf-8")
        value = json.loads(text) if path.endswith(".json") else yamlfile.parse(text, path).value
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"cannot read the grader: {error.strerror if isinstance(error, OSError) else error}",
            where=f"graders: {path}",
            rule="a grader is an object here, or the path of a .json or .yaml file with one",
            fix="correct the path or the file",
        ) from error
    return value if isinstance(value, list) else [value]


def read_source(spec: str) -> str:
    """The text of the file that ``FILE.py:FUNCTION`` names.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return Path(spec.rpartition(":")[0]).read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read the metric: {error.strerror}",
            where=f"metrics: {spec}",
            rule="a metric of your own is FILE.py:FUNCTION",
            fix="correct the path; it counts from the folder of the config file",
        ) from error
