"""No test reaches the network: sockets connect to loopback only, in this process and in every child Python."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any

OPEN = "TUNESMITH_TESTS_MAY_DOWNLOAD"
"""Environment variable that opens the network again (set by the ``registry`` marker, read by child processes too)."""

LOCAL_NAMES = {"", "localhost", "ip6-localhost", socket.gethostname()}


class NetworkBlocked(ConnectionRefusedError):
    """A test tried to reach something other than loopback."""


def is_local(host: object) -> bool:
    """Whether an address or a name means this machine."""
    if host is None or _text(host) in LOCAL_NAMES:
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _text(host: object) -> str:
    return host.decode() if isinstance(host, bytes) else str(host)


def _address(host: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(_text(host).partition("%")[0])
    except ValueError:
        return None


def _refuse_unless_local(host: object) -> None:
    if not is_local(host) and os.environ.get(OPEN) != "1":
        raise NetworkBlocked(f"tests may not reach {host!r}: only loopback is open")


class _GuardedSocket(socket.socket):
    def connect(self, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            _refuse_unless_local(address[0])
        super().connect(address)

    def connect_ex(self, address: Any) -> int:
        if self.family != socket.AF_UNIX:
            _refuse_unless_local(address[0])
        return super().connect_ex(address)

    def sendto(self, data: Any, *rest: Any) -> int:
        if self.family != socket.AF_UNIX:
            _refuse_unless_local(rest[-1][0])
        return super().sendto(data, *rest)


_resolve = socket.getaddrinfo


def _guarded_resolve(host: Any, *rest: Any, **options: Any) -> Any:
    if host is None or _address(host) is None:  # a number is not looked up anywhere
        _refuse_unless_local(host)
    return _resolve(host, *rest, **options)


def block() -> None:
    """Close the network for this process."""
    socket.socket = _GuardedSocket  # type: ignore[misc]
    socket.getaddrinfo = _guarded_resolve
