"""A model behind a prompt of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluate.fakes import Scripted, example
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Message
from tunesmith.evaluate import Prompted, read_prompt

SHOTS = 'system: "Answer in one word."\nshots:\n  - {prompt: "2+2?", completion: "four"}\n'


def test_the_prompt_stands_before_the_question_and_the_rows_own_system_follows(tmp_path: Path) -> None:
    path = tmp_path / "prompt.yaml"
    path.write_text(SHOTS, encoding="utf-8")
    prompt = read_prompt(path)
    own = (Message(role="system", content="You are kind."), Message(role="user", content="3+3?"))
    assert [(m.role, m.text) for m in prompt.apply(own)] == [
        ("system", "Answer in one word.\n\nYou are kind."),
        ("user", "2+2?"),
        ("assistant", "four"),
        ("user", "3+3?"),
    ]


def test_scores_belong_to_the_rows_that_were_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("Be brief.\n", encoding="utf-8")
    rows = [example("a?", "b"), example("c?", "d", 2)]
    found = Prompted(Scripted("m", (), digest="x"), read_prompt(path), "m::prompt.txt").score(rows)
    assert [score.example_id for score in found] == [row.id for row in rows]


def test_another_prompt_is_another_model(tmp_path: Path) -> None:
    model = Scripted("m", (), digest="x")
    (tmp_path / "a.txt").write_text("Be brief.", encoding="utf-8")
    (tmp_path / "b.txt").write_text("Be long.", encoding="utf-8")
    digests = {Prompted(model, read_prompt(tmp_path / f"{name}.txt"), name).digest for name in "ab"}
    assert len(digests | {"x"}) == 3
    assert Prompted(Scripted("m", ()), read_prompt(tmp_path / "a.txt"), "m").digest == ""


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.yaml", "systm: hello\n", "systm"),
        ("p.yaml", "system: ''\n", "the prompt is empty"),
        ("p.txt", "  \n", "the prompt is empty"),
    ],
)
def test_a_prompt_that_cannot_be_read_says_why(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        read_prompt(tmp_path / name)
    with pytest.raises(ConfigError, match="no such file"):
        read_prompt(tmp_path / "absent.txt")
