"""Adapters that come and go while a server runs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol, final

from tunesmith.core.store import Workspace
from tunesmith.model.resolve import resolve_subject
from tunesmith.serve.models import ModelTable, ServedModel, fingerprint_of
from tunesmith.serve.traffic import Traffic


class HotEngine(Protocol):
    """An engine that takes and gives back adapters from any thread, while it answers."""

    @property
    def base_fingerprint(self) -> str:
        """Of the weights that its adapters belong to."""
        ...

    def add_adapter(self, name: str, folder: Path) -> str:
        """Know a PEFT folder under a name; its digest."""
        ...

    def remove_adapter(self, name: str) -> None:
        """Forget a name; requests that began on it end on it."""
        ...


@final
class HotAdapters:
    """See the module.

    Args:
        engine: holds the weights.
        models: the callable names of the gateway.
        base: name of the base for clients.
        folder: of the base, whose tokenizer and template adapters are rendered with.
        workspace: resolves what an adapter says of itself.
        traffic: the aliases that may lead to its adapters.
    """

    def __init__(
        self,
        engine: HotEngine,
        models: ModelTable,
        base: str,
        folder: Path,
        workspace: Workspace,
        traffic: Traffic | None = None,
    ) -> None:
        self._engine, self._models, self._base, self._traffic = engine, models, base, traffic
        self._folder, self._workspace = folder, workspace
        self._lock = threading.Lock()

    @property
    def base_fingerprint(self) -> str:
        """Of the weights that adapters belong to."""
        return self._engine.base_fingerprint

    def add(self, name: str, folder: Path, tenant: str) -> None:
        """Let a tenant call an adapter by this name from the next request on.

        Raises:
            AdapterError: it was trained on another base, tokenizer or template. CorruptArtifactError: it was altered.
        """
        from tunesmith.serve.opening import subject_renderer

        renderer = subject_renderer(resolve_subject(str(folder), self._workspace), self._folder)
        with self._lock:
            digest = self._engine.add_adapter(name, folder)
            fingerprint = fingerprint_of(self._engine.base_fingerprint, digest, renderer)
            served = ServedModel(name, renderer, name, digest, self._base, fingerprint, tenant=tenant)
            self._models.put(served)

    def remove(self, name: str, tenant: str) -> None:
        """Forget a name; requests that run on it end on it."""
        with self._lock:
            if self._models.remove(name, tenant) is not None:
                self._engine.remove_adapter(name)

    def users(self, name: str, tenant: str) -> list[str]:
        """The aliases that lead to the weights that a name means."""
        model = self._models.get(name, tenant)
        return self._traffic.uses(model.adapter_digest) if self._traffic and model and model.adapter_digest else []
