"""Which model answers to an alias right now, and the watch over the arms. One thread looks for new versions."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from tunesmith.core.errors import TunesmithError
from tunesmith.core.records import Trace
from tunesmith.core.store import Workspace
from tunesmith.serve.deployments import Deployment, Guardrail, change, deployments, roll_back
from tunesmith.serve.models import ServedModel
from tunesmith.serve.options import Caller

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
REMEMBERED = 1000
"""Requests of an arm that a guardrail looks at, at most."""

_CANNOT = r"(?:cannot|can['’]?t|am unable|won['’]?t)"
_REFUSAL = re.compile(
    rf"\s*(?:i['’]?m sorry|i am sorry|sorry,|i {_CANNOT}\b|as an ai\b|unfortunately, i {_CANNOT}\b)", re.IGNORECASE
)


def is_refusal(text: str) -> bool:
    """Whether an answer begins as refusals in English do; in other languages nothing is noticed."""
    return _REFUSAL.match(text) is not None


class Loader(Protocol):
    """Brings adapters to the engine and takes them away."""

    def load(self, digest: str) -> ServedModel:
        """The adapter of an artifact, ready to answer.

        Raises:
            TunesmithError: it belongs to another base, or its files were altered.
        """
        ...

    def unload(self, digest: str) -> None:
        """No alias leads to it any more; requests that run on it end on it."""
        ...


@dataclass(frozen=True)
class Chosen:
    """What answers a request to an alias. ``shadow``: what gets a copy of it."""

    model: ServedModel
    arm: str
    deployment: Deployment
    shadow: ServedModel | None = None


@dataclass(frozen=True)
class Event:
    """What a guardrail remembers of one request. ``bad``: the kinds of guardrails that it counts against."""

    at: float
    seconds: float
    bad: frozenset[str]


class Traffic:
    """The aliases of one server.

    Args:
        workspace: where deployments are kept.
        loader: brings adapters to the engine.
        base: the model without an adapter.
    """

    def __init__(self, workspace: Workspace, loader: Loader, base: ServedModel) -> None:
        self.workspace, self._loader, self._base = workspace, loader, base
        self._lock = threading.Lock()
        self._loaded: dict[str, ServedModel] = {"": base}
        self._live: Mapping[tuple[str, str], Deployment] = {}
        self._events: dict[tuple[str, str, str], deque[Event]] = {}
        self.problems: dict[tuple[str, str], str] = {}
        """Alias → why its newest version could not be taken; the one before goes on answering."""
        self.rollbacks: list[str] = []
        """What guardrails took back since the start, in words."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="tunesmith-traffic", daemon=True)

    def start(self) -> None:
        """Read the deployments, and begin to look for new ones."""
        self.refresh()
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.refresh()
            except Exception:
                log.exception("the deployments could not be read; what was read before goes on")

    def refresh(self) -> None:
        """Take over what the workspace says now. Adapters are loaded first, then all aliases change at once."""
        with self._lock:
            live: dict[tuple[str, str], Deployment] = {}
            for deployment in deployments(self.workspace):
                name = (deployment.tenant, deployment.alias)
                taken = self._take(name, deployment)
                if taken is not None:
                    live[name] = taken
            self._live = live
            wanted = {"", *(digest for deployment in live.values() for digest in deployment.digests)}
            for digest in [digest for digest in self._loaded if digest not in wanted]:
                del self._loaded[digest]
                self._loader.unload(digest)

    def _take(self, name: tuple[str, str], deployment: Deployment) -> Deployment | None:
        try:
            for digest in deployment.digests - self._loaded.keys():
                self._loaded[digest] = self._loader.load(digest)
        except TunesmithError as error:
            if self.problems.get(name) != error.what:
                log.error("version %d of %s cannot be taken: %s", deployment.number, deployment.alias, error)
            self.problems[name] = error.what
            return self._live.get(name)
        self.problems.pop(name, None)
        return deployment

    def check(self, deployment: Deployment) -> None:
        """Load what a deployment needs, before it is stored.

        Raises:
            TunesmithError: an arm cannot be served here.
        """
        with self._lock:
            for digest in deployment.digests - self._loaded.keys():
                whole = self.workspace.artifact(digest).digest
                if whole not in self._loaded:
                    self._loaded[whole] = self._loader.load(whole)

    def choose(self, alias: str, caller: Caller) -> Chosen | None:
        """What answers this caller's request to an alias; None: there is no such alias for this caller."""
        live = self._live
        deployment = live.get((caller.tenant, alias)) or live.get(("", alias))
        if deployment is None:
            return None
        arm = deployment.choose(caller.user, caller.key)
        shadow = None if deployment.shadow is None or deployment.killed else self._loaded.get(deployment.shadow.digest)
        return Chosen(self._named(deployment, arm.digest), arm.name, deployment, shadow)

    def visible(self, tenant: str) -> list[ServedModel]:
        """The aliases that a tenant may call, each as the model of its control."""
        live = self._live
        shared = {alias: d for (owner, alias), d in live.items() if not owner}
        own = {alias: d for (owner, alias), d in live.items() if owner == tenant}
        return [self._named(found, found.control_arm.digest) for found in (shared | own).values()]

    def current(self) -> list[Deployment]:
        """The versions that answer now."""
        return list(self._live.values())

    def uses(self, adapter_digest: str) -> list[str]:
        """The aliases that lead to these weights."""
        ours = {digest for digest, model in self._loaded.items() if model.adapter_digest == adapter_digest}
        return sorted(deployment.alias for deployment in self._live.values() if deployment.digests & ours)

    def _named(self, deployment: Deployment, digest: str) -> ServedModel:
        model = self._loaded[digest]
        return replace(model, name=deployment.alias, parent=model.parent or self._base.name, tenant=deployment.tenant)

    def watch(self, trace: Trace, beginning: str) -> str:
        """Note how a request to an alias went; when that breaks a guardrail, its arm is taken back: why, else "".

        ``beginning``: of its answer; it is looked at and not kept.
        """
        if not trace.alias or not trace.arm or trace.finish_reason == "cancelled":
            return ""
        live = self._live
        deployment = live.get((trace.tenant, trace.alias)) or live.get(("", trace.alias))
        if deployment is None or not deployment.guardrails:
            return ""
        failed = trace.finish_reason == "error"
        bad = {"errors": failed, "empty": not failed and not beginning.strip(), "refusals": is_refusal(beginning)}
        key = (deployment.tenant, deployment.alias, f"{deployment.number}/{trace.arm}")
        events = self._events.setdefault(key, deque(maxlen=REMEMBERED))
        events.append(Event(time.time(), trace.seconds, frozenset(kind for kind, is_so in bad.items() if is_so)))
        for guardrail in deployment.guardrails:
            broken = broken_by(guardrail, list(events), time.time())
            if broken:
                return self._take_back(deployment, trace.arm, broken)
        return ""

    def _take_back(self, deployment: Deployment, arm: str, why: str) -> str:
        shadow = arm.startswith("shadow:")
        if arm == deployment.control_arm.name and not deployment.came_from:
            log.error("%s breaks a guardrail, and nothing answered before it: %s", deployment.alias, why)
            return ""
        reason = f"guardrail of the arm {arm}: {why}"
        if shadow:
            change(self.workspace, deployment.model_copy(update={"shadow": None}), reason)
        elif arm == deployment.control_arm.name:
            roll_back(self.workspace, deployment.alias, deployment.tenant, reason)
        else:
            change(self.workspace, deployment.without(arm), reason)
        for key in [key for key in self._events if key[:2] == (deployment.tenant, deployment.alias)]:
            del self._events[key]
        self.rollbacks.append(f"{deployment.alias}: {reason}")
        log.warning("%s: %s", deployment.alias, reason)
        self.refresh()
        return reason


def broken_by(guardrail: Guardrail, events: list[Event], now: float) -> str:
    """How the events of an arm break a guardrail, in words with the numbers; "" where they do not.

    One-sided exact binomial test: P(X >= bad) for X ~ B(n, at_most), below ``alpha``.
    """
    recent = [event for event in events if now - event.at <= guardrail.window_seconds]
    if len(recent) < guardrail.least:
        return ""
    slow = guardrail.kind == "slow"
    bad = sum(event.seconds > guardrail.seconds if slow else guardrail.kind in event.bad for event in recent)
    if bad <= guardrail.at_most * len(recent):
        return ""
    from scipy.stats import binom

    chance = float(binom.sf(bad - 1, len(recent), guardrail.at_most))
    if chance >= guardrail.alpha:
        return ""
    kind = f"slower than {guardrail.seconds:g} s" if slow else guardrail.kind
    return (
        f"{bad} of {len(recent)} requests in {guardrail.window_seconds:g} s are {kind}, at most "
        f"{guardrail.at_most:.1%} are allowed (one-sided p = {chance:.2g} < {guardrail.alpha:g})"
    )
