"""The table of checks, and the few passes over the rows that serve them all.

A check that cannot run says "not checked", never "passed". Errors stop training; warnings do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.core.artifacts import Check
from tunesmith.core.beside import Beside
from tunesmith.core.cores import choose_threads
from tunesmith.core.events import Emit, Tick, ignore
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Example, Finding
from tunesmith.curate.checks.conflicts import CONFLICTS, Conflicts
from tunesmith.curate.checks.controls import CONTROL, ControlTokens
from tunesmith.curate.checks.diversity import DIVERSITY, REPRESENTATIVE, Diversity, LikeProduction
from tunesmith.curate.checks.duplicates import COPIES, NEAR, Copies, NearDuplicates
from tunesmith.curate.checks.faithful import FAITHFUL, Unfaithful
from tunesmith.curate.checks.form import FORM, FormOfAnswers
from tunesmith.curate.checks.kept import Kept, Seen, from_lines, to_lines
from tunesmith.curate.checks.labels import LABELS, LabelErrors
from tunesmith.curate.checks.lengths import (
    RENDERING,
    TOO_LONG,
    TRAINED,
    Lengths,
    Rendering,
    TokenCounts,
    Trained,
    token_counts,
    too_long,
)
from tunesmith.curate.checks.observe import Observer, Outcome, Setting
from tunesmith.curate.checks.overlap import CONTAMINATION, OVERLAP, Contamination, Overlap
from tunesmith.curate.checks.privacy import PERSONAL, SECRETS, Personal, Secrets, detector_of
from tunesmith.curate.checks.quotes import Quotes
from tunesmith.curate.checks.semantic import SEMANTIC, SemanticDuplicates
from tunesmith.curate.checks.style import STYLE, Style
from tunesmith.curate.checks.synthetic import SYNTHETIC, SyntheticShare
from tunesmith.curate.checks.tools import TOOLS, ToolCalls
from tunesmith.curate.checks.turns import (
    EMPTY_ANSWERS,
    EMPTY_QUESTIONS,
    ROLE_ORDER,
    each_row,
    empty_answers,
    empty_questions,
    wrong_order,
)
from tunesmith.curate.corpus import Corpus
from tunesmith.curate.measure import measure
from tunesmith.curate.personal.detector import Detector
from tunesmith.curate.reading.place import count

_TICK = 256

MANY = 5000
"""Rows from which a second process is worth its start."""


@dataclass(frozen=True)
class CheckKind:
    """A line of the table: the name of a check, how it begins, and whether it also runs before every training."""

    name: str
    begin: Callable[[Setting], Observer]
    before_training: bool = True
    part: str = "rows"
    """The pass over the rows that serves it (`PARTS`)."""


PARTS = {
    "rows": "checking rows",
    "personal": "searching rows",
    "leaks": "comparing splits",
    "copies": "comparing rows",
    "answers": "reading answers",
}
"""The passes over the rows, in order, and their names for people."""

BESIDE = frozenset({"copies", "answers"})
"""The passes of the second process, where there is one: they ask neither for splits nor for tokens."""

CHECKS: tuple[CheckKind, ...] = (
    CheckKind(COPIES, Copies),
    CheckKind(NEAR, NearDuplicates, before_training=False, part="copies"),
    CheckKind(SEMANTIC, SemanticDuplicates, before_training=False, part="copies"),
    CheckKind(CONFLICTS, Conflicts),
    CheckKind(EMPTY_ANSWERS, each_row(empty_answers)),
    CheckKind(EMPTY_QUESTIONS, each_row(empty_questions)),
    CheckKind(ROLE_ORDER, each_row(wrong_order)),
    CheckKind(TOOLS, ToolCalls),
    CheckKind(CONTROL, ControlTokens),
    CheckKind(RENDERING, Rendering),
    CheckKind(TRAINED, Trained),
    CheckKind(TOO_LONG, Lengths),
    CheckKind(OVERLAP, Overlap),
    CheckKind(PERSONAL, Personal, part="personal"),
    CheckKind(SECRETS, Secrets, part="personal"),
    CheckKind(SYNTHETIC, SyntheticShare),
    CheckKind(DIVERSITY, Diversity, before_training=False),
    CheckKind(REPRESENTATIVE, LikeProduction, before_training=False),
    CheckKind(CONTAMINATION, Contamination, before_training=False, part="leaks"),
    CheckKind(FORM, FormOfAnswers),
    CheckKind(FAITHFUL, Unfaithful, before_training=False, part="answers"),
    CheckKind(LABELS, LabelErrors, before_training=False),
    CheckKind(STYLE, Style, before_training=False, part="answers"),
)


@dataclass(frozen=True)
class Inspection:
    """Everything that the checks found. ``left_out`` holds the ids of the rows that are dropped for their length."""

    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    figures: Mapping[str, Mapping[str, Any]]
    """Check → its numbers, for the report."""
    tokens: TokenCounts | None
    left_out: frozenset[str]


def inspect(
    examples: Sequence[Example],
    setting: Setting,
    emit: Emit = ignore,
    *,
    training: bool = False,
    only: Collection[str] | None = None,
    kept: Kept | None = None,
    beside: Beside[Seen] | None = None,
) -> Inspection:
    """Findings, the table of checks, and the token counts of the rows.

    Args:
        examples: the rows, in memory or in a file.
        setting: options, and the model's view of the rows; where there is a renderer and nothing was measured, the
            tokens are counted here.
        emit: receives progress.
        training: only the checks that run before every training.
        only: only the checks of these names.
        kept: what an earlier start finished, and where this one keeps what it finishes.
        beside: the checks that were begun `ahead`.
    """
    if beside is None:
        with ahead(examples, setting, training=training, only=only, kept=kept) as begun:
            return inspect(examples, setting, emit, training=training, only=only, kept=kept, beside=begun)
    kinds = _kinds(training, only)
    if setting.renderer and setting.measured is None:
        counted = measure(examples, setting.renderer, setting.max_length, _ticks(emit, "counting tokens"))
        setting = replace(setting, measured=counted)
    corpus = Corpus(examples)
    own = [kind for kind in kinds if kind.part not in BESIDE]
    for kind in own:  # options that cannot be followed are refused at once
        kind.begin(setting)
    mine, theirs = _passes(own, corpus, setting, emit, kept), beside.result(emit)
    found, outcomes = mine[0] | theirs[0], mine[1] | theirs[1]
    quotes = _quotes(corpus, found, outcomes, setting)
    findings = [quotes.finding(finding) for kind in kinds for finding in found[kind.name]]
    dropped = too_long(corpus, setting) if setting.on_too_long == "drop" else []
    return Inspection(
        findings=by_severity(findings),
        checks=tuple(_line(kind, found[kind.name], outcomes[kind.name], len(corpus)) for kind in kinds),
        figures={name: quotes.figures(name, outcome.figures) for name, outcome in outcomes.items() if outcome.figures},
        tokens=token_counts(setting.measured) if setting.measured else None,
        left_out=frozenset(corpus.examples[number].id for number in dropped),
    )


def ahead(
    examples: Sequence[Example],
    setting: Setting,
    *,
    training: bool = False,
    only: Collection[str] | None = None,
    kept: Kept | None = None,
) -> Beside[Seen]:
    """The checks that ask neither for splits nor for tokens, at work from now on; leave it as a context.

    Where rows are many and cores are more than one they run in a process of their own, else in `inspect`.
    """
    kinds = _kinds(training, only)
    apart, corpus = [kind for kind in kinds if kind.part in BESIDE], Corpus(examples)
    for kind in apart:  # refused here, where the caller sees it
        kind.begin(setting)
    can_fork = 0 < len(apart) < len(kinds) and len(corpus) >= MANY and choose_threads()[0] > 1
    return Beside(lambda tell: _passes(apart, corpus, setting, tell, kept), can_fork=can_fork)


def _kinds(training: bool, only: Collection[str] | None) -> list[CheckKind]:
    kinds = [kind for kind in CHECKS if kind.before_training or not training]
    return kinds if only is None else [kind for kind in kinds if kind.name in only]


def _quotes(
    corpus: Corpus, found: Mapping[str, list[Finding]], outcomes: Mapping[str, Outcome], setting: Setting
) -> Quotes:
    """What takes the values of rows out of the words of findings."""
    hits = {number for name in (PERSONAL, SECRETS) if name in outcomes for number in outcomes[name].rows}
    detector = detector_of(setting.options.personal, setting.tagger) if PERSONAL in outcomes else Detector()
    return Quotes(corpus, found, hits, detector)


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first, else in the same order."""
    rank = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(findings, key=lambda finding: rank[finding.severity]))


