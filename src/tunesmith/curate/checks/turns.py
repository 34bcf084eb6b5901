"""Checks of one conversation: answers and questions without words, turns out of order, nothing to train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Example, Finding, Message, Severity
from tunesmith.curate.checks.observe import Observer, Outcome, Setting, finding, put_aside
from tunesmith.curate.corpus import Corpus, Row

EMPTY_ANSWERS = "empty answers"
EMPTY_QUESTIONS = "empty questions"
ROLE_ORDER = "role order"


def is_trained(message: Message) -> bool:
    """Whether the turn takes part in the loss."""
    return message.role == "assistant" and message.weight != 0


def empty_answers(example: Example) -> Iterator[Finding]:
    """Answers and texts without words."""
    aside = put_aside(example.source)
    if example.is_document and not example.target.text.strip():
        yield finding(EMPTY_ANSWERS, "error", "the text is empty", example, "remove the row", action=aside)
    for message in example.conversation:
        if is_trained(message) and not message.tool_calls and not message.text.strip():
            fix = "write the answer, or remove the row; an answer that is not to be trained has weight 0"
            yield finding(EMPTY_ANSWERS, "error", "an answer is empty", example, fix, action=aside)
            return


def empty_questions(example: Example) -> Iterator[Finding]:
    """Questions without words."""
    asked = [message for message in example.messages if message.role == "user"]
    if asked and not any(message.text.strip() for message in asked):
        yield finding(EMPTY_QUESTIONS, "warning", "the question is empty", example, "fill it, or remove the row")


def wrong_order(example: Example) -> Iterator[Finding]:
    """Turns in an order that makes no conversation."""
    before: Message | None = None
    called: set[str] = set()
    for i, message in enumerate(example.conversation):
        problem = _wrong_turn(message, before, called)
        if problem:
            severity, what, fix = problem
            yield finding(ROLE_ORDER, severity, f"turn {i + 1}: {what}", example, fix)
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


class EachRow:
    """A check that looks at one row at a time."""

    def __init__(self, look: Callable[[Example], Iterable[Finding]]) -> None:
        self._look = look

    def see(self, row: Row) -> Iterable[Finding]:
        """What is wrong with the row."""
        return self._look(row.example)

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """Nothing is left to say."""
        return Outcome()


def each_row(look: Callable[[Example], Iterable[Finding]]) -> Callable[[Setting], Observer]:
    """How such a check begins, whatever the setting."""
    return lambda setting: EachRow(look)


def has_errors(example: Example) -> bool:
    """Whether the turns themselves are wrong: then the chat template refuses the row as well, which is said once."""
    found = (*empty_answers(example), *wrong_order(example))
    return any(each.severity == "error" for each in found)
