"""Deployments: what answers to an alias, in which shares, and when it is taken back.

A deployment is never changed: the next version takes its place, and says which one it came from, so that a rollback is
another version with the arms of an earlier one. Versions are records of the workspace; servers look for new ones twice
a second, so whoever writes one (a command, an administrator's request, a guardrail) changes the traffic live.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tunesmith.core.errors import InputError
from tunesmith.core.records import Record
from tunesmith.core.store import Workspace

CURRENT, VERSION = "deployment", "deployment-version"


class Arm(Record):
    """One of several models behind an alias. ``digest``: of an adapter's artifact; "" is the base itself."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    digest: str = ""
    weight: Annotated[float, Field(ge=0.0, le=1e6)] = 1.0


class Guardrail(Record):
    """What an arm may not exceed: the share of its requests that are bad, with a one-sided test.

    The arm is taken back when, of the requests in the last ``window_seconds`` (``least`` of them or more, the newest
    1,000), so many are bad that this happens with a probability below ``alpha`` where the true share is ``at_most``.
    errors: the engine failed; slow: longer than ``seconds``; empty: no text and no call; refusals: it says that it
    cannot or will not help.
    """

    kind: Literal["errors", "slow", "empty", "refusals"]
    at_most: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    seconds: Annotated[float, Field(gt=0.0)] = 30.0
    window_seconds: Annotated[float, Field(gt=0.0, le=86400.0)] = 600.0
    least: Annotated[int, Field(ge=5, le=1000)] = 20
    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.001


class Deployment(Record):
    """What answers to an alias.

    Args:
        alias: what clients write into ``model``.
        tenant: whose alias it is; "" is everybody's.
        arms: in which shares which models answer.
        control: name of the arm that takes everything when the others are switched off.
        shadow: an arm that gets a copy of each request, whose answers nobody sees.
        sticky: what keeps to its arm: a user (as the request names it; a request without one is drawn for itself),
            a key, or nothing.
        killed: everything goes to ``control``.
        guardrails: when an arm that is not ``control`` is taken back.
        number, came_from: of this version, and of the one that a rollback leads to; 0: none.
        reason: why it is as it is.
    """

    alias: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f]+$")]
    tenant: str = ""
    arms: Annotated[tuple[Arm, ...], Field(min_length=1, max_length=16)]
    control: str = ""
    shadow: Arm | None = None
    sticky: Literal["user", "key", "request"] = "user"
    killed: bool = False
    guardrails: Annotated[tuple[Guardrail, ...], Field(max_length=8)] = ()
    number: int = 0
    came_from: int = 0
    reason: str = ""
    created_at: str = ""

    @model_validator(mode="after")
    def _arms_are_named(self) -> Deployment:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError("two arms have the same name")
        if self.control and self.control not in names:
            raise ValueError(f"the control {self.control!r} is no arm")
        if not any(arm.weight for arm in self.arms):
            raise ValueError("every arm has the weight 0")
        return self

    @property
    def control_arm(self) -> Arm:
        """The arm that takes everything when the others are switched off: the one named so, else the first."""
        return next((arm for arm in self.arms if arm.name == self.control), self.arms[0])

    @property
    def digests(self) -> frozenset[str]:
        """Artifacts that have to be loaded for it; "" is the base."""
        return frozenset(arm.digest for arm in (*self.arms, *((self.shadow,) if self.shadow else ())))

    def choose(self, user: str, key: str, draw: Callable[[], float] = random.random) -> Arm:
        """The arm that answers a request.

        Whoever keeps to an arm is placed by a hash between 0 and 1, where the arms have segments as long as their
        weights: the first arm can grow or shrink without anybody leaving it for nothing.
        """
        if self.killed:
            return self.control_arm
        who = {"user": user, "key": key, "request": ""}[self.sticky]
        if who:
            digest = hashlib.sha256(f"{self.tenant}/{self.alias}:{who}".encode("utf-8", "surrogatepass")).digest()
            at = int.from_bytes(digest[:8], "big") / 2**64
        else:
            at = draw()
        at *= sum(arm.weight for arm in self.arms)
        for arm in self.arms:
            at -= arm.weight
            if at < 0 and arm.weight:
                return arm
        return next(arm for arm in reversed(self.arms) if arm.weight)

    def without(self, name: str) -> Deployment:
        """The same without an arm's traffic; what is left over is the control's."""
        arms = tuple(arm.model_copy(update={"weight": 0.0}) if arm.name == name else arm for arm in self.arms)
        if not any(arm.weight for arm in arms):
            control = self.control_arm.name
            arms = tuple(arm.model_copy(update={"weight": 1.0}) if arm.name == control else arm for arm in arms)
        return self.model_copy(update={"arms": arms})


