"""Validation errors of pydantic → errors that name key, value, rule and way out.

The rule is written from the JSON schema of the field, not from the error, so it is always the whole rule
(“a whole number, at least 1, or auto”) and reads alike for every constraint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from pydantic import ValidationError

from tunesmith.core.errors import ConfigError, TunesmithError
from tunesmith.core.registry import nearest
from tunesmith.core.yamlfile import Keys

_QUOTE = '"'


@final
@dataclass(frozen=True)
class Problem:
    """One value that a model refused, at its place in the file."""

    keys: Keys
    kind: str
    """pydantic's error type ("greater_than_equal", "missing", …)."""
    value: object
    message: str = ""
    cause: Exception | None = None

    @classmethod
    def all_of(cls, error: ValidationError, values: Mapping[str, Any]) -> list[Problem]:
        """The problems in a validation error of a model that was given ``values``."""
        return [
            cls(
                keys=_keys(entry["loc"], entry["type"], values),
                kind=entry["type"],
                value=entry["input"],
                message=entry["msg"],
                cause=entry.get("ctx", {}).get("error"),
            )
            for entry in error.errors(include_url=False)
        ]

    @staticmethod
    def unique(problems: Iterable[Problem]) -> list[Problem]:
        """One problem per place, and only the innermost ones: the rest follows from them."""
        by_place: dict[Keys, Problem] = {}
        for problem in problems:
            by_place.setdefault(problem.keys, problem)
        outer = {keys[:n] for keys in by_place for n in range(1, len(keys))}
        return [problem for keys, problem in by_place.items() if keys not in outer]


def _same_slip(problem: Problem, problems: Iterable[Problem], schema: Schema) -> bool:
    """Whether a missing key is the one that an unknown key beside it was meant to be."""
    return problem.kind == "missing" and any(
        other.kind == "extra_forbidden"
        and other.keys[:-1] == problem.keys[:-1]
        and nearest(str(other.keys[-1]), schema.names(other.keys[:-1])) == [problem.keys[-1]]
        for other in problems
    )


def _keys(location: Sequence[str | int], kind: str, values: Any) -> Keys:
    """pydantic's location without the labels that it adds for the branches of unions."""
    keys: Keys = ()
    for index, step in enumerate(location):
        if isinstance(values, dict) and step in values:
            values = values[str(step)]
        elif isinstance(values, list) and isinstance(step, int) and step < len(values):
            values = values[step]
        elif not (kind == "missing" and index == len(location) - 1):
            continue
        keys = (*keys, step)
    return keys


