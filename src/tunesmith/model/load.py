"""From a Hugging Face folder to weights in memory, with a proof of how documents run through them exactly.

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
from tunesmith.model.alone import Alone
from tunesmith.model.attention import Layout, plan_layout, positions
from tunesmith.model.exact import Way, body_of, find_way, packed_body
from tunesmith.model.head import Head
from tunesmith.model.norm import fuse_norms
from tunesmith.model.quant import quantise
from tunesmith.model.resolve import context_in
from tunesmith.model.router import Router
from tunesmith.model.virtual import forward_with_virtual

Tensor = torch.Tensor
UNSTATED_CONTEXT = 1 << 15
"""Longest sequence, in tokens, of a model that states none, as those that remember by a state do."""


@dataclass
class Base:
    """A causal language model in memory, wired to an adapter router.

    ``way``: how documents run through it exactly. ``layout``: what its weights became for answering, where results
    differ by it (`tunesmith.model.packed`).
    """

    model: nn.Module
    folder: Path
    fingerprint: str
    dtype: torch.dtype
    device: torch.device
    way: Way
    four_bit: bool = False
    router: Router = field(default_factory=Router)
    layout: str = ""

    @property
    def format(self) -> str:
        """Name of the number format, as cards have it."""
        return str(self.dtype).removeprefix("torch.") + (device.FOUR_BIT if self.four_bit else "") + self.layout

    def __post_init__(self) -> None:
        body = body_of(self.model)
        self.body = packed_body(body, self.way.carrier)
        if self.way.alone:
            embed = self.model.get_input_embeddings()  # type: ignore[operator]
            self.body = Alone(body, embed, self.router, self.way.memory)

    @property
    def head(self) -> Head:
        """The language-model head (hidden → vocabulary)."""
        return self.way.head

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self.model.config

    @property
    def context_length(self) -> int:
        """Longest sequence that the model was made for, in tokens."""
        return context_in(self.config.to_dict()) or UNSTATED_CONTEXT

    def hidden(self, tokens: Tensor, position_ids: Tensor, layout: Layout) -> Tensor:
        """Last hidden states (T, W) of a packed row; tokens and position_ids (1, T) int64."""
        if self.router.virtual:
            embed = self.model.get_input_embeddings()  # type: ignore[operator]
            return forward_with_virtual(self.body, embed, self.router, tokens, position_ids, layout)
        return self.body(layout=layout, position_ids=position_ids, input_ids=tokens)

    def logits(self, documents: list[list[int]]) -> list[Tensor]:
        """fp32 logits (length, V) of each document; without gradients, base or the routed adapter."""
        lengths = [len(document) for document in documents]
        flat = torch.tensor([[t for document in documents for t in document]], device=self.device)
        with torch.inference_mode():
            layout = plan_layout(lengths, self.device)
            hidden = self.hidden(flat, positions(lengths, self.device), layout)
            return list(self.head(hidden).split(lengths))


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
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    where = where or device.default_device()
    dtype = dtype or device.default_dtype(where)
    model = _read(folder, dtype)
    model.requires_grad_(False)
    if four_bit:
        quantise(model, where)
    model.eval().to(where)
    way = find_way(model, dtype, where)
    fuse_norms(model)
    return Base(model, folder, fingerprint(folder, four_bit), dtype, where, way, four_bit)


def _read(folder: Path, dtype: torch.dtype) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        _still(config)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation="eager",  # every architecture has it; `find_way` puts another in its place
            local_files_only=True,
            use_safetensors=True,
        )
    except Exception as error:  # transformers raises many kinds here, and all mean the same to the user
        raise ModelError(
            f"the model in {folder} cannot be loaded: {type(error).__name__}: {error}",
            where="model",
            rule="transformers must know the architecture, and the weights must be intact",
            fix="check the folder with `tunesmith doctor`, or download the model again",
        ) from error
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model  # type: ignore[no-any-return]


def _still(config: Any) -> None:
    """No dropout and no noise in the base: what is trained is what is served. Adapters have their own dropout."""
    for name, value in vars(config).items():
        if isinstance(value, float) and value and any(word in name for word in ("dropout", "pdrop", "jitter")):
            setattr(config, name, 0.0)
