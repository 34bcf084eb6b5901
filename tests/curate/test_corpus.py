"""Rows as the checks see them."""

from __future__ import annotations

import pytest

from tests.curate.helpers import example
from tunesmith.core.records import Document, Example, Message, Reply, ToolCall
from tunesmith.core.spool import Spool
from tunesmith.curate.corpus import Chosen, Corpus, Placed


def test_a_row_has_its_question_and_its_answer() -> None:
    call = Message(role="assistant", tool_calls=(ToolCall(name="f", arguments='{"a":1}'),))
    (row,) = Corpus(
        [
            Example(
                messages=(Message(role="system", content="Be kind."), Message(role="user", content="Q")),
                target=Reply(message=call),
            )
        ]
    )
    assert (row.question, row.answer) == ("Be kind.\nQ", 'f({"a":1})')
    (text,) = Corpus([Example(messages=(), target=Document(text="Once."))])
    assert (text.question, text.answer) == ("", "Once.")
    assert text.prompt_key == text.row_key


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_rows_are_found_by_number_wherever_they_lie(in_memory: int) -> None:
    rows = [example(f"q{i}") for i in range(200)]
    corpus = Corpus(Placed(Spool(Example, rows, in_memory), ["test"] * 200))
    assert [row.number for row in corpus] == list(range(200))
    assert corpus[7].question == "q7"
    assert [row.split for row in corpus[3:5]] == ["test", "test"]
    assert corpus.examples[3].split == "test"
    kept = Chosen(corpus.examples, lambda each: each.messages[0].text.endswith("9"))
    assert [each.messages[0].text for each in kept][:2] == ["q9", "q19"]
    assert (len(kept), kept[1].messages[0].text, len(kept[:5])) == (20, "q19", 5)
