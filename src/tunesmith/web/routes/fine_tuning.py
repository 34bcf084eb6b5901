"""``/v1/fine_tuning``: jobs, their events and their checkpoints."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import Response
from starlette.responses import StreamingResponse

from tunesmith.jobs import FineTuning, Job, JobError
from tunesmith.web.envelope import json_response
from tunesmith.web.job_shapes import checkpoint_object, event_object, job_object, page
from tunesmith.web.query import json_body, number, tenant_of

WAIT_SECONDS = {"cancel": 15.0, "pause": 45.0}
"""How long an answer waits for the job to be what was asked; then it says what the job still is."""

LOOK_SECONDS = 0.25
"""Pause between two looks for new events of a stream."""

QUIET_SECONDS = 15.0
"""After so long without an event a stream sends a comment, so that nobody in between cuts it."""

MOST_LISTED = 1000


def router(service: FineTuning) -> APIRouter:
    """The routes. What jobs have made is callable before a client is told of it."""
    routes = APIRouter(prefix="/v1/fine_tuning")
    _add_jobs(routes, service)
    _add_progress(routes, service)
    return routes


def _answer(request: Request, job: Job) -> Response:
    return json_response(job_object(job, tenant_of(request) or "tunesmith"))


def _add_jobs(routes: APIRouter, service: FineTuning) -> None:
    jobs, sync = service.jobs, service.sync

    @routes.post("/jobs")
    async def create_job(request: Request) -> Response:
        body = await json_body(request)
        retried = request.headers.get("x-stainless-retry-count", "0") not in ("", "0")
        return _answer(request, await asyncio.to_thread(service.create, tenant_of(request), body, retried))

    @routes.post("/estimate")
    async def estimate(request: Request) -> Response:
        return json_response(await asyncio.to_thread(service.estimate, tenant_of(request), await json_body(request)))

    @routes.get("/jobs")
    async def list_jobs(request: Request) -> Response:
        limit = number(request, "limit", 20, 1, MOST_LISTED)
        after = request.query_params.get("after", "")
        found, more = await asyncio.to_thread(jobs.jobs, tenant_of(request), after, limit, _wanted(request))
        await asyncio.to_thread(sync)
        organization = tenant_of(request) or "tunesmith"
        return json_response(page(found, more, lambda job: job_object(job, organization)))

    @routes.get("/jobs/{job_id}")
    async def retrieve_job(job_id: str, request: Request) -> Response:
        job = await asyncio.to_thread(jobs.job, job_id, tenant_of(request))
        await asyncio.to_thread(sync)
        return _answer(request, job)

    async def ask(request: Request, job_id: str, wish: Literal["cancel", "pause"]) -> Response:
        tenant = tenant_of(request)
        job = await asyncio.to_thread(jobs.ask, job_id, wish, tenant)
        end = time.monotonic() + WAIT_SECONDS[wish]
        while job.wish == wish and not job.ended and time.monotonic() < end:
            await asyncio.sleep(0.05)
            job = await asyncio.to_thread(jobs.job, job_id, tenant)
        return _answer(request, job)

    @routes.post("/jobs/{job_id}/cancel")
    async def cancel_job(job_id: str, request: Request) -> Response:
        return await ask(request, job_id, "cancel")

    @routes.post("/jobs/{job_id}/pause")
    async def pause_job(job_id: str, request: Request) -> Response:
        return await ask(request, job_id, "pause")

    @routes.post("/jobs/{job_id}/resume")
    async def resume_job(job_id: str, request: Request) -> Response:
        return _answer(request, await asyncio.to_thread(jobs.resume, job_id, tenant_of(request)))


def _add_progress(routes: APIRouter, service: FineTuning) -> None:
    jobs, sync = service.jobs, service.sync

    @routes.get("/jobs/{job_id}/events")
    async def list_events(job_id: str, request: Request) -> Response:
        await asyncio.to_thread(jobs.job, job_id, tenant_of(request))
        if "text/event-stream" in request.headers.get("accept", "") or request.query_params.get("stream") == "true":
            since = _last_event(request)
            headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
            stream = _stream(service, job_id, since)
            return StreamingResponse(stream, headers=headers, media_type="text/event-stream")
        limit = number(request, "limit", 20, 1, MOST_LISTED)
        after = request.query_params.get("after", "")
        found, more = await asyncio.to_thread(lambda: jobs.events(job_id, after=after, limit=limit))
        await asyncio.to_thread(sync)
        return json_response(page(found, more, event_object))

    @routes.get("/jobs/{job_id}/checkpoints")
    async def list_checkpoints(job_id: str, request: Request) -> Response:
        await asyncio.to_thread(jobs.job, job_id, tenant_of(request))
        limit = number(request, "limit", 10, 1, MOST_LISTED)
        after = request.query_params.get("after", "")
        found, more = await asyncio.to_thread(jobs.checkpoints, job_id, after, limit)
        await asyncio.to_thread(sync)
        return json_response(page(found, more, checkpoint_object))


def _wanted(request: Request) -> Callable[[Job], bool]:
    """The jobs that the metadata of the query selects; ``metadata=null``: those without any."""
    pairs = {
        name.removeprefix("metadata[").removesuffix("]"): value
        for name, value in request.query_params.items()
        if name.startswith("metadata[") and name.endswith("]")
    }
    without = request.query_params.get("metadata") == "null"

    def keep(job: Job) -> bool:
        metadata = job.spec.metadata or {}
        return not (without and metadata) and all(metadata.get(key) == value for key, value in pairs.items())

    return keep


def _last_event(request: Request) -> int:
    """The number of the last event that a client of a stream has seen.

    Raises:
        JobError: something else.
    """
    text = request.headers.get("last-event-id", "0") or "0"
    if not text.isdecimal() or len(text) > 9:
        raise JobError(
            f"Last-Event-ID is {text[:40]!r}",
            rule="it is the id of the last event of the stream before",
            fix="leave it out to hear all events from the first one",
            param="Last-Event-ID",
        )
    return int(text)


async def _stream(service: FineTuning, job_id: str, since: int) -> AsyncIterator[str]:
    """Events as they come, oldest first, each with its number; then ``[DONE]`` when nothing more can come."""
    quiet = time.monotonic()
    while True:
        ended = (
            await asyncio.to_thread(service.jobs.job, job_id)
        ).ended  # before the events are read: none comes later
        found, more = await asyncio.to_thread(_after, service, job_id, since)
        await asyncio.to_thread(service.sync)
        for event in found:
            since, quiet = event.seq, time.monotonic()
            yield f"id: {event.seq}\ndata: {json.dumps(event_object(event), separators=(',', ':'))}\n\n"
        if ended and not more:
            yield "data: [DONE]\n\n"
            return
        if not more:
            if time.monotonic() - quiet > QUIET_SECONDS:
                quiet = time.monotonic()
                yield ": still running\n\n"
            await asyncio.sleep(LOOK_SECONDS)


def _after(service: FineTuning, job_id: str, since: int) -> Any:
    return service.jobs.events(job_id, since=since, limit=200)
