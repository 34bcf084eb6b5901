"""The table of checks, and the one pass over the rows that serves them all.

A check that cannot run says "not checked", never "passed". Errors stop training; warnings do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
from tunesmith.curate.checks.privacy import PERSONAL, SECRETS, Personal, Secrets
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
    beside: bool = False
    """Whether it runs in the second process, where there is one: about half of the work."""


CHECKS: tuple[CheckKind, ...] = (
    CheckKind(COPIES, Copies),
    CheckKind(NEAR, NearDuplicates, before_training=False, beside=True),
    CheckKind(SEMANTIC, SemanticDuplicates, before_training=False, beside=True),
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
    CheckKind(PERSONAL, Personal),
    CheckKind(SECRETS, Secrets),
    CheckKind(SYNTHETIC, SyntheticShare),
    CheckKind(DIVERSITY, Diversity, before_training=False),
    CheckKind(REPRESENTATIVE, LikeProduction, before_training=False),
    CheckKind(CONTAMINATION, Contamination, before_training=False, beside=True),
    CheckKind(FORM, FormOfAnswers),
    CheckKind(FAITHFUL, Unfaithful, before_training=False, beside=True),
    CheckKind(LABELS, LabelErrors, before_training=False),
    CheckKind(STYLE, Style, before_training=False, beside=True),
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
) -> Inspection:
    """Findings, the table of checks, and the token counts of the rows.

    Args:
        examples: the rows, in memory or in a file.
        setting: options, and the model's view of the rows; where there is a renderer and nothing was measured, the
            tokens are counted here.
        emit: receives progress.
        training: only the checks that run before every training.
        only: only the checks of these names.
    """
    kinds = [kind for kind in CHECKS if kind.before_training or not training]
    kinds = kinds if only is None else [kind for kind in kinds if kind.name in only]
    if setting.renderer and setting.measured is None:
        counted = measure(examples, setting.renderer, setting.max_length, _ticks(emit, "counting tokens"))
        setting = replace(setting, measured=counted)
    corpus = Corpus(examples)
    found, outcomes, quotes = _observe(kinds, corpus, setting, emit)
    findings = [quotes.finding(finding) for kind in kinds for finding in found[kind.name]]
    dropped = too_long(corpus, setting) if setting.on_too_long == "drop" else []
    return Inspection(
        findings=by_severity(findings),
        checks=tuple(_line(kind, found[kind.name], outcomes[kind.name], len(corpus)) for kind in kinds),
        figures={name: quotes.figures(name, outcome.figures) for name, outcome in outcomes.items() if outcome.figures},
        tokens=token_counts(setting.measured) if setting.measured else None,
        left_out=frozenset(corpus.examples[number].id for number in dropped),
    )


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first, else in the same order."""
    rank = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(findings, key=lambda finding: rank[finding.severity]))


_Seen = tuple[dict[str, list[Finding]], dict[str, Outcome]]
"""Findings and outcome of each check, by its name."""


def _observe(
    kinds: Sequence[CheckKind], corpus: Corpus, setting: Setting, emit: Emit
) -> tuple[dict[str, list[Finding]], dict[str, Outcome], Quotes]:
    """Findings and outcome of each check, by its name, and what takes the values of rows out of their words.

    Where rows are many and cores are more than one, half of the checks run in a process of their own.
    """
    apart = [kind for kind in kinds if kind.beside]
    own = [kind for kind in kinds if not kind.beside]
    can_fork = bool(apart) and bool(own) and len(corpus) >= MANY and choose_threads()[0] > 1
    for kind in apart:  # options that cannot be followed are refused here, where the caller sees it, and at once
        kind.begin(setting)

    def compare(tell: Emit) -> _Seen:
        return _looked(apart, {kind.name: kind.begin(setting) for kind in apart}, corpus, tell)

    observers = {kind.name: kind.begin(setting) for kind in own}
    with Beside(compare, can_fork=can_fork) as beside:
        found, outcomes = _looked(own, observers, corpus, emit)
        more_found, more_outcomes = beside.result(emit) if apart else ({}, {})
    return found | more_found, outcomes | more_outcomes, Quotes(corpus, found | more_found, observers)


def _looked(kinds: Sequence[CheckKind], observers: Mapping[str, Observer], corpus: Corpus, emit: Emit) -> _Seen:
    """One pass over the rows, then each check's last word."""
    found: dict[str, list[Finding]] = {kind.name: [] for kind in kinds}
    progress = _ticks(emit, "comparing rows" if kinds and kinds[0].beside else "checking rows")
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
