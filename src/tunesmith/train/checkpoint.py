"""Checkpoints: everything that a killed run needs to end with the same bits as an undisturbed one.

A checkpoint is a folder ``step-000123`` with ``state.safetensors`` (master weights, the optimiser's state, random
generators), ``state.json`` (counters, losses, what the run was) and ``manifest.json``. Folders appear whole or not at
all; a damaged one is refused by name and the one before it is used. The data order needs no state: see `order`.

Where several processes train, the first one writes what all of them hold together, in the form of a single process; so
a run goes on with any number of them. All have to call `save`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tunesmith.core import store
from tunesmith.core.errors import ConfigError, CorruptArtifactError
from tunesmith.core.events import Emit, Note
from tunesmith.model.trainable import Trainable
from tunesmith.train import ranks
from tunesmith.train.loop import State
from tunesmith.train.optimiser import Optimiser

Tensor = torch.Tensor
STATE, COUNTERS = "state.safetensors", "state.json"
KEPT = 2


def save(
    folder: Path,
    trainable: Trainable,
    optimiser: Optimiser,
    state: State,
    best: Tensor,
    identity: Mapping[str, str],
) -> Path:
    """Write the checkpoint of ``state.step`` below ``folder``; older ones than the last two are removed.

    Args:
        best: master weights (P,) of the best validation so far.
        identity: what the run is made of (config, data, base): a resume must match it.
    """
    target = folder / f"step-{state.step:06d}"
    tensors = {"master": trainable.whole(trainable.master), "best": trainable.whole(best), "rng": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng_cuda"] = torch.cuda.get_rng_state()
    for index, values in optimiser.state_dict()["state"].items():
        group = trainable.groups[index]
        for name, value in values.items():
            tensors[f"{name}.{index}"] = value if name == "step" else trainable.whole(value, group.decayed)
    if not ranks.first():
        return target
    with store.staged_folder(target) as staged:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, staged / STATE)
        counters = {"state": asdict(state), "identity": dict(identity)}
        store.write_text(staged / COUNTERS, json.dumps(counters, sort_keys=True) + "\n")
        store.write_manifest(staged)
    for old in _folders(folder)[:-KEPT]:
        store.remove(old)
    return target


def latest(folder: Path, emit: Emit) -> Path | None:
    """The newest checkpoint whose files are whole; damaged ones are named in a warning and passed over."""
    for candidate in reversed(_folders(folder)):
        try:
            store.verify_folder(candidate)
        except CorruptArtifactError as error:
            emit(Note(text=f"checkpoint {candidate.name} is damaged and not used: {error.what}", level="warning"))
            continue
        return candidate
    return None


def check_identity(checkpoint: Path, identity: Mapping[str, str]) -> None:
    """Refuse to continue a run with another configuration, other data or another base.

    Raises:
        ConfigError: names what changed.
    """
    saved = json.loads((checkpoint / COUNTERS).read_text(encoding="utf-8"))["identity"]
    changed = sorted(key for key in {*saved, *identity} if saved.get(key) != identity.get(key))
    if changed:
        raise ConfigError(
            f"the checkpoint belongs to another run: {', '.join(changed)} changed",
            where=str(checkpoint),
            rule="a run is resumed with exactly the configuration, data and base that it began with",
            fix="undo the change, or start again with --fresh or another output_dir",
        )


def load(checkpoint: Path, trainable: Trainable, optimiser: Optimiser) -> tuple[State, Tensor]:
    """Restore weights, optimiser, random generators; returns the counters and this process's best weights (P,)."""
    counters = json.loads((checkpoint / COUNTERS).read_text(encoding="utf-8"))["state"]
    with safe_open(checkpoint / STATE, framework="pt") as file:
        tensors = {name: _mine(name, file.get_tensor(name), trainable) for name in file.keys()}  # noqa: SIM118
    trainable.load(tensors["master"])
    frame = optimiser.state_dict()
    frame["state"] = {}
    for name, dot, index in (key.rpartition(".") for key in tensors):
        if dot:
            frame["state"].setdefault(int(index), {})[name] = tensors[f"{name}.{index}"]
    optimiser.load_state_dict(frame)
    torch.set_rng_state(tensors["rng"])
    if "rng_cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng_cuda"])
    return State.restored(counters), tensors["best"].to(trainable.master.device)


def _mine(name: str, tensor: Tensor, trainable: Trainable) -> Tensor:
    """What this process holds of a tensor of a checkpoint."""
    kind, _, index = name.rpartition(".")
    if name in ("master", "best"):
        return trainable.part(tensor)
    if kind and kind != "step":
        return trainable.part(tensor, trainable.groups[int(index)].decayed)
    return tensor


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if p.is_dir()) if folder.is_dir() else []