def _passes(kinds: Sequence[CheckKind], corpus: Corpus, setting: Setting, emit: Emit, kept: Kept | None) -> Seen:
    """Pass after pass over the rows; what an earlier start finished is taken from there."""
    found: dict[str, list[Finding]] = {}
    outcomes: dict[str, Outcome] = {}
    for part in PARTS:
        chosen = [kind for kind in kinds if kind.part == part]
        if not chosen:
            continue
        seen = _kept(kept, part, chosen)
        if seen is None:
            seen = _looked({kind.name: kind.begin(setting) for kind in chosen}, corpus, emit, PARTS[part])
            if kept:
                kept.keep(part, to_lines(seen))
        found |= seen[0]
        outcomes |= seen[1]
    return found, outcomes


def _kept(kept: Kept | None, part: str, kinds: Sequence[CheckKind]) -> Seen | None:
    """The results of a pass from an earlier start, if it finished this pass and they can be read."""
    lines = kept.part(part) if kept else None
    if lines is None:
        return None
    with suppress(ValueError, KeyError, StopIteration):
        seen = from_lines(lines)
        if set(seen[1]) == {kind.name for kind in kinds}:
            return seen
    return None


def _looked(observers: Mapping[str, Observer], corpus: Corpus, emit: Emit, task: str) -> Seen:
    """One pass over the rows, then each check's last word."""
    found: dict[str, list[Finding]] = {name: [] for name in observers}
    progress = _ticks(emit, task)
    for row in corpus:
        for name, observer in observers.items():
            found[name] += observer.see(row)
        if row.number % _TICK == 0 or row.number + 1 == len(corpus):
            progress(row.number + 1, len(corpus))
    outcomes = {}
    for name, observer in observers.items():
        outcome = observer.finish(corpus, _ticks(emit, f"checking: {name}"))
        found[name] += outcome.findings
        outcomes[name] = replace(outcome, findings=())
    return found, outcomes


def _ticks(emit: Emit, task: str) -> Progress:
    return lambda done, total: emit(Tick(task=task, done=done, total=total))


def _line(kind: CheckKind, findings: Sequence[Finding], outcome: Outcome, rows: int) -> Check:
    """What a check found, or why it did not run."""
    if not rows:
        return Check(name=kind.name, passed=None, detail="not checked: there are no rows")
    if outcome.not_checked:
        return Check(name=kind.name, passed=None, detail=f"not checked: {outcome.not_checked}")
    counts = Counter(finding.severity for finding in findings if finding.check == kind.name)
    words = ("error", "warning")
    parts = [count(counts[word], word) for word in words if counts[word]]  # type: ignore[index]
    notes = f"{count(counts['info'], 'note')} for information" if counts["info"] else ""
    detail = ", ".join(parts) or notes or f"nothing found in {count(rows, 'row')}"
    return Check(name=kind.name, passed=not counts["error"], detail=detail + outcome.remark)
