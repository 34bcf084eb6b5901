"""From a Hugging Face folder to weights in memory, proven to take packed rows.

safetensors only; code that comes with a model is never run. Names are resolved to folders in `resolve`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunesmith.core.errors import ModelError
from tunesmith.core.store import file_digest
from tunesmith.model import device
from tunesmith.model.attention import IMPLEMENTATION, Layout, plan_layout, positions
from tunesmith.model.quant import quantise
from tunesmith.model.router import Router
from tunesmith.model.virtual import forward_with_virtual

Tensor = torch.Tensor


@dataclass
class Base:
    """A causal language model in memory, wired to the packed attention and to an adapter router."""

    model: nn.Module
    folder: Path
    fingerprint: str
    dtype: torch.dtype
    device: torch.device
    four_bit: bool = False
    router: Router = field(default_factory=Router)

    @property
    def format(self) -> str:
        """Name of the number format, as cards have it."""
        return str(self.dtype).removeprefix("torch.") + (device.FOUR_BIT if self.four_bit else "")

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
        if self.router.virtual:
            embed = self.model.get_input_embeddings()  # type: ignore[operator]
            return forward_with_virtual(self._body, embed, self.router, tokens, position_ids, layout)
        return self._body(layout=layout, position_ids=position_ids, input_ids=tokens)

    def _body(self, **inputs: Any) -> Tensor:
        return self.model.base_model(use_cache=False, **inputs).last_hidden_state[0]  # type: ignore[operator]

    def logits(self, documents: list[list[int]]) -> list[Tensor]:
        """fp32 logits (length, V) of each document; without gradients, base or the routed adapter."""
        lengths = [len(document) for document in documents]
        flat = torch.tensor([[t for document in documents for t in document]], device=self.device)
        with torch.inference_mode():
            layout = plan_layout(lengths, self.device)
            hidden = self.hidden(flat, positions(lengths, self.device), layout)
            return list(self.head(hidden).float().split(lengths))


def fingerprint(folder: Path, four_bit: bool = False) -> str:
    """Identity of a base model: SHA-256 over the digests of its weight files and its configuration, and its packing."""
    digest = hashlib.sha256()
    if four_bit:
        digest.update(b"nf4, blocks of 64, double quantisation\n")
    for path in sorted([*folder.glob("*.safetensors"), folder / "config.json"]):
        digest.update(f"{path.name}:{file_digest(path)}\n".encode())
    return digest.hexdigest()


def load_base(
    folder: Path, dtype: torch.dtype | None = None, where: torch.device | None = None, four_bit: bool = False
) -> Base:
    """Load a model folder.

    Args:
        folder: Hugging Face folder, see `resolve_model`.
        dtype: number format of the weights; the device's best by default.
        where: device; the GPU where there is one by default.
        four_bit: pack the linear layers into 4 bits (`tunesmith.model.quant`).

    Raises:
        ModelError: unknown or unsupported architecture, unreadable weights.
        ConfigError: bitsandbytes is wanted and not installed.
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
    except Exception as error:  # transformers raises many kinds here, and all mean the same to the user
        raise ModelError(
            f"the model in {folder} cannot be loaded: {type(error).__name__}: {error}",
            where="model",
            rule="transformers must know the architecture, and the weights must be intact",
            fix="check the folder with `tunesmith doctor`, or download the model again",
        ) from error
    model.requires_grad_(False)
    model.eval().to(where)
    if four_bit:
        quantise(model)
    base = Base(model, folder, fingerprint(folder, four_bit), dtype, where, four_bit)
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
