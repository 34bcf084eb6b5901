"""Adapters of the workspace, brought to a running engine and taken away: `tunesmith.serve.traffic.Loader`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import final

from tunesmith.core.generation import TokenEngine
from tunesmith.core.store import Workspace
from tunesmith.serve.models import ServedModel, ServingRenderer, fingerprint_of


@final
class ArtifactLoader:
    """Loads by digest only: the name in the engine is the digest, so a name never comes to mean other weights.

    Args:
        engine: takes adapters from any thread while it answers.
        workspace: keeps the artifacts; each is verified against its manifest before it is loaded.
        renderer_of: the renderer that the adapter in a folder was trained with; refuses one of another base.
        base: name of the base for clients.
    """

    def __init__(
        self, engine: TokenEngine, workspace: Workspace, renderer_of: Callable[[Path], ServingRenderer], base: str
    ) -> None:
        self._engine, self._workspace, self._renderer_of, self._base = engine, workspace, renderer_of, base

    def load(self, digest: str) -> ServedModel:
        """The adapter of an artifact, ready to answer.

        Raises:
            AdapterError: it belongs to another base. CorruptArtifactError: a file was altered.
        """
        folder = self._workspace.artifact(digest).path
        renderer = self._renderer_of(folder)
        name = _name(digest)
        adapter = self._engine.add_adapter(name, folder)
        fingerprint = fingerprint_of(self._engine.base_fingerprint, adapter, renderer)
        return ServedModel(name, renderer, name, adapter, self._base, fingerprint)

    def unload(self, digest: str) -> None:
        """Let the engine forget it; requests that run on it end on it."""
        self._engine.remove_adapter(_name(digest))


def _name(digest: str) -> str:
    return f"artifact:{digest}"
