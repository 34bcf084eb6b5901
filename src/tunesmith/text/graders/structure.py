"""JSON answers: parsing, fields and records in common with the wanted value, and JSON schemas."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from tunesmith.core.errors import ConfigError
from tunesmith.text.graders.strings import Overlap

DEEPEST_JSON = 200
"""Levels of nesting beyond which JSON counts as invalid; small models run into endless brackets."""


def parse_json(text: str) -> object:
    """Value of a text that is one strict JSON document, white space around it allowed.

    Raises:
        ValueError: not JSON; NaN and Infinity, text around it (code fences too), or deeper than ``DEEPEST_JSON``.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {DEEPEST_JSON} levels") from error
    level: list[object] = [value]
    for _ in range(DEEPEST_JSON):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise ValueError(f"nested deeper than {DEEPEST_JSON} levels")


def field_counts(value: object) -> Counter[tuple[str, str]]:
    """Multiset of (path, scalar) in a JSON value, list positions dropped: ``("[].name", '"flour"')``, in reading order.

    Numbers compare by value (1 equals 1.0), texts by their characters (white space at the ends and Unicode
    composition apart), and a text never equals a number. An empty list or object counts as one scalar.
    """
    found: Counter[tuple[str, str]] = Counter()
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, dict) and item:
            waiting += [(f"{path}.{key}" if path else str(key), child) for key, child in reversed(item.items())]
        elif isinstance(item, list) and item:
            waiting += [(f"{path}[]", child) for child in reversed(item)]
        else:
            found[f"{path}[]" if item == [] else path, _scalar(item)] += 1
    return found


def record_counts(value: object, *, in_lists: bool) -> Counter[tuple[Any, ...]]:
    """Multiset of whole records, comparable whatever the order of their keys.

    Records are the objects inside lists when ``in_lists`` is true, and the whole value otherwise.
    """
    if not in_lists:
        return Counter([_frozen("", value)])
    found: Counter[tuple[Any, ...]] = Counter()
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, dict):
            waiting += [(f"{path}.{key}", child) for key, child in item.items()]
        elif isinstance(item, list):
            found.update(_frozen(path, child) for child in item if isinstance(child, dict))
            waiting += [(f"{path}[]", child) for child in item if isinstance(child, list)]
    return found


def has_lists_of_objects(value: object) -> bool:
    """Whether a JSON value holds a list with an object in it, at any depth."""
    return bool(record_counts(value, in_lists=True))


def field_name(path: str) -> str:
    """Name for people of a path that `field_counts` gives: ``[].name`` → ``name``."""
    return path.removeprefix("[]").removeprefix(".") or "items"


def field_overlaps(answer: object, reference: object) -> Mapping[str, Overlap]:
    """Overlap for each field of two JSON values, by its name; the reference's fields first, in reading order.

    An answer of ``None`` (not valid JSON, or null) gives nothing.
    """
    given: Counter[tuple[str, str]] = Counter() if answer is None else field_counts(answer)
    wanted = field_counts(reference)
    totals = [Counter[str](), Counter[str](), Counter[str]()]
    for total, counts in zip(totals, (given & wanted, given, wanted), strict=True):
        for (path, _), count in counts.items():
            total[field_name(path)] += count
    matched, offered, expected = totals
    return {name: Overlap(matched[name], offered[name], expected[name]) for name in expected | offered}


def record_overlap(answer: object, reference: object, *, in_lists: bool) -> Overlap:
    """Overlap of whole records that are right in every field; an answer of ``None`` gives nothing."""
    wanted = record_counts(reference, in_lists=in_lists)
    given: Counter[tuple[Any, ...]] = Counter() if answer is None else record_counts(answer, in_lists=in_lists)
    return Overlap((given & wanted).total(), given.total(), wanted.total())


