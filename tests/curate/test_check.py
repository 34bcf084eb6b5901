"""What the checks find, and what they say when they did not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.curate.helpers import WordRenderer, example
from tunesmith.core.events import Tick, ignore
from tunesmith.core.records import Example, Finding, Message, Reply, Source, ToolCall
from tunesmith.curate import Inspection
from tunesmith.curate.checks.observe import Setting
from tunesmith.curate.checks.options import Checks
from tunesmith.curate.checks.table import inspect as inspect_rows
from tunesmith.curate.keys import normalise, prompt_key, row_key


def talk(*turns: Message | tuple[str, str], line: int = 1) -> Example:
    messages = [turn if isinstance(turn, Message) else Message(role=turn[0], content=turn[1]) for turn in turns]  # type: ignore[arg-type]
    return Example(
        messages=tuple(messages[:-1]), target=Reply(message=messages[-1]), source=Source(path="data.jsonl", line=line)
    )


def said(findings: list[Finding]) -> list[tuple[str, str, int]]:
    return [(finding.check, finding.severity, finding.source.line) for finding in findings]


def inspect(
    examples: Sequence[Example], renderer: Any = None, max_length: int | None = None, **options: Any
) -> Inspection:
    emit = options.pop("emit", ignore)
    options.setdefault("has_splits", any(example.split for example in examples))
    return inspect_rows(examples, Setting(Checks(), renderer, max_length, **options), emit)


def check(examples: Sequence[Example], *arguments: Any, **options: Any) -> list[Finding]:
    return list(inspect(examples, *arguments, **options).findings)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Straße  A", "STRASSE a"), ("ﬁne", "Fine"), ("a\u00a0b\n\tc ", "a b c"), ("e\u0301", "é"), ("１２", "12")],
)
def test_differences_that_do_not_matter(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


def test_keys_tell_questions_and_rows_apart() -> None:
    assert prompt_key(example("Q", "a")) == prompt_key(example(" q", "b"))
    assert row_key(example("Q", "a")) != row_key(example("Q", "b"))
    assert prompt_key(example("a b")) != prompt_key(example("ab"))
    tool = {"type": "function", "function": {"name": "f"}}
    assert prompt_key(example("Q")) != prompt_key(example("Q", tools=(tool,)))
    asked = talk(("user", "x"), ("assistant", "y"), ("user", "z"), ("assistant", "!"))
    assert prompt_key(asked) != prompt_key(talk(("user", "x"), ("user", "y"), ("user", "z"), ("assistant", "!")))


def test_clean_rows_have_no_findings() -> None:
    rows = [example(f"question {i}", f"answer {i}", i) for i in range(10)]
    found = inspect(rows, WordRenderer(), 100)
    assert found.findings == ()
    assert all(check.passed or check.detail.startswith("not checked: ") for check in found.checks)
    assert found.tokens is not None
    assert found.tokens.model_dump() == {"rows": 10, "total": 60, "trained": 30, "median": 6, "longest": 6}


def test_exact_duplicates_are_one_finding_for_each_group() -> None:
    rows = [example("Q", "A", 1), example("q ", "a", 3), example("other", "A", 4), example("Q", "A", 9)]
    (finding,) = check(rows)
    assert said([finding]) == [("exact duplicates", "warning", 1)]
    assert finding.message == "the row stands 3 times: lines 1, 3, 9"
    assert finding.example_id == rows[0].id


def test_different_answers_to_one_question_are_a_warning() -> None:
    rows = [example("Q", f"it is {i}", i) for i in range(1, 8)]
    gate, finding = check(rows)
    assert said([gate, finding]) == [("conflicting answers", "error", 1), ("conflicting answers", "warning", 1)]
    assert finding.message == (
        "the same question has 7 answers that contradict each other (number): lines 1, 2, 3, 4, 5 and 2 more"
    )
    other = example("Q", "no idea at all", 4, source=Source(path="b.jsonl", line=4))
    (finding,) = check([rows[0], other])
    assert finding.severity == "info"
    assert finding.message.endswith("2 different answers: data.jsonl:1, b.jsonl:4")


def test_empty_answers_and_questions() -> None:
    rows = [example("Q", " \n", 1), example("", "A", 2), example("fine", "yes", 3)]
    found = check(rows)
    assert said(found) == [("empty answers", "error", 1), ("empty questions", "warning", 2)]
    assert "weight 0" in found[0].fix
    unfinished = talk(("user", "a"), Message(role="assistant", weight=0), ("user", "b"), ("assistant", "c"))
    assert [f.check for f in check([unfinished])] == []
    calling = talk(("user", "a"), Message(role="assistant", tool_calls=(ToolCall(name="f"),)))
    assert check([calling]) == []


def call(id: str = "c1") -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id=id, name="f"),))


def result(id: str | None = "c1") -> Message:
    return Message(role="tool", content="42", tool_call_id=id)


Q, A = ("user", "q"), ("assistant", "a")


@pytest.mark.parametrize(
    ("turns", "severity", "words"),
    [
        ((A, Q, A), "error", "turn 1: an answer comes before any question"),
        ((("system", "s"), A), "error", "turn 2: an answer comes before any question"),
        ((Q, A, A), "error", "turn 3: two assistant turns follow each other"),
        ((Q, Q, A), "warning", "turn 2: two user turns follow each other"),
        ((Q, ("system", "s"), A), "warning", "turn 2: a system turn stands after the first turn"),
        ((Q, result(), A), "error", "turn 2: a tool result follows no tool call"),
        ((Q, call(), Q, A), "error", "turn 3: a user turn follows a tool call that has no result"),
        ((Q, call(), result("c2"), A), "error", "turn 3: tool_call_id c2 belongs to no tool call of this row"),
    ],
)
def test_wrong_role_order(turns: tuple[Any, ...], severity: str, words: str) -> None:
    (finding,) = check([talk(*turns)])
    assert (finding.check, finding.severity) == ("role order", severity)
    assert finding.message == words
    assert finding.fix


@pytest.mark.parametrize(
    "turns",
    [
        (Q, A),
        (("system", "s"), Q, A, Q, A),
        (Q, call(), result(), A),
        (Q, call(), result(None), result("c1"), A, Q, call("c2"), result("c2"), A),
        (Q, call("")),
    ],
)
def test_right_role_order(turns: tuple[Any, ...]) -> None:
    assert check([talk(*turns)]) == []


def test_rows_that_train_nothing() -> None:
    silent = talk(Q, Message(role="assistant", content="a", weight=0), line=5)
    for renderer in (None, WordRenderer()):
        (finding,) = check([silent], renderer)
        assert said([finding]) == [("trained tokens", "error", 5)]
        assert finding.message == "the row trains no token"


def test_long_rows_are_an_error_with_the_length_that_holds_them() -> None:
    rows = [example(f"q{n}", "word " * n, n) for n in (10, 200, 97, 98)]
    found = inspect(rows, WordRenderer(), 100)
    assert [(f.source.line, f.message) for f in found.findings if f.check == "row length"] == [
        (200, "203 tokens, max_length is 100"),
        (98, "101 tokens, max_length is 100"),
    ]
    fix = found.findings[0].fix
    assert "max_length: 256" in fix
    assert "on_too_long: drop; answers are never cut" in fix
    assert found.left_out == frozenset()
    dropped = inspect(rows, WordRenderer(), 100, on_too_long="drop")
    assert {(f.severity, f.message) for f in dropped.findings if f.check == "row length"} == {
        ("warning", "left out: 203 tokens, max_length is 100"),
        ("warning", "left out: 101 tokens, max_length is 100"),
    }
    assert dropped.left_out == {rows[1].id, rows[3].id}


@pytest.mark.parametrize(
    ("context", "fix", "when_dropped"),
    [
        (128, "the model takes 128 tokens: shorten the row, or leave such rows out", "the model takes 128 tokens"),
        (210, "set max_length: 210 (holds all rows), shorten the row", "max_length: 210 would keep all rows"),
        (None, "set max_length: 256 (holds all rows), shorten the row", "max_length: 256 would keep all rows"),
    ],
)
def test_no_length_is_advised_that_the_model_does_not_take(context: int | None, fix: str, when_dropped: str) -> None:
    rows = [example("q", "word " * 200)]
    assert inspect(rows, WordRenderer(), 100, context=context).findings[0].fix.startswith(fix)
    dropped = inspect(rows, WordRenderer(), 100, context=context, on_too_long="drop")
    assert dropped.findings[0].fix == when_dropped


def test_rows_that_the_template_refuses() -> None:
    (finding,) = check([example("q", "a<|im_end|>")], WordRenderer())
    assert said([finding]) == [("chat template", "error", 1)]
    assert finding.message == "the text holds <|im_end|>"
    assert finding.fix == "remove it"


def test_questions_in_two_splits() -> None:
    rows = [example("Q", "a", 1, split="train"), example("x", "y", 2, split="test"), example("q", "b", 3, split="test")]
    findings = check(rows)
    assert said(findings)[0] == ("rows in more than one split", "error", 3)
    assert "test (data.jsonl:3)" in findings[0].message
    assert "train (data.jsonl:1)" in findings[0].message


def test_what_did_not_run_is_not_passed() -> None:
    table = {check.name: (check.passed, check.detail) for check in inspect([example()]).checks}
    assert table["row length"] == (None, "not checked: token lengths (no model given)")
    assert table["chat template"] == (None, "not checked: chat template (no model given)")
    assert table["rows in more than one split"][0] is None
    assert "tokens not checked" in table["trained tokens"][1]
    assert table["exact duplicates"] == (True, "nothing found in 1 row")
    table = {check.name: (check.passed, check.detail) for check in inspect([example()], WordRenderer()).checks}
    assert table["row length"] == (None, "not checked: token lengths (no max_length given)")
    assert {c.passed for c in inspect([]).checks} == {None}
    assert inspect([]).checks[0].detail == "not checked: there are no rows"
    table = {c.name: (c.passed, c.detail) for c in inspect([example("q", ""), example("a", "")], None).checks}
    assert table["empty answers"] == (False, "2 errors")


def test_progress_ends_at_the_number_of_rows() -> None:
    seen: list[Any] = []
    check([example(str(i)) for i in range(600)], emit=seen.append)
    assert seen[0] == Tick(task="checking rows", done=1, total=600)
    assert Tick(task="checking rows", done=600, total=600) in seen
    assert seen[-1].done == seen[-1].total
