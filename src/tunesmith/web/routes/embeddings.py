"""``/v1/embeddings``: base64 of little-endian float32, which clients ask for, or lists of numbers."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, PlainValidator, model_validator

from tunesmith.serve import Gateway, RequestError
from tunesmith.web.envelope import json_response
from tunesmith.web.fields import STRICT, Who, prompt_list, settle

MOST_TEXTS = 2048


class EmbeddingBody(BaseModel):
    """Body of ``POST /v1/embeddings``."""

    model_config = STRICT

    model: str
    input: Annotated[tuple[str | tuple[int, ...], ...], PlainValidator(prompt_list)]
    dimensions: Annotated[int, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    user: Who | None = None

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, body: object) -> object:
        return settle(body, {}, cls.model_fields)


def router(gateway: Gateway) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1")

    @routes.post("/embeddings")
    async def create_embeddings(body: EmbeddingBody, _request: Request) -> Response:
        embeddings = gateway.embeddings
        if embeddings is None or body.model != embeddings.name:
            raise RequestError(
                "model_not_found",
                f"The embedding model {body.model[:200]!r} does not exist here.",
                fix=f"Available: {embeddings.name!r}." if embeddings else "Start the server with --embeddings FOLDER.",
                param="model",
            )
        if len(body.input) > MOST_TEXTS:
            raise RequestError(
                "invalid_value",
                f"{len(body.input)} texts in one request are more than this server takes.",
                rule=f"At most {MOST_TEXTS}.",
                param="input",
            )
        vectors, tokens = await asyncio.to_thread(embeddings.embed, body.input, body.dimensions)
        packed = body.encoding_format == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if packed else vector}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json_response({"object": "list", "model": embeddings.name, "data": data, "usage": usage})

    return routes


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
