"""Answers that say what the question does not, or leave out what it lists.

What follows from the question differs from data set to data set, so the rows themselves say what may be asked of them:

- **Numbers, names, fields.** Where 19 answers in 20 take their numbers (or names, or the values of a JSON field) from
  the question, an answer that brings its own is reported. Where answers bring their own anyway, nothing is checked.
- **Listed facts.** Where questions list facts (``food[Italian], area[riverside]``, JSON, lines of ``key: value``),
  each fact should be told. A value that stands in the answers as it is written is looked for; of a value that is told
  in many ways (``familyFriendly[no]``) the ways are learned (`cues`).
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding, Record
from tunesmith.core.stats import wilson_interval
from tunesmith.curate.checks.answers import parsed
from tunesmith.curate.checks.cues import FEWEST_ROWS, FactCues, in_words, learn
from tunesmith.curate.checks.observe import EVIDENCE, Outcome, Setting, finding, put_aside
from tunesmith.curate.checks.structured import facts
from tunesmith.curate.checks.values import listed, missing, quoted, values_in, word_set
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.keys import normalise

FAITHFUL = "unfaithful answers"

GROUNDED = 0.95
"""Share of answers that take their numbers (names, fields) from the question from which the others are reported."""
AS_WRITTEN = 0.9
"""Share of answers that repeat a value word for word from which it is looked for as it is written."""
ALWAYS_WRITTEN = 0.97
"""The same for a fact with few values, whose other wordings could be learned."""
USUAL = 5
"""So many answers with the same name that their questions do not hold make it a usual one."""
LISTED = 0.8
"""Share of questions that must list facts."""
FEW_VALUES = 10
"""A fact with so few values may be told in other words even where it is mostly repeated as it is."""
MOST_VALUES = 50
"""A fact with more values than this is told in as many ways: its words are not learned."""

_CHARACTERS = 6000
_FIELDS = 200
_TICK = 256
_DECIDE = 5000
_WORDS = 200_000
_NAME = re.compile(r"(?<=[a-zà-ÿ,;] )[A-ZÀ-Þ]\w+(?:[ -][A-ZÀ-Þ]\w+)*")
_LARGE = re.compile(r"[A-ZÀ-Þ]\w+")
_CALENDAR = word_set(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august "
    "september october november december"
)
_LOWER = re.compile(r"\b[a-zà-ÿ]{2,}\b")
_SEEN, _LACKS = {"numbers": 1, "names": 4, "fields": 16}, {"numbers": 2, "names": 8, "fields": 32}
_FACTS = 64


class FaithfulOptions(Record):
    """Answers against the facts of their questions."""

    learned: int = Field(default=5000, ge=200, description="Rows from which the words of facts are learned.")


@dataclass(frozen=True)
class _Judge:
    """What is asked of every row."""

    kinds: frozenset[str]
    """Which of numbers, names, fields follow from the question."""
    paths: frozenset[str]
    """JSON fields whose values stand in the question."""
    written: frozenset[str]
    """Facts whose values are repeated word for word."""
    cues: Mapping[str, FactCues]
    common: Set[str]
    """Words that some answer writes small: no names, even where they are written large."""
    usual: frozenset[str]
    """Names that answers bring along again and again: a way of putting it, not an invention."""


class Unfaithful:
    """Questions and answers that do not fit together: one finding for each row."""

    def __init__(self, setting: Setting) -> None:
        self._options = setting.options.faithful
        self._flags = array("B")
        self._paths: dict[str, list[int]] = {}
        self._facts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._values: dict[str, Counter[str]] = defaultdict(Counter)
        self._hopeless: frozenset[str] = frozenset()
        self._seen: Counter[str] = Counter()
        self._common: set[str] = set()
        self._brought: Counter[str] = Counter()

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone: what is usual shows only in the end."""
        self._flags.append(0 if row.example.is_document or not row.example.messages else self._look(row))
        if len(self._flags) % _DECIDE == 0:
            self._hopeless = frozenset(self._not_followed())
        return ()

    def _not_followed(self) -> Iterator[str]:
        """Kinds of values that so many answers bring along themselves that looking further is no use."""
        for kind in ("numbers", "names"):
            if self._seen[f"{kind} lacking"] > 3 * (1 - GROUNDED) * max(self._seen[kind], FEWEST_ROWS):
                yield kind
        if self._seen["facts"] < 0.5 * self._seen["texts"]:
            yield "facts"

    def _look(self, row: Row) -> int:
        flags, question, answer = 0, row.question[:_CHARACTERS], row.answer[:_CHARACTERS]
        value = parsed(answer)
        if value is not None:
            for path, leaf in leaves(value):
                seen = self._paths.setdefault(path, [0, 0]) if len(self._paths) < _FIELDS else None
                has = supports(question, leaf)
                if seen:
                    seen[0] += 1
                    seen[1] += has
                flags |= _SEEN["fields"] | (0 if has else _LACKS["fields"])
            return flags
        if len(self._common) < _WORDS:
            self._common.update(_LOWER.findall(answer))
        self._seen["texts"] += 1
        for kind, (items, lacking) in _own(question, answer, self._common, self._hopeless).items():
            flags |= (_SEEN[kind] if items else 0) | (_LACKS[kind] if lacking else 0)
            self._seen[kind] += bool(items)
            self._seen[f"{kind} lacking"] += bool(lacking)
            if kind == "names" and len(self._brought) < _WORDS:
                self._brought.update(lacking)
        given = None if "facts" in self._hopeless else facts(asked(row))
        if given:
            flags |= _FACTS
            self._seen["facts"] += 1
            told = normalise(answer)
            for name, fact in given.items():
                if len(self._facts) < _FIELDS or name in self._facts:
                    counts = self._facts[name]
                    counts[0] += 1
                    counts[1] += normalise(fact) in told
                    if len(self._values[name]) <= 4 * MOST_VALUES:
                        self._values[name][fact] += 1
        return flags

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """The rows that break what the others keep to."""
        import numpy as np

        flags = np.frombuffer(self._flags, np.uint8)
        figures: dict[str, Any] = {}
        kinds = set()
        for kind, seen in _SEEN.items():
            if kind in self._hopeless:
                rows, lacking = self._seen[kind], self._seen[f"{kind} lacking"]
            else:
                rows, lacking = int(np.count_nonzero(flags & seen)), int(np.count_nonzero(flags & _LACKS[kind]))
            figures[kind] = {"rows": rows, "from_the_question": 1 - lacking / rows if rows else None}
            if kind != "fields" and rows >= FEWEST_ROWS and lacking <= (1 - GROUNDED) * rows:
                kinds.add(kind)
        paths = frozenset(p for p, (n, has) in self._paths.items() if n >= FEWEST_ROWS and has >= GROUNDED * n)
        if paths:
            kinds.add("fields")
        with_facts = np.flatnonzero(flags & _FACTS)
        written, cues = frozenset[str](), {}
        is_listed = self._seen["facts"] >= max(2 * FEWEST_ROWS, LISTED * self._seen["texts"])
        if is_listed and "facts" not in self._hopeless:
            written, cues = self._learn(with_facts, corpus)
            figures["facts"] = {"as_written": sorted(written), "in_other_words": sorted(cues)}
        if not kinds and not written and not cues:
            return Outcome(not_checked="the answers do not take their values from the questions", figures=figures)
        usual = frozenset(name for name, n in self._brought.items() if n >= USUAL)
        judge = _Judge(frozenset(kinds), paths, written, cues, self._common, usual)
        findings = list(self._findings(judge, flags, corpus, progress))
        interval = wilson_interval(len(findings), len(corpus))
        figures |= {"reported": len(findings), "rate_interval": [interval.low, interval.high]}
        return Outcome(findings, figures=figures)

    def _learn(self, numbers: Sequence[int], corpus: Corpus) -> tuple[frozenset[str], dict[str, FactCues]]:
        """Facts that are repeated as they are written, and the words of those that are told in few other ways."""
        often = {name: c for name, c in self._facts.items() if c[0] >= max(FEWEST_ROWS, 0.02 * len(numbers))}
        few = set()
        for name, (n, told) in often.items():
            values = [c for c in self._values[name].values() if c >= FEWEST_ROWS]
            many = len(values) > FEW_VALUES and told >= AS_WRITTEN * n
            if not many and len(values) <= MOST_VALUES and sum(values) >= LISTED * n:
                few.add(name)
        written = frozenset(name for name, (n, told) in often.items() if told >= AS_WRITTEN * n and name not in few)
        if not few:
            return written, {}
        chosen = sorted(numbers, key=lambda n: zlib.crc32(int(n).to_bytes(8, "little")))[: self._options.learned]
        words, given = [], []
        for number in sorted(chosen):
            row = corpus[int(number)]
            row_facts = facts(asked(row)) or {}
            given.append(row_facts)
            words.append(in_words(row.answer[:_CHARACTERS], (row_facts[name] for name in written if name in row_facts)))
        cues = learn(words, given, sorted(few))
        return written, {name: cue for name, cue in cues.items() if cue.values}

    def _findings(
        self, judge: _Judge, flags: Sequence[int], corpus: Corpus, progress: Progress | None
    ) -> Iterator[Finding]:
        lacking = sum(_LACKS[kind] for kind in judge.kinds)
        for number in range(len(flags)):
            is_asked = flags[number] & lacking or (flags[number] & _FACTS and (judge.written or judge.cues))
            if is_asked:
                row = corpus[number]
                problems = list(_problems(row, judge, int(flags[number])))
                if problems:
                    yield _finding(row, problems)
            if progress and number % _TICK == 0:
                progress(number, len(flags))


