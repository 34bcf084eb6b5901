"""``/v1/chat/completions`` and ``/v1/completions``."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import Response

from tunesmith.serve import Answer, Choice, Gateway
from tunesmith.web.access import caller_of
from tunesmith.web.envelope import json_response
from tunesmith.web.schemas import ChatBody, CompletionBody, GenerationBody
from tunesmith.web.wire import ChatShape, CompletionShape, EventStream, Shape, headers, whole

CLIENT_LEFT = 499
"""Status that nobody reads: the client closed the connection first (the number is nginx's)."""


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1")

    @routes.post("/chat/completions")
    async def create_chat_completion(body: ChatBody, request: Request) -> Response:
        messages = [message.to_message() for message in body.messages]
        answer = await gateway.chat(body.model, messages, body.options(), caller_of(request, body.on_behalf_of))
        return await _respond(ChatShape(body.logprobs), answer, body, request)

    @routes.post("/completions")
    async def create_completion(body: CompletionBody, request: Request) -> Response:
        caller = caller_of(request, body.on_behalf_of)
        answer = await gateway.complete(body.model, body.prompt, body.options(), caller, body.echo)
        return await _respond(CompletionShape(body.logprobs is not None), answer, body, request)

    return routes


async def _respond(shape: Shape, answer: Answer, body: GenerationBody, request: Request) -> Response:
    if body.stream:
        return EventStream(shape, answer, body.include_usage)
    choices = await _collect(answer, request)
    if choices is None:
        return Response(status_code=CLIENT_LEFT)
    return json_response(whole(shape, answer, choices), headers=headers(answer))


async def _collect(answer: Answer, request: Request) -> list[Choice] | None:
    """The finished answer, or None (and the engine is told) when the client left before."""
    collecting = asyncio.create_task(answer.collect())
    leaving = asyncio.create_task(_client_leaves(request))
    try:
        await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return collecting.result() if collecting.done() else None
    finally:
        answer.cancel()
        collecting.cancel()
        leaving.cancel()


async def _client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
