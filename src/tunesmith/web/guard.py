"""The outermost layer: request id, key and scope, body size, and a last net for what nothing else caught.

Written on ASGI itself, since the framework's own middleware classes hide from a streaming answer that the client left.
"""

from __future__ import annotations

import logging
import secrets

from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunesmith.serve import Keyring
from tunesmith.web.access import OPEN, RULES, scope_of
from tunesmith.web.envelope import describe, error_body, json_response

log = logging.getLogger(__name__)

UPLOADS = ("/v1/files", "/v1/uploads")


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: what is guarded.
        keyring: the keys that requests may carry.
        max_body_bytes: largest request body.
        max_upload_bytes: largest file.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring, max_body_bytes: int, max_upload_bytes: int) -> None:
        self._app, self._keyring = app, keyring
        self._max_body_bytes, self._max_upload_bytes = max_body_bytes, max_upload_bytes

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
            await self._app(scope, self._limited(receive, self._limit(scope)), tagged)
        except Exception as error:
            log.exception("request %s failed", request_id)
            if started:
                raise
            status, body, headers = describe(error)
            await json_response(body, status, headers)(scope, receive, tagged)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        path, method = scope["path"], scope["method"]
        if RULES.get(path) != OPEN:
            principal = self._keyring.principal(_bearer(headers.get("authorization", "")))
            if principal is None:
                message = "The API key is missing or wrong. Send it as 'Authorization: Bearer KEY'."
                body = error_body(401, message, code="invalid_api_key")
                return json_response(body, 401, {"www-authenticate": "Bearer"})
            needed = scope_of(method, path)
            if needed not in (None, OPEN) and not principal.may(str(needed)):
                message = f"This key may not do that: it needs the scope '{needed}'."
                return json_response(error_body(403, message, code="insufficient_scope"), 403)
            scope["tunesmith.principal"] = principal
        declared, limit = headers.get("content-length", "0"), self._limit(scope)
        if declared.isdecimal() and int(declared) > limit:
            return json_response(error_body(413, _too_large(limit), code="request_too_large"), 413)
        return None

    def _limit(self, scope: Scope) -> int:
        return self._max_upload_bytes if scope["path"].startswith(UPLOADS) else self._max_body_bytes

    def _limited(self, receive: Receive, limit: int) -> Receive:
        """``receive`` that counts, for bodies that do not declare their length."""
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > limit:
                raise HTTPException(413, _too_large(limit))
            return message

        return counted


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _too_large(limit: int) -> str:
    return f"The request body is larger than {limit} bytes (max_body_bytes)."
