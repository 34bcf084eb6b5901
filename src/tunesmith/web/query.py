"""What stands beside the path of a request: whose it is, and its query, read strictly."""

from __future__ import annotations

import json
from typing import Any

from fastapi.requests import Request

from tunesmith.jobs import JobError
from tunesmith.web.access import principal_of


def tenant_of(request: Request) -> str:
    """Whose the request is; "" is the owner of the server."""
    return principal_of(request).tenant


def number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query.

    Raises:
        JobError: something else, or out of its range.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 9 or not least <= int(text) <= most:
        raise JobError(
            f"{name} is {text[:40]!r}",
            rule=f"{name} is a whole number from {least} to {most}",
            fix=f"correct it, or leave it out for {default}",
            param=name,
        )
    return int(text)


def word(request: Request, name: str, known: tuple[str, ...]) -> str:
    """One of some words; the first where it is not given.

    Raises:
        JobError: another word.
    """
    text = request.query_params.get(name, known[0])
    if text not in known:
        raise JobError(f"{name} is {text[:40]!r}", rule=f"{name} is {' or '.join(known)}", fix="correct it", param=name)
    return text


async def json_body(request: Request) -> Any:
    """The body of a request.

    Raises:
        JobError: it is no JSON, or has text that UTF-8 cannot hold.
    """
    try:
        body = json.loads(await request.body())
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise JobError(
            f"the body cannot be read: {str(error)[:120]}",
            rule="the body is a JSON object in UTF-8",
            fix="send it with a JSON library",
            code="invalid_json",
        ) from None
    return body
