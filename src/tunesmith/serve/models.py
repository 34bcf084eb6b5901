"""The names that clients may call, and what answers behind each of them."""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tunesmith.core.errors import InputError
from tunesmith.core.generation import TokenEngine
from tunesmith.core.protocols import Renderer
from tunesmith.core.records import digest_of
from tunesmith.serve.errors import RequestError
from tunesmith.text.toolcalls import ToolFormat


class ServingRenderer(Renderer, Protocol):
    """A renderer that can also say what a token stands for, and how tool calls are written."""

    @property
    def tool_format(self) -> ToolFormat:
        """How the template writes tool calls; InputError where it cannot."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """What a token stands for in a text; of a control token, its spelling."""
        ...


@dataclass(frozen=True)
class ServedModel:
    """One callable name.

    Args:
        name: what clients write into ``model``.
        renderer: the renderer that this model was trained with.
        adapter: the engine's name of the adapter; "" is the base.
        adapter_digest: identity of the adapter's files; "" for the base.
        parent: name of the base that an adapter sits on; "" for the base itself.
        fingerprint: identity of everything that shapes the answer: weights, adapter, template.
        created: Unix time.
        tenant: whose it is; "" is everybody's.
    """

    name: str
    renderer: ServingRenderer
    adapter: str = ""
    adapter_digest: str = ""
    parent: str = ""
    fingerprint: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    tenant: str = ""


def served_models(
    engine: TokenEngine,
    base: str,
    renderer: ServingRenderer,
    adapter_renderers: Mapping[str, ServingRenderer] | None = None,
) -> tuple[ServedModel, ...]:
    """The base under the name ``base`` and every adapter of the engine under its own name.

    Args:
        engine: holds the base and the resident adapters.
        base: name of the base for clients.
        renderer: the base's renderer, used for every adapter that has none of its own.
        adapter_renderers: adapter name → the renderer that it was trained with, where that differs.

    Raises:
        InputError: a renderer is given for an adapter that the engine does not have.
    """
    own = dict(adapter_renderers or {})
    for name in own:
        if name not in engine.adapters:
            raise InputError(f"no adapter called {name!r} is loaded", fix="load it into the engine first")
    models = [ServedModel(base, renderer, fingerprint=fingerprint_of(engine.base_fingerprint, "", renderer))]
    for name, digest in engine.adapters.items():
        its = own.get(name, renderer)
        fingerprint = fingerprint_of(engine.base_fingerprint, digest, its)
        models.append(ServedModel(name, its, name, digest, base, fingerprint))
    return tuple(models)


def fingerprint_of(base: str, adapter: str, renderer: Renderer) -> str:
    """Identity of everything that shapes an answer."""
    return "fp_" + digest_of([base, adapter, renderer.digest])[:16]


class ModelTable:
    """Name → model, for each tenant; a name that is not there is an error, never the base.

    A tenant sees its own models and everybody's, its own first. Threads may share a table: what stands in it is
    replaced as a whole.

    Raises:
        InputError: no model at all, an empty name, or one name twice.
    """

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._lock = threading.Lock()
        self._models: dict[tuple[str, str], ServedModel] = {}
        if not models:
            raise InputError("there is no model to serve", fix="name a base model")
        for model in models:
            if not model.name or (model.tenant, model.name) in self._models:
                raise InputError(
                    f"the model name {model.name!r} is used twice" if model.name else "a model has an empty name",
                    where="model",
                    rule="base and adapters need one name each, all different",
                    fix="give the adapter another name: --adapter NAME=PATH",
                )
            self._models[model.tenant, model.name] = model

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self.visible(""))

    def __getitem__(self, name: str) -> ServedModel:
        return self.find(name, "")

    @property
    def base(self) -> ServedModel:
        """The base model."""
        return next(model for model in self._models.values() if not model.parent)

    def every(self) -> list[ServedModel]:
        """The models of all tenants."""
        return list(self._models.values())

    def visible(self, tenant: str) -> list[ServedModel]:
        """What a tenant may call: everybody's models, and its own in place of those that have the same name."""
        models = self._models
        shared = {name: model for (owner, name), model in models.items() if not owner}
        own = {name: model for (owner, name), model in models.items() if owner == tenant}
        return list((shared | own).values())

    def find(self, name: str, tenant: str) -> ServedModel:
        """The model that a tenant means by a name.

        Raises:
            RequestError: there is none.
        """
        found = self.get(name, tenant)
        if found is None:
            raise self.unknown(name, tenant)
        return found

    def get(self, name: str, tenant: str) -> ServedModel | None:
        """The model that a tenant means by a name, or None."""
        models = self._models
        return models.get((tenant, name)) or models.get(("", name))

    def unknown(self, name: str, tenant: str, more: Sequence[str] = ()) -> RequestError:
        """The error for a name that a tenant cannot call; ``more``: names that it can, beside the models."""
        known = [*(model.name for model in self.visible(tenant)), *more]
        near = difflib.get_close_matches(name, known, n=1)
        shown = ", ".join(map(repr, known[:20])) + (", …" if known[20:] else "")
        return RequestError(
            "model_not_found",
            f"The model {name[:200]!r} does not exist here.",
            fix=f"Did you mean {near[0]!r}?" if near else f"Available: {shown}.",
            param="model",
        )

    def put(self, model: ServedModel) -> None:
        """Let a name mean this model from now on; running answers stay with what they began with."""
        with self._lock:
            self._models = {**self._models, (model.tenant, model.name): model}

    def remove(self, name: str, tenant: str) -> ServedModel | None:
        """Forget a tenant's own name; what it meant, or None."""
        with self._lock:
            models = dict(self._models)
            gone = models.pop((tenant, name), None)
            self._models = models
        return gone
