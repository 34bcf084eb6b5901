"""Every field of a request is honoured, bookkeeping, or refused by name: shown with the openai client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import get_type_hints

import openai
import pytest
from openai.types.chat import completion_create_params as chat_params
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming

from tests.serve.fakes import ADAPTERS, FakeEngine
from tests.web.conftest import Lab
from tunesmith.web.fields import BOOKKEEPING, NEUTRAL_CHAT, NEUTRAL_COMPLETION
from tunesmith.web.schemas import ChatBody, CompletionBody

HI = [{"role": "user", "content": "hi"}]
LOOK = {
    "type": "function",
    "function": {"name": "look", "parameters": {"properties": {"city": {"type": "string"}}, "required": ["city"]}},
}
SEND = {"type": "function", "function": {"name": "send", "description": "Send it."}}
CALL = '<tool_call>\n{"name": "look", "arguments": {"city": "Delft"}}\n</tool_call>'
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}

CHANGES: dict[str, dict[str, object]] = {
    "messages": {"messages": [{"role": "user", "content": "ho"}]},
    "model": {"model": "legal"},
    "max_tokens": {"max_tokens": 3},
    "max_completion_tokens": {"max_completion_tokens": 3},
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.5},
    "n": {"n": 2},
    "seed": {"seed": 5},
    "stop": {"stop": "heard"},
    "presence_penalty": {"presence_penalty": 1.0},
    "frequency_penalty": {"frequency_penalty": 1.0},
    "logit_bias": {"logit_bias": {"5": -100}},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"logprobs": True, "top_logprobs": 2},
    "response_format": {"response_format": {"type": "json_object"}},
    "tools": {"tools": [LOOK]},
    "tool_choice": {"tools": [LOOK], "tool_choice": "required"},
    "parallel_tool_calls": {"tools": [LOOK], "tool_choice": "required", "parallel_tool_calls": False},
    "stream": {"stream": True},
    "stream_options": {"stream": True, "stream_options": {"include_usage": True}},
    "user": {"user": "ann"},
    "safety_identifier": {"safety_identifier": "ann"},
    "prompt": {"prompt": "ho"},
    "echo": {"echo": True},
}
"""Field → a request in which it changes what the engine is asked, what the client gets, or whom it is for."""


def outcome(lab: Lab, path: str, body: dict[str, object]) -> object:
    seen: list[object] = []
    route = lab.server.gateway.chat if path.startswith("/chat") else lab.server.gateway.complete
    name = route.__name__

    async def spy(*args: object, **options: object) -> object:
        seen.extend([args, options])
        return await route(*args, **options)

    setattr(lab.server.gateway, name, spy)
    try:
        first = len(lab.engine.requests)
        response = lab.http.post(lab.server.base_url + path, json=body)
    finally:
        delattr(lab.server.gateway, name)
    assert response.status_code == 200, response.text
    asked = [(r.tokens, r.adapter, r.params.model_dump()) for r in lab.engine.requests[first:]]
    lines = [line for line in response.text.splitlines() if line]
    shapes = [json.loads(line.removeprefix("data: ")) for line in lines if not line.endswith("[DONE]")]
    for shape in shapes:
        for key in ("id", "created"):
            shape.pop(key)
    return asked, shapes, seen


@pytest.mark.parametrize("field", sorted(ChatBody.model_fields))
def test_no_field_of_a_chat_request_is_ignored(lab: Lab, field: str) -> None:
    plain = {"model": "tiny", "messages": HI, "temperature": 0, "seed": 1}
    before = plain
    for needed in ("tools", "stream", "logprobs", "tool_choice"):
        if needed in CHANGES[field] and needed != field:
            before = {**before, needed: CHANGES[field][needed]}
    assert outcome(lab, "/chat/completions", {**plain, **CHANGES[field]}) != outcome(lab, "/chat/completions", before)


@pytest.mark.parametrize("field", sorted(CompletionBody.model_fields))
def test_no_field_of_a_completion_request_is_ignored(lab: Lab, field: str) -> None:
    plain = {"model": "tiny", "prompt": "hi", "temperature": 0, "seed": 1}
    change = {"logprobs": 2} if field == "logprobs" else CHANGES[field]
    before = {**plain, "stream": True} if field == "stream_options" else plain
    assert outcome(lab, "/completions", {**plain, **change}) != outcome(lab, "/completions", before)


def test_every_field_of_the_client_is_decided_on() -> None:
    chat = set(get_type_hints(chat_params.CompletionCreateParamsNonStreaming))
    assert chat - {*ChatBody.model_fields, *NEUTRAL_CHAT, *BOOKKEEPING} == set()
    text = set(get_type_hints(CompletionCreateParamsNonStreaming))
    assert text - {*CompletionBody.model_fields, *NEUTRAL_COMPLETION, *BOOKKEEPING} == set()
    assert set(ChatBody.model_fields) & {*NEUTRAL_CHAT, *BOOKKEEPING} == set()


def test_logprobs_of_a_chat(lab: Lab) -> None:
    create = lab.client.chat.completions.create
    answer = create(model="tiny", messages=HI, temperature=0, max_tokens=3, logprobs=True, top_logprobs=2)
    scored = answer.choices[0].logprobs.content
    assert [(t.token, t.logprob, t.bytes) for t in scored] == [(c, -0.5, [ord(c)]) for c in "bas"]
    assert [(t.token, t.logprob) for t in scored[0].top_logprobs] == [("b", -0.5), ("x", -1.5)]
    streamed = create(model="tiny", messages=HI, temperature=0, max_tokens=3, logprobs=True, stream=True)
    tokens = [
        t.token for chunk in streamed for t in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert tokens == list("bas")
    # The stop token and the tokens of a stop string are no text, and have no place beside it.
    stopped = create(model="tiny", messages=HI, temperature=0, logprobs=True, stop="heard")
    assert (
        "".join(t.token for t in stopped.choices[0].logprobs.content) == stopped.choices[0].message.content == "base "
    )
    whole = create(model="tiny", messages=HI, temperature=0, logprobs=True)
    assert "".join(t.token for t in whole.choices[0].logprobs.content) == whole.choices[0].message.content


def test_logprobs_of_a_part_of_a_character(lab: Lab) -> None:
    said = [{"role": "user", "content": "say é"}]
    answer = lab.client.chat.completions.create(model="tiny", messages=said, temperature=0, logprobs=True)
    assert answer.choices[0].message.content == "é"
    assert [t.bytes for t in answer.choices[0].logprobs.content] == [[0xC3], [0xA9]]


def test_log_likelihood_of_a_text(lab: Lab) -> None:
    answer = lab.client.completions.create(model="legal", prompt="abc", max_tokens=0, echo=True, logprobs=1)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == ("abc", "length")
    assert choice.logprobs.tokens == ["a", "b", "c"]
    assert choice.logprobs.token_logprobs == [None, -0.25, -0.25]
    assert choice.logprobs.text_offset == [0, 1, 2]
    assert choice.logprobs.top_logprobs == [None, {"b": -0.25}, {"c": -0.25}]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 0)
    assert lab.engine.scored[-1] == (tuple(b"abc"), "legal")


def test_echo_before_an_answer(lab: Lab) -> None:
    create = lab.client.completions.create
    answer = create(model="tiny", prompt=["hi", "ho"], max_tokens=4, echo=True, temperature=0)
    assert [c.text for c in answer.choices] == ["hibase", "hobase"]
    scored = create(model="tiny", prompt="hi", max_tokens=2, echo=True, logprobs=0, temperature=0)
    assert scored.choices[0].logprobs.tokens == ["h", "i", "b", "a"]
    assert scored.choices[0].logprobs.top_logprobs is None
    with pytest.raises(openai.BadRequestError, match="unless echo gives the prompt back"):
        create(model="tiny", prompt="hi", max_tokens=0)


def test_cached_tokens_are_told(make_lab: Callable[..., Lab]) -> None:
    engine = FakeEngine(ADAPTERS)
    engine.cached = 4
    lab = make_lab(engine)
    answer = lab.client.chat.completions.create(model="tiny", messages=HI, temperature=0, n=2)
    assert answer.usage.prompt_tokens_details.cached_tokens == 4


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "say " + text}]


def test_tool_calls(lab: Lab) -> None:
    create = lab.client.chat.completions.create
    answer = create(model="tiny", messages=say("Look:" + CALL + "\n" + CALL), tools=[LOOK, SEND], temperature=0)
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Look:")
    first, second = choice.message.tool_calls
    assert (first.type, first.function.name) == ("function", "look")
    assert json.loads(first.function.arguments) == {"city": "Delft"}
    assert first.id.startswith("call_")
    assert first.id != second.id
    one = create(model="tiny", messages=say(CALL + "\n" + CALL), tools=[LOOK], temperature=0, parallel_tool_calls=False)
    assert len(one.choices[0].message.tool_calls) == 1
    assert one.choices[0].finish_reason == "tool_calls"
    only = create(model="tiny", messages=say(CALL), tools=[LOOK], temperature=0)
    assert only.choices[0].message.content is None
    history = [*say(CALL), only.choices[0].message, {"role": "tool", "tool_call_id": first.id, "content": "dry"}]
    assert create(model="tiny", messages=history, tools=[LOOK], temperature=0).usage.prompt_tokens > 60


def test_tool_calls_stream_as_they_come(lab: Lab) -> None:
    stream = lab.client.chat.completions.create(
        model="tiny", messages=say("A " + CALL), tools=[LOOK], temperature=0, stream=True
    )
    deltas = [chunk.choices[0] for chunk in stream]
    calls = [d.delta.tool_calls[0] for d in deltas if d.delta.tool_calls]
    assert (calls[0].index, calls[0].function.name, calls[0].type, calls[0].function.arguments) == (
        0,
        "look",
        "function",
        "",
    )
    assert all(call.id is None for call in calls[1:])
    assert len(calls) > 5
    assert json.loads("".join(c.function.arguments for c in calls)) == {"city": "Delft"}
    assert deltas[-1].finish_reason == "tool_calls"


def test_a_cut_call_says_length_and_no_choice_means_text(lab: Lab) -> None:
    create = lab.client.chat.completions.create
    cut = create(model="tiny", messages=say(CALL), tools=[LOOK], temperature=0, max_tokens=60)
    assert cut.choices[0].finish_reason == "length"
    none = create(model="tiny", messages=say(CALL), tools=[LOOK], tool_choice="none", temperature=0)
    assert (none.choices[0].message.content, none.choices[0].finish_reason) == (CALL, "stop")
    assert none.choices[0].message.tool_calls is None


@pytest.mark.parametrize(
    ("choice", "has", "hasnt"),
    [
        ("required", ["look", "send"], []),
        ({"type": "function", "function": {"name": "send"}}, ["send"], ["look"]),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "look"}}]},
            },
            ["look"],
            ["send"],
        ),
    ],
)
def test_a_forced_call_is_a_grammar(lab: Lab, choice: object, has: list[str], hasnt: list[str]) -> None:
    lab.client.chat.completions.create(model="tiny", messages=HI, tools=[LOOK, SEND], tool_choice=choice, temperature=0)
    grammar = lab.engine.requests[-1].params.grammar
    assert grammar.kind == "lark"
    assert "start: calls\n" in grammar.source
    assert all(f'"{name}"' in grammar.source for name in has)
    assert not any(f'"{name}"' in grammar.source for name in hasnt)


def test_strict_functions_and_schemas_beside_tools_are_grammars(lab: Lab) -> None:
    create = lab.client.chat.completions.create
    strict = {"type": "function", "function": {**SEND["function"], "strict": True}}
    create(model="tiny", messages=HI, tools=[strict], temperature=0)
    assert "TEXT:" in lab.engine.requests[-1].params.grammar.source
    formed = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}}
    create(model="tiny", messages=HI, tools=[SEND], response_format=formed, temperature=0)
    assert "other: %json" in lab.engine.requests[-1].params.grammar.source
    create(model="tiny", messages=HI, tools=[SEND], temperature=0)
    assert lab.engine.requests[-1].params.grammar is None


def test_response_formats(lab: Lab) -> None:
    create = lab.client.chat.completions.create
    formed = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}}
    create(model="tiny", messages=HI, response_format=formed, temperature=0)
    grammar = lab.engine.requests[-1].params.grammar
    assert (grammar.kind, json.loads(grammar.source)) == ("json_schema", SCHEMA)
    create(model="tiny", messages=HI, response_format={"type": "json_object"}, temperature=0)
    assert lab.engine.requests[-1].params.grammar.kind == "json_object"
    create(model="tiny", messages=HI, response_format={"type": "text"}, temperature=0)
    assert lab.engine.requests[-1].params.grammar is None


def test_tools_that_the_template_cannot_show_are_refused_by_name(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    lab.server.gateway.models["tiny"].renderer.calls = None
    with pytest.raises(openai.BadRequestError, match="no place for tools") as caught:
        lab.client.chat.completions.create(model="tiny", messages=HI, tools=[LOOK])
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tools")


def test_engine_that_scores_no_prompts(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    lab.server.gateway._scores = False
    with pytest.raises(openai.BadRequestError, match="gives no log-probabilities of prompts") as caught:
        lab.client.completions.create(model="tiny", prompt="hi", echo=True, logprobs=1, max_tokens=1)
    assert caught.value.param == "echo"
