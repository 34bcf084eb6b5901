"""``/admin/deployments``: what answers to an alias, changed while the server runs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, ValidationError

from tunesmith.core.errors import InputError
from tunesmith.core.store import Workspace
from tunesmith.serve import Arm, Deployment, Guardrail, Traffic, change, deploy, require_deployed, roll_back
from tunesmith.web.envelope import json_response
from tunesmith.web.fields import STRICT

Json = dict[str, Any]


class DeploymentBody(BaseModel):
    """Body of ``PUT /admin/deployments/ALIAS``; see `tunesmith.serve.Deployment`."""

    model_config = STRICT

    arms: Annotated[list[Json], Field(min_length=1, max_length=16)]
    control: str = ""
    shadow: Json | None = None
    sticky: Literal["user", "key", "request"] = "user"
    guardrails: list[Json] = []
    reason: Annotated[str, Field(min_length=3, max_length=1000)]

    def deployment(self, alias: str, tenant: str) -> Deployment:
        """The deployment that it describes.

        Raises:
            InputError: what it says does not fit together.
        """
        try:
            return Deployment(
                alias=alias,
                tenant=tenant,
                arms=tuple(Arm.model_validate(arm) for arm in self.arms),
                control=self.control,
                shadow=None if self.shadow is None else Arm.model_validate(self.shadow),
                sticky=self.sticky,
                guardrails=tuple(Guardrail.model_validate(rail) for rail in self.guardrails),
                reason=self.reason,
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(
                f"the deployment does not fit together: {place} {first['msg']}".replace(" Value error,", ""),
                where="arms",
                rule="arms have different names, one of them a weight, and the control is one of them",
                fix="correct what is named",
            ) from None


class ReasonBody(BaseModel):
    """Body of what changes a deployment as it stands."""

    model_config = STRICT

    reason: Annotated[str, Field(min_length=3, max_length=1000)]


def router(traffic: Traffic, workspace: Workspace) -> APIRouter:
    """The routes. ``?tenant=`` names whose alias it is; without it, everybody's."""
    routes = APIRouter(prefix="/admin")

    def shown(deployment: Deployment) -> Response:
        traffic.refresh()
        return json_response(_object(deployment, traffic))

    @routes.get("/deployments")
    async def list_deployments() -> Response:
        return json_response({"object": "list", "data": [_object(found, traffic) for found in traffic.current()]})

    @routes.post("/deployments/{alias:path}/kill")
    async def kill(alias: str, body: ReasonBody, request: Request) -> Response:
        return shown(await asyncio.to_thread(_switch, workspace, alias, _tenant(request), True, body.reason))

    @routes.post("/deployments/{alias:path}/restore")
    async def restore(alias: str, body: ReasonBody, request: Request) -> Response:
        return shown(await asyncio.to_thread(_switch, workspace, alias, _tenant(request), False, body.reason))

    @routes.post("/deployments/{alias:path}/rollback")
    async def rollback(alias: str, body: ReasonBody, request: Request) -> Response:
        return shown(await asyncio.to_thread(roll_back, workspace, alias, _tenant(request), body.reason))

    @routes.get("/deployments/{alias:path}")
    async def retrieve(alias: str, request: Request) -> Response:
        found = await asyncio.to_thread(require_deployed, workspace, alias, _tenant(request))
        return json_response(_object(found, traffic))

    @routes.put("/deployments/{alias:path}")
    async def put(alias: str, body: DeploymentBody, request: Request) -> Response:
        wanted = body.deployment(alias, _tenant(request))
        await asyncio.to_thread(traffic.check, wanted)
        return shown(await asyncio.to_thread(deploy, workspace, wanted))

    return routes


def _switch(workspace: Workspace, alias: str, tenant: str, killed: bool, reason: str) -> Deployment:
    current = require_deployed(workspace, alias, tenant)
    return change(workspace, current.model_copy(update={"killed": killed}), reason)


def _tenant(request: Request) -> str:
    return request.query_params.get("tenant", "")


def _object(deployment: Deployment, traffic: Traffic) -> Json:
    problem = traffic.problems.get((deployment.tenant, deployment.alias), "")
    return {"object": "deployment", **deployment.model_dump(mode="json"), "problem": problem or None}