@final
class JsonSchema:
    """A compiled JSON schema. References to other documents are refused: nothing is ever downloaded."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Compile a schema; the draft is read from ``$schema``, 2020-12 when absent.

        Raises:
            ConfigError: the schema itself is not valid.
        """
        from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
        from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
        from jsonschema.validators import validator_for  # type: ignore[import-untyped]
        from referencing import Registry

        kind = validator_for(schema, default=Draft202012Validator)
        try:
            kind.check_schema(schema)
        except SchemaError as error:
            where = "/".join(str(step) for step in error.absolute_path) or "(top)"
            raise ConfigError(
                f"not a valid JSON schema: {error.message}",
                where=f"json_schema, at {where}",
                rule=f"the schema must follow {kind.META_SCHEMA['$id']}",
                fix="correct the schema at this place",
            ) from error
        self._validator = kind(schema, registry=Registry())

    def accepts(self, value: object) -> bool:
        """Whether a parsed JSON value follows the schema.

        Raises:
            ConfigError: the schema refers to a document that it does not contain.
        """
        with _complete():
            return bool(self._validator.is_valid(value))

    def faults(self, value: object) -> list[tuple[str, str]]:
        """Every place where a parsed JSON value breaks the schema: its path ("$.items[2].name") and the rule.

        The rule names the keyword and what it asks for, never the value itself.

        Raises:
            ConfigError: the schema refers to a document that it does not contain.
        """
        with _complete():
            found = [(error.json_path, _rule_of(error)) for error in self._validator.iter_errors(value)]
        return sorted(set(found))


@contextmanager
def _complete() -> Iterator[None]:
    """References that lead out of the schema become an error that says so."""
    from referencing.exceptions import Unresolvable

    try:
        yield
    except Unresolvable as error:
        raise ConfigError(
            f"the schema refers to {error.ref!r}, which it does not contain",
            where="json_schema",
            rule="every $ref must point into the schema itself",
            fix="copy the definition into $defs and refer to it as #/$defs/NAME",
        ) from error


def _rule_of(error: Any) -> str:
    """The rule that a value broke, without the value: keyword and what the schema says about it."""
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"required: {', '.join(missing)}"
    if error.validator == "additionalProperties":
        return "additionalProperties: keys that the schema does not know"
    wanted = json.dumps(error.validator_value, ensure_ascii=False)
    return f"{error.validator}: {wanted if len(wanted) <= 60 else wanted[:60] + '…'}"


def load_schema(setting: Mapping[str, Any] | str | None) -> JsonSchema | None:
    """The schema that the configuration gives, as itself or as the path of a file.

    Raises:
        ConfigError: no such file, not JSON, not an object, or not a valid schema.
    """
    if setting is None or isinstance(setting, Mapping):
        return None if setting is None else JsonSchema(setting)
    rule, fix = "json_schema is a JSON schema or the path of a file with one", "correct the path or the file"
    try:
        schema = json.loads(Path(setting).read_text("utf-8"))
    except OSError as error:
        what = f"cannot read {setting!r}: {error.strerror}"
        raise ConfigError(what, where="json_schema", rule=rule, fix=fix) from error
    except ValueError as error:
        raise ConfigError(f"{setting!r} is not JSON: {error}", where="json_schema", rule=rule, fix=fix) from error
    if not isinstance(schema, dict):
        what = f"{setting!r} holds a {type(schema).__name__}, not an object"
        raise ConfigError(what, where="json_schema", rule=rule, fix=fix)
    return JsonSchema(schema)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _children(item: object) -> Sequence[object]:
    if isinstance(item, dict):
        return list(item.values())
    return item if isinstance(item, list) else ()


def _scalar(item: object) -> str:
    if isinstance(item, str):
        return json.dumps(unicodedata.normalize("NFC", item.strip()), ensure_ascii=False)
    if isinstance(item, float) and item.is_integer():
        return str(int(item))
    return json.dumps(item)


def _frozen(path: str, item: object) -> tuple[Any, ...]:
    """A JSON value as something hashable that does not depend on the order of keys; lists keep theirs."""
    if isinstance(item, dict):
        return (path, "{}", *sorted((str(key), _frozen("", child)) for key, child in item.items()))
    if isinstance(item, list):
        return (path, "[]", *(_frozen("", child) for child in item))
    return (path, _scalar(item))
