"""A model behind an endpoint, seen through the same protocol as one on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tunesmith.core.errors import InputError, OfflineError
from tunesmith.core.records import Example, Grammar, Message, Prompt, Reply, SamplingParams, ToolCall
from tunesmith.serve.remote import EndpointError, _wishes, is_remote, open_remote, turn


class Endpoint(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(body)
        self.server.keys.add(self.headers["authorization"])
        known = body["model"] == "bot"
        said = {"role": "assistant", "content": body["messages"][-1]["content"].upper()} if known else {}
        reason = "length" if body["max_tokens"] < 4 else "stop"
        answer: dict[str, Any] = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "bot",
            "choices": [{"index": 0, "message": said, "finish_reason": reason}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        }
        if not known:
            answer = {"error": {"message": "no such model", "type": "invalid_request_error", "code": "model_not_found"}}
        data = json.dumps(answer).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def asked(*texts: str) -> list[Prompt]:
    return [Prompt(messages=(Message(role="user", content=text),)) for text in texts]


def test_answers_come_in_order_with_their_counts(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    monkeypatch.setenv("TUNESMITH_REMOTE_KEY", "ours")
    remote = open_remote(f"bot@{endpoint.url}")
    seen: list[tuple[int, int]] = []
    params = SamplingParams(max_tokens=9, temperature=0.5, seed=3, stop=("x",))
    answers = remote.sample(asked(*"abcdefghijkl"), params, lambda done, total: seen.append((done, total)))
    assert [answer.text for answer in answers] == list("ABCDEFGHIJKL")
    assert {(a.finish_reason, a.prompt_tokens, a.completion_tokens) for a in answers} == {("stop", 5, 2)}
    assert seen[-1] == (12, 12)
    assert endpoint.keys == {"Bearer ours"}
    first = endpoint.requests[0]
    assert (first["temperature"], first["seed"], first["stop"], first["max_tokens"]) == (0.5, 3, ["x"], 9)
    (cut,) = remote.sample(asked("a"), SamplingParams(max_tokens=2))
    assert cut.finish_reason == "length"
    assert open_remote(f"bot@{endpoint.url}").digest == remote.digest


def test_an_endpoint_that_does_not_know_the_model_or_does_not_answer(endpoint: Endpoint) -> None:
    with pytest.raises(EndpointError, match="no such model") as caught:
        open_remote(f"other@{endpoint.url}").sample(asked("a"), SamplingParams())
    assert "TUNESMITH_REMOTE_KEY" in caught.value.fix
    gone = open_remote("bot@http://127.0.0.1:9/v1")
    gone._client = gone._client.with_options(max_retries=0)
    with pytest.raises(EndpointError, match="no answer: Connection error"):
        gone.sample(asked("a"), SamplingParams())


def test_given_answers_have_no_log_probabilities() -> None:
    row = Example(messages=(Message(role="user", content="a"),), target=Reply(message=Message(role="assistant")))
    [score] = open_remote("bot@http://127.0.0.1:9/v1").score([row])
    assert score.logprobs == ()
    assert score.example_id == row.id


def test_what_an_answer_is_to_be_like_is_asked_for_or_refused() -> None:
    params = SamplingParams(presence_penalty=0.5, logit_bias={3: -100.0}, grammar=Grammar(kind="json_object"))
    assert _wishes(params) == {
        "presence_penalty": 0.5,
        "frequency_penalty": 0.0,
        "logit_bias": {"3": -100.0},
        "response_format": {"type": "json_object"},
    }
    schema = _wishes(SamplingParams(grammar=Grammar(kind="json_schema", source='{"type": "object"}')))
    assert schema["response_format"]["json_schema"]["schema"] == {"type": "object"}
    with pytest.raises(InputError, match="cannot be asked for answers of the form 'regex'"):
        _wishes(SamplingParams(grammar=Grammar(kind="regex", source="a+")))


def test_names_of_remote_models() -> None:
    assert is_remote("support@http://localhost:8000/v1")
    assert not is_remote("smollm2-135m-instruct")
    with pytest.raises(InputError, match="names no model behind an endpoint"):
        open_remote("http://localhost:8000/v1")


def test_offline_means_that_nothing_leaves_the_building(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_OFFLINE", "1")
    for host in ("127.0.0.1", "localhost", "10.1.2.3", "gpu.lan"):
        open_remote(f"bot@http://{host}:8000/v1")
    with pytest.raises(OfflineError, match="is outside this network"):
        open_remote("gpt@https://api.openai.com/v1")


def test_turns_keep_their_tool_calls() -> None:
    call = Message(role="assistant", tool_calls=(ToolCall(id="1", name="f", arguments='{"a":1}'),))
    assert turn(call)["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert turn(Message(role="tool", content="2", tool_call_id="1")) == {
        "role": "tool",
        "content": "2",
        "tool_call_id": "1",
    }
