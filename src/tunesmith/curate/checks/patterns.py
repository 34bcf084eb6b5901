"""Forms of texts: given ones, and those that most of the texts of a data set share."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tunesmith.curate.checks.answers import parsed
from tunesmith.curate.checks.labelset import LabelCounts
from tunesmith.curate.keys import normalise
from tunesmith.text.graders import JsonSchema, load_schema, parse_json

FEWEST = 20
"""Answers that are needed to infer anything."""
SHARED = 0.95
"""Share of answers that must have something in common before it counts as their form."""

_PATHS, _KEYS, _VALUES = 500, 200, 64
_RARE, _ALIKE = 0.02, 0.8

Violation = tuple[str, str]
"""Place in the answer ("$.items[2].name", "line 3"), and the rule that is broken there."""


class Form(Protocol):
    """A form that texts may have."""

    def look(self, answer: str) -> bool:
        """Take note of an answer; whether it is already known to break the form."""
        ...

    def settle(self) -> list[str]:
        """The rules in words, after the last answer; none when there is no form."""
        ...

    def violations(self, answer: str) -> list[Violation]:
        """Every place where an answer breaks the form."""
        ...


@dataclass(frozen=True)
class Given:
    """A JSON schema, a pattern and headings, as far as they are set."""

    schema: JsonSchema | None
    pattern: re.Pattern[str] | None
    sections: Sequence[str]

    @classmethod
    def of(cls, schema: Mapping[str, Any] | str | None, pattern: str, sections: Sequence[str]) -> Given | None:
        """The form that options describe; None when they describe none.

        Raises:
            ConfigError: the schema cannot be read, or is none.
        """
        if schema is None and not pattern and not sections:
            return None
        return cls(load_schema(schema), re.compile(pattern, re.DOTALL) if pattern else None, tuple(sections))

    def look(self, answer: str) -> bool:
        """Whether the answer breaks the form."""
        return bool(self.violations(answer))

    def settle(self) -> list[str]:
        """What was given."""
        rules = ["JSON schema"] if self.schema else []
        rules += [f"pattern {self.pattern.pattern}"] if self.pattern else []
        return rules + [f"section {section}" for section in self.sections]

    def violations(self, answer: str) -> list[Violation]:
        """What the schema, the pattern and the headings say."""
        found = []
        if self.schema:
            try:
                value = parse_json(answer)
            except ValueError as error:
                found.append(("$", f"not JSON: {_where(error)}"))
            else:
                found += [] if self.schema.accepts(value) else self.schema.faults(value)
        if self.pattern and not self.pattern.fullmatch(answer):
            found.append(("the whole answer", f"pattern {self.pattern.pattern}"))
        return found + _sections(answer, self.sections)


def _where(error: ValueError) -> str:
    return f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)


def _sections(answer: str, wanted: Sequence[str]) -> list[Violation]:
    """Headings that are missing, and those that stand before one that they should follow."""
    lines = [line.strip() for line in answer.split("\n")]
    found, last = [], -1
    for section in wanted:
        at = next((i for i, line in enumerate(lines) if line.startswith(section)), None)
        if at is None:
            found.append((f"section {section}", "missing"))
        elif at < last:
            found.append((f"section {section}", "out of order"))
        last = max(last, -1 if at is None else at)
    return found


# ---------------------------------------------------------------- inferred


class Inferred:
    """The form that most answers have: JSON of one shape, one of a few labels, or the same headings."""

    def __init__(self) -> None:
        self._rows, self._json, self._fenced = 0, _Shape(), 0
        self._labels, self._headings = LabelCounts(), _Headings()
        self._rules: _Shape | frozenset[str] | tuple[str, ...] = ()

    def look(self, answer: str) -> bool:
        """Count what the answer has."""
        self._rows += 1
        value = parsed(answer)
        if value is None:
            self._labels.add(answer)
            self._headings.add(answer)
        else:
            self._labels.rows += 1
            self._headings.rows += 1
            self._fenced += "```" in answer
            self._json.add(value)
        return False

    def settle(self) -> list[str]:
        """The rules that at least 95 % of the answers keep to."""
        if self._rows >= FEWEST and self._json.answers >= SHARED * self._rows:
            self._json.settle(fenced=self._fenced > self._json.answers / 2)
            self._rules = self._json
            return ["JSON", *self._json.rules]
        labels = self._labels.labels
        if labels:
            self._rules = frozenset(labels)
            return [f"one of {len(labels)} labels"]
        self._rules = self._headings.common()
        return [f"section {heading}" for heading in self._rules]

    def violations(self, answer: str) -> list[Violation]:
        """Where an answer leaves the form of the others."""
        if isinstance(self._rules, _Shape):
            return self._rules.violations(answer)
        if isinstance(self._rules, frozenset):
            label = normalise(answer)
            return [] if label in self._rules else [("the whole answer", _unlike(label, self._rules, "label"))]
        return _sections(answer, self._rules)


def _unlike(text: str, known: Iterable[str], what: str) -> str:
    """The rule about a value that hardly any other answer has."""
    near = difflib.get_close_matches(text, list(known), 1, _ALIKE)
    return f"no {what} of the others" + (f", but close to “{near[0]}”" if near else "")


@dataclass
class _Place:
    """What stands at a path of the answers."""

    count: int = 0
    objects: int = 0
    types: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    is_open: bool = False
    """More values than a list of choices has."""

    type_rule: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    choices: frozenset[str] = frozenset()


class _Shape:
    """Types, keys and choices of JSON answers, path by path."""

    def __init__(self) -> None:
        self.answers = 0
        self.rules: list[str] = []
        self._places: dict[str, _Place] = defaultdict(_Place)
        self._fenced = False

    def add(self, value: Any) -> None:
        """Count an answer."""
        self.answers += 1
        self._add(value, "$")

    def _add(self, value: Any, path: str) -> None:
        if path not in self._places and len(self._places) >= _PATHS:
            return
        place = self._places[path]
        place.count += 1
        place.types[_type(value)] += 1
        if isinstance(value, dict):
            place.objects += 1
            for key, item in value.items():
                if len(place.keys) < _KEYS or key in place.keys:
                    place.keys[key] += 1
                    self._add(item, f"{path}.{key}")
        elif isinstance(value, list):
            for item in value:
                self._add(item, f"{path}[]")
        elif isinstance(value, str) and not place.is_open:
            place.values[value] += 1
            place.is_open = len(place.values) > _VALUES

    def settle(self, *, fenced: bool) -> None:
        """Turn the counts into rules."""
        self._fenced = fenced
        for path, place in sorted(self._places.items()):
            if place.count < FEWEST:
                continue
            often = {kind for kind, n in place.types.items() if n > (1 - SHARED) * place.count}
            if sum(place.types[kind] for kind in often) >= SHARED * place.count:
                place.type_rule = frozenset(often)
                self.rules.append(f"{path}: {' or '.join(sorted(often))}")
            if place.objects >= FEWEST:
                place.required = frozenset(k for k, n in place.keys.items() if n >= SHARED * place.objects)
                place.known = frozenset(k for k, n in place.keys.items() if n > _RARE * place.objects)
                self.rules += [f"{path}: required {key}" for key in sorted(place.required)]
            self._choices(path, place)

    def _choices(self, path: str, place: _Place) -> None:
        """A list of choices, where a few texts stand again and again and the others hardly ever."""
        if place.is_open or not place.values:
            return
        total = place.values.total()
        often = {value: n for value, n in place.values.items() if n >= 0.01 * total}
        rest = [n for value, n in place.values.items() if value not in often]
        # a long tail of ever rarer values is no list of choices: there must be a gap
        has_gap = sum(rest) <= _RARE * total and max(rest, default=0) <= min(often.values(), default=0) / 5
        if total >= 10 * len(often) and len(often) > 1 and has_gap:
            place.choices = frozenset(often)
            self.rules.append(f"{path}: one of {len(often)} texts")

    def violations(self, answer: str) -> list[Violation]:
        """Where an answer differs from what the others have."""
        value = parsed(answer)
        if value is None:
            return [("$", "not a JSON object or list, as the others are")]
        found = [("$", "in a code fence, which the others are not")] if "```" in answer and not self._fenced else []
        self._check(value, "$", "$", found)
        return found

    def _check(self, value: Any, path: str, shown: str, found: list[Violation]) -> None:
        place = self._places.get(path)
        if place is None:
            return
        if place.type_rule and _type(value) not in place.type_rule:
            found.append((shown, f"{_type(value)}, the others have {' or '.join(sorted(place.type_rule))}"))
            return
        if isinstance(value, dict):
            missing = sorted(place.required - set(value))
            unknown = [key for key in value if key not in place.known]
            for key in missing:
                near = difflib.get_close_matches(key, unknown, 1, _ALIKE - 0.1)
                spelled = f", but {near[0]!r} is there" if near else ""
                found.append((f"{shown}.{key}", f"missing{spelled}"))
            for key, item in value.items():
                self._check(item, f"{path}.{key}", f"{shown}.{key}", found)
        elif isinstance(value, list):
            for i, item in enumerate(value):
                self._check(item, f"{path}[]", f"{shown}[{i}]", found)
        elif isinstance(value, str) and place.choices and value not in place.choices:
            found.append((shown, _unlike(value, place.choices, "value")))


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = ((str, "text"), (dict, "object"), (list, "list"))
    return next((name for kind, name in names if isinstance(value, kind)), "number")


_HEADING = re.compile(
    r"^\s*(#{1,6} [^\d\n]{1,60}$|####(?= \d)|\*\*[^*\n]{1,60}\*\*|[A-ZÀ-Þ][\w /&-]{0,40}:)", re.MULTILINE
)
_HEADINGS = 2000


class _Headings:
    """Headings at the start of lines: ``# Title``, ``**Title**``, ``Title:``."""

    def __init__(self) -> None:
        self.rows = 0
        self._counts: Counter[str] = Counter()
        self._order: Counter[tuple[str, str]] = Counter()

    def add(self, answer: str) -> None:
        """Count the headings of an answer, and which stands before which."""
        self.rows += 1
        names = list(dict.fromkeys(name.strip() for name in _HEADING.findall(answer)))[:20]
        known = [name for name in names if name in self._counts or len(self._counts) < _HEADINGS]
        self._counts.update(known)
        if len(self._order) < _HEADINGS * 10:
            self._order.update((a, b) for i, a in enumerate(known) for b in known[i + 1 :])

    def common(self) -> tuple[str, ...]:
        """The headings that nearly all answers have, in their usual order."""
        if self.rows < FEWEST:
            return ()
        often = [name for name, n in self._counts.items() if n >= SHARED * self.rows]
        before = {name: sum(self._order[other, name] > self._order[name, other] for other in often) for name in often}
        return tuple(sorted(often, key=lambda name: (before[name], name)))
