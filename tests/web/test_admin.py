"""``/admin/deployments``: aliases are changed while the server runs, by administrators only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from tests.serve.fakes import FakeEngine
from tests.serve.test_traffic import artifact, make_gateway
from tunesmith.core.store import Workspace
from tunesmith.serve import ApiKey, Keyring, Server, add_key, start_server


@dataclass
class Site:
    server: Server
    http: httpx.Client
    digests: list[str]
    caller: str

    def put(self, alias: str, digest: str, **more: object) -> httpx.Response:
        body = {"arms": [{"name": "current", "digest": digest}], "reason": "a test", **more}
        return self.http.put(f"/admin/deployments/{alias}", json=body)

    def answer(self, alias: str = "bot") -> tuple[str, str]:
        client = openai.OpenAI(base_url=self.server.base_url, api_key="sk-admin", max_retries=0)
        said = [{"role": "user", "content": "hi"}]
        raw = client.chat.completions.with_raw_response.create(model=alias, messages=said, temperature=0)
        return raw.headers["x-adapter-digest"], raw.parse().choices[0].message.content


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    workspace = Workspace.open(Path(tmp_path_factory.mktemp("site")))
    digests = [artifact(workspace, text) for text in ("one", "two", "foreign")]
    caller = add_key(workspace, "caller", "shop")
    gateway = make_gateway(workspace, FakeEngine(), foreign=digests[2])
    server = start_server(gateway, key=ApiKey("sk-admin", made=False), keyring=Keyring("sk-admin", workspace))
    headers = {"authorization": "Bearer sk-admin"}
    with httpx.Client(base_url=server.base_url.removesuffix("/v1"), headers=headers) as http:
        yield Site(server, http, digests, caller)
    server.stop()


def test_an_alias_from_beginning_to_end(site: Site) -> None:
    one, two, _ = site.digests
    made = site.put("bot", one)
    assert (made.status_code, made.json()["number"], made.json()["problem"]) == (200, 1, None)
    assert site.answer() == (one, f"{one[:8]} heard user:hi")
    arms = [{"name": "next", "digest": two[:10], "weight": 1.0}, {"name": "base", "digest": "", "weight": 1.0}]
    split = site.put("bot", one, arms=arms, control="base", sticky="key")
    assert split.status_code == 200, split.text
    killed = site.http.post("/admin/deployments/bot/kill", json={"reason": "bad answers"})
    assert killed.json()["killed"] is True
    assert site.answer() == ("none", "base heard user:hi")
    assert site.http.post("/admin/deployments/bot/restore", json={"reason": "fixed"}).json()["killed"] is False
    back = site.http.post("/admin/deployments/bot/rollback", json={"reason": "enough"})
    assert back.json()["arms"][0]["digest"] == one
    assert site.answer()[0] == one
    assert site.http.get("/admin/deployments/bot").json()["reason"].endswith("enough")
    assert [found["alias"] for found in site.http.get("/admin/deployments").json()["data"]] == ["bot"]


def test_an_alias_with_a_slash_and_of_a_tenant(site: Site) -> None:
    assert site.put("team/bot?tenant=shop", site.digests[0]).status_code == 200
    client = openai.OpenAI(base_url=site.server.base_url, api_key=site.caller, max_retries=0)
    assert "team/bot" in [model.id for model in client.models.list()]
    assert client.models.retrieve("team/bot").model_extra["adapter_digest"] == site.digests[0]
    with pytest.raises(openai.NotFoundError):
        site.answer("team/bot")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"arms": [{"name": "A B"}], "reason": "a test"}, "The deployment does not fit together: name"),
        ({"arms": [{"name": "a", "weight": 0}], "reason": "a test"}, "every arm has the weight 0"),
        ({"arms": [{"name": "a", "digest": "0" * 64}], "reason": "a test"}, "There is no artifact"),
        ({"arms": [], "reason": "a test"}, "at least 1 item"),
        ({"arms": [{"name": "a"}]}, "The parameter 'reason' is missing."),
        ({"arms": [{"name": "a"}], "reason": "a test", "color": 1}, "'color' is not known here"),
        ({"arms": [{"name": "a"}], "reason": "a test", "guardrails": [{"kind": "mood"}]}, "fit together: kind"),
    ],
)
def test_what_cannot_be_deployed(site: Site, body: dict[str, object], text: str) -> None:
    response = site.http.put("/admin/deployments/bad", json=body)
    assert response.status_code == 400
    assert text in response.json()["error"]["message"]


def test_an_adapter_of_another_base_is_refused_before_it_counts(site: Site) -> None:
    refused = site.put("foreign-bot", site.digests[2])
    assert refused.status_code == 400
    assert "was trained on another base" in refused.json()["error"]["message"]
    assert site.http.get("/admin/deployments/foreign-bot").status_code == 400


def test_only_administrators_may(site: Site) -> None:
    headers = {"authorization": f"Bearer {site.caller}"}
    assert site.http.get("/admin/deployments", headers=headers).status_code == 403
