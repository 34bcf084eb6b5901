"""The network block itself."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.network import NetworkBlocked, is_local

# 192.0.2.0/24 is reserved for documentation: nobody answers there.
ELSEWHERE = ("192.0.2.1", 9)


def test_addresses_elsewhere_are_refused_at_once() -> None:
    with socket.socket() as connection, pytest.raises(NetworkBlocked, match="only loopback"):
        connection.connect(ELSEWHERE)
    with socket.socket() as connection, pytest.raises(NetworkBlocked):
        connection.connect_ex(ELSEWHERE)
    with socket.socket(type=socket.SOCK_DGRAM) as connection, pytest.raises(NetworkBlocked):
        connection.sendto(b"", ELSEWHERE)


def test_names_are_not_looked_up() -> None:
    with pytest.raises(OSError, match="only loopback"):
        urllib.request.urlopen("http://example.com/", timeout=5)


def test_numbers_may_be_parsed() -> None:
    assert socket.getaddrinfo("192.0.2.1", 9)[0][4] == ELSEWHERE


def test_loopback_is_open() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as connection,
    ):
        assert connection.getpeername() == server.getsockname()


def test_child_processes_are_cut_off_too() -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=5)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert child.returncode == 1
    assert "NetworkBlocked" in child.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "localhost", "", None, b"localhost"])
def test_this_machine(host: object) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "example.com", "0x7f000001.example", "::2"])
def test_other_machines(host: object) -> None:
    assert not is_local(host)
