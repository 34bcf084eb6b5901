"""Rows to examples: every shape, its recognition, and what each bad row is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.curate.helpers import chat, error_of, jsonl, pair, write
from tunesmith.core.records import Example
from tunesmith.curate import DatasetSpec, read, read_file
from tunesmith.curate.reading.read import open_reading

TOOL = {"type": "function", "function": {"name": "weather", "description": "", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Utrecht"}'}}


def one(tmp_path: Path, row: object, **spec: Any) -> Example:
    (found,) = read(DatasetSpec(path=jsonl(tmp_path / "a.jsonl", row), **spec))
    return found


def turns(example: Example) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in example.conversation]


def test_chat_rows_with_tools_weights_and_parts(tmp_path: Path) -> None:
    row = {
        "tools": [TOOL],
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Weather in "}, {"type": "text", "text": "Utrecht?"}],
            },
            {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
            {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "Rain"},
            {"role": "assistant", "content": "It rains.", "weight": 0},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes.", "weight": 1},
        ],
        "metadata": {"any": "thing"},
    }
    example = one(tmp_path, row)
    assert turns(example)[:2] == [("system", "Be brief."), ("user", "Weather in Utrecht?")]
    assert example.messages[2].tool_calls[0].model_dump() == {
        "id": "c1",
        "name": "weather",
        "arguments": '{"city":"Utrecht"}',
    }
    assert example.messages[3].tool_call_id == "c1"
    assert [message.weight for message in example.conversation] == [None, None, None, None, 0.0, None, 1.0]
    assert example.tools == (TOOL,)
    assert str(example.source).endswith("a.jsonl:1")


def test_prompt_and_completion_as_text_and_as_messages(tmp_path: Path) -> None:
    assert turns(one(tmp_path, pair(" Q ", " A"))) == [("user", " Q "), ("assistant", " A")]
    row = {
        "prompt": [
            {"role": "user", "content": "1"},
            {"role": "assistant", "content": "2"},
            {"role": "user", "content": "3"},
        ],
        "completion": [{"role": "assistant", "content": "4"}],
        "system": "S",
    }
    example = one(tmp_path, row)
    assert turns(example) == [("system", "S"), ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")]
    assert [m.weight for m in example.conversation] == [None, None, 0.0, None, None], "only the completion is trained"


def test_values_that_are_no_text_become_compact_json(tmp_path: Path) -> None:
    row = {"prompt": {"food": "Thai"}, "completion": [{"slot": "é", "n": 1}]}
    assert turns(one(tmp_path, row)) == [("user", '{"food":"Thai"}'), ("assistant", '[{"slot":"é","n":1}]')]
    assert turns(one(tmp_path, pair("q", '[{"role": "x"}]')))[1] == ("assistant", '[{"role": "x"}]'), "text stays text"


def test_alpaca_with_input_history_and_system(tmp_path: Path) -> None:
    row = {"instruction": "Add.", "input": "1+1", "output": "2", "system": "S", "history": [["a", "b"]]}
    assert turns(one(tmp_path, row)) == [
        ("system", "S"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Add.\n\n1+1"),
        ("assistant", "2"),
    ]
    assert turns(one(tmp_path, {"instruction": "Hi", "input": " ", "output": "Ho"})) == [
        ("user", "Hi"),
        ("assistant", "Ho"),
    ]
    error = error_of(lambda: one(tmp_path, {"instruction": "a", "output": "b", "history": [["a"]]}))
    assert "is not a pair: ['a']" in error.what
    assert "(history[0])" in error.where


def test_sharegpt_with_its_role_names(tmp_path: Path) -> None:
    said = [
        {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Utrecht"}}'},
        {"from": "observation", "value": "Rain"},
        {"from": "gpt", "value": "Rain.", "weight": 0.5},
    ]
    row = {"conversations": said, "system": "S", "tools": json.dumps([TOOL])}
    example = one(tmp_path, row)
    assert [m.role for m in example.conversation] == ["system", "user", "assistant", "tool", "assistant"]
    assert example.messages[2].tool_calls[0].arguments == '{"city":"Utrecht"}'
    assert example.target.message.weight == 0.5
    assert example.tools == (TOOL,)
    plain = {"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert turns(one(tmp_path, plain)) == [("user", "a"), ("assistant", "b")]


def test_tables(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", 'prompt,completion,other\n"q, 1",a,x\n')
    assert [turns(e) for e in read_file(table)] == [[("user", "q, 1"), ("assistant", "a")]]
    assert str(read_file(table)[0].source).endswith("a.csv:2")
    semicolon = write(tmp_path / "b.csv", "Vraag;Antwoord;Rol\nq;a;s\n")
    spec = DatasetSpec(path=semicolon, columns={"prompt": "Vraag", "completion": "Antwoord", "system": "Rol"})
    assert [turns(e) for e in read(spec)] == [[("system", "s"), ("user", "q"), ("assistant", "a")]]
    as_text = write(
        tmp_path / "c.tsv",
        "messages\tid\n" + json.dumps(chat(("user", "a"), ("assistant", "b"))["messages"]).replace('"', "'") + "\t1\n",
    )
    assert "holds text that is not valid JSON" in error_of(lambda: read_file(as_text)).what


def test_parquet_in_chat_form(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [chat(("user", "a"), ("assistant", "b")), chat(("user", "c"), ("assistant", "d"))]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert [turns(e)[1][1] for e in read_file(str(tmp_path / "a.parquet"))] == ["b", "d"]


def test_columns_for_json_and_their_errors(tmp_path: Path) -> None:
    row = {"text": "play jazz", "slots": [{"slot": "genre", "value": "jazz"}], "messages": "not read"}
    example = one(tmp_path, row, columns={"prompt": "text", "completion": "slots"})
    assert turns(example) == [("user", "play jazz"), ("assistant", '[{"slot":"genre","value":"jazz"}]')]
    error = error_of(lambda: one(tmp_path, row, columns={"prompt": "txt", "completion": "slots"}))
    assert "has no column 'txt'" in error.what
    assert error.fix == "did you mean text?"
    with pytest.raises(ValidationError, match="columns names the unknown field 'promt'") as caught:
        DatasetSpec(path="x", columns={"promt": "text"})
    assert "did you mean 'prompt'?" in str(caught.value)


def test_what_the_configuration_gives_to_every_row(tmp_path: Path) -> None:
    example = one(tmp_path, pair("q", "a"), system="Be kind.", split="test")
    assert turns(example)[0] == ("system", "Be kind.")
    assert example.split == "test"
    own = one(tmp_path, chat(("system", "Mine"), ("user", "q"), ("assistant", "a")), system="Be kind.")
    assert turns(own)[0] == ("system", "Mine")


def test_equal_rows_have_equal_ids_wherever_they_stand(tmp_path: Path) -> None:
    first, second = read_file(
        jsonl(
            tmp_path / "a.jsonl",
            pair("q", "a"),
            pair("q", "a"),
        )
    )
    assert first.id == second.id
    assert first.source != second.source


@pytest.mark.parametrize(
    ("row", "format"),
    [
        (chat(("user", "a"), ("assistant", "b")), "chat"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "sharegpt"),
        ({"instruction": "a", "output": "b", "text": "a b"}, "alpaca"),
        (pair("a", "b"), "prompt-completion"),
    ],
)
def test_shapes_are_recognised(tmp_path: Path, row: object, format: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", row)
    assert open_reading(DatasetSpec(path=path)).format == format


def test_two_shapes_are_not_guessed(tmp_path: Path) -> None:
    row = {**chat(("user", "a"), ("assistant", "b")), **pair("c", "d")}
    error = error_of(lambda: one(tmp_path, row))
    assert "fit two shapes: chat and prompt-completion" in error.what
    assert error.fix == "say it with format: chat"
    assert turns(one(tmp_path, row, format="prompt-completion")) == [("user", "c"), ("assistant", "d")]


@pytest.mark.parametrize(
    ("row", "shape", "way_out"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "preference pairs", "completion: chosen"),
        (
            {"input": {}, "preferred_output": [], "non_preferred_output": []},
            "preference pairs",
            "the one wanted answer",
        ),
        ({"prompt": "q", "completion": "a", "label": True}, "unpaired labels", "the one wanted answer"),
        ({"text": "I lost my card", "label": 3}, "classification rows", "columns: {prompt: text, completion: label}"),
        ({"utterance": "hi", "intent": "greet"}, "classification rows", "give examples"),
    ],
)
def test_shapes_of_other_tasks_are_named(tmp_path: Path, row: object, shape: str, way_out: str) -> None:
    error = error_of(lambda: one(tmp_path, row))
    assert f"the rows are {shape}" in error.what
    assert "needs a task that this version does not have" in error.rule
    assert way_out in error.fix


def test_unknown_fields_get_advice(tmp_path: Path) -> None:
    error = error_of(lambda: one(tmp_path, {"Question": "q", "Answer": "a"}))
    assert "its fields (Question, Answer) make no shape that is known" in error.what
    assert "columns: {prompt: Question, completion: Answer}" in error.fix
    assert "did you mean messages instead of mesages?" in error_of(lambda: one(tmp_path, {"mesages": []})).fix
    assert (
        "did you mean output instead of ouput?" in error_of(lambda: one(tmp_path, {"instruction": "", "ouput": ""})).fix
    )
    assert "prompt: YOUR_QUESTION" in error_of(lambda: one(tmp_path, {"a": 1})).fix
    assert "make no shape that is known" in error_of(lambda: one(tmp_path, {"mr": "x", "text": "y"})).what


def test_files_without_rows(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", ""), ("b.jsonl", "\n \n"), ("c.json", "[]"), ("d.csv", ""), ("e.csv", "a,b\n")):
        path = write(tmp_path / name, content)
        error = error_of(lambda path=path: read_file(path))  # type: ignore[misc]
        assert error.what == "has no rows"
        assert error.where == path


def test_a_row_of_another_shape_is_located(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", pair("q", "a"), {"prompt": "q", "compleiton": "a"})
    error = error_of(lambda: read_file(path))
    assert "has no field completion; its fields are prompt, compleiton" in error.what
    assert error.where == f"{path}:2 (completion)"
    assert error.fix == "did you mean compleiton?"


USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("messages", "field", "said"),
    [
        ([], "messages", "messages is empty"),
        ("hello", "messages", "messages is a text, not a list"),
        (["hello"], "messages[0]", "is a text: 'hello'"),
        ([USER], "messages", "has no assistant turn"),
        ([USER, ANSWER, USER], "messages[2].role", "ends with a turn of role user"),
        ([{"content": "q"}, ANSWER], "messages[0].role", "has no role"),
        ([{"role": "user", "content": 7}, ANSWER], "messages[0].content", "content is a number: 7"),
        ([{**USER, "wieght": 0}, ANSWER], "messages[0]", "unknown key 'wieght' in a turn"),
        ([{**USER, "weight": 0}, ANSWER], "messages[0].weight", "a turn of role user has a weight"),
        ([USER, {**ANSWER, "weight": -1}], "messages[1].weight", "weight is -1"),
        ([USER, {**ANSWER, "weight": True}], "messages[1].weight", "weight is True"),
        ([{**USER, "name": "Ann"}, ANSWER], "messages[0].name", "a turn of role user has a name"),
        ([{**USER, "tool_calls": [CALL]}, ANSWER], "messages[0].tool_calls", "a turn of role user has tool_calls"),
        ([USER, {**ANSWER, "tool_calls": {"id": 1}}], "messages[1].tool_calls", "tool_calls is not a list"),
        ([USER, {**ANSWER, "tool_calls": ["x"]}], "messages[1].tool_calls[0]", "is not a tool call: 'x'"),
        (
            [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
            "messages[1].tool_calls[0].function.arguments",
            "arguments are not a JSON object: '{'",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ANSWER],
            "messages[0].content[0]",
            "a content part of type 'image_url' cannot be trained",
        ),
        ([{"role": "user", "content": ["x"]}, ANSWER], "messages[0].content[0]", "is not a part: 'x'"),
        ([USER, {"role": "assistant", "content": "a\0b"}], "messages[1].content", "has a NUL character"),
        ([{"role": "user", "content": "\ud83d!"}, ANSWER], "messages[0].content", "half a surrogate pair (U+D83D)"),
    ],
)
def test_bad_turns(tmp_path: Path, messages: object, field: str, said: str) -> None:
    path = write(
        tmp_path / "a.jsonl", json.dumps({"messages": [USER, ANSWER]}) + "\n" + json.dumps({"messages": messages})
    )
    error = error_of(lambda: read_file(path))
    assert said in error.what
    assert error.where == f"{path}:2 ({field})"


@pytest.mark.parametrize(
    ("role", "meant"),
    [("asistant", "assistant"), ("human", "user"), ("AI", "use one of"), ("User", "user"), ("gpt", "assistant")],
)
def test_unknown_roles_offer_the_nearest(tmp_path: Path, role: str, meant: str) -> None:
    error = error_of(lambda: one(tmp_path, {"messages": [{"role": role, "content": "x"}, ANSWER]}))
    assert error.what == f"unknown role '{role}'"
    assert error.where.endswith("a.jsonl:1 (messages[0].role)")
    assert meant in error.fix
    error = error_of(lambda: one(tmp_path, {"conversations": [{"from": "humna", "value": "x"}]}))
    assert "did you mean human?" in error.fix


def test_bad_tools_and_other_values(tmp_path: Path) -> None:
    error = error_of(lambda: one(tmp_path, {"messages": [USER, ANSWER], "tools": [{"type": "function"}]}))
    assert "tools is not a list of function descriptions" in error.what
    assert "is a text: 'x'" in error_of(lambda: one(tmp_path, {"conversations": ["x"]})).what
    import datetime

    from tunesmith.curate.reading.messages import clean
    from tunesmith.curate.reading.place import Place

    error = error_of(lambda: clean(datetime.date(2020, 1, 1), Place("a.parquet", 3), "completion"))
    assert error.what == "is of a kind that has no text: date"
    assert error.where == "a.parquet:3 (completion)"


def test_bad_rows_are_left_out_when_they_are_reported(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", pair("q", "a"), {"prompt": "q"}, pair("q2", "a2"))
    bad: list[Exception] = []
    reading = open_reading(DatasetSpec(path=path), report=bad.append)
    assert [turns(e)[0][1] for e in reading.examples] == ["q", "q2"]
    assert len(bad) == 1


def test_other_peoples_files(tmp_path: Path) -> None:
    """Rows as other tools write them: the OpenAI dashboard, a Hugging Face export, a LLaMA-Factory file."""
    rows = [
        {"messages": [{"role": "system", "content": "Marv is sarcastic."}, USER, ANSWER], "parallel_tool_calls": False},
        {"messages": [USER, {**ANSWER, "refusal": None, "annotations": [], "audio": None, "function_call": None}]},
    ]
    for row in rows:
        assert turns(one(tmp_path, row))[-1] == ("assistant", "a")
    listed = [{"instruction": "a", "input": "", "output": "b", "history": []}]
    assert len(read_file(write(tmp_path / "alpaca.json", json.dumps(listed, indent=2)))) == 1
