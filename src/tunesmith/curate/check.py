"""What is wrong with the rows. A check that cannot run says "not checked", never "passed".

A finding is about one row, or about a group of rows that belong together (the copies of a row, the different answers
to a question). Errors stop training; warnings do not.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tunesmith.core.artifacts import Check
from tunesmith.core.protocols import Progress, Renderer
from tunesmith.core.records import Example, Finding, Message, Record
from tunesmith.curate.keys import prompt_key, row_key
from tunesmith.curate.measure import Measured, measure
from tunesmith.curate.place import count

DUPLICATES = "exact duplicates"
CONFLICTS = "conflicting answers"
EMPTY_ANSWERS = "empty answers"
EMPTY_QUESTIONS = "empty questions"
ROLE_ORDER = "role order"
TRAINED = "trained tokens"
RENDERING = "chat template"
TOO_LONG = "row length"
CUT = "texts that are cut"
OVERLAP = "rows in more than one split"

Severity = Literal["error", "warning", "info"]

_TICK = 256
_NO_MODEL = "no model given"


class TokenCounts(Record):
    """Lengths of the rendered rows, in tokens."""

    rows: int
    total: int
    trained: int
    median: int
    longest: int


@dataclass(frozen=True)
class Inspection:
    """Everything that the checks found. ``left_out`` holds the ids of the rows that are dropped for their length."""

    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    tokens: TokenCounts | None
    left_out: frozenset[str]


def inspect(
    examples: Sequence[Example],
    renderer: Renderer | None = None,
    max_length: int | None = None,
    *,
    on_too_long: Literal["error", "drop"] = "error",
    context: int | None = None,
    progress: Progress | None = None,
    measured: Measured | None = None,
) -> Inspection:
    """Findings, the table of checks, and the token counts of the rows (``measured`` where they were counted before)."""
    if renderer and measured is None:
        measured, progress = measure(examples, renderer, max_length, progress), None
    repeated = _same_question(examples)
    findings = [finding for group in repeated for finding in (*_repeated(group), *_overlap(group))]
    lengths: list[tuple[int, Example]] = []
    for i, example in enumerate(examples):
        seen = [*_answers(example), *_order(example), *_weights(example)]
        findings += seen
        if measured:
            # what is wrong with the turns makes the renderer refuse the row as well: said once
            findings += (
                [] if any(finding.severity == "error" for finding in seen) else _token_problem(i, example, measured)
            )
            lengths += [(measured.longest[i], example)] if measured.longest[i] else []
        if progress and (i % _TICK == 0 or i + 1 == len(examples)):
            progress(i + 1, len(examples))
    long = [] if max_length is None else [(n, e) for n, e in lengths if n > max_length and not e.is_document]
    findings += _too_long(long, max_length or 0, on_too_long, context)
    findings += _cut(examples, measured, max_length) if measured else []
    rank = {"error": 0, "warning": 1, "info": 2}
    findings.sort(key=lambda finding: rank[finding.severity])
    return Inspection(
        findings=tuple(findings),
        checks=tuple(_table(findings, len(examples), measured is not None, max_length, _has_splits(examples))),
        tokens=_counts(measured) if measured else None,
        left_out=frozenset(example.id for _, example in long) if on_too_long == "drop" else frozenset(),
    )


def _finding(kind: str, severity: Severity, message: str, example: Example, fix: str) -> Finding:
    return Finding(
        check=kind, severity=severity, message=message, source=example.source, example_id=example.id, fix=fix
    )


# ---------------------------------------------------------------- rows that belong together


def _same_question(examples: Sequence[Example]) -> list[list[Example]]:
    """The rows whose question stands more than once, question by question."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[prompt_key(example)].append(example)
    return [group for group in groups.values() if len(group) > 1]


def _repeated(group: Sequence[Example]) -> Iterator[Finding]:
    """Copies of a row, and different answers to the one question of this group."""
    by_row: dict[str, list[Example]] = defaultdict(list)
    for example in group:
        by_row[row_key(example)].append(example)
    for copies in by_row.values():
        if len(copies) > 1:
            yield _finding(
                DUPLICATES,
                "warning",
                f"the row stands {len(copies)} times: {_places(copies)}",
                copies[0],
                "remove the copies: they count as often as they stand there",
            )
    if len(by_row) > 1:
        firsts = [copies[0] for copies in by_row.values()]
        yield _finding(
            CONFLICTS,
            "warning",
            f"the same question has {len(firsts)} different answers: {_places(firsts)}",
            firsts[0],
            "keep the right answer, unless several are right",
        )


