"""Different answers to one question: the model can learn only one of them.

Rows are put together when their questions are equal but for case, white space, punctuation at the ends of words, and
words of politeness. What counts as a contradiction is decided in ``answers``; answers that only read differently are
listed without judgement, since several may be right. When more than 2 % of the questions have contradictory answers,
the data are refused until they are corrected or the finding is waived by name.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

from pydantic import Field

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Example, Finding, Record
from tunesmith.core.stats import wilson_interval
from tunesmith.curate.checks.answers import ALIKE, Difference, canonical, difference, wording
from tunesmith.curate.checks.labelset import LabelCounts
from tunesmith.curate.checks.observe import EVIDENCE, Outcome, Setting, finding, places, put_aside
from tunesmith.curate.checks.values import word_set
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.keys import normalise

CONFLICTS = "conflicting answers"

MOST_ANSWERS, MOST_WORDINGS = 8, 4
"""So many different answers to one question are compared for contradictions, and for wording; the rest is counted."""
MAJORITY = 3
"""So many rows must agree, and be three in four, before the others are proposed for quarantine."""

_POLITE = word_set("please pls kindly hi hello hey thanks alstublieft alsjeblieft svp graag bitte hallo merci bonjour")
_MARKS = re.compile(r"(?<!\d)[.,;:!?¿¡…\"“”„‘’]+|[.,;:!?¿¡…\"“”„‘’]+(?!\d)")


class ConflictOptions(Record):
    """Contradictory answers: when they stop training."""

    limit: float = Field(default=0.02, ge=0, le=1, description="Largest share of questions with contradictory answers.")
    chrf: float = Field(default=ALIKE, ge=0, le=100, description="chrF below which two texts are listed as different.")
    waive: str = Field(default="", description="Why contradictory answers may stand; the reason is recorded.")


class Conflicts:
    """Questions that stand more than once with different answers: one finding for each."""

    def __init__(self, setting: Setting) -> None:
        self._options = setting.options.conflicts
        self._labels = LabelCounts()
        self._numbers, self._questions, self._exact, self._rows = array("Q"), array("Q"), array("Q"), array("Q")

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone."""
        if row.example.is_document or not row.example.messages:
            return ()
        self._labels.add(row.answer)
        self._numbers.append(row.number)
        self._questions.append(loose_key(row.example))
        self._exact.append(int(row.prompt_key[:16], 16))
        self._rows.append(int(row.row_key[:16], 16))
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """The questions, by their first row, and whether they are too many."""
        if not self._numbers:
            return Outcome(not_checked="no row has a question")
        questions = len(set(self._questions))
        groups = self._repeated()
        labels = self._labels.labels is not None
        findings, contradictory = [], 0
        for done, group in enumerate(groups):
            found = self._judge(group, corpus, labels)
            findings += [found] if found else []
            contradictory += bool(found and found.severity == "warning")
            if progress and done % 64 == 0:
                progress(done, len(groups))
        interval = wilson_interval(contradictory, questions)
        gate = self._gate(findings, contradictory, questions) if contradictory else []
        figures = {
            "questions": questions,
            "asked_more_than_once": len(groups),
            "contradictory": contradictory,
            "rate": contradictory / questions,
            "rate_interval": [interval.low, interval.high],
            "different_wording": len(findings) - contradictory,
        }
        return Outcome([*gate, *findings], figures=figures)

    def _repeated(self) -> list[list[int]]:
        """Positions of the rows of each question that has more than one answer, by first row."""
        import numpy as np

        questions = np.frombuffer(self._questions, np.uint64)
        order = np.argsort(questions, kind="stable")
        starts = np.flatnonzero(np.diff(questions[order], prepend=questions[order[:1]] + np.uint64(1)))
        groups = (order[a:b] for a, b in zip(starts, [*starts[1:], len(order)], strict=True) if b - a > 1)
        rows = np.frombuffer(self._rows, np.uint64)
        several = [group.tolist() for group in groups if len(np.unique(rows[group])) > 1]
        return sorted(several, key=lambda group: group[0])

    def _judge(self, group: Sequence[int], corpus: Corpus, labels: bool) -> Finding | None:
        """The finding about one question; None when its answers say the same."""
        firsts: dict[int, int] = {}
        for position in group:
            firsts.setdefault(self._rows[position], position)
        forms: dict[str, list[int]] = {}
        texts: dict[str, Row] = {}
        copies = Counter(self._rows[position] for position in group)
        counts: Counter[str] = Counter()
        for key, position in firsts.items():
            row = corpus[self._numbers[position]]
            form = repr(canonical(row.answer))
            texts.setdefault(form, row)
            counts[form] += copies[key]
            forms.setdefault(form, []).extend(p for p in group if self._rows[p] == key)
        if len(forms) < 2:
            return None
        compared = [row.answer for row in list(texts.values())[:MOST_ANSWERS]]
        seen = next(filter(None, (difference(a, b, labels=labels) for a, b in combinations(compared, 2))), None)
        seen = seen or next(
            filter(None, (wording(compared[0], text, self._options.chrf) for text in compared[1:MOST_WORDINGS])), None
        )
        if seen is None:
            return None
        exact = len({self._exact[position] for position in group}) == 1
        return _finding(list(texts.values()), seen, exact, self._minority(forms, counts, corpus))

    def _minority(self, forms: dict[str, list[int]], counts: Counter[str], corpus: Corpus) -> list[Row]:
        """The rows that differ from what most rows say; none where no answer has a clear majority."""
        (first, most), *_ = counts.most_common(1)
        if most < MAJORITY or most < 0.75 * counts.total():
            return []
        return [corpus[self._numbers[p]] for form, positions in forms.items() if form != first for p in positions]

    def _gate(self, findings: Sequence[Finding], contradictory: int, questions: int) -> Iterator[Finding]:
        """The error that stops training when too many questions contradict themselves."""
        low, high = wilson_interval(contradictory, questions)
        if contradictory <= self._options.limit * questions:
            return
        first = next(found for found in findings if found.severity == "warning")
        message = (
            f"{contradictory} of {questions} questions have contradictory answers: {contradictory / questions:.1%} "
            f"(95 % interval {low:.1%} to {high:.1%}), at most {self._options.limit:.0%} may"
        )
        fix = "correct the rows, or say why they may stand: checks: {conflicts: {waive: the reason}}"
        if self._options.waive:
            yield first.model_copy(
                update=_gate_fields("info", f"{message}; waived: {self._options.waive}", "nothing, it is recorded")
            )
        else:
            yield first.model_copy(update=_gate_fields("error", message, fix))


