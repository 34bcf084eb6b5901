"""Templates of graders: ``{{item.field}}``, ``{{sample.output_text}}``, ``{{sample.output_json.a.b[0]}}``.

Only these lookups, no code: a template is data that came from somebody else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record
from tunesmith.core.registry import nearest
from tunesmith.text.graders.structure import parse_json

Fault = Literal["invalid_variable_error", "sample_parse_error"]

SAMPLE_FIELDS = ("output_text", "output_json", "output_tools", "choices")
"""What a template can say about an answer."""

_TEMPLATE = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_PATH = re.compile(r"(item|sample)((?:\.[^.\[\]\s]+|\[\d+\])*)")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class TemplateError(Exception):
    """A template that cannot be filled in for this item and answer."""

    def __init__(self, kind: Fault, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Sample(Record):
    """An answer as graders see it. ``tools``: calls that the model made, in OpenAI's form."""

    output_text: str
    output_tools: tuple[Mapping[str, Any], ...] = ()

    @cached_property
    def output_json(self) -> object:
        """The answer as JSON.

        Raises:
            ValueError: it is none.
        """
        return parse_json(self.output_text)

    def field(self, name: str) -> object:
        """One of ``SAMPLE_FIELDS``.

        Raises:
            TemplateError: the answer is not JSON and its JSON is asked for.
        """
        if name == "output_json":
            try:
                return self.output_json
            except ValueError as error:
                raise TemplateError("sample_parse_error", f"the answer is not JSON: {error}") from error
        if name == "output_tools":
            return list(self.output_tools)
        if name == "choices":
            return [{"index": 0, "message": {"role": "assistant", "content": self.output_text}}]
        return self.output_text

    def as_dict(self) -> dict[str, Any]:
        """All fields, for a grader that is a Python function; ``output_json`` is None where there is none."""
        try:
            value = self.output_json
        except ValueError:
            value = None
        return {
            "output_text": self.output_text,
            "output_json": value,
            "output_tools": list(self.output_tools),
            "choices": self.field("choices"),
        }


def variables(template: str) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """(namespace, path) of every variable of a template, in order."""
    for match in _TEMPLATE.finditer(template):
        found = _PATH.fullmatch(match[1])
        if found:
            yield found[1], tuple(int(i) if i else name for name, i in _STEP.findall(found[2]))


def check_template(template: str, where: str) -> None:
    """Refuse variables that no item and no answer can have.

    Raises:
        ConfigError: another namespace than item and sample, or a field that an answer does not have.
    """
    for match in _TEMPLATE.finditer(template):
        found = _PATH.fullmatch(match[1])
        path = tuple(_STEP.findall(found[2])) if found else ()
        known = bool(found and path) and (found[1] == "item" or path[0][0] in SAMPLE_FIELDS) if found else False
        if known:
            continue
        near = nearest(match[1].rpartition(".")[2], SAMPLE_FIELDS)
        hint = f"; did you mean sample.{near[0]}?" if near and not match[1].startswith("item") else ""
        raise ConfigError(
            f"there is no variable {match[0]}{hint}",
            where=where,
            rule=f"variables are item.FIELD and sample.FIELD, where FIELD of sample is {', '.join(SAMPLE_FIELDS)}",
            fix="correct the name between the braces",
            code="invalid_variable_error",
        )


def fill(template: str, item: Mapping[str, Any], sample: Sample) -> str:
    """The template with its variables filled in; what is not text is written as compact JSON.

    Raises:
        TemplateError: the item has no such field, or the answer is not the JSON that is asked for.
    """
    return _TEMPLATE.sub(lambda match: _text(lookup(match[1], item, sample)), template)


def lookup(variable: str, item: Mapping[str, Any], sample: Sample) -> object:
    """The value of one variable, such as ``item.answer``.

    Raises:
        TemplateError: see `fill`.
    """
    found = _PATH.fullmatch(variable)
    steps = [int(index) if index else name for name, index in _STEP.findall(found[2])] if found else []
    if found is None or not steps:
        raise TemplateError("invalid_variable_error", f"there is no variable {variable}")
    value: object = item
    if found[1] == "sample":
        first = str(steps.pop(0))
        if first not in SAMPLE_FIELDS:
            raise TemplateError("invalid_variable_error", f"there is no variable {variable}")
        value = sample.field(first)
    for step in steps:
        if isinstance(value, Mapping) and str(step) in value:
            value = value[str(step)]
        elif isinstance(value, list | tuple) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            owner = "the item has" if found[1] == "item" else "the answer has"
            near = nearest(str(step), map(str, value)) if isinstance(value, Mapping) else []
            hint = f"; did you mean {near[0]}?" if near else ""
            kind: Fault = "invalid_variable_error" if found[1] == "item" else "sample_parse_error"
            raise TemplateError(kind, f"{variable}: {owner} no {step!r}{hint}")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
