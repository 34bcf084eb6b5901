"""An HTTP server around a gateway: the socket, the key, the start and the end.

The web application is a door and stands above this package, so it is named by an import string, as uvicorn itself
does it, and loaded when a server starts.
"""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from tunesmith.core.errors import InputError, TunesmithError
from tunesmith.serve.gateway import Gateway
from tunesmith.serve.keys import ApiKey, Keyring, api_key

if TYPE_CHECKING:
    import uvicorn

WEB_APP = "tunesmith.web.app:create_app"
"""Where the application is made: called with (gateway, keyring), gives an ASGI application."""


def bind(host: str, port: int) -> socket.socket:
    """Take host and port, and start listening, before anything slow is done. Port 0 takes any free one.

    Connections that come in meanwhile wait until the server answers.

    Raises:
        InputError: the port is busy or forbidden, or the host is not an address of this machine.
    """
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"the host name {host!r} is not known", where=where, fix="use an address of this machine: --host 127.0.0.1"
        ) from error
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(2048)
    except OSError as error:
        sock.close()
        raise _bind_error(error, where, port) from error
    return sock


def _bind_error(error: OSError, where: str, port: int) -> InputError:
    if error.errno == errno.EADDRINUSE:
        return InputError(
            f"port {port} is busy: another program listens there",
            where=where,
            fix="choose another port (--port 0 takes any free one), or stop the other program",
        )
    if error.errno == errno.EACCES:
        return InputError(
            f"port {port} may not be used by this user",
            where=where,
            rule="ports below 1024 are for privileged programs",
            fix="choose a higher port: --port 8000",
        )
    return InputError(
        f"this address cannot be listened on: {error.strerror}",
        where=where,
        fix="use an address of this machine: --host 127.0.0.1",
    )


class Server:
    """A server that runs in a thread of its own, made by `start_server`."""

    def __init__(self, gateway: Gateway, sock: socket.socket, key: ApiKey, uvicorn_server: uvicorn.Server) -> None:
        self.gateway, self.api_key = gateway, key
        self.base_url = _base_url(sock)
        """What goes into the client's ``base_url``; ends in /v1."""
        self.ended = threading.Event()
        self._sock, self._uvicorn = sock, uvicorn_server
        self._stop_lock = threading.Lock()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="tunesmith-http", daemon=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start engine and HTTP threads and wait until requests are answered.

        Raises:
            TunesmithError: the HTTP server did not come up.
        """
        self.gateway.start()
        self._thread.start()
        while not self._uvicorn.started:
            if self.ended.wait(0.005):
                self.stop()
                raise TunesmithError(f"the HTTP server did not start: {self._failure!r}", where=self.base_url)

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Refuse new requests, let running answers end (at most ``shutdown_seconds``), close.

        Args:
            hurry: asked again and again; True breaks running answers off at once. A second call does nothing.
        """
        with self._stop_lock:
            self.gateway.close(self.gateway.config.shutdown_seconds, hurry)
            self._uvicorn.should_exit = True
            self._thread.join()
            self._sock.close()

    def _serve(self) -> None:
        try:
            self._uvicorn.run(sockets=[self._sock])
        except BaseException as error:  # SystemExit is how uvicorn reports that it could not start
            self._failure = error
        finally:
            self.ended.set()


def start_server(
    gateway: Gateway,
    *,
    sock: socket.socket | None = None,
    key: ApiKey | None = None,
    keyring: Keyring | None = None,
    app: str = WEB_APP,
    beside: Sequence[object] = (),
) -> Server:
    """Serve ``gateway`` over HTTP in a background thread; back when it answers. The server owns gateway and socket.

    Args:
        gateway: not started yet; its config names host and port.
        sock: from `bind`, when the port was taken earlier; else it is taken now.
        key: the owner's key; else `api_key`.
        keyring: all keys that are accepted; else that one only.
        app: import string of the function that makes the application.
        beside: what else it is called with: services of layers above this one.

    Raises:
        InputError: busy port, unusable key.
    """
    import uvicorn
    from uvicorn.importer import import_from_string

    key = key or api_key()
    sock = sock or bind(gateway.config.host, gateway.config.port)
    settings = uvicorn.Config(
        import_from_string(app)(gateway, keyring or Keyring(key.value), *beside),
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # The gateway has let answers end or broken them off by then; this is for connections that hang.
        timeout_graceful_shutdown=2,
    )
    server = Server(gateway, sock, key, uvicorn.Server(settings))
    server.start()
    return server


def run(
    gateway: Gateway,
    *,
    sock: socket.socket | None = None,
    key: ApiKey | None = None,
    keyring: Keyring | None = None,
    beside: Sequence[object] = (),
    on_ready: Callable[[Server], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then shut down gracefully; a second signal cuts running answers off.

    Args:
        gateway, sock, key, keyring, beside: as for `start_server`.
        on_ready: called once requests are answered, to show address and key.

    Raises:
        InputError: busy port, unusable key. TunesmithError: the HTTP server broke.
    """
    with _signals() as received:
        server = start_server(gateway, sock=sock, key=key, keyring=keyring, beside=beside)
        try:
            if on_ready:
                on_ready(server)
            while not received:
                if server.ended.wait(0.1):
                    raise TunesmithError("the HTTP server ended by itself", where=server.base_url)
        finally:
            server.stop(hurry=lambda: len(received) > 1)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted in a list; outside the main thread signals cannot be taken, and it stays empty.

    A list and no `threading.Event`: the handler may run while the main thread holds the event's own lock.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _base_url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
