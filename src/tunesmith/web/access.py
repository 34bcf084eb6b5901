"""Who may call which route. A route that no line here covers stops the application from being made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastapi.requests import Request
from starlette.routing import BaseRoute, Route

from tunesmith.core.errors import TunesmithError
from tunesmith.serve import Caller, Principal

OPEN = "open"
"""Needs no key."""

RULES: Mapping[str, str] = {
    "/health": OPEN,
    "/ready": OPEN,
    "/metrics": "metrics",
    "/v1/chat/completions": "inference",
    "/v1/completions": "inference",
    "/v1/embeddings": "inference",
    "/v1/feedback": "inference",
    "/v1/models": "inference",
    "DELETE /v1/models": "jobs",
    "/v1/files": "jobs",
    "/v1/uploads": "jobs",
    "/v1/fine_tuning": "jobs",
    "/admin": "admin",
}
"""Beginning of a path, with or without a method → the scope that a key needs. The longest that fits counts."""


def scope_of(method: str, path: str) -> str | None:
    """The scope that a request needs; None: no rule covers it."""
    fits = [rule for rule in RULES if _covers(rule, method, path)]
    return RULES[max(fits, key=len)] if fits else None


def _covers(rule: str, method: str, path: str) -> bool:
    wanted, _, beginning = rule.rpartition(" ")
    return wanted in ("", method) and (path == beginning or path.startswith(beginning + "/"))


def routes_of(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    """(method, path) of every route."""
    for route in routes:
        if isinstance(route, Route):
            for method in sorted(route.methods or ()):
                yield method, route.path


def require_rules(routes: list[BaseRoute]) -> None:
    """Raise TunesmithError for a route that no rule covers."""
    for method, path in routes_of(routes):
        if scope_of(method, path) is None:
            raise TunesmithError(
                f"the route {method} {path} has no rule of access",
                where="web/access.py",
                rule="every route says who may call it",
                fix="add it to RULES",
            )


def principal_of(request: Request) -> Principal:
    """Who sends the request, as the guard found."""
    principal = request.scope["tunesmith.principal"]
    assert isinstance(principal, Principal)
    return principal


def caller_of(request: Request, user: str = "") -> Caller:
    """Who asks, in the gateway's terms."""
    principal = principal_of(request)
    return Caller(principal.tenant, principal.key, user)
