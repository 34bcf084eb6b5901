"""The names that clients may call, and what answers behind each of them."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tunesmith.core.errors import InputError
from tunesmith.core.generation import TokenEngine
from tunesmith.core.protocols import Renderer
from tunesmith.core.records import digest_of
from tunesmith.serve.errors import RequestError


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
    """

    name: str
    renderer: Renderer
    adapter: str = ""
    adapter_digest: str = ""
    parent: str = ""
    fingerprint: str = ""
    created: int = field(default_factory=lambda: int(time.time()))


def served_models(
    engine: TokenEngine,
    base: str,
    renderer: Renderer,
    adapter_renderers: Mapping[str, Renderer] | None = None,
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
    models = [ServedModel(base, renderer, fingerprint=_fingerprint(engine.base_fingerprint, "", renderer))]
    for name, digest in engine.adapters.items():
        its = own.get(name, renderer)
        fingerprint = _fingerprint(engine.base_fingerprint, digest, its)
        models.append(ServedModel(name, its, name, digest, base, fingerprint))
    return tuple(models)


def _fingerprint(base: str, adapter: str, renderer: Renderer) -> str:
    return "fp_" + digest_of([base, adapter, renderer.digest])[:16]


class ModelTable:
    """Name → model; a name that is not there is an error, never the base.

    Raises:
        InputError: no model at all, an empty name, or one name twice.
    """

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models: dict[str, ServedModel] = {}
        if not models:
            raise InputError("there is no model to serve", fix="name a base model")
        for model in models:
            if not model.name or model.name in self._models:
                raise InputError(
                    f"the model name {model.name!r} is used twice" if model.name else "a model has an empty name",
                    where="model",
                    rule="base and adapters need one name each, all different",
                    fix="give the adapter another name: --adapter NAME=PATH",
                )
            self._models[model.name] = model

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def __getitem__(self, name: str) -> ServedModel:
        if name in self._models:
            return self._models[name]
        near = difflib.get_close_matches(name, self._models, n=1)
        raise RequestError(
            "model_not_found",
            f"The model {name[:200]!r} does not exist here.",
            fix=f"Did you mean {near[0]!r}?" if near else "Available: " + ", ".join(map(repr, self._models)) + ".",
            param="model",
        )
