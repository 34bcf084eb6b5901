"""Aliases: shares, stickiness, switches, shadows, guardrails, rollbacks; changes count live and lose no request."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from scipy.stats import binom

from tests.serve.fakes import FakeEngine, FakeRenderer, fake_models
from tunesmith.core.errors import AdapterError, InputError
from tunesmith.core.records import Message, Trace
from tunesmith.core.store import Workspace, write_text
from tunesmith.serve import (
    Arm,
    Caller,
    Config,
    Deployment,
    Gateway,
    Guardrail,
    Options,
    RequestError,
    ServedModel,
    Traffic,
    change,
    deploy,
    deployed,
    require_deployed,
    roll_back,
)
from tunesmith.serve.traffic import Event, broken_by, is_refusal

TIMES = int(os.environ.get("TUNESMITH_TIMES", "1"))
"""How many times the everyday size the larger tests have (`make torture`)."""


class FakeLoader:
    """Artifacts become adapters of the fake engine; one of them belongs to another base."""

    def __init__(self, engine: FakeEngine, foreign: str = "") -> None:
        self.engine, self.foreign = engine, foreign

    def load(self, digest: str) -> ServedModel:
        if digest == self.foreign:
            raise AdapterError("the adapter was trained on another base", fix="use its own")
        self.engine.adapters[digest[:8]] = digest
        return ServedModel("", FakeRenderer(), digest[:8], digest, "tiny", "fp_" + digest[:16])

    def unload(self, digest: str) -> None:
        del self.engine.adapters[digest[:8]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def artifact(workspace: Workspace, text: str) -> str:
    return workspace.publish("adapter", lambda folder: write_text(folder / "a.txt", text)).digest


def make_gateway(workspace: Workspace, engine: FakeEngine, on_trace=None, foreign: str = "", **limits) -> Gateway:
    models = fake_models(engine)
    traffic = Traffic(workspace, FakeLoader(engine, foreign), models[0])
    return Gateway(engine, models, config=Config(port=0, **limits), on_trace=on_trace, traffic=traffic)


HI = [Message.model_validate({"role": "user", "content": "hi"})]
GREEDY = Options(temperature=0)


async def ask(gateway: Gateway, alias: str = "bot", user: str = "", tenant: str = "") -> tuple[str, str, str]:
    answer = await gateway.chat(alias, HI, GREEDY, Caller(tenant, "key", user))
    (choice,) = await answer.collect()
    return answer.route.arm, answer.model.adapter_digest, choice.text


def split(one: str, two: str, **more: object) -> Deployment:
    arms = (Arm(name="candidate", digest=one, weight=0.2), Arm(name="control", digest=two, weight=0.8))
    return Deployment(alias="bot", arms=arms, control="control", **more)


def test_shares_are_as_weighted_and_users_keep_their_arm() -> None:
    deployment = split("", "")
    users = 20_000
    chosen = {f"user-{n}": deployment.choose(f"user-{n}", "k").name for n in range(users)}
    low, high = binom.interval(0.999, users, 0.2)
    assert low <= Counter(chosen.values())["candidate"] <= high
    assert all(deployment.choose(user, "other").name == arm for user, arm in list(chosen.items())[:2000])
    # A larger share takes users from the control only.
    grown = deployment.model_copy(update={"arms": (Arm(name="candidate", weight=0.5), Arm(name="control", weight=0.5))})
    left = [u for u, arm in chosen.items() if arm == "candidate" and grown.choose(u, "k").name != "candidate"]
    assert left == []
    draws = Counter(deployment.choose("", "k", random.Random(n).random).name for n in range(5000))
    low, high = binom.interval(0.999, 5000, 0.2)
    assert low <= draws["candidate"] <= high
    by_key = deployment.model_copy(update={"sticky": "key"})
    assert len({by_key.choose(f"user-{n}", "k").name for n in range(50)}) == 1


def test_an_alias_answers_and_says_which_weights(workspace: Workspace) -> None:
    one, traces = artifact(workspace, "one"), []
    deploy(workspace, Deployment(alias="bot", arms=(Arm(name="current", digest=one[:12]),)))
    gateway = make_gateway(workspace, FakeEngine(), traces.append)
    gateway.start()
    assert asyncio.run(ask(gateway)) == ("current", one, f"{one[:8]} heard user:hi")
    assert [model.name for model in gateway.visible("")] == ["tiny", "bot"]
    with pytest.raises(RequestError, match="Did you mean 'bot'"):
        asyncio.run(ask(gateway, "bott"))
    gateway.close()
    assert [(t.alias, t.arm, t.model) for t in traces] == [("bot", "current", "bot")]


def test_swaps_under_load_lose_nothing_and_no_answer_is_mixed(workspace: Workspace) -> None:
    """T6: each answer matches exactly one digest; changes count within a second."""
    digests = [artifact(workspace, str(n)) for n in range(4)]
    gateway = make_gateway(workspace, FakeEngine(slots=32), max_pending_requests=200)
    deploy(workspace, Deployment(alias="bot", arms=(Arm(name="current", digest=digests[0]),)))
    gateway.start()
    assert gateway.traffic is not None
    answers: list[tuple[str, str, str]] = []
    swaps, requests = 8 * TIMES, 200 * TIMES
    done = threading.Event()

    def swap() -> None:
        for n in range(swaps):
            if n % 3 == 2:
                roll_back(workspace, "bot")
            else:
                deploy(workspace, Deployment(alias="bot", arms=(Arm(name="current", digest=digests[n % 4]),)))
            gateway.traffic.refresh()
        done.set()

    async def load() -> None:
        while len(answers) < requests or not done.is_set():
            answers.extend(await asyncio.gather(*(ask(gateway) for _ in range(20))))

    thread = threading.Thread(target=swap)
    thread.start()
    asyncio.run(load())
    thread.join()
    last = require_deployed(workspace, "bot").arms[0].digest
    assert asyncio.run(ask(gateway))[1] == last
    gateway.close()
    assert all(text == f"{digest[:8]} heard user:hi" for _, digest, text in answers)
    assert len({digest for _, digest, _ in answers}) > 1


def test_another_process_changes_the_traffic(workspace: Workspace) -> None:
    one, two = artifact(workspace, "one"), artifact(workspace, "two")
    gateway = make_gateway(workspace, FakeEngine())
    deploy(workspace, split(one, two))
    gateway.start()
    Workspace.open(workspace.root)
    change(workspace, require_deployed(workspace, "bot").model_copy(update={"killed": True}), "bad answers")
    end = time.monotonic() + 10
    while not gateway.traffic.current()[0].killed and time.monotonic() < end:
        time.sleep(0.02)
    arms = {asyncio.run(ask(gateway, user=f"u{n}"))[0] for n in range(20)}
    gateway.close()
    assert arms == {"control"}


def test_an_adapter_that_cannot_be_loaded_leaves_the_old_one(workspace: Workspace) -> None:
    good, foreign = artifact(workspace, "good"), artifact(workspace, "foreign")
    gateway = make_gateway(workspace, FakeEngine(), foreign=foreign)
    deploy(workspace, Deployment(alias="bot", arms=(Arm(name="current", digest=good),)))
    gateway.start()
    deploy(workspace, Deployment(alias="bot", arms=(Arm(name="current", digest=foreign),)))
    gateway.traffic.refresh()
    assert asyncio.run(ask(gateway))[1] == good
    assert gateway.traffic.problems == {("", "bot"): "the adapter was trained on another base"}
    with pytest.raises(AdapterError):
        gateway.traffic.check(Deployment(alias="other", arms=(Arm(name="a", digest=foreign),)))
    roll_back(workspace, "bot")
    gateway.traffic.refresh()
    assert gateway.traffic.problems == {}
    gateway.close()


def test_adapters_without_an_alias_leave_the_engine(workspace: Workspace) -> None:
    one, two = artifact(workspace, "one"), artifact(workspace, "two")
    engine = FakeEngine()
    gateway = make_gateway(workspace, engine)
    deploy(workspace, Deployment(alias="bot", arms=(Arm(name="current", digest=one),)))
    gateway.start()
    assert gateway.traffic.uses(one) == ["bot"]
    deploy(workspace, Deployment(alias="bot", arms=(Arm(name="current", digest=two),)))
    gateway.traffic.refresh()
    assert list(engine.adapters.values()) == [two]
    assert gateway.traffic.uses(one) == []
    gateway.close()


def test_a_shadow_answers_where_nobody_sees_it(workspace: Workspace) -> None:
    one, two, traces = artifact(workspace, "one"), artifact(workspace, "two"), []
    deployment = Deployment(alias="bot", arms=(Arm(name="current", digest=one),), shadow=Arm(name="next", digest=two))
    deploy(workspace, deployment)
    gateway = make_gateway(workspace, FakeEngine(), traces.append)
    gateway.start()

    async def once() -> tuple[str, str, str]:
        seen = await ask(gateway)
        while gateway.pending or gateway._shadows:
            await asyncio.sleep(0.005)
        return seen

    assert asyncio.run(once())[1] == one
    gateway.close()
    assert sorted((t.arm, t.adapter_digest) for t in traces) == [("current", one), ("shadow:current", two)]


def test_aliases_of_a_tenant_are_its_own(workspace: Workspace) -> None:
    one, two = artifact(workspace, "one"), artifact(workspace, "two")
    for tenant, digest in (("shop", one), ("clinic", two)):
        deploy(workspace, Deployment(alias="bot", tenant=tenant, arms=(Arm(name="current", digest=digest),)))
    gateway = make_gateway(workspace, FakeEngine())
    gateway.start()
    assert asyncio.run(ask(gateway, tenant="shop"))[1] == one
    assert asyncio.run(ask(gateway, tenant="clinic"))[1] == two
    with pytest.raises(RequestError, match="does not exist here"):
        asyncio.run(ask(gateway))
    assert [model.name for model in gateway.visible("other")] == ["tiny"]
    gateway.close()


def trace(arm: str, reason: str = "stop", seconds: float = 0.1) -> Trace:
    return Trace(
        request_id="r", model="bot", finish_reason=reason, prompt_tokens=1, completion_tokens=1, seconds=seconds,
        alias="bot", arm=arm,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "reason", "seconds", "beginning"),
    [
        ("errors", "error", 0.1, ""),
        ("slow", "stop", 9.0, "fine"),
        ("empty", "stop", 0.1, "  "),
        ("refusals", "stop", 0.1, "I'm sorry, but I cannot help with that."),
    ],
)
def test_a_broken_guardrail_takes_the_arm_back(
    workspace: Workspace, kind: str, reason: str, seconds: float, beginning: str
) -> None:
    one, two = artifact(workspace, "one"), artifact(workspace, "two")
    deploy(workspace, split(one, two, guardrails=(Guardrail(kind=kind, at_most=0.05, seconds=5.0, least=20),)))
    gateway = make_gateway(workspace, FakeEngine())
    gateway.start()
    for _ in range(19):
        assert gateway.traffic.watch(trace("candidate", reason, seconds), beginning) == ""
        assert gateway.traffic.watch(trace("control"), "fine") == ""
    why = gateway.traffic.watch(trace("candidate", reason, seconds), beginning)
    assert "20 of 20 requests in 600 s are" in why
    assert "one-sided p = " in why
    now = require_deployed(workspace, "bot")
    assert [(arm.name, arm.weight) for arm in now.arms] == [("candidate", 0.0), ("control", 0.8)]
    assert now.reason.startswith("guardrail of the arm candidate")
    assert {asyncio.run(ask(gateway, user=f"u{n}"))[0] for n in range(20)} == {"control"}
    assert len(gateway.traffic.rollbacks) == 1
    gateway.close()


def test_a_whole_deployment_that_breaks_its_guardrail_goes_back_to_the_one_before(workspace: Workspace) -> None:
    one, two = artifact(workspace, "one"), artifact(workspace, "two")
    rails = (Guardrail(kind="errors", least=5, at_most=0.1),)
    deploy(workspace, Deployment(alias="bot", arms=(Arm(name="current", digest=one),), guardrails=rails))
    deploy(workspace, Deployment(alias="bot", arms=(Arm(name="current", digest=two),), guardrails=rails))
    gateway = make_gateway(workspace, FakeEngine())
    gateway.start()
    while not gateway.traffic.watch(trace("current", "error"), ""):
        pass
    assert require_deployed(workspace, "bot").arms[0].digest == one
    for _ in range(30):  # nothing stands before the first
        assert gateway.traffic.watch(trace("current", "error"), "") == ""
    gateway.close()


def test_guardrails_raise_no_alarm_at_the_allowed_rate() -> None:
    rail, draw = Guardrail(kind="errors", at_most=0.05), random.Random(5)
    alarms = 0
    for _ in range(200):
        events = [Event(0.0, 0.1, frozenset({"errors"} if draw.random() < 0.05 else ())) for _ in range(400)]
        alarms += bool(broken_by(rail, events, 1.0))
    assert alarms <= 2
    old = [Event(0.0, 0.1, frozenset({"errors"}))] * 100
    assert broken_by(rail, old, 601.0) == ""
    assert broken_by(rail, old, 1.0)


def test_refusals_are_known_by_how_they_begin() -> None:
    assert all(map(is_refusal, ["I'm sorry, but", "I can’t help", "As an AI language model", " Sorry, no."]))
    assert not any(map(is_refusal, ["I can help", "The answer: I cannot", "Sorrel", ""]))


def test_versions_and_rollbacks(workspace: Workspace) -> None:
    digests = [artifact(workspace, str(n)) for n in range(3)]
    for digest in digests:
        deploy(workspace, Deployment(alias="bot", arms=(Arm(name="current", digest=digest),)))
    seen = [roll_back(workspace, "bot", reason="worse").arms[0].digest for _ in range(2)]
    assert seen == [digests[1], digests[0]]
    now = deployed(workspace, "bot")
    assert (now.number, now.reason) == (5, "rolled back from version 4: worse")
    with pytest.raises(InputError, match="'bot' has no earlier version"):
        roll_back(workspace, "bot")
    with pytest.raises(InputError, match="nothing is deployed as 'nope'"):
        roll_back(workspace, "nope")
    with pytest.raises(InputError, match="there is no artifact"):
        deploy(workspace, Deployment(alias="bot", arms=(Arm(name="a", digest="0" * 64),)))


def test_deployments_that_do_not_fit_together() -> None:
    for update, text in [
        ({"arms": (Arm(name="a"), Arm(name="a"))}, "two arms have the same name"),
        ({"arms": (Arm(name="a"),), "control": "b"}, "is no arm"),
        ({"arms": (Arm(name="a", weight=0.0),)}, "every arm has the weight 0"),
        ({"arms": (Arm(name="a"),), "alias": "two words"}, "pattern"),
    ]:
        with pytest.raises(ValueError, match=text):
            Deployment(**{"alias": "bot", **update})