def _problems(row: Row, judge: _Judge, flags: int) -> Iterator[tuple[str, str]]:
    """(what is wrong, the words that show it) of one row. ``flags``: what the first look saw; it lacks nothing else."""
    question, answer = row.question[:_CHARACTERS], row.answer[:_CHARACTERS]
    value = parsed(answer)
    if value is not None:
        lacking = [(path, leaf) for path, leaf in leaves(value) if path in judge.paths and not supports(question, leaf)]
        for path, leaf in lacking:
            yield f"the question does not hold the value of {path}", f"{path}: {quoted(leaf, 40)}"
        return
    leave = {kind for kind in ("numbers", "names") if kind not in judge.kinds or not flags & _LACKS[kind]}
    for kind, (_, lacking) in _own(question, answer, judge.common, leave).items():
        lacking = [item for item in lacking if item not in judge.usual]
        if lacking:
            words = listed(quoted(item, 30) for item in lacking)
            yield f"the question does not hold these {kind} of the answer", words
    given = facts(asked(row)) if judge.written or judge.cues else None
    if given:
        yield from _untold(given, answer, judge)


def _untold(given: Mapping[str, str], answer: str, judge: _Judge) -> Iterator[tuple[str, str]]:
    """Facts that are left out, and facts that are told differently or were not given."""
    told = normalise(answer)
    for name in sorted(judge.written & set(given)):
        if not _is_written(given[name], told, answer):
            yield f"the answer leaves out {name}", f"{name}: {quoted(given[name], 40)}"
    words = in_words(answer, (given[name] for name in judge.written if name in given))
    for name, cues in judge.cues.items():
        value = given.get(name)
        if value in cues.values and not cues.is_spoken_of(words) and not _has_number_of(value, answer):
            yield f"the answer leaves out {name}", f"{name}: {quoted(value, 40)}"
        elif value is None or (value in cues.values and value not in cues.said(words)):
            surely = cues.said_surely(words)
            other = [said for said in sorted(surely) if value is None or (value, said) not in cues.alike]
            for said in other[:1]:
                what = f"{name}, which is not given" if value is None else f"another {name}"
                yield f"the answer tells {what}", f"{quoted(surely[said], 40)} goes with {quoted(said, 30)}"


