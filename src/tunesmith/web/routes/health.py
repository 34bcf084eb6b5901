"""``GET /health`` and ``/ready``: need no key and tell nothing but the state."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from tunesmith.serve import Gateway
from tunesmith.web.envelope import json_response


def router(gateway: Gateway) -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.get("/ready")
    @routes.get("/health")
    async def health() -> Response:
        ready = gateway.state == "ready"
        return json_response({"status": "ok" if ready else gateway.state}, 200 if ready else 503)

    return routes
