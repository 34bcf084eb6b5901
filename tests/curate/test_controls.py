"""Control tokens inside texts, and calls that do not fit the tools of their row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.curate.helpers import WordRenderer, example
from tests.lab.look import look
from tunesmith.core.records import Document, Example, Finding, Message, Reply, ToolCall
from tunesmith.curate.checks.controls import CONTROL, tokens_in
from tunesmith.curate.checks.observe import Setting
from tunesmith.curate.checks.options import Checks
from tunesmith.curate.checks.table import inspect
from tunesmith.curate.checks.tools import TOOLS


@pytest.mark.parametrize(
    "token",
    [
        "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|assistant|>", "[INST]",
        "[/INST]", "<<SYS>>", "<</SYS>>", "<start_of_turn>", "<end_of_turn>", "<eos>", "<bos>", "</s>", "<pad>",
        "<｜User｜>", "<|END_OF_TURN_TOKEN|>", "[TOOL_CALLS]", "[gMASK]", "<|reserved_special_token_7|>",
    ],
)  # fmt: skip
def test_tokens_of_the_usual_templates_are_found(token: str) -> None:
    for text in (f"Hello {token}", f"{token}Hello", f"one {token} two", token):
        assert [match[0] for match in tokens_in(text)] == [token]


@pytest.mark.parametrize(
    "text",
    [
        "a <| b |> c", "x || y", "if a < s > b", "[instruction]", "<p>now <s>12</s> 10 euro</p>", "a[i] and [/path]",
        "use <system> here", "std::vector<s_t>", "5 << 2 >> 1", "<strong>yes</strong>", "", "F# |> pipe <| back",
    ],
)  # fmt: skip
def test_other_marks_are_not(text: str) -> None:
    assert tokens_in(text) == []


def test_the_finding_names_turn_and_token_and_cuts_ends() -> None:
    (found,) = look(CONTROL, [example("What?", "That.<|im_end|>\n")])[0]
    assert (found.severity, found.message) == ("error", "turn 2 holds <|im_end|>")
    assert found.action is not None
    (edit,) = found.action.edits
    assert (edit.turn, "That.<|im_end|>\n"[: edit.start] + edit.text) == (1, "That.")
    assert edit.end == len("That.<|im_end|>\n")


def test_a_token_inside_a_text_is_for_a_person_to_judge() -> None:
    (found,) = look(CONTROL, [example("[INST] What? [/INST] That. [INST] And?", "This.")])[0]
    assert found.message == "turn 1 holds [INST], [/INST]"
    assert found.action is None


@pytest.mark.parametrize("token", ["<pad>", "<s>", "<unk>"])
def test_what_may_be_a_placeholder_is_a_warning(token: str) -> None:
    (found,) = look(CONTROL, [example("How do I copy?", f"cp file {token}")])[0]
    assert (found.severity, found.action) == ("warning", None)
    (found,) = look(CONTROL, [example("How do I copy?", f"{token} cp file [/INST]")])[0]
    assert found.severity == "error"


def test_plain_texts_are_looked_at_too() -> None:
    text = Example(messages=(), target=Document(text="one<|endoftext|>two"))
    (found,) = look(CONTROL, [text])[0]
    assert found.message == "the text holds <|endoftext|>"


def test_what_the_template_refused_is_said_once() -> None:
    row = example("What?", "That.<|im_end|>")
    found = inspect([row], Setting(Checks(), WordRenderer())).findings
    assert [each.check for each in found] == ["chat template"]


# ---------------------------------------------------------------- tools


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def calling(name: str, arguments: object, *tools: Any) -> Example:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    call = ToolCall(id="1", name=name, arguments=text)
    return Example(
        messages=(Message(role="user", content="How is the weather?"),),
        target=Reply(message=Message(role="assistant", tool_calls=(call,))),
        tools=tools,
    )


def problems(row: Example) -> list[Finding]:
    return look(TOOLS, [row])[0]


@pytest.mark.parametrize("tool", [WEATHER, WEATHER["function"]])
def test_calls_that_fit_their_tool(tool: dict[str, Any]) -> None:
    assert problems(calling("weather", {"city": "Ghent", "days": 2}, tool)) == []


@pytest.mark.parametrize(
    ("row", "severity", "message", "evidence"),
    [
        (calling("wether", {"city": "Ghent"}, WEATHER), "error",
         "turn 2: wether is called, which the row does not declare", ""),
        (calling("weather", '{"city": ', WEATHER), "error", "turn 2: the arguments of weather are not JSON",
         "Expecting value at character 10"),
        (calling("weather", [1], WEATHER), "error", "turn 2: the arguments of weather are no JSON object", ""),
        (calling("weather", {"days": "two"}, WEATHER), "error", "turn 2: the arguments of weather break its parameters",
         '$: required: city; $.days: type: "integer"'),
        (calling("weather", {"city": "x", "town": "y"}, WEATHER), "error",
         "turn 2: the arguments of weather break its parameters",
         "$: additionalProperties: keys that the schema does not know"),
        (calling("weather", {"city": "x"}, WEATHER, WEATHER), "error", "the tool weather is declared twice", ""),
        (calling("f", {}, {"name": "f", "parameters": {"type": "objekt"}}), "error",
         "the parameters of the tool f are no JSON schema",
         "not a valid JSON schema: 'objekt' is not valid under any of the given schemas"),
        (calling("f", {}, {"name": "f"}, {"parameters": {}}), "error", "tool 2 has no name", ""),
        (calling("f", {}, {"name": "f", "parameters": {"$ref": "#/$defs/x"}}), "error",
         "the parameters of the tool f are no JSON schema",
         "the schema refers to '/$defs/x', which it does not contain"),
    ],
)  # fmt: skip
def test_calls_that_do_not_fit(row: Example, severity: str, message: str, evidence: str) -> None:
    (found,) = problems(row)
    assert (found.severity, found.message, found.evidence) == (severity, message, evidence)
    assert found.fix


def test_a_near_name_is_offered() -> None:
    (found,) = problems(calling("wether", {"city": "Ghent"}, WEATHER))
    assert found.fix == "did you mean weather?"


def test_calls_without_declared_tools_are_counted() -> None:
    findings, outcome = look(TOOLS, [calling("weather", {"city": "Ghent"})])
    assert findings == []
    assert outcome.remark == " (1 row with calls and no declared tools)"


def test_rows_without_tools_are_not_checked() -> None:
    assert look(TOOLS, [example()])[1].not_checked == "no row has tools or calls one"
