"""The gateway without HTTP: admission, batching, cancelling, failures, traces, shutdown."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.serve.fakes import ADAPTERS, CONTEXT, FakeEngine, FakeRenderer, fake_gateway, fake_models
from tunesmith.core.errors import InputError
from tunesmith.core.records import Message, Trace
from tunesmith.serve import Choice, Config, Gateway, Options, RequestError, ServedModel, served_models


@contextmanager
def running(gateway: Gateway) -> Iterator[Gateway]:
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.close()


def say(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


GREEDY = Options(temperature=0.0)


async def ask(gateway: Gateway, text: str, model: str = "tiny", options: Options = GREEDY) -> list[Choice]:
    return await (await gateway.chat(model, say(text), options)).collect()


def test_base_and_adapters_answer_side_by_side() -> None:
    engine = FakeEngine(ADAPTERS, delay=0.001)

    async def both() -> list[list[Choice]]:
        names = ["tiny", "legal", "team/recipes"]
        return await asyncio.gather(*(ask(gateway, "hi", name) for name in names))

    with running(fake_gateway(engine)) as gateway:
        answers = asyncio.run(both())
    texts = [choices[0].text for choices in answers]
    assert texts == ["base heard user:hi", "legal heard user:hi", "team/recipes heard user:hi"]
    assert engine.most_running == 3


def test_each_choice_has_its_own_seed() -> None:
    engine = FakeEngine()
    with running(fake_gateway(engine)) as gateway:
        choices = asyncio.run(ask(gateway, "hi", options=Options(seed=7, n=3)))
        asyncio.run(ask(gateway, "hi", options=Options(seed=2**63 - 1, n=2)))
        asyncio.run(ask(gateway, "hi", options=Options(n=2)))
    assert [c.text[-6:] for c in choices] == ["seed 7", "seed 8", "seed 9"]
    seeds = [r.params.seed for r in engine.requests]
    assert seeds[3:5] == [2**63 - 1, 0]
    assert len(set(seeds[5:])) == 2


def test_length_is_not_stop_and_stop_strings_are_not_given_out() -> None:
    engine = FakeEngine()

    async def three(gateway: Gateway) -> None:
        cut = await gateway.chat("tiny", say("hi"), Options(temperature=0, max_tokens=4))
        assert await cut.collect() == [Choice("base", "length")]
        assert cut.completion_tokens == 4
        stopped = await gateway.chat("tiny", say("forever"), Options(temperature=0, stop=("heard", "zzz")))
        assert await stopped.collect() == [Choice("base ", "stop")]
        assert stopped.completion_tokens == len("base heard")
        # The answer ends inside what could have become a stop string: it is given out after all.
        held = await gateway.chat("tiny", say("hi"), Options(temperature=0, stop=("hi there",)))
        assert await held.collect() == [Choice("base heard user:hi", "stop")]

    with running(fake_gateway(engine)) as gateway:
        asyncio.run(three(gateway))
        assert gateway.pending == 0
    assert len(engine.cancelled) == 1
    assert engine.idle


def test_stop_string_ends_before_the_next_step() -> None:
    engine = FakeEngine()
    with running(fake_gateway(engine)) as gateway:
        asyncio.run(ask(gateway, "forever", options=Options(temperature=0, stop=("heard",))))
    assert engine.steps == len("base heard")


def test_text_of_unfinished_characters_waits() -> None:
    async def pieces(gateway: Gateway) -> list[str]:
        answer = await gateway.chat("tiny", say("é🙂"), GREEDY)
        return [piece.text async for piece in answer if piece.text]

    with running(fake_gateway(FakeEngine())) as gateway:
        texts = asyncio.run(pieces(gateway))
    assert texts[-2:] == ["é", "🙂"]


def test_unknown_model_names_the_nearest_and_never_falls_back() -> None:
    engine = FakeEngine(ADAPTERS)
    with running(fake_gateway(engine)) as gateway, pytest.raises(RequestError) as caught:
        asyncio.run(ask(gateway, "hi", "legall"))
    assert caught.value.status == 404
    assert str(caught.value) == "model: The model 'legall' does not exist here.\n  fix:  Did you mean 'legal'?"
    assert engine.requests == []
    with pytest.raises(RequestError, match="Available: 'tiny', 'team/recipes', 'legal'"):
        gateway.models["gpt-5"]


def test_context_overflow_says_the_numbers() -> None:
    prompt = len("user:hi")
    with running(fake_gateway(FakeEngine())) as gateway:
        with pytest.raises(RequestError) as caught:
            asyncio.run(ask(gateway, "hi", options=Options(max_tokens=CONTEXT)))
        assert caught.value.reason == "context_length_exceeded"
        assert caught.value.param == "messages"
        assert caught.value.what == (
            "This model's maximum context length is 400 tokens; "
            f"this request needs {prompt + 400} ({prompt} of the prompt + 400 of the answer)."
        )
        assert caught.value.fix == f"Shorten the prompt or set max_tokens to {CONTEXT - prompt} or less."
        with pytest.raises(RequestError, match=r"needs 406 \(405 of the prompt \+ 1 of the answer\)") as caught:
            asyncio.run(ask(gateway, "x" * 400))
        assert caught.value.fix == "Shorten the prompt."
        whole = asyncio.run(ask(gateway, "forever"))
        assert len(whole[0].text) == CONTEXT - len("user:forever")
        assert whole[0].finish_reason == "length"


def test_limits_are_named() -> None:
    with running(fake_gateway(FakeEngine(), max_choices=2, max_response_tokens=50)) as gateway:
        with pytest.raises(RequestError, match=r"60 answer tokens .*[\s\S]*At most 50 \(max_response_tokens\)"):
            asyncio.run(ask(gateway, "hi", options=Options(max_tokens=60)))
        with pytest.raises(RequestError, match=r"3 answers .*[\s\S]*at most 2 \(max_choices\)") as caught:
            asyncio.run(ask(gateway, "hi", options=Options(n=3)))
        assert caught.value.param == "n"
        choices = asyncio.run(ask(gateway, "forever"))
        assert len(choices[0].text) == 50


def test_prompt_that_cannot_be_used() -> None:
    async def complete(gateway: Gateway, prompt: str | tuple[int, ...]) -> None:
        await (await gateway.complete("tiny", [prompt], GREEDY)).collect()

    with running(fake_gateway(FakeEngine())) as gateway:
        with pytest.raises(RequestError, match="prompt is empty"):
            asyncio.run(complete(gateway, ""))
        with pytest.raises(RequestError, match=r"token id 257 does not exist[\s\S]*go from 0 to 256"):
            asyncio.run(complete(gateway, (5, 257)))
        with pytest.raises(RequestError, match="control token") as caught:
            asyncio.run(ask(gateway, "<|stop|>"))
        assert caught.value.param == "messages"
        with pytest.raises(InputError, match="the engine refuses this request"):
            asyncio.run(ask(gateway, "refuse me"))
        assert gateway.pending == 0


def test_full_queue_refuses_and_takes_again() -> None:
    async def fill(gateway: Gateway) -> None:
        first = await gateway.chat("tiny", say("forever"), Options(n=3))
        with pytest.raises(RequestError) as caught:
            await gateway.chat("tiny", say("hi"), Options(n=2))
        assert caught.value.status == 429
        assert caught.value.retry_after >= 1
        assert str(caught.value) == (
            "The server is busy: 3 answers are running or waiting.\n"
            "  rule: At most 4 at a time (max_pending_requests).\n"
            "  fix:  Try again in a moment."
        )
        await first.collect()
        assert await ask(gateway, "hi")

    with running(fake_gateway(FakeEngine(), max_pending_requests=4, max_choices=4)) as gateway:
        asyncio.run(fill(gateway))
        assert gateway.pending == 0


def test_cancel_frees_the_slot_and_is_traced() -> None:
    traces: list[Trace] = []
    engine = FakeEngine(delay=0.002)

    async def leave(gateway: Gateway) -> None:
        answer = await gateway.chat("tiny", say("forever"), Options(n=2))
        async for _ in answer:
            break
        answer.cancel()
        answer.cancel()
        while gateway.pending:
            await asyncio.sleep(0.005)

    with running(fake_gateway(engine, traces.append)) as gateway:
        asyncio.run(leave(gateway))
        assert engine.idle
    assert engine.steps < 50
    assert len(engine.cancelled) == 2
    assert [t.finish_reason for t in traces] == ["cancelled"]


def test_closed_event_loop_counts_as_a_client_that_left() -> None:
    engine = FakeEngine(delay=0.002)

    async def forget(gateway: Gateway) -> None:
        await gateway.chat("tiny", say("forever"), GREEDY)

    with running(fake_gateway(engine)) as gateway:
        asyncio.run(forget(gateway))
        end = time.monotonic() + 5
        while gateway.pending and time.monotonic() < end:
            time.sleep(0.005)
        assert gateway.pending == 0
    assert engine.steps < 50


def test_trace_has_no_content_and_all_numbers() -> None:
    traces: list[Trace] = []
    with running(fake_gateway(FakeEngine(ADAPTERS, delay=0.001), traces.append)) as gateway:
        asyncio.run(ask(gateway, "hi", "legal", Options(temperature=0, n=2, max_tokens=5)))
    (trace,) = traces
    assert trace.request_id.startswith("req_")
    assert (trace.model, trace.adapter_digest) == ("legal", "b" * 64)
    assert (trace.finish_reason, trace.prompt_tokens, trace.completion_tokens) == ("length", 7, 10)
    assert 0 < trace.seconds_to_first_token < trace.seconds
    assert "heard" not in trace.model_dump_json()


def test_trace_that_cannot_be_written_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def full(_trace: Trace) -> None:
        raise OSError("disk full")

    with running(fake_gateway(FakeEngine(), full)) as gateway:
        assert asyncio.run(ask(gateway, "hi"))[0].finish_reason == "stop"
    assert "could not be written" in caplog.text


def test_engine_failure_breaks_running_answers_and_takes_the_next() -> None:
    traces: list[Trace] = []
    with running(fake_gateway(FakeEngine(fail_at=3), traces.append)) as gateway:
        with pytest.raises(RequestError) as caught:
            asyncio.run(ask(gateway, "hi", options=Options(n=2)))
        assert caught.value.status == 500
        assert caught.value.what == "The engine failed while answering (RuntimeError)."
        assert gateway.state == "ready"
        assert asyncio.run(ask(gateway, "hi"))[0].text == "base heard user:hi"
    assert [t.finish_reason for t in traces] == ["error", "stop"]


def test_engine_that_cannot_be_emptied_is_not_used_again() -> None:
    class Stuck(FakeEngine):
        def cancel(self, request_id: str) -> None:
            raise RuntimeError("stuck")

    with running(fake_gateway(Stuck(fail_at=2))) as gateway:
        with pytest.raises(RequestError, match="failed while answering"):
            asyncio.run(ask(gateway, "hi"))
        assert gateway.state == "failed"
        with pytest.raises(RequestError, match=r"The engine has failed\.\n  fix:  Restart the server\."):
            asyncio.run(ask(gateway, "hi"))


def test_engine_that_breaks_while_taking_a_request(caplog: pytest.LogCaptureFixture) -> None:
    class Breaking(FakeEngine):
        def submit(self, request: object) -> None:
            raise KeyError("/secret/path")

    with running(fake_gateway(Breaking())) as gateway:
        with pytest.raises(RequestError) as caught:
            asyncio.run(ask(gateway, "hi"))
        assert caught.value.what == "The engine failed while answering (KeyError)."
        assert gateway.pending == 0
    assert "the engine failed to take a request" in caplog.text


def test_engine_that_forgets_a_request_is_noticed() -> None:
    class Forgetful(FakeEngine):
        def submit(self, request: object) -> None:
            """Lose it."""

    with running(fake_gateway(Forgetful())) as gateway, pytest.raises(RequestError, match="failed while answering"):
        asyncio.run(ask(gateway, "hi"))


@pytest.mark.parametrize(("grace", "reason"), [(5.0, "stop"), (0.0, None)])
def test_shutdown_lets_answers_end_or_breaks_them_off(grace: float, reason: str | None) -> None:
    gateway = fake_gateway(FakeEngine(delay=0.005))
    gateway.start()

    async def ask_and_close() -> list[Choice]:
        answer = await gateway.chat("tiny", say("hi"), GREEDY)
        closing = threading.Thread(target=gateway.close, args=(grace,))
        closing.start()
        await asyncio.sleep(0.02)
        with pytest.raises(RequestError, match="shutting down"):
            await gateway.chat("tiny", say("hi"), GREEDY)
        try:
            return await answer.collect()
        finally:
            await asyncio.to_thread(closing.join)

    if reason:
        assert asyncio.run(ask_and_close())[0].finish_reason == reason
    else:
        with pytest.raises(RequestError) as caught:
            asyncio.run(ask_and_close())
        assert (caught.value.status, caught.value.retry_after) == (503, 5)
    assert gateway.state == "stopping"
    gateway.close()


def test_not_started_takes_nothing() -> None:
    gateway = fake_gateway(FakeEngine())
    with pytest.raises(RequestError, match="shutting down"):
        asyncio.run(ask(gateway, "hi"))
    gateway.close()


def test_names_have_to_differ() -> None:
    engine = FakeEngine({"tiny": "c" * 64})
    with pytest.raises(InputError) as caught:
        Gateway(engine, fake_models(engine))
    assert "the model name 'tiny' is used twice" in str(caught.value)
    assert "--adapter NAME=PATH" in str(caught.value)
    with pytest.raises(InputError, match="there is no model to serve"):
        Gateway(engine, [])
    with pytest.raises(InputError, match="a model has an empty name"):
        Gateway(engine, [ServedModel("", FakeRenderer())])


def test_adapters_may_have_renderers_of_their_own() -> None:
    engine = FakeEngine(ADAPTERS)
    models = {m.name: m for m in served_models(engine, "tiny", FakeRenderer(), {"legal": FakeRenderer("other")})}
    assert models["legal"].renderer.digest == "other"
    assert models["team/recipes"].renderer.digest == "bytes"
    assert models["legal"].parent == "tiny"
    assert len({m.fingerprint for m in models.values()}) == 3
    with pytest.raises(InputError, match="no adapter called 'nope' is loaded"):
        served_models(engine, "tiny", FakeRenderer(), {"nope": FakeRenderer()})


def test_config_bounds() -> None:
    assert Config().host == "127.0.0.1"
    with pytest.raises(ValueError, match=r"max_choices is 9, max_pending_requests is 8"):
        Config(max_choices=9, max_pending_requests=8)
    assert Config(max_pending_requests=4).max_choices == 4
    assert Config(max_pending_requests=400).max_choices == Config().max_choices == 16
    with pytest.raises(ValueError, match="greater than or equal to 1") as caught:
        Config(max_pending_requests=0)
    assert "max_choices" not in str(caught.value)
    assert all(field.description for field in Config.model_fields.values())


def test_request_errors_survive_pickling() -> None:
    error = RequestError("rate_limit_exceeded", "busy", rule="r", fix="f", param="p", retry_after=3)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status, again.retry_after, again.param) == (str(error), 429, 3, "p")
