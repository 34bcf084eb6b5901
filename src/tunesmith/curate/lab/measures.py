"""How findings are held against what was planted: by row, by group of copies, by leaking pair."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.core.records import Example, Finding
from tunesmith.curate.corpus import Row
from tunesmith.curate.lab.copies import Copied
from tunesmith.curate.lab.leaked import Leaked
from tunesmith.curate.lab.planted import Measured, Planted, measured

SAID = {
    "verbatim": "word for word",
    "answer": "its answer stands under another question",
    "options": "with the options in another order",
    "run": "words in a row of its question",
}
"""Kind of leak → what the finding must say about it."""


def true_jaccard(a: Example, b: Example, gram: int = 5, short: int = 20) -> float:
    """Jaccard of the 5-grams of two rows as it is defined: of words, or of characters in texts under 20 words."""
    texts = Row(0, a).whole, Row(0, b).whole
    by_words = min(len(text.split()) for text in texts) >= short
    one, other = (_grams(text.split(" ") if by_words else text, gram) for text in texts)
    return len(one & other) / len(one | other)


def _grams(parts: Sequence[str], gram: int) -> set[object]:
    return {tuple(parts[i : i + gram]) for i in range(max(1, len(parts) - gram + 1))}


def groups(findings: Sequence[Finding], rows: Sequence[Example]) -> list[set[int]]:
    """Numbers of the rows of each finding."""
    numbers = {example.source: number for number, example in enumerate(rows)}
    return [{numbers[found.source], *(numbers[source] for source in found.others)} for found in findings]


def by_row(planted: Planted, findings: Sequence[Finding]) -> Measured:
    """Rows at which something that counts is reported."""
    return measured(planted, [found for found in findings if found.severity != "info"])


def by_all_rows(planted: Planted, findings: Sequence[Finding]) -> Measured:
    """Rows that a finding is about, its other rows too."""
    reported = set().union(*groups(findings, planted.rows)) if findings else set[int]()
    return Measured(len(planted.truth), len(reported & set(planted.truth)), len(reported - set(planted.truth)))


def by_copy(planted: Copied, findings: Sequence[Finding]) -> Measured:
    """Copies that stand in one group with their original; a false alarm is any other row in a group."""
    return _copies(planted, findings, list(planted.original))


def by_near_copy(planted: Copied, findings: Sequence[Finding]) -> Measured:
    """The same for the copies whose true Jaccard is 0.85 or more; a false alarm is a row below 0.80 to all others."""
    rows = planted.rows
    values = {copy: true_jaccard(rows[copy], rows[of]) for copy, of in planted.original.items()}
    close = [copy for copy, value in values.items() if 0.85 <= value < 1.0]
    found = groups(findings, rows)
    hits = sum(any({copy, planted.original[copy]} <= group for group in found) for copy in close)
    apart = sum(
        max(true_jaccard(rows[i], rows[j]) for j in group if j != i) < 0.80 for group in found for i in sorted(group)
    )
    return Measured(len(close), hits, apart)


def _copies(planted: Copied, findings: Sequence[Finding], wanted: Sequence[int]) -> Measured:
    found = groups(findings, planted.rows)
    hits = sum(any({copy, planted.original[copy]} <= group for group in found) for copy in wanted)
    reported = set().union(*found) if found else set[int]()
    return Measured(len(wanted), hits, len(reported - set(planted.original) - set(planted.original.values())))


def by_leak(planted: Leaked, findings: Sequence[Finding]) -> Measured:
    """Leaks that are found for what they are, with the training row that does it."""
    at = {found.source: found for found in findings}
    hits = 0
    for number, by in planted.by.items():
        found = at.pop(planted.rows[number].source, None)
        culprit = planted.rows[by].source
        hits += bool(found and SAID[planted.kind] in found.message and culprit in found.others)
    return Measured(len(planted.by), hits, len(at))


def by_shared_question(planted: Leaked, findings: Sequence[Finding]) -> Measured:
    """Test rows whose question stands in training."""
    return measured(Planted(planted.rows, dict.fromkeys(planted.by, planted.kind)), findings)


def first_k(planted: Planted, findings: Sequence[Finding]) -> Measured:
    """Of as many findings as there are faults, the first ones: how many are right."""
    return measured(planted, findings[: len(planted.truth)])


def once(planted: Planted, findings: Sequence[Finding]) -> Measured:
    """One fault of the whole data set: it is reported, or nothing is."""
    counting = len([found for found in findings if not found.source.line or found.severity != "info"])
    return Measured(len(planted.truth), min(counting, len(planted.truth)), max(0, counting - len(planted.truth)))
