"""Whatever JSON comes in, the server answers or refuses; it never breaks."""

from __future__ import annotations

import json
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web.conftest import Lab
from tunesmith.web.fields import BOOKKEEPING, NEUTRAL_CHAT, NEUTRAL_COMPLETION
from tunesmith.web.schemas import ChatBody, ChatMessage, CompletionBody

NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2, 0.5, 1e308, -0.0, 2**31, 2**63 - 1, 2**63, -(2**63), 10**30]),
    st.integers(),
    st.floats(),
)
TEXTS = st.one_of(
    st.sampled_from(["", "hi", "forever", "tiny", "legal", "user", "tool", "text", "\x00", "\ud800", "<|stop|>", "{}"]),
    st.text(st.characters(), max_size=20),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=10,
)
PARTS = st.lists(st.fixed_dictionaries({}, optional={"type": TEXTS, "text": TEXTS}), max_size=3)
WILD_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "developer", "tool"])},
    optional={"content": st.one_of(TEXTS, PARTS, JSON)}
    | {name: JSON for name in ChatMessage.model_fields if name not in ("role", "content")}
    | {"name": JSON},
)
RIGHT_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "developer"]), "content": TEXTS}
)
MESSAGE = st.one_of(RIGHT_MESSAGE, RIGHT_MESSAGE, RIGHT_MESSAGE, WILD_MESSAGE)
SHARED = {
    "stream": st.booleans(),
    "n": st.integers(1, 17),
    "max_tokens": st.integers(1, 200),
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0, 1),
    "seed": st.integers(-(2**63), 2**63 - 1),
    "stop": st.one_of(st.text(min_size=1, max_size=3), st.lists(st.sampled_from(["a", "hea", "d "]), max_size=5)),
}


def bodies(fields: set[str], **likely: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Mostly right requests with a few wild fields, and now and then anything at all."""
    wild = st.dictionaries(st.one_of(st.sampled_from(sorted(fields)), TEXTS), JSON, max_size=3)
    names = st.sampled_from(["tiny", "tiny", "team/recipes", "legal", "nobody"])
    right = st.fixed_dictionaries({"model": names, **likely}, optional=SHARED)
    return st.one_of(right, right, st.builds(lambda a, b: {**a, **b}, right, wild), JSON)


CHAT = bodies(
    set(ChatBody.model_fields) | set(NEUTRAL_CHAT) | BOOKKEEPING,
    messages=st.lists(MESSAGE, min_size=1, max_size=3),
)
IDS = st.lists(st.integers(-1, 260), max_size=5)
COMPLETION = bodies(
    set(CompletionBody.model_fields) | set(NEUTRAL_COMPLETION) | BOOKKEEPING,
    prompt=st.one_of(TEXTS, st.lists(TEXTS, max_size=3), IDS, st.lists(IDS, max_size=3), JSON),
)
FUZZ = settings(max_examples=120, deadline=None, database=None, derandomize=True)


def never_breaks(lab: Lab, path: str, body: object) -> None:
    response = lab.http.post(
        lab.server.base_url + path, content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert response.status_code in (200, 400, 404), response.text
    assert response.headers["x-request-id"].startswith("req_")
    if response.status_code != 200:
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert error["type"] == "invalid_request_error"
        assert error["code"]
    elif response.headers["content-type"].startswith("text/event-stream"):
        assert response.text.endswith("data: [DONE]\n\n")
    else:
        ends = {choice["finish_reason"] for choice in response.json()["choices"]}
        assert ends <= {"stop", "length", "tool_calls"}


@FUZZ
@given(CHAT)
def test_chat(lab: Lab, body: object) -> None:
    never_breaks(lab, "/chat/completions", body)


@FUZZ
@given(COMPLETION)
def test_completions(lab: Lab, body: object) -> None:
    never_breaks(lab, "/completions", body)


@FUZZ
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_model_names(lab: Lab, name: str) -> None:
    url = f"{lab.server.base_url}/models/{quote(name, safe='')}"
    response = lab.http.get(url)
    assert response.status_code in (200, 404), response.text
    assert response.json()


def test_nothing_is_left_running(lab: Lab) -> None:
    assert lab.server.gateway.pending == 0
    assert lab.engine.idle
