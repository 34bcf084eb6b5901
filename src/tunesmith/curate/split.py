"""Which rows train, which choose the best checkpoint, and which only the verdict sees.

The side of a row follows from its normalised question and the seed. Rows that hang together (`together`: equal and
near-duplicate questions, one group) stand on one side, that of the least of their questions. So the order of the rows
and the names of the files change nothing, and neither do rows that come later, unless they hang together with it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tunesmith.core.errors import DataError
from tunesmith.core.records import Example, Finding, Split
from tunesmith.curate.checks.near import Tell
from tunesmith.curate.config import Config, DatasetSpec
from tunesmith.curate.corpus import Chosen
from tunesmith.curate.reading.place import Place, shown
from tunesmith.curate.together import FEW, LARGEST, Together, together

SPLIT = "split"

WANTED: tuple[Split, ...] = ("train", "validation", "test")
"""The splits that a run needs. A vault is opened by name only."""


@dataclass(frozen=True)
class Assignment:
    """The split of every row, in order, and what has to be said about it."""

    splits: Sequence[Split]
    findings: tuple[Finding, ...] = ()
    apart: bool = False
    """Whether no question has a near duplicate in another split: all rows were split here, and none was too alike."""


def assign(examples: Sequence[Example], config: Config) -> Sequence[Split]:
    """The split of every row, in order: `place` without what it has to say."""
    return place(examples, config).splits


def place(examples: Sequence[Example], config: Config, tell: Tell | None = None) -> Assignment:
    """The split of every row, in order.

    Rows of a file with an explicit split stay there, and a split that a file provides is not carved from the others.
    Rows that hang together with rows of a training file train.

    Raises:
        DataError: no row has the column that ``group_by`` or ``split_by_time`` names, or a time cannot be read.
    """
    _require_columns(examples, config)
    validation, test = _shares(config)
    if not validation and not test:
        return Assignment([example.split or "train" for example in examples])
    loose = Chosen(examples, lambda example: example.split in (None, "train"))
    if all(example.split for example in loose):
        return Assignment([example.split or "train" for example in examples])
    parties = together(loose, tell)
    sides = _sides(loose, parties, config, validation, test)
    found = iter(parties.of)
    splits: list[Split] = []
    for example in examples:
        party = next(found) if example.split in (None, "train") else 0
        splits.append(example.split or sides[party])
    apart = len(loose) == len(examples) and not parties.loose and not parties.not_compared
    return Assignment(splits, tuple(_one_mould(parties, len(loose))), apart)


def _sides(
    rows: Sequence[Example], parties: Together, config: Config, validation: float, test: float
) -> Sequence[Split]:
    """The split of every party."""
    if config.split_by_time:
        sides = _by_time(rows, parties, config, validation, test)
    else:
        sides = [side(key, config.split_seed, validation, test) for key in parties.keys]
    for example, party in zip(rows, parties.of, strict=True):
        if example.split:
            sides[party] = "train"
    return sides


def _shares(config: Config) -> tuple[float, float]:
    """Shares of validation and test among the rows without a split of their own."""
    given = {spec.split for spec in config.datasets if spec.replay is None}
    if None not in given:
        return 0.0, 0.0
    return 0.0 if "validation" in given else config.val_size, 0.0 if "test" in given else config.test_size


def side(key: str, seed: int, validation: float, test: float) -> Split:
    """The split of a question: a point in [0, 1) from the hash of seed and key, test first, then validation."""
    point = _point(key, seed)
    if point < test:
        return "test"
    return "validation" if point < test + validation else "train"


def _point(key: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8], "big") / 2**64


def _one_mould(parties: Together, rows: int) -> list[Finding]:
    """That the rows are too much alike to be split by near duplicates."""
    if not parties.loose:
        return []
    message = (
        f"{parties.largest:,} of {rows:,} rows hang together as near duplicates of each other, more than "
        f"{max(LARGEST, FEW / rows):.0%}: they are of one mould, and are split by equal questions and groups alone"
    )
    fix = "name the column of what belongs together with group_by, or give a file of its own with split: test"
    return [Finding(check=SPLIT, severity="info", message=message, fix=fix)]


# ---------------------------------------------------------------- by time


def _by_time(rows: Sequence[Example], parties: Together, config: Config, validation: float, test: float) -> list[Split]:
    """The latest parties to test, those before to validation; a party is as late as its latest row."""
    latest = [float("-inf")] * len(parties.keys)
    size = array("q", bytes(8 * len(parties.keys)))
    kinds: set[bool] = set()
    for example, party in zip(rows, parties.of, strict=True):
        if not example.split:
            latest[party] = max(latest[party], _moment(example, config.split_by_time, kinds))
            size[party] += 1
    order = sorted(range(len(latest)), key=lambda i: (latest[i], _point(parties.keys[i], config.split_seed)))
    sides: list[Split] = ["train"] * len(latest)
    free = sum(size)
    wanted: list[tuple[Split, float]] = [("test", test * free), ("validation", validation * free)]
    for name, share in wanted:
        taken = 0
        while order and size[order[-1]] and taken < share:
            party = order.pop()
            sides[party] = name
            taken += size[party]
    return sides


def _moment(example: Example, column: str, kinds: set[bool]) -> float:
    """Seconds, or the number that stands there; all rows must have one kind."""
    place, value = Place(example.source.path, example.source.line), example.time.strip()
    try:
        moment, is_number = float(value), True
    except ValueError:
        try:
            date = datetime.fromisoformat(value)
        except ValueError:
            raise place.error(
                f"has no time that can be read: {shown(example.time)}" if value else "has no time",
                code="unreadable-time",
                field=column,
                rule="split_by_time needs a number or an ISO date (2026-03-31, 2026-03-31T17:05:00Z) in every row",
                fix="write the date in this form, or remove split_by_time",
            ) from None
        moment, is_number = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp(), False
    kinds.add(is_number)
    if len(kinds) > 1 or moment != moment:
        raise place.error(
            f"has another kind of time than the rows before it: {shown(example.time)}",
            code="two-kinds-of-time",
            field=column,
            rule="the times of all rows are numbers, or all are dates: they have to be put in order",
            fix="write all of them in one form",
        )
    return moment


def _require_columns(examples: Sequence[Example], config: Config) -> None:
    """Refuse a column name that no row has: a split by nothing would look like a split by groups."""
    for key, column, is_there in (
        ("group_by", config.group_by, lambda example: bool(example.group)),
        ("split_by_time", config.split_by_time, lambda example: bool(example.time)),
    ):
        if column and len(examples) and not any(map(is_there, examples)):
            raise DataError(
                f"no row has a value in the column {column!r}",
                where=key,
                rule=f"{key} names a column of the data files",
                fix=f"correct the name, or remove {key}",
                code="no-such-column",
            )


# ---------------------------------------------------------------- enough rows


def must_have_rows(examples: Sequence[Example], config: Config, judged: bool = True) -> None:
    """Refuse a split without rows: a run needs all three, the last for its verdict (where it is ``judged``).

    Raises:
        DataError: training, validation or test gets no row; the message says what would help.
    """
    validation, test = _shares(config)
    replayed = [spec for spec in config.datasets if spec.replay is not None]
    rows = Counter(example.split for example in examples if not any(comes_from(example, spec) for spec in replayed))
    empty = [name for name in WANTED if not rows[name] and (judged or name != "test")]
    if not empty:
        return
    parties = together(examples)
    fix = f"add rows, or give a file of its own: datasets: [{{path: …, split: {empty[-1]}}}]"
    options = [name for name, share in (("val_size", validation), ("test_size", test)) if share]
    if options:
        fix += f", or change {' and '.join(options)}"
        pinned = config.split_by_time or any(spec.split or spec.replay for spec in config.datasets)
        seed = None if pinned else _working_seed(parties.keys, validation, test, set(WANTED))
        fix += f"; for a first try with so few rows: split_seed: {seed}" if seed is not None else ""
    alike = (
        f", in {len(parties.keys)} parties of near duplicates or groups"
        if len(parties.keys) < parties.questions
        else ""
    )
    raise DataError(
        f"too few rows: {' and '.join(empty)} {'get' if len(empty) > 1 else 'gets'} none of {len(examples)} "
        f"(different questions: {parties.questions}{alike})",
        where="datasets",
        rule=f"{', '.join(WANTED)}: each needs at least one row; equal questions, near duplicates and groups stay "
        f"together (val_size {config.val_size:g}, test_size {config.test_size:g})",
        fix=fix,
    )


def comes_from(example: Example, spec: DatasetSpec) -> bool:
    """Whether a row stands in this file, or in a file of this folder."""
    path = example.source.path
    return path == spec.path or Path(path).parent == Path(spec.path)


def _working_seed(keys: Sequence[str], validation: float, test: float, wanted: set[Split]) -> int | None:
    """The first seed that gives every split a row, if one of the first 200 does."""
    for seed in range(200):
        if {side(key, seed, validation, test) for key in keys} >= wanted:
            return seed
    return None
