"""Adapters on disk and on a base: plain PEFT folders in and out, attach and detach.

A folder holds ``adapter_config.json`` and ``adapter_model.safetensors`` exactly as PEFT 0.21 writes them, plus our card
(``tunesmith.json``) and ``manifest.json``. Folders that PEFT wrote load as well; they lack the card, so the base can
be checked by shapes only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tunesmith.core import store
from tunesmith.core.artifacts import AdapterCard
from tunesmith.core.disk import MANIFEST
from tunesmith.core.errors import AdapterError, CorruptArtifactError
from tunesmith.model.load import Base
from tunesmith.model.lora import LoRALinear, LoRASpec, LowRank, choose_targets, wrap
from tunesmith.model.resolve import ADAPTER_CONFIG, CARD, source_of, way_to_trained_base

CONFIG, WEIGHTS = ADAPTER_CONFIG, "adapter_model.safetensors"
PREFIX = "base_model.model."
OTHER_FORWARDS = (
    "alora_invocation_tokens",
    "layer_replication",
    "lora_bias",
    "target_parameters",
    "trainable_token_indices",
    "use_qalora",
)
"""Options of PEFT 0.21 with which the layers compute something else than plain LoRA."""

Tensor = torch.Tensor


@dataclass(frozen=True)
class Adapter:
    """Low-rank weights by layer name (A (r, in), B (out, r)), how to apply them, and where they came from."""

    spec: LoRASpec
    weights: Mapping[str, tuple[Tensor, Tensor]]
    card: AdapterCard | None
    digest: str
    folder: Path


def adapter_digest(folder: Path) -> str:
    """Identity of an adapter: SHA-256 over its weights file and its configuration."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update(f"{name}:{store.file_digest(folder / name)}\n".encode())
    return digest.hexdigest()


def write_adapter(folder: Path, spec: LoRASpec, weights: Mapping[str, tuple[Tensor, Tensor]], base_name: str) -> None:
    """Write weights (fp32) and configuration as PEFT does; ``folder`` is a staged folder."""
    tensors = {}
    for name, (a, b) in weights.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = a.detach().cpu().contiguous()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = b.detach().cpu().contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": spec.r,
        "lora_alpha": spec.alpha,
        "lora_dropout": spec.dropout,
        "target_modules": list(spec.targets) if isinstance(spec.targets, tuple) else spec.targets,
        "rank_pattern": dict(spec.rank_pattern),
        "alpha_pattern": dict(spec.alpha_pattern),
        "use_rslora": spec.rank_stabilised,
        "use_dora": False,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "modules_to_save": None,
    }
    store.write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")


