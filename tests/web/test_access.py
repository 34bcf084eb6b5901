"""Every route says who may call it; the matrix of routes and principals is made from the application itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import openai
import pytest
from fastapi import APIRouter

from tests.serve.fakes import ADAPTERS, FakeEngine, FakeRenderer, fake_gateway
from tunesmith.core.errors import TunesmithError
from tunesmith.core.store import Workspace
from tunesmith.serve import ApiKey, Keyring, ServedModel, Server, add_key, start_server
from tunesmith.web.access import OPEN, require_rules, routes_of, scope_of
from tunesmith.web.routes import (
    admin,
    embeddings,
    files,
    fine_tuning,
    generate,
    health,
    models,
    operations,
    tuned_models,
)

PRINCIPALS: dict[str, tuple[str, ...]] = {
    "none": (),
    "wrong": (),
    "caller": ("inference",),
    "trainer": ("jobs",),
    "watcher": ("metrics",),
    "admin": ("inference", "jobs", "metrics", "admin"),
}


@dataclass
class House:
    server: Server
    keys: dict[str, str]

    @property
    def url(self) -> str:
        return self.server.base_url.removesuffix("/v1")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    workspace = Workspace.open(tmp_path_factory.mktemp("house"))
    keys = {"wrong": "sk-wrong", "admin": "sk-admin"}
    for name in ("caller", "trainer", "watcher"):
        keys[name] = add_key(workspace, name, "shop", PRINCIPALS[name])
    keys["other"] = add_key(workspace, "other", "clinic", ["inference", "jobs"])
    gateway = fake_gateway(FakeEngine(ADAPTERS))
    for tenant in ("shop", "clinic"):
        gateway.models.put(ServedModel(f"{tenant}-bot", FakeRenderer(), "legal", "b" * 64, "tiny", tenant=tenant))
        gateway.models.put(ServedModel("bot", FakeRenderer(), "legal", tenant * 8, "tiny", tenant=tenant))
    server = start_server(gateway, key=ApiKey("sk-admin", made=False), keyring=Keyring("sk-admin", workspace))
    yield House(server, keys)
    server.stop()


def all_routes() -> list[tuple[str, str]]:
    gateway = fake_gateway(FakeEngine())
    made = [resource.router(gateway) for resource in (health, models, generate, embeddings, operations)]
    made.append(admin.router(None, None))
    made += [resource.router(FakeService()) for resource in (files, fine_tuning, tuned_models)]
    return sorted({pair for router in made for pair in routes_of(router.routes)})


class FakeService:
    """Just enough for routes to be made."""

    shelf = jobs = sync = None


@pytest.mark.parametrize("principal", PRINCIPALS)
@pytest.mark.parametrize(("method", "path"), all_routes())
def test_route_and_principal(house: House, method: str, path: str, principal: str) -> None:
    needed = scope_of(method, path)
    assert needed is not None
    concrete = path.replace("{name:path}", "tiny").replace("{", "x").replace("}", "x")
    headers = {"authorization": f"Bearer {house.keys[principal]}"} if principal in house.keys else {}
    status = httpx.request(method, house.url + concrete, headers=headers, json={}).status_code
    if needed == OPEN:
        assert status == 200
    elif principal in ("none", "wrong"):
        assert status == 401
    elif needed not in PRINCIPALS[principal]:
        assert status == 403
    else:
        assert status not in (401, 403)


def test_a_route_without_a_rule_stops_the_application() -> None:
    router = APIRouter()

    @router.get("/secret")
    async def secret() -> None:
        """Nobody said who may call it."""

    with pytest.raises(TunesmithError, match="the route GET /secret has no rule of access"):
        require_rules(router.routes)


def client(house: House, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=house.server.base_url, api_key=house.keys[key], max_retries=0)


def test_a_key_without_the_scope_is_told_which_one(house: House) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="it needs the scope 'inference'") as caught:
        client(house, "trainer").models.list()
    assert caught.value.code == "insufficient_scope"


def test_tenants_see_their_own_models_and_those_of_everybody(house: House) -> None:
    names = {key: [model.id for model in client(house, key).models.list()] for key in ("caller", "other", "admin")}
    shared = ["tiny", "team/recipes", "legal"]
    assert names["caller"] == [*shared, "shop-bot", "bot"]
    assert names["other"] == [*shared, "clinic-bot", "bot"]
    assert names["admin"] == shared
    ask = client(house, "other").chat.completions
    with pytest.raises(openai.NotFoundError) as caught:
        ask.create(model="shop-bot", messages=[{"role": "user", "content": "hi"}])
    assert "shop" not in str(caught.value.body["message"]).replace("'shop-bot' does not exist", "")
    raw = ask.with_raw_response.create(model="bot", messages=[{"role": "user", "content": "hi"}])
    assert raw.headers["x-adapter-digest"] == "clinic" * 8


def test_tenants_share_no_cached_beginnings() -> None:
    import asyncio

    from tunesmith.core.records import Message
    from tunesmith.serve import Caller, Options

    engine = FakeEngine()
    gateway = fake_gateway(engine)
    gateway.start()

    async def ask() -> None:
        for tenant in ("shop", "clinic", ""):
            said = [Message.model_validate({"role": "user", "content": "hi"})]
            await (await gateway.chat("tiny", said, Options(temperature=0), Caller(tenant))).collect()

    asyncio.run(ask())
    gateway.close()
    assert [request.salt for request in engine.requests] == ["shop", "clinic", ""]
