"""The outermost layer: request id, key, body size, and a last net for what nothing else caught.

Written on ASGI itself, since the framework's own middleware classes hide from a streaming answer that the client left.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets

from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunesmith.web.envelope import describe, error_body, json_response

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/health"})
"""Everything else needs the key, routes that do not exist included."""


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: what is guarded.
        api_key: the key that requests have to carry; only its digest is kept.
        max_body_bytes: largest request body.
    """

    def __init__(self, app: ASGIApp, api_key: str, max_body_bytes: int) -> None:
        self._app, self._max_body_bytes = app, max_body_bytes
        self._digest = _digest(api_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = "req_" + secrets.token_hex(12)
        started = False

        async def tagged(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).setdefault("x-request-id", request_id)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, tagged)
            return
        try:
            await self._app(scope, self._limited(receive), tagged)
        except Exception as error:
            log.exception("request %s failed", request_id)
            if started:
                raise
            status, body, headers = describe(error)
            await json_response(body, status, headers)(scope, receive, tagged)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["path"] not in OPEN_PATHS and not self._knows(headers.get("authorization", "")):
            message = "The API key is missing or wrong. Send it as 'Authorization: Bearer KEY'."
            return json_response(error_body(401, message, code="invalid_api_key"), 401, {"www-authenticate": "Bearer"})
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._max_body_bytes:
            return json_response(error_body(413, self._too_large(), code="request_too_large"), 413)
        return None

    def _knows(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        # Digests have equal length, so the comparison takes the same time whatever was sent.
        return hmac.compare_digest(_digest(key.strip()), self._digest) and scheme.lower() == "bearer"

    def _limited(self, receive: Receive) -> Receive:
        """``receive`` that counts, for bodies that do not declare their length."""
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._max_body_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return counted

    def _too_large(self) -> str:
        return f"The request body is larger than {self._max_body_bytes} bytes (max_body_bytes)."


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