def portable_targets(base: Base, names: list[str]) -> tuple[str, ...]:
    """The shortest list of names that selects exactly ``names`` by PEFT's rule (a name or a dotted ending)."""
    endings = sorted({name.rsplit(".", 1)[-1] for name in names})
    if sorted(choose_targets(base.model, tuple(endings))) == sorted(names):
        return tuple(endings)
    return tuple(sorted(names))


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
    spec = _spec(folder, json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise CorruptArtifactError(
            f"{WEIGHTS} cannot be read: {error}",
            where=str(folder / WEIGHTS),
            rule="the file must be complete safetensors",
            fix="copy the adapter again or train it again",
        ) from error
    card_file = folder / CARD
    card = AdapterCard.model_validate_json(card_file.read_bytes()) if card_file.is_file() else None
    return Adapter(spec, _pairs(tensors, folder), card, adapter_digest(folder), folder)


def _spec(folder: Path, config: Mapping[str, Any]) -> LoRASpec:
    unsupported = {
        "peft_type": config.get("peft_type", "LORA") != "LORA",
        "use_dora": bool(config.get("use_dora")),
        "bias": config.get("bias", "none") != "none",
        "modules_to_save": bool(config.get("modules_to_save")),
        "fan_in_fan_out": bool(config.get("fan_in_fan_out")),
        **{key: bool(config.get(key)) for key in OTHER_FORWARDS},
    }
    for key, bad in unsupported.items():
        if bad:
            raise AdapterError(
                f"adapter option {key} = {config.get(key)!r} is not supported",
                where=str(folder / CONFIG),
                rule="plain LoRA on linear layers, without trained biases or whole modules",
                fix="merge this adapter with PEFT and use the merged model, or train the adapter again",
            )
    targets = config["target_modules"]
    return LoRASpec(
        r=int(config["r"]),
        alpha=float(config["lora_alpha"]),
        targets=targets if isinstance(targets, str) else tuple(sorted(targets)),
        dropout=float(config.get("lora_dropout", 0.0)),
        rank_stabilised=bool(config.get("use_rslora", False)),
        rank_pattern=config.get("rank_pattern") or {},
        alpha_pattern=config.get("alpha_pattern") or {},
    )


def _pairs(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    weights: dict[str, tuple[Tensor, Tensor]] = {}
    for key, a in tensors.items():
        if key.endswith(".lora_A.weight"):
            b = tensors.get(key.replace(".lora_A.", ".lora_B."))
            if b is not None:
                weights[key.removeprefix(PREFIX).removesuffix(".lora_A.weight")] = (a, b)
    if 2 * len(weights) != len(tensors):
        extra = [k for k in tensors if ".lora_A." not in k and ".lora_B." not in k]
        raise AdapterError(
            f"{WEIGHTS} holds tensors that are not pairs of lora_A and lora_B: {', '.join(extra[:3]) or 'half a pair'}",
            where=str(folder / WEIGHTS),
            rule="every layer has one lora_A and one lora_B, and nothing else is in the file",
            fix="train the adapter again, or merge it with the tool that made it",
        )
    return weights


def attach(base: Base, name: str, adapter: Adapter) -> None:
    """Put an adapter on a base under ``name``, in the base's number format, ready for the router.

    Raises:
        AdapterError: it was trained on another base, or its layers or shapes do not fit. Nothing is attached then.
    """
    check_base(base, adapter)
    layers = _layers(base, adapter)
    for layer_name, layer in layers.items():
        a, b = (x.to(base.device, base.dtype) for x in adapter.weights[layer_name])
        layer.adapters[name] = LowRank(a, b, adapter.spec.scale_of(layer_name))


def check_base(base: Base, adapter: Adapter) -> None:
    """Raise AdapterError when the adapter's card names another base."""
    if adapter.card is not None and adapter.card.base_fingerprint != base.fingerprint:
        raise AdapterError(
            f"the adapter was trained on another base: {adapter.card.base} ({adapter.card.base_fingerprint[:12]}), "
            f"this is {base.folder.name} ({base.fingerprint[:12]}), {source_of(base.folder)}",
            where=str(adapter.folder),
            rule="an adapter fits only the exact weights that it was trained on",
            fix=way_to_trained_base(adapter.card.base, base.folder)
            or f"use it with {adapter.card.base} as that was then; if it was changed since, train the adapter again",
        )


def _layers(base: Base, adapter: Adapter) -> dict[str, LoRALinear]:
    present = set(choose_targets(base.model, "all-linear"))
    unknown = sorted(set(adapter.weights) - present)
    if not unknown:
        for name, (a, b) in adapter.weights.items():
            module = base.model.get_submodule(name)
            weight = (module.base if isinstance(module, LoRALinear) else module).weight
            if (b.shape[0], a.shape[1]) != tuple(weight.shape) or a.shape[0] != b.shape[1]:
                unknown.append(f"{name} is {tuple(weight.shape)}, the adapter is for {(b.shape[0], a.shape[1])}")
    if unknown:
        raise AdapterError(
            f"the adapter does not fit this base: {unknown[0]}"
            + (f" and {len(unknown) - 1} more" if unknown[1:] else ""),
            where=str(adapter.folder),
            rule="every layer of the adapter must exist in the base with the same shape",
            fix="load the base that the adapter was trained on",
        )
    return wrap(base.model, list(adapter.weights), base.router)


def detach(base: Base, name: str) -> None:
    """Take an adapter off; the base stays as it was."""
    for module in base.model.modules():
        if isinstance(module, LoRALinear):
            module.adapters.pop(name, None)
