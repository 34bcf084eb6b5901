"""Every refusal: the client's exception class, and a message that names field, rule and way out."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from tests.serve.fakes import FakeEngine
from tests.web.conftest import KEY, Lab

JSON = {"content-type": "application/json"}
CONTROL = "The control token '<|stop|>' stands in the text. It belongs to the template. n may be one."
HI = [{"role": "user", "content": "hi"}]


def refused(lab: Lab, **body: object) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        lab.client.chat.completions.create(**{"model": "tiny", "messages": HI, **body})
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id.startswith("req_")
    return caught.value


def message(error: openai.APIStatusError) -> str:
    return str(error.body["message"])


def post(lab: Lab, path: str = "/chat/completions", **options: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY.value}", **options.pop("headers", {})}
    return httpx.post(lab.server.base_url + path, headers=headers, **options)


def test_unknown_model(lab: Lab) -> None:
    for call in (
        lambda: lab.client.chat.completions.create(model="legall", messages=HI),
        lambda: lab.client.completions.create(model="legall", prompt="hi"),
        lambda: lab.client.models.retrieve("legall"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert message(caught.value) == "The model 'legall' does not exist here. Did you mean 'legal'?"


@pytest.mark.parametrize("key", ["sk-wrong", "sk-test2", "é".encode().decode("latin-1")])
def test_wrong_key(lab: Lab, key: str) -> None:
    response = httpx.get(
        lab.server.base_url + "/models", headers=[(b"authorization", f"Bearer {key}".encode("latin-1"))]
    )
    assert response.status_code == 401
    with pytest.raises(openai.AuthenticationError) as caught:
        lab.new_client("sk-wrong").models.list()
    assert caught.value.code == "invalid_api_key"
    assert message(caught.value) == "The API key is missing or wrong. Send it as 'Authorization: Bearer KEY'."


@pytest.mark.parametrize("path", ["/models", "/chat/completions", "/nothing", "/../docs", "/%2e%2e/health"])
def test_everything_but_health_needs_the_key(lab: Lab, path: str) -> None:
    for headers in ({}, {"authorization": "Basic " + KEY.value}, {"authorization": KEY.value}):
        response = httpx.get(lab.server.base_url + path, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
    assert httpx.get(lab.server.base_url.removesuffix("/v1") + "/health").json() == {"status": "ok"}


def test_unknown_route_and_wrong_method(lab: Lab) -> None:
    response = post(lab, "/responses", json={})
    assert response.status_code == 404
    assert response.json()["error"] == {
        "message": "There is nothing at POST /v1/responses.",
        "type": "invalid_request_error",
        "param": None,
        "code": "route_not_found",
    }
    response = httpx.get(lab.server.base_url + "/completions", headers={"authorization": f"Bearer {KEY.value}"})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"]["message"] == "/v1/completions does not take GET."
    assert response.json()["error"]["code"] == "method_not_allowed"
    for path in ("/docs", "/openapi.json"):
        url = lab.server.base_url.removesuffix("/v1") + path
        assert httpx.get(url, headers={"authorization": f"Bearer {KEY.value}"}).status_code == 404


UNSUPPORTED = {
    "functions": [{"name": "f"}],
    "function_call": {"name": "f"},
    "modalities": ["text", "audio"],
    "audio": {"voice": "x", "format": "wav"},
    "prediction": {"type": "content", "content": "x"},
    "reasoning_effort": "high",
    "verbosity": "low",
    "store": True,
    "web_search_options": {},
    "moderation": {"model": "m"},
    "service_tier": "priority",
}


@pytest.mark.parametrize("field", UNSUPPORTED)
def test_what_is_not_honoured_is_refused_by_name(lab: Lab, field: str) -> None:
    error = refused(lab, extra_body={field: UNSUPPORTED[field]})
    assert (error.code, error.param) == ("unsupported_parameter", field)
    assert message(error) == f"The parameter '{field}' is not supported by this server; leave it out."


@pytest.mark.parametrize(("field", "value"), [("best_of", 2), ("suffix", "x")])
def test_completions_refuse_by_name(lab: Lab, field: str, value: object) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        lab.client.completions.create(model="tiny", prompt="hi", extra_body={field: value})
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", field)


F = {"type": "function", "function": {"name": "f"}}


def schema(body: dict[str, object]) -> dict[str, object]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": body}}}


def nested(levels: int) -> dict[str, object]:
    return {"items": nested(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("body", "param", "code", "text"),
    [
        ({"top_k": 5}, "top_k", "unknown_parameter", "The parameter 'top_k' is not known here."),
        ({"foo": None}, "foo", "unknown_parameter", "The parameter 'foo' is not known here."),
        ({"model": None}, "model", "missing_required_parameter", "The parameter 'model' is missing."),
        ({"temperature": 2.5}, "temperature", "invalid_value", "The value 2.5 of 'temperature' cannot be used: "),
        ({"temperature": "hot"}, "temperature", "invalid_type", "The value 'hot' of 'temperature' cannot be used: "),
        ({"top_p": -0.1}, "top_p", "invalid_value", "greater than or equal to 0"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value", "greater than or equal to 1"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type", "valid integer"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens", "invalid_value", "contradicts"),
        ({"n": 0}, "n", "invalid_value", "greater than or equal to 1"),
        ({"n": True}, "n", "invalid_type", "valid integer"),
        ({"n": 17}, "n", "invalid_value", "n times the number of prompts may be at most 16 (max_choices)."),
        ({"seed": 2**63}, "seed", "invalid_value", "less than"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value", "at most 4 items"),
        ({"stop": ""}, "stop[0]", "invalid_value", "at least 1 character"),
        ({"stop": 5}, "stop", "invalid_type", "valid list"),
        ({"stream": "yes"}, "stream", "invalid_type", "valid boolean"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value", "when stream is true"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
            "unsupported_parameter",
            "is not supported",
        ),
        ({"messages": []}, "messages", "invalid_value", "at least 1 item"),
        ({"messages": "hi"}, "messages", "invalid_type", "valid list"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value", "'assistant'"),
        ({"messages": [{"role": "user"}]}, "messages[0]", "invalid_value", "the message has no content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type", "valid list"),
        (
            {"messages": [{"role": "user", "content": "x", "name": "bob"}]},
            "messages[0].name",
            "unsupported_parameter",
            "is not supported",
        ),
        (
            {"messages": [*HI, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[1].content",
            "unsupported_parameter",
            "has a part that is not text",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "tool_call_id": "c"}]},
            "messages[0]",
            "invalid_value",
            "tool_call_id belongs to tool messages",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}],
                    }
                ]
            },
            "messages[0]",
            "invalid_value",
            "only an assistant message may have tool_calls",
        ),
        ({"messages": [{"role": "user", "content": "<|stop|>"}]}, "messages", "invalid_value", CONTROL),
        (
            {"messages": [*HI, {"role": "user", "content": "\ud800"}]},
            "messages[1].content",
            "invalid_value",
            "surrogate",
        ),
        ({"stop": ["x", "\udfff"]}, "stop[1]", "invalid_value", "half of a surrogate pair, which is no text"),
        ({"max_tokens": 10_000}, "messages", "context_length_exceeded", "maximum context length is 400 tokens"),
        ({"presence_penalty": 2.5}, "presence_penalty", "invalid_value", "less than or equal to 2"),
        ({"logit_bias": {"a": 1}}, "logit_bias", "invalid_value", 'keys have to be token ids, such as "50256"'),
        ({"logit_bias": {"5": 101}}, "logit_bias", "invalid_value", "numbers from -100 to 100"),
        ({"logit_bias": {"999": 1}}, "logit_bias", "invalid_value", "The token id 999 does not exist."),
        ({"logit_bias": {str(i): 1 for i in range(2000)}}, "logit_bias", "invalid_value", "may name 1024"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value", "when logprobs is true"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "invalid_value", "less than or equal to 20"),
        ({"response_format": {"type": "grammar"}}, "response_format", "unsupported_parameter", "in this form"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "invalid_value", "belongs to"),
        (
            schema({"type": "string", "contentEncoding": "base64", "not": {"const": "x"}}),
            "response_format",
            "invalid_value",
            "The schema cannot be enforced: ",
        ),
        (schema(nested(40)), "response_format", "invalid_value", "nested more than 32 levels deep"),
        (schema({"description": "x" * 70_000}), "response_format", "invalid_value", "(max_schema_bytes)"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0]", "unsupported_parameter", "custom tools"),
        ({"tools": [F, F]}, "tools", "invalid_value", "two functions have the same name"),
        ({"tools": [F], "tool_choice": "maybe"}, "tool_choice", "invalid_value", "none, auto, required"),
        ({"tools": [F], "tool_choice": {"type": "mcp"}}, "tool_choice", "unsupported_parameter", "in this form"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value", "there are no tools to choose from"),
        (
            {"tools": [F], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice",
            "invalid_value",
            "no function called g stands in tools",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "two words"}}]},
            "tools[0].function.name",
            "invalid_value",
            "pattern",
        ),
    ],
)
def test_bad_value_is_named(lab: Lab, wide_lab: Lab, body: dict[str, object], param: str, code: str, text: str) -> None:
    lab = wide_lab if len(json.dumps(body)) > 15_000 else lab
    response = post(lab, content=json.dumps({"model": "tiny", "messages": HI, **body}), headers=JSON)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert text in error["message"]
    assert "/secret" not in error["message"]


@pytest.mark.parametrize("prompt", [None, [], [[]], [1, "a"], ["a", 1], [[1], "a", []], 5, {"a": 1}, [True]])
def test_prompt_of_another_shape(lab: Lab, prompt: object) -> None:
    response = post(lab, "/completions", content=json.dumps({"model": "tiny", "prompt": prompt}), headers=JSON)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "prompt"
    assert ("is missing" if prompt is None else "a list of token ids") in error["message"]


@pytest.mark.parametrize(
    ("content", "headers", "text"),
    [
        (b'{"model": ', {}, "The body is not valid JSON: Expecting value at character"),
        (b'{"model": "\xff"}', {}, "The body cannot be read: it has to be JSON in UTF-8."),
        (b"[" * 10_000, {}, "The body cannot be read"),
        (b"[]", {}, "The body has to be a JSON object"),
        (b'"x"', {}, "The body has to be a JSON object"),
        (b"", {}, "The body has to be a JSON object"),
        (b"{}", {"content-type": "text/plain"}, "The body has to be a JSON object"),
        (b'{"model": "tiny", "n": ' + b"9" * 5000 + b"}", {}, "The body cannot be read"),
        (b'{"model": "tiny", "temperature": NaN, "messages": []}', {}, "'temperature'"),
    ],
)
def test_body_that_is_no_request(lab: Lab, content: bytes, headers: dict[str, str], text: str) -> None:
    response = post(lab, content=content, headers={**JSON, **headers})
    assert response.status_code == 400
    assert text in response.json()["error"]["message"]
    assert response.headers["x-request-id"].startswith("req_")


def test_half_a_surrogate_pair_comes_back_as_it_was(lab: Lab) -> None:
    for value in (b"1", b'"\\udfff"', b'{"\\ud800": "\\ud800"}'):
        response = post(lab, content=b'{"\\ud800": ' + value + b"}", headers=JSON)
        assert response.status_code == 400
        assert "\\ud800" in response.text
        assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("chunked", [False, True])
def test_body_too_large(lab: Lab, chunked: bool) -> None:
    content = b'{"model": "' + b"x" * 30_000 + b'"}'
    response = post(lab, content=iter([content]) if chunked else content, headers=JSON)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"
    assert response.json()["error"]["message"] == "The request body is larger than 20000 bytes (max_body_bytes)."


def test_client_class_of_a_large_body(lab: Lab) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        lab.client.completions.create(model="tiny", prompt="x" * 30_000)
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")


def test_full_queue(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(FakeEngine(delay=0.02), max_pending_requests=1, max_choices=1)
    create = lab.client.chat.completions.create
    stream = create(model="tiny", messages=[{"role": "user", "content": "forever"}], stream=True)
    next(iter(stream))
    with pytest.raises(openai.RateLimitError) as caught:
        create(model="tiny", messages=HI)
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert "The server is busy: 1 answers are running or waiting." in message(caught.value)
    stream.close()
    patient = lab.client.with_options(max_retries=2)
    assert patient.chat.completions.create(model="tiny", messages=HI, temperature=0).choices


def test_engine_failure(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(FakeEngine(fail_at=3))
    with pytest.raises(openai.InternalServerError) as caught:
        lab.client.chat.completions.create(model="tiny", messages=HI)
    assert message(caught.value) == "The engine failed while answering (RuntimeError)."
    assert (caught.value.code, caught.value.type) == ("engine_failed", "server_error")


def test_engine_failure_in_mid_stream(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(FakeEngine(fail_at=5))
    chunks = lab.client.chat.completions.create(model="tiny", messages=HI, stream=True)
    texts = [next(chunks).choices[0].delta.content for _ in range(5)]
    with pytest.raises(openai.APIError, match="The engine failed while answering") as caught:
        next(chunks)
    assert caught.value.code == "engine_failed"
    assert texts == ["", "b", "a", "s", "e"]


def test_what_nobody_expected(make_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    lab = make_lab()

    async def fail(*_args: object) -> None:
        raise ValueError("/secret/path")

    monkeypatch.setattr(lab.server.gateway, "chat", fail)
    response = post(lab, json={"model": "tiny", "messages": HI})
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "The server failed to answer this request."
    assert response.headers["x-request-id"].startswith("req_")


def test_requests_during_shutdown(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    lab.server.gateway.close()
    with pytest.raises(openai.InternalServerError) as caught:
        lab.client.chat.completions.create(model="tiny", messages=HI)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["retry-after"] == "5"
    assert message(caught.value) == "The server is shutting down. Try again later."
    assert httpx.get(lab.server.base_url.removesuffix("/v1") + "/health").json() == {"status": "stopping"}


def test_client_that_hangs_up_in_the_middle_of_a_body(lab: Lab) -> None:
    host, port = lab.server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\n"
            b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
        )
    assert lab.client.models.list().data
