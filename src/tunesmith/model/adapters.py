"""Adapters on disk and on a base: plain PEFT folders in and out, attach and detach.

A folder holds ``adapter_config.json`` and ``adapter_model.safetensors`` exactly as PEFT 0.21 writes them, plus our card
(``tunesmith.json``) and ``manifest.json``. Folders that PEFT wrote load as well; they lack the card, so the base can
be checked by shapes only. Weights go by PEFT's names, without its prefix.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file

from tunesmith.core import store
from tunesmith.core.artifacts import AdapterCard
from tunesmith.core.disk import MANIFEST
from tunesmith.core.errors import AdapterError
from tunesmith.model.adapted import AdaptedLinear
from tunesmith.model.bottleneck import BottleneckSpec
from tunesmith.model.device import FOUR_BIT
from tunesmith.model.ia3 import IA3Spec
from tunesmith.model.load import Base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.resolve import ADAPTER_CONFIG, CARD, source_of, way_to_trained_base
from tunesmith.model.tensorfile import read_tensors
from tunesmith.model.virtual import VirtualSpec

CONFIG, WEIGHTS = ADAPTER_CONFIG, "adapter_model.safetensors"
CONFIG_BYTES = 1024 * 1024
"""Largest ``adapter_config.json``."""

PREFIX = "base_model.model."
OTHER_FORWARDS = (
    "alora_invocation_tokens",
    "layer_replication",
    "lora_bias",
    "target_parameters",
    "trainable_token_indices",
    "use_qalora",
    "fan_in_fan_out",
    "modules_to_save",
    "prefix_projection",
    "exclude_modules",
)
"""Options of PEFT 0.21 with which an adapter computes something else than what is implemented here."""

Tensor = torch.Tensor


class Spec(Protocol):
    """One kind of adapter with its settings: how it begins, where it sits on a base, and what PEFT calls it."""

    @property
    def peft_type(self) -> str:
        """PEFT's name of the kind."""
        ...

    @property
    def prefixed(self) -> bool:
        """Whether PEFT puts its prefix before the names of the weights."""
        ...

    def initial(self, base: Base, generator: torch.Generator) -> dict[str, Tensor]:
        """The first weights, fp32, by name."""
        ...

    def place(self, base: Base, adapter: str, weights: Mapping[str, Tensor], training: bool = False) -> None:
        """Make the weights answer for the name ``adapter``; in training as they are, else as copies for inference."""
        ...

    def misfits(self, base: Base, weights: Mapping[str, Tensor]) -> list[str]:
        """What does not fit this base, in words."""
        ...

    def rate_of(self, name: str) -> float:
        """The learning rate of a weight as a multiple of the run's."""
        ...

    def to_peft(self, base: Base) -> dict[str, Any]:
        """What ``adapter_config.json`` says of this kind."""
        ...


READERS: Mapping[str, Callable[[Mapping[str, Any]], Spec]] = {
    "LORA": LoRASpec.from_peft,
    "IA3": IA3Spec.from_peft,
    "BOTTLENECK": BottleneckSpec.from_peft,
    "PREFIX_TUNING": VirtualSpec.from_peft,
    "PROMPT_TUNING": VirtualSpec.from_peft,
}
"""``peft_type`` → how its configuration is read."""


@dataclass(frozen=True)
class Adapter:
    """An adapter's settings, its weights by name, and where they came from."""

    spec: Spec
    weights: Mapping[str, Tensor]
    card: AdapterCard | None
    digest: str
    folder: Path


def adapter_digest(folder: Path) -> str:
    """Identity of an adapter: SHA-256 over its weights file and its configuration."""
    return _digest({name: store.file_digest(folder / name) for name in (CONFIG, WEIGHTS)})


