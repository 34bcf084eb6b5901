"""``/metrics`` and ``/v1/feedback``: what operation looks at, and what users think."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from tunesmith.serve import METRICS_TYPE, Feedback, Gateway
from tunesmith.web.access import principal_of
from tunesmith.web.envelope import json_response
from tunesmith.web.fields import STRICT, half_character


class FeedbackBody(BaseModel):
    """Body of ``POST /v1/feedback``. The score may be an integer, as JSON has it."""

    model_config = STRICT

    request_id: Annotated[str, Field(min_length=1, max_length=100)]
    score: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    label: Annotated[str, Field(max_length=64)] = ""
    correction: Annotated[str, Field(max_length=100_000)] = ""
    comment: Annotated[str, Field(max_length=10_000)] = ""

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackBody:
        if self.score is None and not (self.label or self.correction or self.comment):
            raise PydanticCustomError(
                "empty", "it says nothing: give score, label, correction or comment", {"param": "score"}
            )
        broken = half_character(self.model_dump())
        if broken is not None:
            raise PydanticCustomError(
                "unicode", "it holds half of a surrogate pair, which is no text", {"param": broken}
            )
        return self


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    @routes.get("/metrics")
    async def metrics() -> Response:
        return Response(gateway.metrics.text(), media_type=METRICS_TYPE)

    @routes.post("/v1/feedback")
    async def feedback(body: FeedbackBody, request: Request) -> Response:
        given = Feedback(**body.model_dump())
        kept = await asyncio.to_thread(gateway.feedback, given, principal_of(request).tenant)
        return json_response({"object": "feedback", "request_id": kept.request_id, "kind": kept.kind})

    return routes
