"""Every check against planted faults: what was planted, what was found, what was reported beside it."""

from __future__ import annotations

import random
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence

from tunesmith.core.events import Emit, Tick, ignore
from tunesmith.core.records import Example, Record
from tunesmith.curate.checks.observe import Setting
from tunesmith.curate.checks.options import Checks
from tunesmith.curate.checks.table import CHECKS, inspect
from tunesmith.curate.corpus import Row
from tunesmith.curate.lab.planted import Measured, numbered, row
from tunesmith.curate.lab.trials import NOT_TRIED, TRIALS, Trial

FEWEST, MOST = 200, 1000
"""Rows of one's own that are needed, and that are used at most."""

_WORDS = 25


class TrialResult(Record):
    """What one trial gave. ``ok`` is None when it was not tried; ``why`` says why, or what does not hold.

    ``false_alarms`` is None where nobody knows: rows of one's own may have had faults before.
    """

    check: str
    what: str
    rows: int = 0
    planted: int = 0
    found: int = 0
    false_alarms: int | None = 0
    recall: float | None = None
    """Least share of the planted faults that must be found."""
    precision: float | None = None
    """Least share of the reports that must be right."""
    own_rows: bool = False
    ok: bool | None = None
    why: str = ""

    @property
    def must(self) -> str:
        """The threshold in words."""
        if self.recall is None:
            return ""
        found = "all found" if self.recall == 1.0 else f"{self.recall:.0%} found"
        if self.precision is None or self.false_alarms is None:
            return found
        right = "no false alarm" if self.precision == 1.0 else f"{self.precision:.0%} of the reports right"
        return f"{found}, {right}"


def selftest(seed: int = 0, own: Iterable[Example] = (), emit: Emit = ignore) -> list[TrialResult]:
    """The result of every trial, in the order of the table of checks.

    Args:
        seed: everything that is drawn follows from it.
        own: rows of one's own, into which is planted wherever any question with an answer will do.
        emit: receives progress.
    """
    mine = plantable(own, seed)
    order = {kind.name: place for place, kind in enumerate(CHECKS)}
    results = [TrialResult(check=check, what="", why=why) for check, why in NOT_TRIED.items()]
    for done, trial in enumerate(TRIALS):
        results.append(_tried(trial, seed, mine))
        emit(Tick(task="planting faults", done=done + 1, total=len(TRIALS)))
    return sorted(results, key=lambda result: order[result.check])


def plantable(own: Iterable[Example], seed: int = 0) -> list[Example]:
    """At most 1,000 different questions with their answers, 25 words or more together, drawn from rows of one's own."""
    plain = {}
    for example in own:
        if not example.is_document and example.messages and example.target.text.strip():
            asked = Row(0, example).asked
            if len(f"{asked} {example.target.text}".split()) >= _WORDS:
                plain[asked] = row(asked, example.target.text)
    rows = [plain[asked] for asked in sorted(plain)]
    return numbered(random.Random(seed).sample(rows, min(MOST, len(rows))))


def _tried(trial: Trial, seed: int, mine: Sequence[Example]) -> TrialResult:
    """Plant, check, count."""
    rng = random.Random(zlib.crc32(f"{seed} {trial.check} {trial.what}".encode()))
    own = trial.own and bool(mine)
    planted = trial.plant(mine if own else trial.rows(rng), rng)
    setting = Setting(Checks(**trial.options), has_splits=any(example.split for example in planted.rows))
    seen = inspect(planted.rows, setting, only={trial.check})
    counted = trial.judge(planted, [found for found in seen.findings if found.check == trial.check])
    failing = _failing(trial, counted, own)
    return TrialResult(
        check=trial.check,
        what=trial.what,
        rows=len(planted.rows),
        planted=counted.planted,
        found=counted.found,
        false_alarms=None if own else counted.false_alarms,
        recall=trial.recall,
        precision=trial.precision,
        own_rows=own,
        ok=not failing,
        why=failing,
    )


def _failing(trial: Trial, counted: Measured, own: bool) -> str:
    """What does not hold; empty when all does."""
    if not counted.planted:
        return "nothing could be planted"
    if trial.recall is not None and counted.recall < trial.recall:
        return f"{counted.recall:.1%} found"
    if not own and trial.precision is not None and counted.precision < trial.precision:
        return f"{counted.precision:.1%} of the reports are right"
    return ""


def to_markdown(results: Sequence[TrialResult]) -> str:
    """The table as a page of the documents."""
    return "\n".join(_lines(results))


def _lines(results: Sequence[TrialResult]) -> Iterator[str]:
    yield "<!-- Written by `tunesmith data selftest --page`. Changes by hand are lost. -->"
    yield ""
    yield "# What the checks find"
    yield ""
    yield "Faults are planted into clean rows; each check, called as `tunesmith data check` calls it, must find them."
    yield "The rows are paragraphs of the manual in Python's standard library and rows of an invented shop; all is"
    yield "drawn from one seed. `tunesmith data selftest` repeats it on your machine, with `--rows FILE` on your rows."
    yield f"Paragraphs differ with the version of Python: these are of Python {version()}."
    yield ""
    yield "| check | planted fault | rows | planted | found | false alarms | must hold |"
    yield "|---|---|---:|---:|---:|---:|---|"
    for one in results:
        if one.ok is None:
            yield f"| {one.check} | | | | | | not tried: {one.why} |"
        else:
            kept = "" if one.ok else f" — **fails: {one.why}**"
            counts = f"{one.rows:,} | {one.planted:,} | {one.found:,} | {one.false_alarms}"
            yield f"| {one.check} | {one.what} | {counts} | {one.must}{kept} |"
    yield ""
    yield "“Not tried” is neither good nor bad: it was not measured. A false alarm is a clean row that is reported."
    yield ""


def version() -> str:
    """Version of Python whose manual the rows come from."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
