"""How many rows are wrong, as a number with a bound: a random sample, two reviewers, exact intervals.

Sources. Bound: Clopper and Pearson 1934, exact for the binomial distribution, and so on the safe side for a sample
drawn without replacement. Agreement: Cohen 1960.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from tunesmith.core import store
from tunesmith.core.errors import DataError
from tunesmith.core.events import Emit, ignore, ticking
from tunesmith.core.records import SCHEMA_VERSION, Example, Record, digest_of
from tunesmith.core.spool import Spool
from tunesmith.curate.config import Config
from tunesmith.curate.reading.read import read
from tunesmith.curate.run import content_digest

Mark = Literal["good", "bad", "unclear"]

AGREEMENT_NEEDED = 0.6
"""Below this kappa reviewers understand the instructions differently, and the error rate says little of the data."""

CONFIDENCE = 0.95


class Sample(Record):
    """Which rows are reviewed. The same data, seed and size give the same rows in the same order."""

    schema_version: int = SCHEMA_VERSION
    data: Mapping[str, str]
    """File name → SHA-256."""
    seed: int
    rows: int
    """In all files together."""
    numbers: tuple[int, ...]
    """The rows of the sample, from 0 over all files, in the order of reviewing."""

    @property
    def id(self) -> str:
        """Hash of what was drawn from what; 16 hex digits."""
        return digest_of([sorted(self.data.values()), self.seed, self.rows, list(self.numbers)])[:16]


class Decision(Record):
    """What a reviewer said about a row. A later one about the same row by the same reviewer replaces it."""

    sample: str
    row: int
    id: str
    reviewer: str
    mark: Mark
    note: str = ""


class Agreement(Record):
    """Two reviewers on the rows that both read. ``kappa`` None: both gave one and the same mark throughout."""

    reviewers: tuple[str, str]
    rows: int
    equal: int
    kappa: float | None


class AuditResult(Record):
    """The error rate of the data, as far as it was looked at."""

    schema_version: int = SCHEMA_VERSION
    sample: str
    rows: int
    """In the data."""
    wanted: int
    """In the sample."""
    read: int
    """With at least one decision."""
    wrong: int
    """That at least one reviewer called bad or unclear."""
    unclear: int
    """Of these, called bad by nobody."""
    wrong_by_all: int
    """That every reviewer who read it called bad."""
    rate: float | None
    low: float | None
    high: float | None
    """One-sided bounds with 95 % confidence, each."""
    reviewers: Mapping[str, int]
    """Reviewer → rows read."""
    agreements: tuple[Agreement, ...]
    sentence: str


def draw(data: Mapping[str, str], rows: int, size: int, seed: int = 0) -> Sample:
    """The rows whose hash with seed and data is least, in the order of that hash: so any beginning is random as well.

    Args:
        data: file name → SHA-256.
        rows: how many there are in all.
        size: how many to draw; all of them when there are fewer.
        seed: another number gives another sample.
    """
    base = digest_of([seed, *sorted(data.values())])

    def rank(number: int) -> bytes:
        return hashlib.sha256(f"{base}:{number}".encode()).digest()

    return Sample(data=data, seed=seed, rows=rows, numbers=tuple(heapq.nsmallest(size, range(rows), key=rank)))


def draw_rows(config: Config, size: int, seed: int = 0, emit: Emit = ignore) -> tuple[Sample, dict[int, Example]]:
    """A sample of the rows of a configuration, and its rows by number.

    Raises:
        DataError: a row cannot be read.
    """
    examples: Spool[Example] = Spool(Example)
    data = {}
    for spec in config.datasets:
        data[Path(spec.path).name] = content_digest(Path(spec.path))
        for example in read(spec, ticking(emit, f"reading {Path(spec.path).name}")):
            examples.append(example)
    sample = draw(data, len(examples), size, seed)
    return sample, {number: examples[number] for number in sample.numbers}


def upper_bound(wrong: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Clopper and Pearson: no larger rate would give so few errors with probability above 1 − confidence."""
    from scipy.stats import beta

    return 1.0 if wrong >= n else float(beta.ppf(confidence, wrong + 1, n - wrong))


