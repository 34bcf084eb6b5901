"""The unmodified openai client against a real server: what works, in its own terms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import openai
import pytest

from tests.serve.fakes import ADAPTERS, CONTEXT, FakeEngine
from tests.web.conftest import KEY, Lab

HI = [{"role": "user", "content": "hi"}]
LONG = [{"role": "user", "content": "forever"}]


def test_models_are_listed_with_what_stands_behind_them(lab: Lab) -> None:
    models = {m.id: m for m in lab.client.models.list()}
    assert list(models) == ["tiny", "team/recipes", "legal"]
    assert {m.object for m in models.values()} == {"model"}
    base, legal = models["tiny"].model_extra, models["legal"].model_extra
    assert (base["parent"], base["adapter_digest"], base["context_length"]) == (None, None, CONTEXT)
    assert (legal["parent"], legal["adapter_digest"]) == ("tiny", "b" * 64)
    assert base["system_fingerprint"] != legal["system_fingerprint"]
    assert models["tiny"].created > 1_700_000_000


def test_model_with_a_slash_is_retrieved_raw_and_encoded(lab: Lab) -> None:
    assert lab.client.models.retrieve("team/recipes").id == "team/recipes"
    for path in ("team/recipes", "team%2Frecipes"):
        response = httpx.get(f"{lab.server.base_url}/models/{path}", headers={"authorization": f"Bearer {KEY.value}"})
        assert response.json()["id"] == "team/recipes"


def test_chat(lab: Lab) -> None:
    raw = lab.client.chat.completions.with_raw_response.create(model="legal", messages=HI, temperature=0)
    answer = raw.parse()
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "legal"
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "legal heard user:hi")
    assert (choice.finish_reason, choice.logprobs, choice.message.refusal) == ("stop", None, None)
    # The stop token counts: it was computed.
    assert answer.usage.completion_tokens == len("legal heard user:hi") + 1
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (7, 7 + 20)
    assert answer.system_fingerprint == lab.client.models.retrieve("legal").model_extra["system_fingerprint"]
    assert raw.headers["x-adapter-digest"] == ADAPTERS["legal"]
    assert raw.headers["x-request-id"] == answer._request_id == "req_" + answer.id.removeprefix("chatcmpl-")


def test_base_says_that_no_adapter_answered(lab: Lab) -> None:
    raw = lab.client.chat.completions.with_raw_response.create(model="tiny", messages=HI)
    assert raw.headers["x-adapter-digest"] == "none"


def test_roles_and_parts(lab: Lab) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answer = lab.client.chat.completions.create(
        model="tiny",
        messages=[
            {"role": "developer", "content": "be"},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "content": "r", "tool_call_id": "c1"},
        ],
        temperature=0,
    )
    assert answer.choices[0].message.content == "base heard system:be|user:onetwo|assistant:|tool:r"


def test_an_answer_can_be_sent_back_as_history(lab: Lab) -> None:
    first = lab.client.chat.completions.create(model="tiny", messages=HI, temperature=0)
    history = [*HI, first.choices[0].message, {"role": "user", "content": "more"}]
    second = lab.client.chat.completions.create(model="tiny", messages=history, temperature=0)
    assert second.choices[0].message.content == "base heard user:hi|assistant:base heard user:hi|user:more"


def test_length_stop_n_and_seed(lab: Lab) -> None:
    create = lab.client.chat.completions.create
    for limit in ({"max_tokens": 4}, {"max_completion_tokens": 4}, {"max_tokens": 4, "max_completion_tokens": 4}):
        cut = create(model="tiny", messages=HI, temperature=0, **limit)
        assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("base", "length")
        assert cut.usage.completion_tokens == 4
    for stop in ("heard", ["zzz", "heard", "user"]):
        stopped = create(model="tiny", messages=LONG, temperature=0, stop=stop)
        assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("base ", "stop")
    several = create(model="tiny", messages=HI, n=3, seed=40, temperature=1)
    assert [c.index for c in several.choices] == [0, 1, 2]
    assert [c.message.content[-7:] for c in several.choices] == ["seed 40", "seed 41", "seed 42"]
    again = create(model="tiny", messages=HI, n=3, seed=40, temperature=1)
    assert [c.message.content for c in again.choices] == [c.message.content for c in several.choices]
    assert create(model="tiny", messages=HI, top_p=0).choices[0].finish_reason == "stop"


def test_bookkeeping_and_fields_that_ask_for_nothing(lab: Lab) -> None:
    answer = lab.client.chat.completions.create(
        model="tiny",
        messages=HI,
        temperature=0,
        user="u",
        metadata={"a": "b"},
        store=False,
        safety_identifier="s",
        service_tier="auto",
        prompt_cache_key="k",
        frequency_penalty=0,
        presence_penalty=0.0,
        logit_bias={},
        logprobs=False,
        response_format={"type": "text"},
        tools=[],
        tool_choice="none",
        parallel_tool_calls=True,
        seed=None,
        stop=None,
    )
    assert answer.choices[0].message.content == "base heard user:hi"


def test_streaming_leaves_before_the_last_token_is_computed(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(FakeEngine(delay=0.01))
    stream = lab.client.chat.completions.create(model="tiny", messages=LONG, temperature=0, max_tokens=100, stream=True)
    texts: list[str] = []
    for chunk in stream:
        if chunk.choices[0].delta.content:
            texts.append(chunk.choices[0].delta.content)
            if len(texts) == 1:
                assert lab.engine.steps < 50
    assert len(texts) > 90
    assert "".join(texts).startswith("base heard user:forever")
    assert lab.engine.steps == 100


def test_stream_is_exact(lab: Lab) -> None:
    chunks = list(
        lab.client.chat.completions.create(
            model="legal", messages=HI, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    assert len({(c.id, c.created, c.model, c.object, c.system_fingerprint) for c in chunks}) == 1
    first, *middle, last, usage = chunks
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert "".join(c.choices[0].delta.content for c in middle) == "legal heard user:hi"
    assert all(c.choices[0].finish_reason is None and c.choices[0].delta.role is None for c in middle)
    assert (last.choices[0].finish_reason, last.choices[0].delta.content) == ("stop", None)
    assert usage.choices == []
    assert (usage.usage.prompt_tokens, usage.usage.completion_tokens, usage.usage.total_tokens) == (7, 20, 27)
    assert all("usage" in c.model_fields_set and c.usage is None for c in chunks[:-1])


def test_stream_on_the_wire(lab: Lab) -> None:
    with httpx.stream(
        "POST",
        lab.server.base_url + "/chat/completions",
        json={"model": "tiny", "messages": [{"role": "user", "content": "\u2028é"}], "temperature": 0, "stream": True},
        headers={"authorization": f"Bearer {KEY.value}"},
    ) as response:
        text = response.read().decode()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-adapter-digest"] == "none"
    assert text.isascii()
    lines = text.split("\n\n")
    assert all(line.startswith("data: {") for line in lines[:-2])
    assert lines[-2:] == ["data: [DONE]", ""]
    assert "usage" not in text


def test_streamed_choices_and_stop(lab: Lab) -> None:
    texts, ends = {}, {}
    for chunk in lab.client.chat.completions.create(
        model="tiny", messages=HI, n=2, seed=1, stop="d ", stream=True, temperature=1
    ):
        (choice,) = chunk.choices
        texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
        if choice.finish_reason:
            ends[choice.index] = choice.finish_reason
    assert texts == {0: "base hear", 1: "base hear"}
    assert ends == {0: "stop", 1: "stop"}


def test_async_client(lab: Lab) -> None:
    async def stream() -> str:
        async with openai.AsyncOpenAI(base_url=lab.server.base_url, api_key=KEY.value) as client:
            chunks = await client.chat.completions.create(model="tiny", messages=HI, temperature=0, stream=True)
            return "".join([c.choices[0].delta.content or "" async for c in chunks])

    assert asyncio.run(stream()) == "base heard user:hi"


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("hi", ["base heard hi"]),
        (["hi", "ho"], ["base heard hi", "base heard ho"]),
        ([104, 105], ["base heard hi"]),
        ([[104, 105], [104, 111]], ["base heard hi", "base heard ho"]),
    ],
)
def test_completions(lab: Lab, prompt: object, texts: list[str]) -> None:
    answer = lab.client.completions.create(model="tiny", prompt=prompt, temperature=0, max_tokens=50)
    assert (answer.object, answer.id[:5]) == ("text_completion", "cmpl-")
    assert [(c.index, c.text, c.finish_reason) for c in answer.choices] == [
        (i, text, "stop") for i, text in enumerate(texts)
    ]
    assert answer.usage.prompt_tokens == 2 * len(texts)


def test_completions_of_several_prompts_and_choices(lab: Lab) -> None:
    answer = lab.client.completions.create(model="tiny", prompt=["a", "b"], n=2, seed=5, max_tokens=50)
    ends = [(c.index, c.text[-8:]) for c in answer.choices]
    assert ends == [(0, "a seed 5"), (1, "a seed 6"), (2, "b seed 5"), (3, "b seed 6")]
    assert answer.usage.prompt_tokens == 2


def test_completions_give_16_tokens_by_default(lab: Lab) -> None:
    answer = lab.client.completions.create(model="tiny", prompt="forever", temperature=0)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("base heard forev", "length")


def test_completions_stream(lab: Lab) -> None:
    chunks = list(
        lab.client.completions.create(
            model="tiny", prompt="hi", temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.choices[0].text for c in chunks[:-1]) == "base heard hi"
    assert [c.choices[0].finish_reason for c in chunks[-3:-1]] == [None, "stop"]
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 14)
    assert {c.object for c in chunks} == {"text_completion"}


def test_eight_at_once_over_base_and_two_adapters(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(FakeEngine(ADAPTERS, delay=0.002, slots=8))
    names = ["tiny", "legal", "team/recipes"]

    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=lab.server.base_url, api_key=KEY.value) as client:

            async def ask(i: int) -> str:
                messages = [{"role": "user", "content": f"question {i}"}]
                answer = await client.chat.completions.create(model=names[i % 3], messages=messages, temperature=0)
                return answer.choices[0].message.content

            return await asyncio.gather(*(ask(i) for i in range(8)))

    speakers = ["base", "legal", "team/recipes"]
    assert asyncio.run(ask_all()) == [f"{speakers[i % 3]} heard user:question {i}" for i in range(8)]
    assert lab.engine.most_running > 1
    lab.server.stop()
    assert sorted({t.adapter_digest for t in lab.traces}) == ["", "a" * 64, "b" * 64]
    assert len(lab.traces) == 8


@pytest.mark.parametrize("stream", [True, False])
def test_client_that_leaves_frees_the_slot(make_lab: Callable[..., Lab], stream: bool) -> None:
    lab = make_lab(FakeEngine(delay=0.01))
    create = lab.client.chat.completions.create
    if stream:
        chunks = create(model="tiny", messages=LONG, stream=True)
        next(iter(chunks))
        assert lab.server.gateway.pending == 1
        chunks.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            create(model="tiny", messages=LONG, timeout=0.2)
    end = time.monotonic() + 5
    while lab.server.gateway.pending and time.monotonic() < end:
        time.sleep(0.01)
    assert lab.server.gateway.pending == 0
    assert lab.engine.idle
    assert lab.engine.steps < 150
    lab.server.stop()
    assert [t.finish_reason for t in lab.traces] == ["cancelled"]
