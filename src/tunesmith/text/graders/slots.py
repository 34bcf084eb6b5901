"""Facts that a text has to state: which are missing, which are wrong, which are invented.

The facts stand in the question, as a meaning representation (``name[The Eagle], food[French]``) or as a JSON object. A
value counts as stated where one of its phrases stands in the text; a lexicon (YAML) declares phrases for values that
are not said verbatim. The slot error rate is (missing + wrong + invented) / wanted.

Source: Wen et al. 2015, section 5.1; Dušek and Jurčíček 2019 (wrong values as errors of their own).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from pydantic import Field, ValidationError

from tunesmith.core import yamlfile
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record
from tunesmith.text.graders.structure import field_counts, field_name

Facts = Mapping[str, tuple[str, ...]]
"""Slot → its values, each once."""

_PAIR = re.compile(r"(?:^|[,;:\n]|\. )\s*([^\W\d_][\w /-]*?)\s*\[([^\[\]]*)\]", re.MULTILINE)
_PATTERN = re.compile(r"/(.+)/")
_UNSAYABLE = {"yes", "no", "true", "false"}


class SlotWords(Record):
    """How the values of one slot are said."""

    values: Mapping[str, tuple[str, ...]] = Field(
        default={},
        description="value → phrases that state it, besides the value itself; /…/ is a regular expression",
    )
    verbatim: bool = Field(default=True, description="whether the value itself counts as a phrase for it")
    free: tuple[str, ...] = Field(
        default=(), description="values that a text may state although the facts do not (a generic word for the kind)"
    )


class Lexicon(Record):
    """Phrases of all slots. ``ignore``: slots that are not checked."""

    slots: Mapping[str, SlotWords] = {}
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlotCounts:
    """Facts of one text: how many were wanted, and ``(slot, value)`` of each that is not as it should be."""

    wanted: int
    missing: tuple[tuple[str, str], ...] = ()
    wrong: tuple[tuple[str, str], ...] = ()
    invented: tuple[tuple[str, str], ...] = ()

    @property
    def errors(self) -> int:
        """Missing, wrong and invented values together."""
        return len(self.missing) + len(self.wrong) + len(self.invented)


def load_lexicon(path: str | Path) -> Lexicon:
    """A lexicon from its YAML file.

    Raises:
        ConfigError: no such file, not YAML, or not a lexicon.
    """
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read the lexicon: {error.strerror}",
            where=str(path),
            rule="slot_lexicon is the path of a YAML file, or verbatim",
            fix="correct the path",
        ) from error
    try:
        lexicon = Lexicon.model_validate(yamlfile.parse(text, str(path)).value or {})
        _compiled(lexicon)
    except (ValidationError, re.error) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        place = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else "a /pattern/"
        raise ConfigError(
            f"not a lexicon: {place}: {reason}",
            where=str(path),
            rule="slots: {SLOT: {values: {VALUE: [phrase, …]}, verbatim: true, free: []}}, ignore: []",
            fix="see the example in docs/guides/metrics.md",
        ) from error
    return lexicon


def read_facts(question: str) -> Facts | None:
    """The facts in a question; None when it states none in a form that can be read."""
    start = question.find("{")
    if start >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(question[start:])
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and value:
            return _of_json(value)
    found: dict[str, list[str]] = {}
    for name, value in _PAIR.findall(question):
        values = found.setdefault(name.strip(), [])
        if value.strip() and value.strip() not in values:
            values.append(value.strip())
    return {name: tuple(values) for name, values in found.items() if values} or None


def _of_json(value: object) -> Facts:
    found: dict[str, list[str]] = {}
    for path, scalar in field_counts(value):
        text = json.loads(scalar) if scalar.startswith(('"', "{", "[")) else scalar
        if isinstance(text, str) and text not in ("", "null"):
            found.setdefault(field_name(path).replace("[]", ""), []).append(text)
    return {name: tuple(dict.fromkeys(values)) for name, values in found.items()}


@final
class SlotChecker:
    """Finds the values that texts state.

    Args:
        lexicon: phrases.
        rows: the facts of all rows: their values are the ones that a text can invent, besides those of the lexicon.
    """

    def __init__(self, lexicon: Lexicon, rows: Iterable[Facts]) -> None:
        self._ignored = {_plain(name) for name in lexicon.ignore}
        self._words = {_plain(name): words for name, words in lexicon.slots.items()}
        self._phrases: dict[str, tuple[re.Pattern[str], set[tuple[str, str]]]] = {}
        self._unsayable: Counter[str] = Counter()
        for pattern, pair in _compiled(lexicon):
            self._add(pattern, pair)
        known = {(name, value) for facts in rows for name, values in facts.items() for value in values}
        for name, value in sorted(known):
            self._learn(name, value)

    @property
    def unsayable(self) -> list[str]:
        """Slots with values such as yes and no for which the lexicon has no phrase: they cannot be checked."""
        return sorted(self._unsayable)

    def wanted(self, facts: Facts) -> dict[tuple[str, str], str]:
        """(slot, value) in comparable form → the value as it was given, for the slots that are checked."""
        return {
            (_plain(name), _plain(value)): value
            for name, values in facts.items()
            if _plain(name) not in self._ignored and name not in self._unsayable
            for value in values
        }

    def check(self, facts: Facts, text: str) -> SlotCounts:
        """Compare what a text states with what it should."""
        wanted = self.wanted(facts)
        stated = self._stated(text)
        right = {pair for pair in wanted if any(pair in options for options in stated)}
        spare: dict[str, set[str]] = {}
        for options in stated:
            if not options & wanted.keys():
                slot, value = min(options)  # the same phrase for several slots is one mistake
                spare.setdefault(slot, set()).add(value)
        missing, wrong = [], []
        for slot, value in sorted(wanted.keys() - right):
            others = spare.get(slot)
            if others:
                others.remove(min(others))
                wrong.append((slot, wanted[slot, value]))
            else:
                missing.append((slot, wanted[slot, value]))
        invented = [
            (slot, value)
            for slot, values in sorted(spare.items())
            for value in sorted(values)
            if value not in self._free(slot)
        ]
        return SlotCounts(len(wanted), tuple(missing), tuple(wrong), tuple(invented))

    def _free(self, slot: str) -> set[str]:
        words = self._words.get(slot)
        return {_plain(value) for value in words.free} if words else set()

    def _learn(self, name: str, value: str) -> None:
        slot = _plain(name)
        words = self._words.get(slot)
        declared = {_plain(known) for known in words.values} if words else set()
        if slot in self._ignored or _plain(value) in declared:
            return
        if value.casefold() in _UNSAYABLE:
            self._unsayable[name] += 1
        elif words is None or words.verbatim:
            self._add(_phrase(value), (slot, _plain(value)))

    def _add(self, pattern: str, pair: tuple[str, str]) -> None:
        if pair[0] not in self._ignored:
            self._phrases.setdefault(pattern, (re.compile(pattern), set()))[1].add(pair)

    def _stated(self, text: str) -> list[set[tuple[str, str]]]:
        """What each phrase in the text may stand for: the longest phrases first, none inside another."""
        plain = _plain(text)
        spans: dict[tuple[int, int], set[tuple[str, str]]] = {}
        for pattern, pairs in self._phrases.values():
            for match in pattern.finditer(plain):
                if match.end() > match.start():
                    spans.setdefault(match.span(), set()).update(pairs)
        taken: list[tuple[int, int]] = []
        for start, end in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
            if all(end <= s or start >= e for s, e in taken):
                taken.append((start, end))
        return [spans[span] for span in sorted(taken)]


def slot_counts(lexicon: Lexicon, facts: Sequence[Facts], texts: Sequence[str]) -> list[SlotCounts]:
    """The counts of each text against the facts of its row."""
    checker = SlotChecker(lexicon, facts)
    return [checker.check(*row) for row in zip(facts, texts, strict=True)]


def _compiled(lexicon: Lexicon) -> list[tuple[str, tuple[str, str]]]:
    """(regular expression, (slot, value)) of every phrase that a lexicon declares."""
    found = []
    for name, words in lexicon.slots.items():
        for value, phrases in words.values.items():
            own = [value] if words.verbatim and value.casefold() not in _UNSAYABLE else []
            for phrase in (*own, *phrases):
                given = _PATTERN.fullmatch(phrase)
                pattern = rf"(?<!\w)(?:{given[1]})(?!\w)" if given else _phrase(phrase)
                re.compile(pattern)
                found.append((pattern, (_plain(name), _plain(value))))
    return found


def _phrase(text: str) -> str:
    return rf"(?<!\w){re.escape(_plain(text))}(?!\w)"


def _plain(text: str) -> str:
    """Comparable form: composed, lower case, hyphens and white space as single blanks, straight apostrophes."""
    text = unicodedata.normalize("NFC", text).casefold().replace("’", "'")
    return re.sub(r"[\s\-‐‑–]+", " ", text).strip()