def deploy(workspace: Workspace, deployment: Deployment) -> Deployment:
    """Let an alias mean this from now on; the version that was stored.

    Raises:
        InputError: an arm's artifact is not in the workspace.
    """
    whole = {digest: workspace.artifact(digest, verify=False).digest for digest in deployment.digests if digest}
    arms = tuple(arm.model_copy(update={"digest": whole.get(arm.digest, "")}) for arm in deployment.arms)
    shadow = deployment.shadow
    shadow = shadow.model_copy(update={"digest": whole.get(shadow.digest, "")}) if shadow else None
    before = deployed(workspace, deployment.alias, deployment.tenant)
    came_from = before.number if before else 0
    return _store(workspace, deployment.model_copy(update={"arms": arms, "shadow": shadow, "came_from": came_from}))


def roll_back(workspace: Workspace, alias: str, tenant: str = "", reason: str = "") -> Deployment:
    """Let an alias mean again what it meant before its current version; the version that was stored.

    Raises:
        InputError: there is no such alias, or nothing before it.
    """
    current = require_deployed(workspace, alias, tenant)
    if not current.came_from:
        raise InputError(
            f"{alias!r} has no earlier version",
            where=alias,
            rule="a rollback goes to what answered before",
            fix="promote something else under this alias, or switch it off: deployments have a kill switch",
        )
    target = workspace.get(VERSION, _id(alias, tenant, current.came_from), Deployment)
    why = f"rolled back from version {current.number}" + (f": {reason}" if reason else "")
    return _store(workspace, target.model_copy(update={"reason": why}))


def change(workspace: Workspace, deployment: Deployment, reason: str) -> Deployment:
    """Store another form of the current version, such as one arm less; a rollback leads to where it led before."""
    return _store(workspace, deployment.model_copy(update={"reason": reason}))


def deployed(workspace: Workspace, alias: str, tenant: str = "") -> Deployment | None:
    """What an alias means now; None: nothing."""
    for found in deployments(workspace):
        if (found.alias, found.tenant) == (alias, tenant):
            return found
    return None


def require_deployed(workspace: Workspace, alias: str, tenant: str = "") -> Deployment:
    """What an alias means now.

    Raises:
        InputError: nothing is deployed under it.
    """
    found = deployed(workspace, alias, tenant)
    if found is None:
        known = ", ".join(sorted(repr(other.alias) for other in deployments(workspace))[:5])
        raise InputError(
            f"nothing is deployed as {alias!r}",
            where=alias,
            rule="an alias means what was promoted under it",
            fix=f"deployed are {known}" if known else "promote a run first: tunesmith promote RUN --as ALIAS",
        )
    return found


def deployments(workspace: Workspace) -> list[Deployment]:
    """The current version of every alias, newest alias first."""
    return workspace.list(CURRENT, Deployment)


def _store(workspace: Workspace, deployment: Deployment) -> Deployment:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    before = deployed(workspace, deployment.alias, deployment.tenant)
    number = (before.number if before else 0) + 1
    stored = deployment.model_copy(update={"number": number, "created_at": now})
    workspace.put(VERSION, _id(stored.alias, stored.tenant, number), stored)
    workspace.put(CURRENT, _id(stored.alias, stored.tenant), stored)
    return stored


def _id(alias: str, tenant: str, number: int = 0) -> str:
    return f"{tenant}/{alias}" + (f"#{number}" if number else "")