def _overlap(group: Sequence[Example]) -> Iterator[Finding]:
    """A question in more than one split: the model would be judged on what it was trained on."""
    splits = {example.split: example for example in reversed(group) if example.split}
    if len(splits) > 1:
        where = ", ".join(f"{split} ({example.source})" for split, example in splits.items())
        held_out = next(example for example in group if example.split not in (None, "train"))
        yield _finding(
            OVERLAP,
            "error",
            f"the same {'text' if group[0].is_document else 'question'} stands in {where}",
            held_out,
            "remove it from all but one of the files, or leave split out: rows are then split by content",
        )


def _has_splits(examples: Sequence[Example]) -> bool:
    return any(example.split for example in examples)


def _places(examples: Sequence[Example], limit: int = 5) -> str:
    """Where rows stand: "lines 1, 3, 9" within a file, else file and line of each."""
    same_file = len({example.source.path for example in examples}) == 1
    names = [str(example.source.line if same_file else example.source) for example in examples[:limit]]
    more = f" and {len(examples) - limit} more" if len(examples) > limit else ""
    return ("lines " if same_file else "") + ", ".join(names) + more


# ---------------------------------------------------------------- one row


def _is_trained(message: Message) -> bool:
    return message.role == "assistant" and message.weight != 0


def _answers(example: Example) -> Iterator[Finding]:
    """Turns and texts without words."""
    if example.is_document and not example.target.text.strip():
        yield _finding(EMPTY_ANSWERS, "error", "the text is empty", example, "remove the row")
    for message in example.conversation:
        if _is_trained(message) and not message.tool_calls and not message.text.strip():
            fix = "write the answer, or remove the row; an answer that is not to be trained has weight 0"
            yield _finding(EMPTY_ANSWERS, "error", "an answer is empty", example, fix)
            return
    asked = [message for message in example.messages if message.role == "user"]
    if asked and not any(message.text.strip() for message in asked):
        yield _finding(EMPTY_QUESTIONS, "warning", "the question is empty", example, "fill it, or remove the row")


def _weights(example: Example) -> Iterator[Finding]:
    """Rows whose turns all have weight 0: seen without a model."""
    if not example.is_document and not any(_is_trained(message) for message in example.conversation):
        yield _nothing_trained(example)


def _nothing_trained(example: Example) -> Finding:
    fix = "give the wanted answer a weight above 0, or remove the row"
    return _finding(TRAINED, "error", "the row trains no token", example, fix)


def _order(example: Example) -> Iterator[Finding]:
    """Turns in an order that makes no conversation."""
    before: Message | None = None
    called: set[str] = set()
    for i, message in enumerate(example.conversation):
        problem = _wrong_turn(message, before, called)
        if problem:
            severity, what, fix = problem
            yield _finding(ROLE_ORDER, severity, f"turn {i + 1}: {what}", example, fix)
            return
        called |= {call.id for call in message.tool_calls}
        before = message


def _wrong_turn(message: Message, before: Message | None, called: set[str]) -> tuple[Severity, str, str] | None:
    role, last = message.role, before.role if before else None
    calls = bool(before and before.tool_calls)
    if role == "system" and before:
        return "warning", "a system turn stands after the first turn", "put it first: many chat templates refuse it"
    if role == "assistant" and last in (None, "system"):
        return "error", "an answer comes before any question", "begin with a user turn"
    if role == "tool" and not (calls or last == "tool"):
        return "error", "a tool result follows no tool call", "add the assistant turn with tool_calls before it"
    if role == "tool" and message.tool_call_id and called - {""} and message.tool_call_id not in called:
        what = f"tool_call_id {message.tool_call_id} belongs to no tool call of this row"
        return "error", what, "use the id of the tool call that it answers"
    if calls and role != "tool":
        return "error", f"a {role} turn follows a tool call that has no result", "add the tool turn with the result"
    if role == last == "assistant":
        return "error", "two assistant turns follow each other", "join them, or add the question between them"
    if role == last == "user":
        return "warning", "two user turns follow each other", "join them, unless your application asks like this"
    return None


