"""The form of the answers: a given JSON schema, pattern or list of headings, or what most answers have in common.

A form that is given is a promise: answers that break it are errors as long as fewer than 99 % keep to it, since the
model would learn the exceptions. A form that is inferred is a guess from the rows, and breaking it is never more than a
warning.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import Field, field_validator

from tunesmith.core.errors import ConfigError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding, Record, Severity
from tunesmith.core.stats import wilson_interval
from tunesmith.curate.checks.observe import EVIDENCE, Outcome, Setting, finding
from tunesmith.curate.checks.patterns import Form, Given, Inferred, Violation
from tunesmith.curate.checks.values import listed
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.reading.place import count

FORM = "form of the answers"

_TICK = 256


class FormOptions(Record):
    """What every answer must look like."""

    json_schema: dict[str, Any] | str | None = Field(
        default=None, description="JSON schema of the answers, or the path of a file with one."
    )
    pattern: str = Field(default="", description="Regular expression that every answer must match as a whole.")
    sections: tuple[str, ...] = Field(
        default=(), description="Headings that every answer must have, in this order, each at the start of a line."
    )
    conformance: float = Field(
        default=0.99, ge=0, le=1, description="Share of answers that must keep to a given form; below, training stops."
    )
    infer: bool = Field(default=True, description="Without a given form, look for one that most answers have.")

    @field_validator("pattern")
    @classmethod
    def _is_expression(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"the pattern {pattern!r} is no regular expression: {error}",
                where="checks.form.pattern",
                rule="a pattern is a regular expression as Python's re has it",
                fix="correct it; a backslash before ( [ { . * + ? ^ $ | means the character itself",
            ) from error
        return pattern


class FormOfAnswers:
    """Answers that break the form: one finding for each, with every place and rule."""

    def __init__(self, setting: Setting) -> None:
        options = setting.options.form
        given = Given.of(options.json_schema, options.pattern, options.sections)
        self._options, self._given = options, given is not None
        self._form: Form | None = given or (Inferred() if options.infer else None)
        self._numbers = array("Q")
        self._broken = array("Q")

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone: how serious it is shows in the end."""
        target = row.example.target
        if self._form and target.kind != "document" and target.message.text.strip():
            self._numbers.append(row.number)
            if self._form.look(target.message.text):
                self._broken.append(row.number)
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """The answers that break the form, and the share that keeps to it."""
        if self._form is None or not self._numbers:
            return Outcome(not_checked="no form is given" if self._form is None else "there are no answers in words")
        rules = self._form.settle()
        if not rules:
            return Outcome(not_checked="no form is given, and the answers have none in common")
        numbers = self._broken if self._given else self._numbers
        found = list(self._violations(numbers, corpus, progress))
        total, share = len(self._numbers), 1 - len(found) / len(self._numbers)
        interval = wilson_interval(total - len(found), total)
        figures = {
            "form": "given" if self._given else "inferred",
            "rules": rules,
            "answers": total,
            "violations": len(found),
            "conformance": share,
            "conformance_interval": [interval.low, interval.high],
        }
        enough = share >= self._options.conformance
        severity: Severity = "error" if self._given and not enough else "warning"
        findings = [self._finding(corpus[number], violations, severity) for number, violations in found]
        gate = [self._gate(corpus[found[0][0]], total - len(found))] if severity == "error" else []
        return Outcome([*gate, *findings], figures=figures)

    def _violations(
        self, numbers: Sequence[int], corpus: Corpus, progress: Progress | None
    ) -> Iterator[tuple[int, list[Violation]]]:
        assert self._form is not None
        for done, number in enumerate(numbers):
            violations = self._form.violations(corpus[number].example.target.text)
            if violations:
                yield number, violations
            if progress and done % _TICK == 0:
                progress(done, len(numbers))

    def _gate(self, row: Row, good: int) -> Finding:
        total = len(self._numbers)
        interval = wilson_interval(good, total)
        message = (
            f"{good} of {count(total, 'answer')} keep to the given form: {good / total:.1%} (95 % interval "
            f"{interval.low:.1%} to {interval.high:.1%}), at least {self._options.conformance:.0%} must"
        )
        fix = "correct the answers that are listed, or lower checks: {form: {conformance: …}}"
        return finding(FORM, "error", message, row.example, fix)

    def _finding(self, row: Row, violations: Sequence[Violation], severity: Severity) -> Finding:
        places = Counter(f"{place}: {rule}" for place, rule in violations)
        evidence = "; ".join(places)
        return finding(
            FORM,
            severity,
            f"the answer breaks {'the given form' if self._given else 'the form of the others'} at {listed(places, 4)}",
            row.example,
            "correct the answer"
            if self._given
            else "correct the answer, or give the form that is meant (checks: form)",
            evidence=evidence if len(evidence) <= EVIDENCE else evidence[: EVIDENCE - 1] + "…",
        )
