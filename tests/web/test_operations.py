"""Figures for Prometheus, feedback, readiness, costs, and what happens when too much comes at once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import openai
import pytest

from tests.serve.fakes import ADAPTERS, FakeEngine, FakeRenderer, fake_gateway
from tests.web.conftest import KEY, Lab
from tunesmith.core.records import Trace
from tunesmith.core.store import Workspace
from tunesmith.serve import ApiKey, Config, Gateway, Keyring, RequestError, ServedModel, add_key, start_server
from tunesmith.serve.feedback import Feedback, FeedbackBook
from tunesmith.serve.metrics import Bounded, Metrics

TIMES = int(os.environ.get("TUNESMITH_TIMES", "1"))
HI = [{"role": "user", "content": "hi"}]
VLLM = [
    "vllm:e2e_request_latency_seconds",
    "vllm:generation_tokens",
    "vllm:inter_token_latency_seconds",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:prefix_cache_hits",
    "vllm:prefix_cache_queries",
    "vllm:prompt_tokens",
    "vllm:request_queue_time_seconds",
    "vllm:request_success",
    "vllm:time_to_first_token_seconds",
]


def value(text: str, name: str, missing: float | None = None, **labels: str) -> float:
    for line in text.splitlines():
        found = re.fullmatch(r"([^{ ]+)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name and all(f'{k}="{v}"' in (found[2] or "") for k, v in labels.items()):
            return float(found[3])
    assert missing is not None, f"{name} {labels} is not there"
    return missing


def test_figures_have_vllms_names_and_our_labels(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(price_per_hour=36.0)
    for model in ("legal", "legal", "tiny"):
        lab.client.chat.completions.create(model=model, messages=HI, temperature=0, max_tokens=4)
    url = lab.server.base_url.removesuffix("/v1") + "/metrics"
    while value(text := lab.http.get(url).text, "vllm:request_success_total", 0.0, adapter="tiny") < 1:
        time.sleep(0.01)
    named = re.findall(r"^# TYPE (\S+)", text, flags=re.MULTILINE)
    assert set(VLLM) <= {name.removesuffix("_total") for name in named}
    assert value(text, "vllm:prompt_tokens_total", adapter="legal", model_name="tiny", tenant="") == 14
    assert value(text, "vllm:generation_tokens_total", adapter="legal") == 8
    assert value(text, "vllm:request_success_total", adapter="legal", finished_reason="length") == 2
    assert value(text, "vllm:num_requests_running") == 0
    assert value(text, "tunesmith:engine_seconds_total") > 0
    assert value(text, "tunesmith:cost_total", adapter="legal") > 0
    # What each request is charged adds up to what the engine computed.
    lab.server.stop()
    charged = sum(trace.device_seconds for trace in lab.traces)
    assert charged == pytest.approx(value(text, "tunesmith:engine_seconds_total"), rel=1e-3)
    costs = [trace.cost for trace in lab.traces]
    assert costs == pytest.approx([trace.device_seconds / 100 for trace in lab.traces], rel=1e-9)


def test_labels_do_not_grow_without_end() -> None:
    metrics = Metrics("tiny")
    for n in range(10_000):
        metrics.observe(Trace(request_id="r", model=f"adapter-{n}", finish_reason="stop", prompt_tokens=1,
                              completion_tokens=1, seconds=0.1))  # fmt: skip
    text = metrics.text().decode()
    adapters = set(re.findall(r'vllm:prompt_tokens_total\{adapter="([^"]*)"', text))
    assert len(adapters) == 200
    assert value(text, "vllm:prompt_tokens_total", adapter="other") == 10_000 - 199
    bounded = Bounded(2)
    assert [bounded(word) for word in "abac"] == ["a", "other", "a", "other"]


def test_feedback_is_taken_on_requests_of_ones_own(tmp_path: Path) -> None:
    kept: list[Feedback] = []
    engine = FakeEngine(ADAPTERS)
    models = [ServedModel("tiny", FakeRenderer())]
    gateway = Gateway(engine, models, config=Config(port=0), book=FeedbackBook(kept.append))
    workspace = Workspace.open(tmp_path / "home")
    shop, clinic = (add_key(workspace, name, name) for name in ("shop", "clinic"))
    server = start_server(gateway, key=ApiKey("sk-owner", made=False), keyring=Keyring("sk-owner", workspace))
    with server, httpx.Client(base_url=server.base_url) as http:
        client = openai.OpenAI(base_url=server.base_url, api_key=shop)
        answer = client.chat.completions.create(model="tiny", messages=HI, temperature=0)

        def give(key: str, **body: object) -> httpx.Response:
            end = time.monotonic() + 5
            headers = {"authorization": f"Bearer {key}"}
            while (said := http.post("/feedback", json=body, headers=headers)).status_code == 404:
                if key == clinic or "nothing" in str(body) or time.monotonic() > end:
                    break
                time.sleep(0.01)
            return said

        done = give(shop, request_id=answer.id, correction="hello")
        assert done.json() == {"object": "feedback", "request_id": answer._request_id, "kind": "correction"}
        assert give(shop, request_id=answer._request_id, score=-1).json()["kind"] == "bad"
        assert give("sk-owner", request_id=answer.id, label="tone").json()["kind"] == "label"
        foreign = give(clinic, request_id=answer.id, score=1)
        assert (foreign.status_code, foreign.json()["error"]["code"]) == (404, "request_not_found")
        assert give(shop, request_id="nothing", score=1).status_code == 404
        assert "it says nothing" in give(shop, request_id=answer.id).json()["error"]["message"]
        broken = json.dumps({"request_id": answer.id, "comment": "\ud800"})
        headers = {"authorization": f"Bearer {shop}", "content-type": "application/json"}
        assert http.post("/feedback", content=broken, headers=headers).status_code == 400
        text = http.get("http://x/metrics".replace("http://x", server.base_url.removesuffix("/v1")),
                        headers={"authorization": "Bearer sk-owner"}).text  # fmt: skip
        assert value(text, "tunesmith:feedback_total", kind="correction") == 1
    assert [(found.tenant, found.model) for found in kept] == [("shop", "tiny")] * 3


def test_feedback_reaches_back_over_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "traces.jsonl"
    trace = Trace(
        request_id="req_1", model="m", finish_reason="stop", prompt_tokens=1, completion_tokens=1, seconds=1.0
    )
    log.write_text("broken\n" + trace.model_dump_json() + "\n")
    kept: list[Feedback] = []
    book = FeedbackBook(kept.append, log)
    assert book.give(Feedback(request_id="chatcmpl-1", score=0), "").kind == "neutral"
    with pytest.raises(RequestError, match=r"There is no request 'req_2'"):
        book.give(Feedback(request_id="req_2", comment="x"), "")


def test_ready_needs_no_key(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    url = lab.server.base_url.removesuffix("/v1") + "/ready"
    assert httpx.get(url).json() == {"status": "ok"}
    lab.server.gateway.close()
    assert httpx.get(url).status_code == 503


def test_ten_times_too_much_gets_only_429_and_the_rest_is_answered(make_lab: Callable[..., Lab]) -> None:
    """T8 at its everyday size."""
    lab = make_lab(FakeEngine(delay=0.001, slots=8), max_pending_requests=8, max_choices=8)

    async def flood() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=80)
        headers = {"authorization": f"Bearer {KEY.value}"}
        async with httpx.AsyncClient(headers=headers, timeout=60, limits=limits) as client:
            url = lab.server.base_url + "/chat/completions"
            body = {"model": "tiny", "messages": HI, "temperature": 0}
            return await asyncio.gather(*(client.post(url, json=body) for _ in range(80 * TIMES)))

    answers = asyncio.run(flood())
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {200, 429}
    assert 200 in statuses
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
    assert lab.server.gateway.pending == 0
    assert lab.engine.idle
    assert httpx.get(lab.server.base_url.removesuffix("/v1") + "/health").status_code == 200


def test_aborted_streams_leave_nothing(make_lab: Callable[..., Lab]) -> None:
    """T7 at its everyday size."""
    lab = make_lab(FakeEngine(delay=0.001, slots=16), max_pending_requests=1000)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "forever"}], "stream": True}
    headers = {"authorization": f"Bearer {KEY.value}"}

    async def abort(client: httpx.AsyncClient, after: int) -> None:
        url = lab.server.base_url + "/chat/completions"
        async with client.stream("POST", url, json=body) as response:
            lines = response.aiter_lines()
            for _ in range(after):
                await anext(lines)

    async def many() -> None:
        async with httpx.AsyncClient(headers=headers, timeout=60) as client:
            for _ in range(5 * TIMES):
                await asyncio.gather(*(abort(client, n % 5) for n in range(20)))

    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    threads = threading.active_count()
    asyncio.run(many())
    end = time.monotonic() + 20
    while (lab.server.gateway.pending or not lab.engine.idle) and time.monotonic() < end:
        time.sleep(0.01)
    assert lab.server.gateway.pending == 0
    assert lab.engine.idle
    if before:
        while len(os.listdir("/proc/self/fd")) > before + 5 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) <= before + 5
    assert threading.active_count() <= threads + 45  # the pool of the event loop, which is bounded


def test_tenants_never_see_each_other(tmp_path: Path) -> None:
    """T13 at its everyday size: names, answers, feedback and lists of 3 tenants, at random."""
    import random

    engine, names = FakeEngine(ADAPTERS, slots=16), ["shop", "clinic", "bank"]
    gateway = fake_gateway(engine)
    workspace = Workspace.open(tmp_path / "home")
    keys = {name: add_key(workspace, name, name) for name in names}
    for name in names:
        gateway.models.put(ServedModel(f"{name}-secret", FakeRenderer(), "legal", name, "tiny", tenant=name))
    draw, leaks, tries = random.Random(7), 0, 150 * TIMES
    server = start_server(gateway, key=ApiKey("sk-owner", made=False), keyring=Keyring("sk-owner", workspace))
    with server, httpx.Client(base_url=server.base_url) as http:
        asked: list[tuple[str, str]] = []
        for _ in range(tries):
            me, other = draw.sample(names, 2)
            headers = {"authorization": f"Bearer {keys[me]}"}
            body = {"model": f"{other}-secret", "messages": HI, "max_tokens": 2}
            theirs = [request for tenant, request in asked if tenant == other]
            tests = [
                http.get(f"/models/{other}-secret", headers=headers),
                http.post("/chat/completions", json=body, headers=headers),
                *(http.post("/feedback", json={"request_id": r, "score": 1}, headers=headers) for r in theirs[-1:]),
            ]
            leaks += sum(answer.status_code != 404 for answer in tests)
            leaks += other in json.dumps([m["id"] for m in http.get("/models", headers=headers).json()["data"]])
            own = http.post("/chat/completions", json={**body, "model": f"{me}-secret"}, headers=headers)
            assert own.status_code == 200
            asked.append((me, own.headers["x-request-id"]))
    assert leaks == 0
    assert {request.salt for request in engine.requests} == set(names)