@final
class Schema:
    """A JSON schema that can be asked for its part at a place, and put into words."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = schema

    def at(self, keys: Keys) -> list[Mapping[str, Any]]:
        """The schemas that a value at ``keys`` may follow (several where a union allows several shapes)."""
        found = self._branches(self._root)
        for key in keys:
            found = [branch for parent in found for child in _children(parent, key) for branch in self._branches(child)]
        return found

    def names(self, keys: Keys) -> list[str]:
        """The keys that a mapping at ``keys`` may have."""
        return list(dict.fromkeys(name for schema in self.at(keys) for name in schema.get("properties", {})))

    def field(self, keys: Keys) -> Mapping[str, Any]:
        """The schema of a key with its default and description, as its model declares it."""
        for parent in self.at(keys[:-1]):
            for child in _children(parent, keys[-1]):
                return child
        return {}

    def words(self, keys: Keys) -> str:
        """The rule for the value at ``keys``: "a whole number, at least 1, or auto"."""
        described = dict.fromkeys(self._words(schema) for schema in self.at(keys))
        return ", or ".join(described) or "no value"

    def _branches(self, schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        if "$ref" in schema:
            return self._branches(self._root["$defs"][schema["$ref"].rpartition("/")[2]])
        branches = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        return [leaf for branch in branches for leaf in self._branches(branch)] if branches else [schema]

    def _words(self, schema: Mapping[str, Any]) -> str:
        if "const" in schema:
            return str(schema["const"])
        if "enum" in schema:
            return "one of " + ", ".join(str(value) for value in schema["enum"])
        match schema.get("type"):
            case "integer":
                return ", ".join(["a whole number", *_bounds(schema)])
            case "number":
                return ", ".join(["a number", *_bounds(schema)])
            case "boolean":
                return "true or false"
            case "string":
                return ", ".join(["a path" if schema.get("format") == "path" else "text", *_lengths(schema, "Length")])
            case "null":
                return "null"
            case "array":
                items = [self._words(leaf) for leaf in self._branches(schema.get("items") or {})]
                of = " of (" + " or ".join(dict.fromkeys(items)) + ")" if schema.get("items") else ""
                return ", ".join([f"a list{of}", *_lengths(schema, "Items")])
            case "object":
                names = list(schema.get("properties", {}))
                keys = f" with the keys {', '.join(names)}" if names else ""
                return ", ".join([f"a mapping{keys}", *_lengths(schema, "Properties")])
            case _:
                return "any value"


def _children(schema: Mapping[str, Any], key: str | int) -> list[Mapping[str, Any]]:
    if isinstance(key, int):
        prefix = schema.get("prefixItems", [])
        child = prefix[key] if key < len(prefix) else schema.get("items")
    else:
        child = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    return [child] if isinstance(child, Mapping) else []


def _bounds(schema: Mapping[str, Any]) -> list[str]:
    phrases = {
        "minimum": "at least {}",
        "exclusiveMinimum": "greater than {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "less than {}",
        "multipleOf": "a multiple of {}",
    }
    return [phrase.format(f"{schema[name]:g}") for name, phrase in phrases.items() if name in schema]


def _lengths(schema: Mapping[str, Any], unit: str) -> list[str]:
    noun = {"Length": "characters", "Items": "items", "Properties": "keys"}[unit]
    low, high = schema.get(f"min{unit}"), schema.get(f"max{unit}")
    if low is not None and low == high:
        return [f"exactly {low} {noun}"]
    phrases = [f"at least {low} {noun}"] if low is not None else []
    phrases += [f"at most {high} {noun}"] if high is not None else []
    return phrases + ([f"that matches {schema['pattern']}"] if "pattern" in schema else [])


def explain_all(
    problems: Iterable[Problem], schema: Schema, places: Mapping[Keys, str], file: str
) -> list[ConfigError]:
    """One error per slip: one per place, the innermost ones only, since the rest follows from them."""
    unique = list(Problem.unique(problems))
    return [_explain(one, schema, places, file) for one in unique if not _same_slip(one, unique, schema)]


def _explain(problem: Problem, schema: Schema, places: Mapping[Keys, str], file: str) -> ConfigError:
    """The error for one problem: key and value, file and line, the rule, the way out."""
    keys = problem.keys
    name = ".".join(str(key) for key in keys)
    where = next((places[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in places), file)
    if problem.kind == "extra_forbidden":
        names = schema.names(keys[:-1])
        close = nearest(str(keys[-1]), names)
        offer = f"did you mean {close[0]!r}?" if close else "remove it"
        rule = "known keys here: " + ", ".join(names) if len(keys) > 1 else "a config file has only known keys"
        return ConfigError(f"unknown key {name!r}", where=where, rule=rule, fix=offer)
    if problem.kind == "missing":
        about = schema.field(keys).get("description") or schema.words(keys)
        fix = f"add `{keys[-1]}: …`, or pass --set {name}=…"
        return ConfigError(f"the key {name!r} is missing", where=where, rule=f"{name} is required: {about}", fix=fix)
    what = f"{name} is {_show(problem.value)}" if keys else "the values do not go together"
    if problem.cause is not None:
        return _from_validator(problem.cause, what, where if keys else _lines_of(problem.cause, places) or where)
    rule = f"{name} must be {schema.words(keys)}" if keys else problem.message
    return ConfigError(what, where=where, rule=rule, fix=_fix(name, problem.value, schema, keys))


def _lines_of(cause: Exception, places: Mapping[Keys, str]) -> str:
    """Where the keys stand that a validator of a whole model names in its error's ``where``: "max_x, max_y"."""
    names = cause.where.split(", ") if isinstance(cause, TunesmithError) else []
    return ", ".join(places[name,] for name in names if (name,) in places)


def _from_validator(cause: Exception, what: str, where: str) -> ConfigError:
    """An error that a validator of the model raised, in the words of that validator."""
    if isinstance(cause, TunesmithError):
        return ConfigError(cause.what, where=where, rule=cause.rule, fix=cause.fix or "change one of the values")
    return ConfigError(what, where=where, rule=str(cause), fix="change it so that the rule holds")


def _fix(name: str, value: object, schema: Schema, keys: Keys) -> str:
    branches = schema.at(keys)
    words = [str(word) for branch in branches for word in branch.get("enum", ())]
    words += [str(branch["const"]) for branch in branches if "const" in branch]
    kinds = {branch.get("type") for branch in branches if not branch.keys() & {"enum", "const"}}
    hints = []
    if isinstance(value, str):
        close = nearest(value, words)
        hints += [f"did you mean {close[0]!r}?"] if close else []
        if kinds & {"integer", "number", "boolean"} and _looks_typed(value):
            hints.append(f"write it without quotes: {keys[-1]}: {value}")
        elif "boolean" in kinds and value.lower() in ("yes", "on", "no", "off"):
            hints.append(f"write {str(value.lower() in ('yes', 'on')).lower()}")
    elif isinstance(value, float) and value.is_integer() and "integer" in kinds:
        hints.append(f"write {keys[-1]}: {int(value)}")
    elif "string" in kinds and isinstance(value, (bool, int, float)):
        hints.append(f'write it in quotes: {keys[-1]}: "{_show(value)}"')
    default = schema.field(keys).get("default")
    if not hints and default is not None:
        hints.append(f"for example {keys[-1]}: {_show(default).strip(_QUOTE)}, the default")
    return "; ".join(hints) or f"set {name} to a value that the rule allows"


def _looks_typed(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("true", "false")
    return True


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"
