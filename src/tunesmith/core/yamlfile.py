"""YAML text ⇄ plain values, strictly: what is read is what the eye sees.

Only a subset with one reading is accepted. Numbers, booleans and null follow the YAML 1.2 core schema, so ``1e-3`` is
a number and ``no`` is text; infinities and NaN are text too, since no JSON carries them. A key may stand only once in
its mapping, tags that build objects are refused, and the size of the file and what its aliases expand to is bounded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import yaml

from tunesmith.core.errors import ConfigError

Keys = tuple[str | int, ...]
"""Way from the top of a document to a value: mapping keys and list positions."""

MAX_CHARACTERS = 256 * 1024
MAX_VALUES = 50_000
MAX_DEPTH = 50

_TAG = "tag:yaml.org,2002:"
_SCALARS: tuple[tuple[str, str, list[str]], ...] = (
    ("null", r"^(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", list("-+.0123456789")),
)


class _Loader(yaml.SafeLoader):
    """Knows only the four kinds of scalar below, and text."""


class _Dumper(yaml.SafeDumper):
    """Quotes every text that either this reader or a YAML 1.1 reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Unquoted, these count as line breaks or as a byte-order mark when they are read back.
    style = '"' if re.search("[\x85\u2028\u2029\ufeff]", text) else None
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_Dumper.add_representer(str, _write_text)
_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _kind, re.compile(_pattern), _first)


@final
@dataclass(frozen=True)
class Tree:
    """A document: plain values (dict, list, str, int, float, bool, None), and the line of each key and item."""

    value: Any
    lines: Mapping[Keys, int]
    """Counted from 1."""


def parse(text: str, where: str) -> Tree:
    """Read one YAML document. ``where`` names the file in errors.

    Raises:
        ConfigError: not YAML, more than one reading, or too large; every problem with its line.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"the file has {len(text):,} characters",
            where=where,
            rule=f"a config file has at most {MAX_CHARACTERS:,} characters",
            fix="give the path of the config file; rows of data belong into a data file of their own",
        )
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, where) from None
    except RecursionError:
        raise _too_much(where, f"nests deeper than {MAX_DEPTH} levels") from None
    reader = _Reader(where)
    value = None if node is None else reader.value(node, ())
    if reader.problems:
        raise together(reader.problems, where)
    return Tree(value, reader.lines)


def parse_word(text: str, where: str) -> Any:
    """Read the value of a ``key=value`` override: flow YAML after ``[``, ``{`` or a quote, else one plain word."""
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'"):
        return parse(text, where).value
    kind = next((kind for kind, pattern, _ in _SCALARS if re.match(pattern, text)), "str")
    problem = _unreadable(kind, text)
    if problem:
        raise ConfigError(problem[0], where=where, rule=problem[1], fix=problem[2])
    return _scalar(kind, text)


def dump(value: Any) -> str:
    """YAML text that ``parse`` reads back as the same value."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=MAX_CHARACTERS
    )


def together(problems: list[ConfigError], where: str) -> ConfigError:
    """One error for all problems: the only one as it is, several as a numbered list."""
    if len(problems) == 1:
        return problems[0]
    listed = [f"{number}. {problem}".replace("\n", "\n     ") for number, problem in enumerate(problems, 1)]
    return ConfigError(
        f"{len(problems)} problems\n  " + "\n  ".join(listed),
        where=where,
        rule="every key is known and every value is allowed",
        fix="correct each of them as listed; nothing was done yet",
    )


@final
class _Reader:
    """Turns composed nodes into values; notes the lines and the problems on the way."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lines: dict[Keys, int] = {}
        self.problems: list[ConfigError] = []
        self._count = 0

    def value(self, node: yaml.Node, keys: Keys) -> Any:
        self._count += 1
        if self._count > MAX_VALUES or len(keys) > MAX_DEPTH:
            raise _too_much(self.where, f"expands to more than {MAX_VALUES:,} values or {MAX_DEPTH} levels")
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self._item(item, (*keys, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and kind in ("null", "bool", "int", "float", "str"):
            return self._text(node, kind)
        return self._problem(node, f"the tag {node.tag!r} is not supported", "values are plain YAML", "remove the tag")

    def _item(self, node: yaml.Node, keys: Keys) -> Any:
        self.lines[keys] = node.start_mark.line + 1
        return self.value(node, keys)

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, "a key is a list or a mapping", "a key is a word", "write the key as one word")
                continue
            key = str(key_node.value)
            if key in result:
                first = self.lines[(*keys, key)]
                self._problem(
                    key_node,
                    f"the key {key!r} stands twice, first in line {first}",
                    "a key stands only once in its mapping",
                    "remove one of the two lines",
                )
                continue
            self.lines[(*keys, key)] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*keys, key))
        return result

    def _text(self, node: yaml.ScalarNode, kind: str) -> Any:
        text = str(node.value)
        problem = _unreadable(kind, text)
        return self._problem(node, *problem) if problem else _scalar(kind, text)

    def _problem(self, node: yaml.Node, what: str, rule: str, fix: str) -> None:
        where = f"{self.where}:{node.start_mark.line + 1}"
        self.problems.append(ConfigError(what, where=where, rule=rule, fix=fix))


def _unreadable(kind: str, text: str) -> tuple[str, str, str] | None:
    """(what, rule, fix) when a scalar has no value; None when ``_scalar`` reads it."""
    try:
        _scalar(kind, text)
        text.encode()
    except UnicodeEncodeError:
        return f"{text[:60]!r} is not valid Unicode", "text has no lone surrogates", "write the character itself"
    except ValueError:
        return f"{text[:60]} cannot be read as a number", "numbers fit a 64-bit float", "write a smaller number"
    return None


def _scalar(kind: str, text: str) -> Any:
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        case "float":
            number = float(text)
            if not math.isfinite(number):
                raise ValueError(text)
            return number
        case _:
            return text


def _syntax_error(error: yaml.YAMLError, text: str, where: str) -> ConfigError:
    rule, fix = "the file is YAML: key: value, one per line", "put text that holds : # { [ * & ! % @ into quotes"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return ConfigError(f"cannot be read as YAML: {error}", where=where, rule=rule, fix="remove that character")
    number = error.problem_mark.line + 1
    lines = text.splitlines()
    line = lines[number - 1] if number <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in (error.problem or ""):
        return ConfigError(
            "a tab stands where YAML wants spaces",
            where=f"{where}:{number}",
            rule="YAML is indented with spaces only",
            fix="replace every tab in the file by two spaces",
        )
    what = f"cannot be read as YAML: {error.problem}" + (f" ({error.context})" if error.context else "")
    return ConfigError(what, where=f"{where}:{number}", rule=rule, fix=fix)


def _too_much(where: str, what: str) -> ConfigError:
    return ConfigError(
        f"the file {what}",
        where=where,
        rule=f"a config file holds at most {MAX_VALUES:,} values, {MAX_DEPTH} levels deep, aliases expanded",
        fix="remove the aliases (*name) or the deep nesting",
    )
