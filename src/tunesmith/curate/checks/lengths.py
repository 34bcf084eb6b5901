"""Checks of the tokens: what the chat template refuses, rows that train nothing, rows that are too long."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Example, Finding, Record
from tunesmith.curate.checks.observe import Outcome, Setting, finding
from tunesmith.curate.checks.turns import has_errors, is_trained
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.measure import Measured
from tunesmith.curate.reading.place import count

RENDERING = "chat template"
TRAINED = "trained tokens"
TOO_LONG = "row length"
CUT = "texts that are cut"

_NO_MODEL = "no model given"


class TokenCounts(Record):
    """Lengths of the rendered rows, in tokens."""

    rows: int
    total: int
    trained: int
    median: int
    longest: int


def token_counts(measured: Measured) -> TokenCounts | None:
    """Rows are as the files have them; the lengths are those of rows as they are trained."""
    longest = sorted(length for length in measured.longest if length)
    if not longest:
        return None
    return TokenCounts(
        rows=len(longest),
        total=sum(measured.tokens),
        trained=sum(measured.trained),
        median=longest[len(longest) // 2],
        longest=longest[-1],
    )


class Rendering:
    """Rows that the chat template refuses."""

    def __init__(self, setting: Setting) -> None:
        self._measured = setting.measured

    def see(self, row: Row) -> Iterable[Finding]:
        """Why the row cannot be rendered."""
        error = self._measured.problems.get(row.number) if self._measured else None
        if error is not None and not has_errors(row.example) and not _trains_nothing(row.example):
            yield finding(RENDERING, "error", error.what, row.example, error.fix or "correct the row")

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """Whether there was a template at all."""
        return Outcome(not_checked="" if self._measured else f"chat template ({_NO_MODEL})")


class Trained:
    """Rows without a single trained token."""

    def __init__(self, setting: Setting) -> None:
        self._measured = setting.measured

    def see(self, row: Row) -> Iterable[Finding]:
        """That nothing of the row is trained: by the weights of its turns, and by its tokens where they are counted."""
        if _trains_nothing(row.example) or (self._lost(row.number) and not has_errors(row.example)):
            fix = "give the wanted answer a weight above 0, or remove the row"
            yield finding(TRAINED, "error", "the row trains no token", row.example, fix)

    def _lost(self, number: int) -> bool:
        measured = self._measured
        return bool(measured and number not in measured.problems and not measured.trained[number])

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """What the judgement rests on."""
        by_weights = f" (by weights; tokens not checked: {_NO_MODEL})"
        return Outcome(remark="" if self._measured else by_weights)


def _trains_nothing(example: Example) -> bool:
    return not example.is_document and not any(is_trained(message) for message in example.conversation)


class Lengths:
    """Rows longer than the limit, longest first, and plain texts that are cut."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing yet: rows are listed by length."""
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """All rows over the limit."""
        setting, measured = self._setting, self._setting.measured
        if measured is None:
            return Outcome(not_checked=f"token lengths ({_NO_MODEL})")
        cut = tuple(_cut(corpus, measured, setting.max_length))
        if setting.max_length is None:
            return Outcome(cut, not_checked="token lengths (no max_length given)")
        long = [(measured.longest[i], corpus.examples[i]) for i in too_long(corpus, setting)]
        return Outcome((*_over(long, setting.max_length, setting), *cut))


def too_long(corpus: Corpus, setting: Setting) -> list[int]:
    """Numbers of the rows that are longer than the limit; a plain text is cut, and never too long."""
    if setting.measured is None or setting.max_length is None:
        return []
    over = (i for i, length in enumerate(setting.measured.longest) if length > setting.max_length)
    return [i for i in over if not corpus.examples[i].is_document]


def _over(long: list[tuple[int, Example]], limit: int, setting: Setting) -> Iterator[Finding]:
    """Rows over the limit, longest first; the fix names the length that would hold them all, if the model takes it."""
    long = sorted(long, key=lambda item: -item[0])
    if not long:
        return
    needed = min(-(-long[0][0] // 64) * 64, setting.context or sys.maxsize)
    if long[0][0] > needed:
        keeping = f"the model takes {setting.context} tokens"
        raising = f"{keeping}: shorten"
    else:
        keeping = f"max_length: {needed} would keep all rows"
        raising = f"set max_length: {needed} (holds all rows), shorten"
    for length, example in long:
        if setting.on_too_long == "drop":
            message = f"left out: {length} tokens, max_length is {limit}"
            yield finding(TOO_LONG, "warning", message, example, keeping)
        else:
            message = f"{length} tokens, max_length is {limit}"
            fix = f"{raising} the row, or leave such rows out with on_too_long: drop; answers are never cut"
            yield finding(TOO_LONG, "error", message, example, fix)


def _cut(corpus: Corpus, measured: Measured, max_length: int | None) -> Iterator[Finding]:
    """That plain texts are cut, with the counts: right for texts, wrong for answers, and said in any case."""
    texts = [i for i, rows in enumerate(measured.rows) if corpus.examples[i].is_document]
    cut = [i for i in texts if measured.rows[i] > 1]
    if cut:
        rows = sum(measured.rows[i] for i in cut)
        message = (
            f"{len(cut)} of {count(len(texts), 'text')} longer than max_length {max_length} and cut into {rows} "
            "consecutive rows; every token is still trained once"
        )
        fix = "raise max_length for a longer view of each text; nothing is lost either way"
        yield finding(CUT, "info", message, corpus.examples[max(cut, key=lambda i: measured.rows[i])], fix)
