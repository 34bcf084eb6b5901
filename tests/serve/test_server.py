"""Socket, key, start, signals and the end of a server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import uvicorn

from tests.serve.fakes import FakeEngine, fake_gateway
from tunesmith.core.errors import InputError, TunesmithError
from tunesmith.serve import ApiKey, Server, api_key, bind, run, start_server

ROOT = Path(__file__).parents[2]


def get(url: str, key: str = "") -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_key_is_made_once_or_taken_from_the_environment() -> None:
    made = api_key({})
    assert made.made
    assert made.value.startswith("sk-")
    assert len(made.value) > 40
    assert made != api_key({})
    assert api_key({"TUNESMITH_API_KEY": "mine"}) == ApiKey("mine", made=False)


@pytest.mark.parametrize("value", ["", "two words", "sleutel-é", "line\nbreak"])
def test_key_that_no_header_can_carry(value: str) -> None:
    with pytest.raises(InputError) as caught:
        api_key({"TUNESMITH_API_KEY": value})
    assert str(caught.value).startswith("TUNESMITH_API_KEY: the API key is empty or has characters")
    assert "unset it to have one made" in caught.value.fix


def test_busy_port() -> None:
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(InputError) as caught:
            bind("127.0.0.1", port)
    assert caught.value.exit_code == 2
    assert caught.value.where == f"127.0.0.1:{port}"
    assert caught.value.what == f"port {port} is busy: another program listens there"
    assert "--port 0" in caught.value.fix


def test_address_of_another_machine() -> None:
    with pytest.raises(InputError, match="this address cannot be listened on") as caught:
        bind("192.0.2.1", 0)
    assert "--host 127.0.0.1" in caught.value.fix


def test_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_options: object) -> None:
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InputError, match="the host name 'nowhere' is not known"):
        bind("nowhere", 8000)


def test_forbidden_port(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(InputError, match=r"port 80 may not be used by this user[\s\S]*--port 8000"):
        bind("127.0.0.1", 80)


def test_start_and_stop_in_the_background() -> None:
    with start_server(fake_gateway(FakeEngine()), key=ApiKey("k", made=False)) as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        assert get(server.base_url.removesuffix("/v1") + "/health") == (200, {"status": "ok"})
        assert get(server.base_url + "/models", "k")[0] == 200
    with pytest.raises(urllib.error.URLError):
        get(server.base_url.removesuffix("/v1") + "/health")
    assert server.gateway.state == "stopping"
    server.stop()


def test_open_address_is_called_on_loopback() -> None:
    with start_server(fake_gateway(FakeEngine(), host="0.0.0.0"), key=ApiKey("k", made=False)) as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        assert get(server.base_url + "/models", "k")[0] == 200


def test_health_tells_the_state() -> None:
    class Stuck(FakeEngine):
        def cancel(self, request_id: str) -> None:
            raise RuntimeError("stuck")

    with start_server(fake_gateway(Stuck(fail_at=1)), key=ApiKey("k", made=False)) as server:
        body = json.dumps({"model": "tiny", "prompt": "hi"}).encode()
        request = urllib.request.Request(
            server.base_url + "/completions",
            body,
            {"authorization": "Bearer k", "content-type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        caught.value.close()
        assert caught.value.code == 500
        assert get(server.base_url.removesuffix("/v1") + "/health") == (503, {"status": "failed"})


def test_server_that_does_not_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*_args: object, **_options: object) -> None:
        raise SystemExit(3)

    monkeypatch.setattr(uvicorn.Server, "run", give_up)
    gateway = fake_gateway(FakeEngine())
    with pytest.raises(TunesmithError, match=r"127\.0\.0\.1:\d+/v1: the HTTP server did not start: SystemExit\(3\)"):
        start_server(gateway, key=ApiKey("k", made=False))
    assert gateway.state == "stopping"


def test_run_outside_the_main_thread_ends_with_the_server() -> None:
    failures: list[TunesmithError] = []
    ready = threading.Event()
    servers = []

    def on_ready(server: Server) -> None:
        servers.append(server)
        ready.set()

    def serve() -> None:
        try:
            run(fake_gateway(FakeEngine()), key=ApiKey("k", made=False), on_ready=on_ready)
        except TunesmithError as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(10)
    servers[0].stop()
    thread.join(10)
    assert failures[0].what == "the HTTP server ended by itself"


SCRIPT = """
import sys
from tests.serve.fakes import FakeEngine, fake_gateway
from tunesmith.serve import run
gateway = fake_gateway(FakeEngine(delay=0.01), shutdown_seconds=30)
run(gateway, on_ready=lambda server: print(server.base_url, server.api_key.value, flush=True))
print("ended", gateway.pending, "torch" in sys.modules)
"""


@pytest.mark.parametrize(("signals", "complete"), [([signal.SIGTERM], True), ([signal.SIGINT, signal.SIGINT], False)])
def test_signals(signals: list[signal.Signals], complete: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    base_url, key = process.stdout.readline().split()
    body = json.dumps({"model": "tiny", "prompt": "forever", "max_tokens": 100, "stream": True}).encode()
    request = urllib.request.Request(
        base_url + "/completions", body, {"authorization": f"Bearer {key}", "content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        response.readline()
        for number in signals:
            process.send_signal(number)
            time.sleep(0.3)
        rest = response.read().decode()
    assert ("[DONE]" in rest) == complete
    assert ("shutting down" in rest) == (not complete)
    assert process.stdout.read() == "ended 0 False\n"
    assert process.wait(10) == 0
