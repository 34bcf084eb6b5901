"""One YAML file ⇄ the frozen ``Config`` models of the verbs.

The file is flat: the union of the fields of all models ("stages"). Every key is known, every value is allowed, and
every value knows where it came from; otherwise one error lists all problems with file, line, rule and way out.
"""

from __future__ import annotations

import copy
import json
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, final

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema
from pydantic_core import to_jsonable_python

from tunesmith.core import yamlfile
from tunesmith.core.errors import ConfigError
from tunesmith.core.rules import Problem, Schema, explain_all
from tunesmith.core.yamlfile import Keys

T = TypeVar("T", bound=BaseModel)


@final
@dataclass(frozen=True)
class Settings:
    """The checked configuration of a run; immutable. ``resolve`` gives a changed copy."""

    path: Path | None
    """The file it was read from."""
    origins: Mapping[str, str]
    """Key → "tunesmith.yaml:12", "--set", "default" or "auto: reason"."""
    _stages: Mapping[str, type[BaseModel]]
    _given: Mapping[str, Any]
    _places: Mapping[Keys, str]
    _models: Mapping[str, BaseModel]

    def stage(self, name: str, type: type[T]) -> T:
        """The configuration of one verb.

        Raises:
            TypeError: the stage holds another type of configuration.
        """
        model = self._models[name]
        if not isinstance(model, type):
            raise TypeError(f"stage {name!r} is configured by {model.__class__.__name__}, not by {type.__name__}")
        return model

    def resolve(self, key: str, value: object, reason: str) -> Settings:
        """A copy in which ``key`` has a value that was worked out; the reason becomes its origin.

        Raises:
            ConfigError: the value is not allowed for that key.
        """
        known = self.origins.get(key, "")
        note = f" ({reason})"
        origin = f"auto: {reason}" if self.as_dict().get(key) == "auto" else known.removesuffix(note) + note
        given = {**self._given, key: to_jsonable_python(value)}
        places = {keys: place for keys, place in self._places.items() if keys[0] != key}
        return _check(self.path, self._stages, given, {**places, (key,): origin})

    def as_dict(self) -> dict[str, Any]:
        """Every key with its value, defaults included, as plain JSON."""
        values: dict[str, Any] = {}
        for model in self._models.values():
            values |= model.model_dump(mode="json")
        return values

    def to_yaml(self) -> str:
        """The whole configuration as a commented file that ``load`` reads back equal."""
        fields = _fields(self._stages)
        blocks = []
        for key, value in self.as_dict().items():
            comment = textwrap.wrap(fields[key].description or "", 110, break_long_words=False)
            blocks.append("".join(f"# {line}\n" for line in comment) + yamlfile.dump({key: value}))
        return "\n".join(blocks)


def load(
    path: Path | None,
    stages: Mapping[str, type[BaseModel]],
    overrides: Sequence[str] = (),
    optional: Collection[str] = (),
) -> Settings:
    """Read a config file, apply ``key=value`` overrides, and check the result against the models of the stages.

    Args:
        path: the file; None when everything comes from overrides and defaults.
        stages: name → model; a key that several models share is declared alike in each.
        overrides: ``key=value`` with a YAML value; ``datasets.0.path=x`` reaches into lists and mappings.
        optional: stages that are left out when no key is given that is theirs alone.

    Raises:
        ConfigError: all problems of the file and the overrides in one error.
    """
    given: dict[str, Any] = {}
    places: dict[Keys, str] = {}
    if path is not None:
        tree = _read(path)
        given, places = tree.value, {keys: f"{path}:{line}" for keys, line in tree.lines.items()}
    defaults = _Defaults(_fields(stages))
    problems = []
    for override in overrides:
        try:
            _override(given, places, override, defaults)
        except ConfigError as problem:
            problems.append(problem)
    wanted = {name: m for name, m in stages.items() if name not in optional or _own_keys(name, stages) & given.keys()}
    return _check(path, wanted, given, places, problems)


def explain(settings: Settings) -> list[tuple[str, object, str]]:
    """(key, value, origin) of every key, in the order of the stages."""
    return [(key, value, settings.origins[key]) for key, value in settings.as_dict().items()]