def _gate_fields(severity: str, message: str, fix: str) -> dict[str, Any]:
    return {"severity": severity, "message": message, "fix": fix, "evidence": "", "others": (), "action": None}


def _finding(rows: list[Row], seen: Difference, exact: bool, minority: list[Row]) -> Finding:
    sources = [row.example.source for row in rows]
    question = "the same question has" if exact else "one question, worded almost alike, has"
    if seen.certain:
        message = f"{question} {len(rows)} answers that contradict each other ({seen.kind}): {places(sources)}"
        fix = "keep the right answer, and put the rows with the others aside"
    else:
        message = f"{question} {len(rows)} different answers: {places(sources)}"
        fix = "keep the right answer, unless several are right"
    return finding(
        CONFLICTS,
        "warning" if seen.certain else "info",
        message,
        rows[0].example,
        fix,
        evidence=seen.text[:EVIDENCE],
        others=tuple(sources[1:]),
        action=put_aside(*(row.example.source for row in minority)) if minority and seen.certain else None,
    )


def loose_key(example: Example) -> int:
    """64-bit hash of the question without case, white space, marks and words of politeness."""
    parts = []
    for message in example.messages:
        words = _MARKS.sub(" ", normalise(message.text)).split()
        kept = [word for word in words if word not in _POLITE] or words
        calls = [f"{call.name}({normalise(call.arguments)})" for call in message.tool_calls]
        parts.append(" ".join((message.role, *kept, *calls)))
    parts += [str(sorted(map(repr, example.tools)))] if example.tools else []
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest())
