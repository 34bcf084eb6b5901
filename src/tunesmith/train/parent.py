"""Going on from an adapter that exists: its shape comes from its folder, its weights are where training begins.

The optimiser is fresh, since moments belong to the data that they were made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.core.config import Settings
from tunesmith.core.errors import AdapterError, ConfigError
from tunesmith.core.store import Workspace
from tunesmith.model.resolve import ADAPTER_CONFIG, adapter_facts, resolve_subject
from tunesmith.train.config import AdapterConfig, Config, refuse_undeployable

if TYPE_CHECKING:
    from tunesmith.model.load import Base
    from tunesmith.model.trainable import Trainable

METHODS: Mapping[str, tuple[str, ...]] = {
    "LORA": ("lora", "qlora"),
    "IA3": ("ia3",),
    "BOTTLENECK": ("bottleneck",),
    "PREFIX_TUNING": ("prefix",),
    "PROMPT_TUNING": ("prompt",),
}
"""PEFT's name of a kind → methods that train it."""

SHAPES: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "LORA": {
        "lora_r": ("r", 8),
        "lora_alpha": ("lora_alpha", 8),
        "lora_target_modules": ("target_modules", "all-linear"),
        "use_rslora": ("use_rslora", False),
        "use_dora": ("use_dora", False),
        "rank_pattern": ("rank_pattern", {}),
        "alpha_pattern": ("alpha_pattern", {}),
    },
    "IA3": {},
    "BOTTLENECK": {"bottleneck_size": ("size", 64)},
    "PREFIX_TUNING": {"num_virtual_tokens": ("num_virtual_tokens", 20)},
    "PROMPT_TUNING": {"num_virtual_tokens": ("num_virtual_tokens", 20)},
}
"""Kind → our key → (key of ``adapter_config.json``, PEFT's default)."""


def take_over(settings: Settings, workspace: Workspace) -> Settings:
    """The settings with the folder of ``init_adapter``, and the shape that stands in it.

    Raises:
        ConfigError: another kind of adapter than the method trains, or a key that contradicts its shape.
        AdapterError: what is named is not an adapter.
    """
    config, shape = settings.stage("train", Config), settings.stage("adapter", AdapterConfig)
    if not shape.init_adapter:
        return settings
    beside = (settings.path.parent if settings.path else Path()) / Path(shape.init_adapter).expanduser()
    folder = resolve_subject(str(beside) if beside.exists() else shape.init_adapter, workspace).adapter
    if folder is None:
        raise AdapterError(
            f"init_adapter: {shape.init_adapter} is not an adapter",
            where=settings.origins["init_adapter"],
            rule="training goes on from a run, an adapter folder or a released name",
            fix="correct the name; to go on from a whole model, name it as model:",
        )
    facts = adapter_facts(folder)
    kind = str(facts.get("peft_type", "LORA"))
    if config.method not in METHODS.get(kind, ()):
        raise ConfigError(
            f"method: {config.method} cannot go on from an adapter of the kind {kind}",
            where=settings.origins["init_adapter"],
            rule="an adapter stays of its kind",
            fix=f"use method: {METHODS.get(kind, ('lora',))[0]}, or begin anew without init_adapter",
        )
    settings = settings.resolve("init_adapter", str(folder.resolve()), "absolute path")
    for key, (theirs, default) in SHAPES[kind].items():
        settings = _with_shape(settings, key, facts.get(theirs, default) or default, folder)
    refuse_undeployable(config.method, settings.stage("adapter", AdapterConfig), settings.origins)
    return settings


def _with_shape(settings: Settings, key: str, value: Any, folder: Path) -> Settings:
    shape = settings.stage("adapter", AdapterConfig)
    given, default = getattr(shape, key), AdapterConfig.model_fields[key].default
    value = tuple(sorted(value)) if isinstance(value, list) else value
    if given != default and _plain(given) != _plain(value):
        raise ConfigError(
            f"{key} is {_plain(given)}, and the adapter to go on from has {_plain(value)}",
            where=settings.origins[key],
            rule="the shape of an adapter cannot change while it is trained",
            fix=f"take {key} out: it is read from {folder / ADAPTER_CONFIG}",
        )
    return settings.resolve(key, value, "from init_adapter")


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, tuple) else value


def begin_from(trainable: Trainable, base: Base, folder: Path) -> str:
    """Put the weights of an adapter where training begins; returns the digest of that adapter.

    Raises:
        AdapterError: it belongs to another base, or has other weights than are trained here.
    """
    from tunesmith.model.adapters import read_adapter, require_fit

    parent = read_adapter(folder)
    require_fit(base, parent)
    shapes = {name: (weights.numel(),) for name, weights in parent.weights.items()}
    wanted = {name: (parameter.numel(),) for name, parameter in trainable.parameters.items()}
    different = sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name))
    if different:
        raise AdapterError(
            f"the adapter to go on from has other weights than are trained here: {different[0]}"
            + (f" and {len(different) - 1} more" if different[1:] else ""),
            where=str(folder),
            rule="every trained weight has a weight to begin at",
            fix="begin anew without init_adapter, or name the layers of the adapter as lora_target_modules",
        )
    for name, parameter in trainable.parameters.items():
        parameter.data.copy_(parent.weights[name].view_as(parameter))
    return parent.digest