def json_schema(stages: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the whole file, for editors."""
    _fields(stages)
    references, tail = models_json_schema([(model, "validation") for model in stages.values()])
    definitions = dict(tail.get("$defs", {}))
    properties: dict[str, Any] = {}
    required: list[str] = []
    for model in stages.values():
        schema = definitions[references[model, "validation"]["$ref"].rpartition("/")[2]]
        properties |= schema.get("properties", {})
        required += [key for key in schema.get("required", ()) if key not in required]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tunesmith configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": required,
        "$defs": definitions,
    }


ROWS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".gz")
"""Endings of files that hold rows, and never a configuration."""


def _read(path: Path) -> yamlfile.Tree:
    fix = "`tunesmith init` writes a commented one"
    if path.suffix.lower() in ROWS and path.is_file():
        raise ConfigError(
            "this is a file of rows, and a config file is wanted",
            where=str(path),
            rule="a config file is YAML, and names the files of rows under `datasets`",
            fix=f"write a config for it: tunesmith init --data {path}",
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"byte {error.start + 1} is not UTF-8"
        raise ConfigError(what, where=str(path), rule="a config file is UTF-8 text", fix="save it as UTF-8") from None
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(path), rule="the config file exists", fix=fix) from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise ConfigError(what, where=str(path), rule="the config is a readable file", fix=fix) from None
    tree = yamlfile.parse(text, str(path))
    if tree.value is None:
        raise ConfigError("the file is empty", where=str(path), rule="a config file holds key: value lines", fix=fix)
    if not isinstance(tree.value, dict):
        kind = "list" if isinstance(tree.value, list) else "single value"
        what = f"the file holds a {kind}, not a mapping"
        if path.suffix.lower() == ".json" and kind == "list":
            fix = f"if these are rows, write a config for them: tunesmith init --data {path}"
        raise ConfigError(what, where=str(path), rule="a config file holds key: value lines", fix=fix)
    return tree


def _fields(stages: Mapping[str, type[BaseModel]]) -> dict[str, FieldInfo]:
    """Every key of the file; a key of several stages must be the same thing in each."""
    fields: dict[str, FieldInfo] = {}
    for name, model in stages.items():
        for key, field in model.model_fields.items():
            known = fields.setdefault(key, field)
            if (known.annotation, known.get_default(call_default_factory=True)) != (
                field.annotation,
                field.get_default(call_default_factory=True),
            ):
                raise TypeError(f"stage {name!r} declares the shared key {key!r} differently from an earlier stage")
    return fields


def _own_keys(name: str, stages: Mapping[str, type[BaseModel]]) -> set[str]:
    """The keys of a stage that no other stage has."""
    return set(stages[name].model_fields).difference(
        *(model.model_fields for other, model in stages.items() if other != name)
    )


@final
class _Defaults:
    """Default values as plain JSON, for overrides that reach into them."""

    def __init__(self, fields: Mapping[str, FieldInfo]) -> None:
        self._fields = fields

    def get(self, key: str) -> Any:
        field = self._fields.get(key)
        if field is None or field.is_required():
            return None
        return copy.deepcopy(to_jsonable_python(field.get_default(call_default_factory=True)))


def _override(given: dict[str, Any], places: dict[Keys, str], override: str, defaults: _Defaults) -> None:
    """Apply one ``a.b.0=value`` in place."""
    name, equals, text = override.partition("=")
    where = f"--set {override}"
    parts = name.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(
            f"{override!r} sets nothing",
            where="--set",
            rule="an override is key=value, or key.subkey=value, or key.0.subkey=value",
            fix="for example --set learning_rate=1e-4",
        )
    value = yamlfile.parse_word(text, where)
    if parts[0] not in given and len(parts) > 1:
        given[parts[0]] = defaults.get(parts[0])
    parent: Any = given
    keys: Keys = ()
    for index, part in enumerate(parts):
        step = _step(parent, part, ".".join(str(key) for key in keys), where)
        keys = (*keys, step)
        child = value if index == len(parts) - 1 else _child(parent, step)
        if child is None and index < len(parts) - 1:
            child = [] if parts[index + 1].isdecimal() else {}
        if isinstance(parent, list) and step == len(parent):
            parent.append(child)
        else:
            parent[step] = child
        parent = child
    for old in [old for old in places if old[: len(keys)] == keys]:
        del places[old]
    places[keys] = where


def _child(parent: Any, step: Any) -> Any:
    """What stands there already; None when nothing does."""
    if isinstance(parent, dict):
        return parent.get(step)
    return parent[step] if step < len(parent) else None


def _step(parent: Any, part: str, name: str, where: str) -> str | int:
    """The key or position that ``part`` means in ``parent``."""
    if isinstance(parent, dict):
        return part
    if not isinstance(parent, list):
        raise ConfigError(
            f"{name} is {json.dumps(parent)}, so {part!r} cannot be set in it",
            where=where,
            rule="only lists and mappings have parts",
            fix=f"set the whole value: --set {name}=…",
        )
    if not part.isdecimal() or int(part) > len(parent):
        raise ConfigError(
            f"{part!r} is not a position in {name}, which has {len(parent)} so far",
            where=where,
            rule=f"positions count from 0; {len(parent)} appends an item",
            fix=f"--set {name}.{len(parent)}=… appends",
        )
    return int(part)


def _check(
    path: Path | None,
    stages: Mapping[str, type[BaseModel]],
    given: Mapping[str, Any],
    places: Mapping[Keys, str],
    problems: Sequence[ConfigError] = (),
) -> Settings:
    """Validate ``given`` against every stage; raise all problems together."""
    fields = _fields(stages)
    found = [Problem((key,), "extra_forbidden", given[key]) for key in given if key not in fields]
    models: dict[str, BaseModel] = {}
    for name, model in stages.items():
        values = {key: value for key, value in given.items() if key in model.model_fields}
        try:
            # JSON mode is strict about types and still reads lists as tuples and text as paths.
            models[name] = model.model_validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            found += Problem.all_of(error, values)
    if found or problems:
        schema = Schema(json_schema(stages))
        file = str(path) if path else "--set"
        raise yamlfile.together([*problems, *explain_all(found, schema, places, file)], file)
    return Settings(
        path=path,
        origins=MappingProxyType({key: _origin(key, places) for key in fields}),
        _stages=MappingProxyType(dict(stages)),
        _given=MappingProxyType(dict(given)),
        _places=MappingProxyType(dict(places)),
        _models=MappingProxyType(models),
    )


def _origin(key: str, places: Mapping[Keys, str]) -> str:
    """Where the value of a key came from; a list that overrides changed names file and overrides."""
    parts = {place: None for keys, place in places.items() if keys[0] == key}
    whole = places.get((key,))
    overrides = [place for place in parts if place.startswith("--set") and place != whole]
    if whole is None:
        return ", ".join(overrides) or "default"
    return ", ".join(["--set" if whole.startswith("--set") else whole, *overrides])