def lower_bound(wrong: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The same from below."""
    from scipy.stats import beta

    return 0.0 if wrong <= 0 else float(beta.ppf(1 - confidence, wrong, n - wrong + 1))


def kappa(pairs: Sequence[tuple[Mark, Mark]]) -> float | None:
    """Agreement beyond chance, 1 at most; None where chance alone explains all: one and the same mark throughout."""
    n = len(pairs)
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(left[mark] * right[mark] for mark in left) / n**2 if n else 1.0
    equal = sum(a == b for a, b in pairs) / n if n else 1.0
    return None if chance == 1.0 else (equal - chance) / (1 - chance)


def result(sample: Sample, decisions: Iterable[Decision]) -> AuditResult:
    """The error rate with its bounds, and how far the reviewers agree."""
    marks: dict[int, dict[str, Mark]] = {}
    for decision in decisions:
        marks.setdefault(decision.row, {})[decision.reviewer] = decision.mark
    wrong = [row for row, given in marks.items() if set(given.values()) != {"good"}]
    unclear = [row for row in wrong if "bad" not in marks[row].values()]
    read, names = len(marks), Counter(name for given in marks.values() for name in given)
    agreements = tuple(_agreement(marks, pair) for pair in combinations(sorted(names), 2))
    figures = {
        "rate": len(wrong) / read if read else None,
        "low": lower_bound(len(wrong), read) if read else None,
        "high": upper_bound(len(wrong), read) if read else None,
    }
    return AuditResult(
        sample=sample.id,
        rows=sample.rows,
        wanted=len(sample.numbers),
        read=read,
        wrong=len(wrong),
        unclear=len(unclear),
        wrong_by_all=sum(set(given.values()) == {"bad"} for given in marks.values()),
        **figures,
        reviewers=dict(sorted(names.items())),
        agreements=agreements,
        sentence=_sentence(len(wrong), read, figures["high"], agreements),
    )


def _agreement(marks: Mapping[int, Mapping[str, Mark]], names: tuple[str, str]) -> Agreement:
    both = [(given[names[0]], given[names[1]]) for given in marks.values() if set(names) <= given.keys()]
    return Agreement(
        reviewers=names, rows=len(both), equal=sum(a == b for a, b in both), kappa=kappa(both) if both else None
    )


def _sentence(wrong: int, read: int, high: float | None, agreements: Sequence[Agreement]) -> str:
    """The result in words. Reviewers who disagree say something about the instructions, not about the data."""
    if not read or high is None:
        return "not measured: no row was read"
    said = f"{wrong} of {read} rows are wrong: with 95 % confidence at most {high:.1%} of the data"
    low = [a for a in agreements if a.kappa is not None and a.kappa < AGREEMENT_NEEDED]
    if low:
        pair, worst = low[0].reviewers, min(a.kappa for a in low if a.kappa is not None)
        who = f"{pair[0]} and {pair[1]}"
        return f"instructions unclear: {who} agree too little (kappa {worst:.2f}) to call the data good or bad. {said}"
    if not any(a.rows for a in agreements):
        return f"{said}; agreement not measured: one reviewer"
    return said


# ---------------------------------------------------------------- journals


def begin(journal: Path, sample: Sample) -> None:
    """Make the journal of a sample; one that is there must be of the same sample.

    Raises:
        DataError: the journal belongs to another sample.
    """
    if not journal.is_file():
        store.append_line(journal, json.dumps({"sample": sample.model_dump(mode="json")}))
        return
    found, _ = read_journal(journal)
    if found is None or found.id != sample.id:
        raise DataError(
            "the journal belongs to another sample",
            where=str(journal),
            rule="a journal is about one sample of one state of the data",
            fix="give another --journal, or the data, --n and --seed that it was begun with",
        )


def decide_row(journal: Path, decision: Decision) -> None:
    """Add a decision; it is on the disk when this returns."""
    store.append_line(journal, decision.model_dump_json())


def read_journal(path: Path) -> tuple[Sample | None, list[Decision]]:
    """The sample and the decisions of a journal, or of a file that the page saved. A line cut short is left out.

    Raises:
        DataError: no such file, or one that is no journal.
    """
    if not path.is_file():
        raise DataError(
            "there is no such journal",
            where=str(path),
            rule="--result reads journals, and files that the page saved",
            fix="review rows first: tunesmith data audit FILE --reviewer NAME",
        )
    sample, decisions = None, []
    for number, value in _values(path):
        try:
            if "sample" in value and isinstance(value["sample"], dict):
                sample = Sample.model_validate(value["sample"])
            else:
                decisions.append(Decision.model_validate(value))
        except ValidationError as error:
            raise _no_journal(path, number) from error
    return sample, decisions


def _values(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """(line, object) of a journal; of the page's file, the sample and then each decision."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith('{"audit"'):
        try:
            page = json.loads(text)["audit"]
            yield from enumerate([{"sample": page["sample"]}, *page["decisions"]], start=1)
        except (ValueError, KeyError, TypeError) as error:
            raise _no_journal(path, 1) from error
        return
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines) and not line.endswith("\n"):
                return  # the process died while it wrote this line
            raise _no_journal(path, number) from error
        if not isinstance(value, dict):
            raise _no_journal(path, number)
        yield number, value


def _no_journal(path: Path, line: int) -> DataError:
    return DataError(
        "this is no line of an audit journal",
        where=f"{path}:{line}",
        rule="a journal begins with its sample, and goes on with one decision a line",
        fix="give the .audit.jsonl file, or the file that the page saved",
    )


def gather(paths: Sequence[Path]) -> tuple[Sample, list[Decision]]:
    """Sample and decisions of several journals of one sample.

    Raises:
        DataError: they are of different samples, or none names its sample.
    """
    sample: Sample | None = None
    decisions: list[Decision] = []
    for path in paths:
        found, given = read_journal(path)
        if sample is not None and found is not None and found.id != sample.id:
            raise DataError(
                "the journals are about different samples",
                where=str(path),
                rule="rates are computed over one sample",
                fix="give journals of one sample together, others by themselves",
            )
        sample = sample or found
        decisions += given
    numbers = set(sample.numbers) if sample else set()
    if sample is None or any(d.sample != sample.id or d.row not in numbers for d in decisions):
        raise DataError(
            "a decision is about no row of the sample",
            where=", ".join(map(str, paths)),
            rule="every decision names the sample that it belongs to",
            fix="give the journals as they were written",
        )
    return sample, decisions


def undecided(sample: Sample, decisions: Iterable[Decision], reviewer: str) -> list[int]:
    """The rows that a reviewer has not judged yet, in the order of the sample."""
    done = {decision.row for decision in decisions if decision.reviewer == reviewer}
    return [number for number in sample.numbers if number not in done]


def texts(example: Example) -> list[tuple[str, str]]:
    """(who, what) of every turn of a row, for reading."""
    if example.is_document:
        return [("text", example.target.text)]
    calls = [[f"{call.name}({call.arguments})" for call in message.tool_calls] for message in example.conversation]
    return [
        (message.role, "\n".join(filter(None, (message.text, *called))))
        for message, called in zip(example.conversation, calls, strict=True)
    ]
