"""Demands on an answer, written as a list in YAML: contains, regex, is-json, json-path, max-length, similar, latency …

Each is met or not. The names are those that prompt testers use (promptfoo's assertion types).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record
from tunesmith.text.graders.similarity import MEASURES
from tunesmith.text.graders.structure import JsonSchema
from tunesmith.text.graders.templates import Sample, TemplateError, check_template, fill, lookup

Kind = Literal[
    "equals", "contains", "not-contains", "icontains", "contains-any", "contains-all", "starts-with", "ends-with",
    "regex", "not-regex", "is-json", "json-path", "min-length", "max-length", "max-words", "similar", "latency", "cost",
]  # fmt: skip
_TEXTS = ("equals", "contains", "not-contains", "icontains", "starts-with", "ends-with", "regex", "not-regex")
_NUMBERS = ("min-length", "max-length", "max-words", "latency", "cost")
_STEP = re.compile(r"\$((?:\.[^.\[\]]+|\[\d+\])*)")


class Assertion(Record):
    """One demand.

    ``value`` is a text with templates such as ``{{item.reference}}``, a list of them (contains-any, contains-all), a
    JSON schema (is-json), any JSON value (json-path), or a number (characters, words, seconds, money).
    """

    type: Kind = Field(description="what is demanded")
    value: Any = Field(default=None, description="text, list, number or JSON value to compare with")
    path: str = Field(default="", description="json-path only: place in the answer, such as $.items[0].name")
    threshold: float = Field(default=0.8, ge=0.0, le=1.0, description="similar only: least likeness")
    measure: str = Field(default="fuzzy_match", description="similar only: measure of text_similarity")
    name: str = Field(default="", description="what to call it in reports; its type and value when empty")

    @model_validator(mode="after")
    def _complete(self) -> Assertion:
        kind, value = self.type, self.value
        if kind in _TEXTS and not isinstance(value, str):
            raise ValueError(f"{kind} needs a text as its value")
        if kind in ("contains-any", "contains-all") and not (value and isinstance(value, list | tuple)):
            raise ValueError(f"{kind} needs a list of texts as its value")
        if kind in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{kind} needs a number as its value")
        if kind == "json-path" and not (_STEP.fullmatch(self.path) and len(self.path) > 1):
            raise ValueError("json-path needs a path such as $.items[0].name")
        if kind == "similar" and self.measure not in MEASURES:
            raise ValueError(f"measure is one of {', '.join(MEASURES)}")
        if kind in ("regex", "not-regex"):
            try:
                re.compile(str(value))
            except re.error as error:
                raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return self

    @property
    def title(self) -> str:
        """Name for reports."""
        if self.name:
            return self.name
        shown = "" if self.value is None else str(self.value)
        parts = [self.type, self.path, shown if len(shown) <= 40 else f"{shown[:40]}…"]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Demand:
    """An answer with what is known about it. ``seconds`` and ``cost`` None: not measured."""

    item: Mapping[str, Any]
    sample: Sample
    seconds: float | None = None
    cost: float | None = None


def require_assertion(assertion: Assertion, where: str) -> None:
    """Refuse an assertion whose templates or schema cannot be.

    Raises:
        ConfigError: names the variable or the place in the schema.
    """
    values = assertion.value if isinstance(assertion.value, list | tuple) else [assertion.value]
    for value in values:
        if isinstance(value, str) and assertion.type not in ("regex", "not-regex"):
            check_template(value, where)
    if assertion.type == "is-json" and assertion.value is not None:
        if not isinstance(assertion.value, Mapping):
            raise ConfigError(
                "the value of is-json is not a JSON schema",
                where=where,
                rule="is-json takes no value, or a JSON schema as a mapping",
                fix="leave value out, or write the schema",
            )
        JsonSchema(assertion.value)


def meets(assertion: Assertion, demand: Demand) -> bool | None:
    """Whether an answer meets a demand; None when that was not measured.

    Raises:
        ConfigError: a template names a field that the row does not have.
    """
    kind, text = assertion.type, demand.sample.output_text
    if kind in ("latency", "cost"):
        measured = demand.seconds if kind == "latency" else demand.cost
        return None if measured is None else measured <= assertion.value
    if kind in ("is-json", "json-path"):
        return _json(assertion, demand.sample)
    if kind in ("min-length", "max-length", "max-words"):
        size = len(text.split()) if kind == "max-words" else len(text)
        return bool(size >= assertion.value if kind == "min-length" else size <= assertion.value)
    if kind in ("regex", "not-regex"):
        return (re.search(assertion.value, text) is not None) == (kind == "regex")
    wanted = [_fill(value, demand, assertion) for value in _values(assertion)]
    if kind == "similar":
        return MEASURES[assertion.measure](text, wanted[0]) >= assertion.threshold
    return _BY_TEXT[kind](text, wanted)


_BY_TEXT: Mapping[str, Callable[[str, list[str]], bool]] = {
    "equals": lambda text, wanted: text.strip() == wanted[0].strip(),
    "contains": lambda text, wanted: wanted[0] in text,
    "not-contains": lambda text, wanted: wanted[0] not in text,
    "icontains": lambda text, wanted: wanted[0].casefold() in text.casefold(),
    "contains-any": lambda text, wanted: any(part in text for part in wanted),
    "contains-all": lambda text, wanted: all(part in text for part in wanted),
    "starts-with": lambda text, wanted: text.lstrip().startswith(wanted[0]),
    "ends-with": lambda text, wanted: text.rstrip().endswith(wanted[0]),
}


def _values(assertion: Assertion) -> list[str]:
    if assertion.type == "similar" and assertion.value is None:
        return ["{{item.reference}}"]
    return [str(v) for v in assertion.value] if isinstance(assertion.value, list | tuple) else [str(assertion.value)]


def _fill(template: str, demand: Demand, assertion: Assertion) -> str:
    try:
        return fill(template, demand.item, demand.sample)
    except TemplateError as error:
        raise ConfigError(
            f"the assertion cannot be filled in: {error}",
            where=assertion.title,
            rule="variables are fields of the row (item.…) or of the answer (sample.…)",
            fix="correct the name between the braces",
            code=error.kind,
        ) from error


def _json(assertion: Assertion, sample: Sample) -> bool:
    try:
        value = sample.output_json
    except ValueError:
        return False
    if assertion.type == "is-json":
        return assertion.value is None or JsonSchema(assertion.value).accepts(value)
    try:
        found = lookup(f"sample.output_json{assertion.path[1:]}", {}, sample)
    except TemplateError:
        return False
    return assertion.value is None or json.dumps(found, sort_keys=True) == json.dumps(assertion.value, sort_keys=True)
