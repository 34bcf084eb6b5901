"""A real server on a loopback port, and the openai client as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import openai
import pytest

from tests.serve.fakes import ADAPTERS, FakeEngine, fake_gateway
from tunesmith.core.records import Trace
from tunesmith.serve import ApiKey, Server, start_server

KEY = ApiKey("sk-test", made=False)


class Lab:
    """Engine, server, client and traces of one test."""

    def __init__(self, engine: FakeEngine, limits: dict[str, object]) -> None:
        self.engine = engine
        self.traces: list[Trace] = []
        self.server: Server = start_server(fake_gateway(engine, self.traces.append, **limits), key=KEY)
        self.client = self.new_client(KEY.value)
        self.http = httpx.Client(headers={"authorization": f"Bearer {KEY.value}"}, timeout=20)

    def close(self) -> None:
        self.client.close()
        self.http.close()
        self.server.stop()

    def new_client(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.server.base_url, api_key=key, max_retries=0, timeout=20)


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    labs: list[Lab] = []

    def make(engine: FakeEngine | None = None, **limits: object) -> Lab:
        labs.append(Lab(engine or FakeEngine(ADAPTERS), limits))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One server for the tests that only ask."""
    lab = Lab(FakeEngine(ADAPTERS), {"max_body_bytes": 20_000})
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def wide_lab() -> Iterator[Lab]:
    """The same with room for large bodies."""
    lab = Lab(FakeEngine(ADAPTERS), {})
    yield lab
    lab.close()