def _is_written(value: str, told: str, answer: str) -> bool:
    """Whether a value stands in an answer: as it is, by half of its longer words, or by its numbers."""
    plain = normalise(value)
    if plain in told:
        return True
    words = [word for word in re.findall(r"\w+", plain) if len(word) > 3]
    if words and sum(word in told for word in words) >= len(words) / 2:
        return True
    return _has_number_of(value, answer)


def _has_number_of(value: str, answer: str) -> bool:
    numbers = values_in(value)
    return bool(numbers) and len(missing(numbers, answer)) < len(numbers)


def _own(
    question: str, answer: str, common: Set[str], leave: Set[str] = frozenset()
) -> dict[str, tuple[Sequence[Any], list[str]]]:
    """Kind → all of this kind in the answer, and what of it the question lacks; not the kinds in ``leave``."""
    found: dict[str, tuple[Sequence[Any], list[str]]] = {}
    if "numbers" not in leave:
        numbers = [value for value in values_in(answer) if any(map(str.isdigit, value.text))]
        found["numbers"] = numbers, [value.text for value in missing(numbers, question)] if numbers else []
    if "names" not in leave:
        names = [
            name for name in _NAME.findall(answer) if not {word.lower() for word in name.split()} <= common | _CALENDAR
        ]
        plain = normalise(question) if names else ""
        lacking = [name for name in names if not any(normalise(word[:4]) in plain for word in _LARGE.findall(name))]
        found["names"] = names, lacking
    return found


def leaves(value: Any, path: str = "$") -> Iterator[tuple[str, str]]:
    """Path (without positions in lists) and text of every text and number of a JSON value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, f"{path}[]")
    elif value is not None and not isinstance(value, bool) and value != "":
        yield path, str(value)


def supports(question: str, leaf: str) -> bool:
    """Whether a value stands in the question, word for word or, for numbers and dates, in another form."""
    if normalise(leaf) in normalise(question) or _letters(leaf) in _letters(question):
        return True
    values = values_in(leaf)
    return bool(values) and not missing(values, question)


def _letters(text: str) -> str:
    """Letters and digits alone: "R & B" and "r&b" are one."""
    return re.sub(r"[\W_]", "", text).casefold() or text


def asked(row: Row) -> str:
    """The last turn of the user: the facts of earlier turns were answered there."""
    users = [message.text for message in row.example.messages if message.role == "user"]
    return users[-1][:_CHARACTERS] if users else ""


def _finding(row: Row, problems: Sequence[tuple[str, str]]) -> Finding:
    evidence = "; ".join(words for _, words in problems)
    return finding(
        FAITHFUL,
        "warning",
        listed(dict.fromkeys(what for what, _ in problems)),
        row.example,
        "correct the answer or the question, or put the row aside: the model would learn to invent or to leave out",
        evidence=evidence if len(evidence) <= EVIDENCE else evidence[: EVIDENCE - 1] + "…",
        action=put_aside(row.example.source),
    )
