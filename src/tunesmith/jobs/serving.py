"""What jobs made, kept in step with what a running server can be called by.

The server asks before it tells anybody of a job, a checkpoint or a model: a name that a client has read can be called.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Protocol, final

from tunesmith.core.errors import TunesmithError
from tunesmith.core.store import Workspace
from tunesmith.jobs.records import TunedModel
from tunesmith.jobs.shelf import Shelf

log = logging.getLogger(__name__)


class Registry(Protocol):
    """The callable names of a running server."""

    @property
    def base_fingerprint(self) -> str:
        """Of the weights that its adapters belong to."""
        ...

    def add(self, name: str, folder: Path, tenant: str) -> None:
        """Let a tenant call an adapter by this name from now on."""
        ...

    def remove(self, name: str, tenant: str) -> None:
        """Forget a name; requests that run on it end on it."""
        ...

    def users(self, name: str, tenant: str) -> list[str]:
        """What needs this name: aliases and splits that lead to it."""
        ...


@final
class Serving:
    """Brings the tuned models of a workspace to a server and takes deleted ones away."""

    def __init__(self, shelf: Shelf, workspace: Workspace, registry: Registry) -> None:
        self._shelf, self._workspace, self.registry = shelf, workspace, registry
        self._lock = threading.Lock()
        self._known: dict[str, TunedModel] = {}
        self._refused: set[str] = set()
        self._version: tuple[int, int] = (-1, -1)

    def sync(self) -> None:
        """Add what is new, remove what is gone. Cheap when nothing has changed; from any thread."""
        version = self._shelf.models_version()
        if version == self._version:
            return
        with self._lock:
            version = self._shelf.models_version()
            standing = {model.name: model for model in self._shelf.models()}
            for name in self._known.keys() - standing.keys():
                gone = self._known.pop(name)
                self.registry.remove(name, gone.tenant)
            for name, model in standing.items():
                if name not in self._known and name not in self._refused:
                    self._add(model)
            self._version = version

    def _add(self, model: TunedModel) -> None:
        """A model on another base stays away: it would be called by its name and answer nonsense."""
        if model.base_fingerprint != self.registry.base_fingerprint:
            self._refused.add(model.name)
            return
        try:
            self.registry.add(model.name, self._workspace.artifact(model.artifact, verify=False).path, model.tenant)
        except TunesmithError:
            log.exception("%s cannot be served", model.name)
            self._refused.add(model.name)
            return
        self._known[model.name] = model
