"""Errors as OpenAI's clients expect them: ``{"error": {"message", "type", "param", "code"}}`` and a status."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from tunesmith.core.errors import InputError, StorageError, TunesmithError
from tunesmith.jobs import JobError
from tunesmith.serve import RequestError

log = logging.getLogger(__name__)

CODES = {404: "route_not_found", 405: "method_not_allowed", 413: "request_too_large"}
VALIDATION_CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "json_invalid": "invalid_json",
    "unsupported_parameter": "unsupported_parameter",
}


def json_bytes(content: object) -> bytes:
    """JSON in UTF-8. Half a surrogate pair, which UTF-8 cannot hold, stays a JSON escape."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(json_bytes(content), status, headers, media_type="application/json")


def error_body(status: int, message: str, *, code: str | None = None, param: str | None = None) -> dict[str, object]:
    """The envelope as a JSON-able object."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param or None, "code": code}}


def describe(error: Exception) -> tuple[int, dict[str, object], dict[str, str]]:
    """Status, envelope and headers of any error. What is not ours says nothing about its inside."""
    if isinstance(error, RequestError):
        headers = {"retry-after": str(error.retry_after)} if error.retry_after else {}
        return error.status, error_body(error.status, _text(error), code=error.reason, param=error.param), headers
    if isinstance(error, JobError):
        return error.status, error_body(error.status, _text(error), code=error.code, param=error.param), {}
    if isinstance(error, StorageError):
        body = error_body(507, "The server has no room to do this. Nothing was kept.", code="no_room")
        return 507, body, {"x-should-retry": "false"}
    if isinstance(error, InputError):
        return 400, error_body(400, _text(error), code="invalid_value"), {}
    return 500, error_body(500, "The server failed to answer this request.", code="internal_error"), {}


def _text(error: TunesmithError) -> str:
    """What, rule and fix as sentences. Not ``where``: it may be a path of the server."""
    return " ".join(_as_sentence(part) for part in (error.what, error.rule, error.fix) if part)


def _as_sentence(text: str) -> str:
    first = text.split(maxsplit=1)[0]
    # A lone letter or a name with an underscore is a field's name, and stays as it is.
    text = text[0].upper() + text[1:] if first.isalpha() and len(first) > 1 else text
    return text if text.endswith((".", "?", "!")) else text + "."


async def on_tunesmith_error(_request: Request, error: Exception) -> Response:
    """Handler of our own errors."""
    status, body, headers = describe(error)
    if status >= 500:
        log.error("a request failed: %s", error)
    return json_response(body, status, headers)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Handler of the framework's errors: unknown route, wrong method, body too large."""
    assert isinstance(error, HTTPException)
    status = error.status_code
    messages = {
        400: "The body cannot be read: it has to be JSON in UTF-8.",
        404: f"There is nothing at {request.method} {request.url.path}.",
        405: f"{request.url.path} does not take {request.method}.",
    }
    body = error_body(status, messages.get(status, error.detail), code=CODES.get(status, "invalid_request"))
    return json_response(body, status, error.headers)


async def on_validation_error(_request: Request, error: Exception) -> Response:
    """Handler of a body that does not fit its model: its first problem, with status 400 as OpenAI has it."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    context = first.get("ctx") or {}
    param = _param(first["loc"], str(context.get("param", "")))
    code = VALIDATION_CODES.get(first["type"]) or (
        "invalid_type" if first["type"].endswith("_type") else "invalid_value"
    )
    return json_response(error_body(400, _sentence(first, param, context), code=code, param=param), 400)


def _param(location: Sequence[str | int], inner: str) -> str:
    """``("body", "messages", 0, "content")`` → ``messages[0].content``; of broken JSON the place is no field."""
    path = ""
    for step in [*location[1:], *([inner] if inner else [])]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return "" if path.startswith("[") else path


def _sentence(problem: Mapping[str, Any], param: str, context: Mapping[str, Any]) -> str:
    kind = problem["type"]
    if kind == "json_invalid":
        return f"The body is not valid JSON: {context.get('error')} at character {problem['loc'][-1]}."
    if not param:
        return "The body has to be a JSON object, sent with Content-Type: application/json."
    if kind == "missing":
        return f"The parameter '{param}' is missing."
    if kind == "extra_forbidden":
        return f"The parameter '{param}' is not known here."
    if kind == "unsupported_parameter":
        return f"The parameter '{param}' {problem['msg']}."
    shown = repr(problem.get("input"))
    shown = shown if len(shown) <= 80 else shown[:77] + "…"
    return f"The value {shown} of '{param}' cannot be used: {problem['msg']}."