def _digest(files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update(f"{name}:{files[name]}\n".encode())
    return digest.hexdigest()


def write_adapter(folder: Path, spec: Spec, weights: Mapping[str, Tensor], base: Base, base_name: str) -> None:
    """Write weights (fp32) and configuration as PEFT does; ``folder`` is a staged folder."""
    prefix = PREFIX if spec.prefixed else ""
    tensors = {prefix + name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = {
        "peft_type": spec.peft_type,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "inference_mode": True,
        **spec.to_peft(base),
    }
    store.write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")


def read_adapter(folder: Path) -> Adapter:
    """Read a PEFT folder; every file is checked against the manifest where there is one.

    Raises:
        AdapterError: not an adapter folder, or a kind of adapter that is not supported.
        CorruptArtifactError: a file differs from its manifest, or is not a safetensors file.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise AdapterError(
                f"{folder} is not an adapter folder: {name} is missing",
                where=str(folder),
                rule=f"an adapter is a PEFT folder with {CONFIG} and {WEIGHTS}",
                fix="give the adapter/ folder of a run, or a folder that PEFT saved with safetensors",
            )
    if (folder / MANIFEST).is_file():
        store.verify_folder(folder)
    return read_files(folder)


def read_files(folder: Path) -> Adapter:
    """`read_adapter` for a folder whose files are known to be those of its manifest; each file is read once.

    Raises:
        AdapterError, CorruptArtifactError: as there.
    """
    content = {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    digest = _digest({name: hashlib.sha256(data).hexdigest() for name, data in content.items()})
    spec = _spec(folder, _settings(folder, content[CONFIG]))
    tensors = read_tensors(folder / WEIGHTS, content[WEIGHTS])
    card_file = folder / CARD
    card = AdapterCard.model_validate_json(card_file.read_bytes()) if card_file.is_file() else None
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    return Adapter(spec, weights, card, digest, folder)


def _settings(folder: Path, content: bytes) -> Mapping[str, Any]:
    try:
        if len(content) > CONFIG_BYTES:
            raise ValueError(f"it has {len(content)} bytes, and at most {CONFIG_BYTES} are taken")
        settings = json.loads(content)
        if not isinstance(settings, dict):
            raise ValueError("it is not a JSON object")
    except (ValueError, RecursionError) as error:
        raise AdapterError(
            f"{CONFIG} cannot be read: {error}",
            where=str(folder / CONFIG),
            rule="it is a JSON object, written as PEFT writes it",
            fix="copy the adapter again or train it again",
        ) from error
    return settings


def _spec(folder: Path, config: Mapping[str, Any]) -> Spec:
    kind = config.get("peft_type", "LORA")
    unsupported = {
        "peft_type": kind not in READERS,
        "bias": config.get("bias", "none") != "none",
        **{key: bool(config.get(key)) for key in OTHER_FORWARDS},
    }
    for key, bad in unsupported.items():
        if bad:
            raise AdapterError(
                f"adapter option {key} = {config.get(key)!r} is not supported",
                where=str(folder / CONFIG),
                rule=f"adapters of the kinds {', '.join(READERS)}, without trained biases or whole modules",
                fix="merge this adapter with PEFT and use the merged model, or train the adapter again",
            )
    try:
        return READERS[kind](config)
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterError(
            f"the configuration of the adapter cannot be read: {type(error).__name__}: {error}",
            where=str(folder / CONFIG),
            rule="it is written as PEFT writes it",
            fix="copy the adapter again or train it again",
        ) from error


def attach(base: Base, name: str, adapter: Adapter) -> None:
    """Put an adapter on a base under ``name``, in the base's number format, ready for the router.

    Raises:
        AdapterError: it was trained on another base, or its layers or shapes do not fit. Nothing is attached then.
    """
    require_fit(base, adapter)
    adapter.spec.place(base, name, adapter.weights)


def require_fit(base: Base, adapter: Adapter) -> None:
    """Raise AdapterError when an adapter was trained on another base, or its layers or shapes do not fit."""
    check_base(base, adapter)
    misfits = adapter.spec.misfits(base, adapter.weights)
    if misfits:
        raise AdapterError(
            f"the adapter does not fit this base: {misfits[0]}"
            + (f" and {len(misfits) - 1} more" if misfits[1:] else ""),
            where=str(adapter.folder),
            rule="every layer of the adapter must exist in the base with the same shape",
            fix="load the base that the adapter was trained on",
        )


def check_base(base: Base, adapter: Adapter) -> None:
    """Raise AdapterError when the adapter's card names another base."""
    packed = adapter.card is not None and adapter.card.dtype.endswith(FOUR_BIT)
    if adapter.card is not None and packed != base.four_bit:
        trained, here = ("in 4 bits", "in full") if packed else ("in full", "in 4 bits")
        raise AdapterError(
            f"the adapter was trained on a base {trained}, and this one is {here}",
            where=str(adapter.folder),
            rule="4 bits round every weight of the base, and what was trained makes up for that rounding only",
            fix="use it by itself, not beside an adapter of the other sort",
        )
    if adapter.card is not None and adapter.card.base_fingerprint != base.fingerprint:
        raise AdapterError(
            f"the adapter was trained on another base: {adapter.card.base} ({adapter.card.base_fingerprint[:12]}), "
            f"this is {base.folder.name} ({base.fingerprint[:12]}), {source_of(base.folder)}",
            where=str(adapter.folder),
            rule="an adapter fits only the exact weights that it was trained on",
            fix=way_to_trained_base(adapter.card.base, base.folder)
            or f"use it with {adapter.card.base} as that was then; if it was changed since, train the adapter again",
        )


def detach(base: Base, name: str) -> None:
    """Take an adapter off; the base stays as it was."""
    base.router.virtual.pop(name, None)
    for module in base.model.modules():
        if isinstance(module, AdaptedLinear):
            module.adapters.pop(name, None)
