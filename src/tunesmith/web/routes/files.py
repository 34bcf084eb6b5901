"""``/v1/files``: rows come in, are checked, listed, read and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import Response
from starlette.responses import StreamingResponse

from tunesmith.jobs import FineTuning, JobError, check_upload
from tunesmith.web.envelope import json_response
from tunesmith.web.job_shapes import file_object, page
from tunesmith.web.query import number, tenant_of, word
from tunesmith.web.uploads import Upload, receive

PIECE = 1 << 18
MOST_FILES = 10_000


def router(service: FineTuning) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1")
    shelf = service.shelf

    @routes.post("/files")
    async def create_file(request: Request) -> Response:
        with shelf.receiving() as path:
            upload = await receive(request.headers.get("content-type", ""), request.stream(), path)
            purpose = _field(upload, "purpose")
            seconds = _seconds(upload)
            check_upload(purpose, seconds)
            kept = await asyncio.to_thread(service.upload, tenant_of(request), upload.filename, purpose, path, seconds)
        return json_response(file_object(kept))

    @routes.get("/files")
    async def list_files(request: Request) -> Response:
        limit = number(request, "limit", MOST_FILES, 1, MOST_FILES)
        ascending = word(request, "order", ("desc", "asc")) == "asc"
        after, purpose = request.query_params.get("after", ""), request.query_params.get("purpose", "")
        found, more = await asyncio.to_thread(shelf.files, tenant_of(request), after, limit, ascending, purpose)
        return json_response(page(found, more, file_object))

    @routes.get("/files/{file_id}")
    async def retrieve_file(file_id: str, request: Request) -> Response:
        return json_response(file_object(await asyncio.to_thread(shelf.file, file_id, tenant_of(request))))

    @routes.delete("/files/{file_id}")
    async def delete_file(file_id: str, request: Request) -> Response:
        await asyncio.to_thread(shelf.delete_file, file_id, tenant_of(request))
        return json_response({"id": file_id, "object": "file", "deleted": True})

    @routes.get("/files/{file_id}/content")
    async def retrieve_content(file_id: str, request: Request) -> Response:
        file = await asyncio.to_thread(shelf.file, file_id, tenant_of(request))
        headers = {"content-length": str(file.bytes)}
        return StreamingResponse(_pieces(shelf.path(file)), headers=headers, media_type="application/octet-stream")

    return routes


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _field(upload: Upload, name: str) -> str:
    if name not in upload.fields:
        raise JobError(
            f"the field {name!r} is missing",
            rule="an upload says what it is for",
            fix="send purpose=fine-tune for rows to train on",
            param=name,
            code="missing_required_parameter",
        )
    return upload.fields[name]


def _seconds(upload: Upload) -> int | None:
    """How long to keep it, where ``expires_after`` says so."""
    known = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
    for name in upload.fields:
        if name not in known:
            raise JobError(
                f"the field {name[:80]!r} is not known here",
                rule=f"an upload has the fields {', '.join(known)} and file",
                fix="take it out",
                param=name[:80],
                code="unknown_parameter",
            )
    anchor, seconds = (upload.fields.get(name) for name in known[1:])
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at" or seconds is None or not seconds.isdecimal() or len(seconds) > 9:
        raise JobError(
            f"expires_after is {anchor!r}, {(seconds or '')[:40]!r}",
            rule='expires_after is {"anchor": "created_at", "seconds": 3600 to 2592000}',
            fix="correct it, or leave it out",
            param="expires_after",
        )
    return int(seconds)