# ---------------------------------------------------------------- tokens


def _token_problem(number: int, example: Example, measured: Measured) -> list[Finding]:
    """Why a row cannot be rendered, or that nothing of it is trained."""
    error = measured.problems.get(number)
    if error is not None:
        return [_finding(RENDERING, "error", error.what, example, error.fix or "correct the row")]
    return [] if measured.trained[number] else [_nothing_trained(example)]


def _cut(examples: Sequence[Example], measured: Measured, max_length: int | None) -> Iterator[Finding]:
    """That plain texts are cut, with the counts: right for texts, wrong for answers, and said in any case."""
    cut = [i for i, example in enumerate(examples) if example.is_document and measured.rows[i] > 1]
    if cut:
        texts, rows = sum(example.is_document for example in examples), sum(measured.rows[i] for i in cut)
        message = (
            f"{len(cut)} of {count(texts, 'text')} longer than max_length {max_length} and cut into {rows} consecutive "
            "rows; every token is still trained once"
        )
        fix = "raise max_length for a longer view of each text; nothing is lost either way"
        yield _finding(CUT, "info", message, examples[max(cut, key=lambda i: measured.rows[i])], fix)


def _too_long(
    long: list[tuple[int, Example]], limit: int, on_too_long: Literal["error", "drop"], context: int | None
) -> Iterator[Finding]:
    """Rows over the limit, longest first; the fix names the length that would hold them all, if the model takes it."""
    long = sorted(long, key=lambda item: -item[0])
    if not long:
        return
    needed = min(-(-long[0][0] // 64) * 64, context or sys.maxsize)
    if long[0][0] > needed:
        keeping = f"the model takes {context} tokens"
        raising = f"{keeping}: shorten"
    else:
        keeping = f"max_length: {needed} would keep all rows"
        raising = f"set max_length: {needed} (holds all rows), shorten"
    for length, example in long:
        if on_too_long == "drop":
            message = f"left out: {length} tokens, max_length is {limit}"
            yield _finding(TOO_LONG, "warning", message, example, keeping)
        else:
            message = f"{length} tokens, max_length is {limit}"
            fix = f"{raising} the row, or leave such rows out with on_too_long: drop; answers are never cut"
            yield _finding(TOO_LONG, "error", message, example, fix)


def _counts(measured: Measured) -> TokenCounts | None:
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


# ---------------------------------------------------------------- the table


def _table(
    findings: Iterable[Finding], rows: int, rendered: bool, max_length: int | None, splits: bool
) -> Iterator[Check]:
    """One line for each check: what it found, or why it did not run."""
    errors: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    for finding in findings:
        (errors if finding.severity == "error" else warnings)[finding.check] += 1
    skipped = {}
    if not rendered:
        skipped[RENDERING] = f"not checked: chat template ({_NO_MODEL})"
        skipped[TOO_LONG] = f"not checked: token lengths ({_NO_MODEL})"
    elif max_length is None:
        skipped[TOO_LONG] = "not checked: token lengths (no max_length given)"
    if not splits:
        skipped[OVERLAP] = "not checked: overlap (no file has a split; rows are split by content)"
    for name in (
        DUPLICATES,
        CONFLICTS,
        EMPTY_ANSWERS,
        EMPTY_QUESTIONS,
        ROLE_ORDER,
        RENDERING,
        TRAINED,
        TOO_LONG,
        OVERLAP,
    ):
        if not rows:
            yield Check(name=name, passed=None, detail="not checked: there are no rows")
            continue
        if name in skipped:
            yield Check(name=name, passed=None, detail=skipped[name])
            continue
        parts = [count(n, word) for n, word in ((errors[name], "error"), (warnings[name], "warning")) if n]
        detail = ", ".join(parts) or f"nothing found in {count(rows, 'row')}"
        if name == TRAINED and not rendered and not parts:
            detail += " (by weights; tokens not checked: no model given)"
        yield Check(name=name, passed=not errors[name], detail=detail)
