"""``/v1/models``: the base and every adapter."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import Response

from tunesmith.serve import Gateway
from tunesmith.web.access import caller_of, principal_of
from tunesmith.web.envelope import json_response
from tunesmith.web.wire import model_object


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/models")
    async def list_models(request: Request) -> Response:
        seen = gateway.visible(principal_of(request).tenant)
        listed = [model_object(model, gateway.context_length) for model in seen]
        return json_response({"object": "list", "data": listed})

    # Names may have slashes, and clients send them as they are or percent-encoded.
    @routes.get("/models/{name:path}")
    async def retrieve_model(name: str, request: Request) -> Response:
        model, _, _ = gateway.find(name, caller_of(request))
        return json_response(model_object(model, gateway.context_length))

    return routes
