"""``DELETE /v1/models/…``: tuned models and their bytes."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import Response

from tunesmith.jobs import FineTuning
from tunesmith.web.envelope import json_response
from tunesmith.web.query import tenant_of


def router(service: FineTuning) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1")

    # Names may have slashes, and clients send them as they are or percent-encoded.
    @routes.delete("/models/{name:path}")
    async def delete_model(name: str, request: Request) -> Response:
        await asyncio.to_thread(service.delete_model, name, tenant_of(request))
        return json_response({"id": name, "object": "model", "deleted": True})

    return routes
