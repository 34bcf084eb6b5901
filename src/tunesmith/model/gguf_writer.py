"""A model of the Llama family as one GGUF file: weights, tokenizer, chat template. And its way back, as proof.

Names of tensors and fields are those of the ``gguf`` package. Llama's query and key rows are reordered, since
llama.cpp rotates neighbouring pairs of channels where transformers rotates the two halves of a head. Norms and biases
stay fp32. The tokenizer's fields come from `gguf_tokenizer`.

Source of the layout: convert_hf_to_gguf.py of llama.cpp.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from tunesmith.core.errors import ModelError
from tunesmith.model.gguf_tokenizer import Vocabulary
from tunesmith.model.load import Base

Tensor = torch.Tensor
Quantisation = gguf.GGMLQuantizationType

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""``model_type`` of transformers → architecture of GGUF. Mistral is Llama there."""

PERMUTED = ("llama",)
"""Architectures of GGUF that rotate neighbouring channels."""

TYPES: Mapping[str, tuple[Quantisation, gguf.LlamaFileType, float]] = {
    "f32": (Quantisation.F32, gguf.LlamaFileType.ALL_F32, 1e-3),
    "f16": (Quantisation.F16, gguf.LlamaFileType.MOSTLY_F16, 0.1),
    "bf16": (Quantisation.BF16, gguf.LlamaFileType.MOSTLY_BF16, 1.0),
    "q8_0": (Quantisation.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0, 1.0),
}
"""Type of the matrices → (as ggml calls it, as a file calls it, largest difference in deviations of the logits)."""

BLOCK = 32
"""Weights of a q8_0 block; a matrix whose rows are no multiple of it stays f16, as in llama.cpp."""

BYTES = {Quantisation.F32: 4.0, Quantisation.F16: 2.0, Quantisation.BF16: 2.0, Quantisation.Q8_0: 34 / BLOCK}

TOO_LARGE = 65504.0
"""Largest number of f16."""

UNREAD_BY_TRANSFORMERS = ("head_dim", "attention_bias")
"""What GGUF expresses and transformers' reader does not look for: taken from the source when the file is read back."""


def refuse_architecture(config: Mapping[str, Any], where: str) -> None:
    """Raise ModelError for a model (its ``config.json``) that GGUF cannot express the way we write it."""
    kind = config.get("model_type")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    scaled = rope_type != "default" and not (rope_type == "llama3" and ARCHITECTURES.get(str(kind)) == "llama")
    unsupported = {
        f"the architecture {kind!r}": kind not in ARCHITECTURES,
        f"rotary positions of the type {rope_type!r}": scaled,
        f"the activation {config.get('hidden_act')!r}": config.get("hidden_act", "silu") not in ("silu", "swish"),
        "rotary positions on a part of each head": config.get("partial_rotary_factor", 1.0) != 1.0,
        "biases in the MLP": bool(config.get("mlp_bias")),
    }
    for what, found in unsupported.items():
        if found:
            raise ModelError(
                f"{what} cannot be written as GGUF here",
                where=where,
                rule=f"GGUF is written for {', '.join(ARCHITECTURES)}, with plain or Llama 3 rotary positions",
                fix="use --format safetensors, and convert that folder with llama.cpp's own converter",
            )


@dataclass(frozen=True)
class Piece:
    """One tensor of the file: its name there, how it is stored, and its weights in fp32."""

    name: str
    kind: Quantisation
    weights: Tensor

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return int(self.weights.numel() * BYTES[self.kind])

    def data(self) -> np.ndarray[Any, Any]:
        """The stored bytes."""
        return gguf.quants.quantize(self.weights.contiguous().numpy(), self.kind)


def pieces(base: Base, kind: str) -> Iterator[Piece]:
    """Every tensor of a model (fp32), by GGUF's names.

    Raises:
        ModelError: a tensor that GGUF has no name for, or weights beyond the range of f16.
    """
    config = base.config
    arch = ARCHITECTURES[config.model_type]
    names = gguf.get_tensor_name_map(_key_of(arch), config.num_hidden_layers)
    for name, tensor in base.model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if stored is None:
            raise ModelError(
                f"GGUF has no name for the tensor {name}",
                where=str(base.folder),
                rule=f"every tensor of the architecture {arch} has a name in the gguf package",
                fix="use --format safetensors",
            )
        weights = tensor.detach().float().cpu()
        if arch in PERMUTED and name.endswith(("q_proj.weight", "q_proj.bias")):
            weights = permuted(weights, config.num_attention_heads)
        if arch in PERMUTED and name.endswith(("k_proj.weight", "k_proj.bias")):
            weights = permuted(weights, config.num_key_value_heads)
        yield Piece(stored, _kind_of(stored, weights, TYPES[kind][0]), weights)
    factors = rope_factors(base)
    if factors is not None:
        yield Piece("rope_freqs.weight", Quantisation.F32, factors)


def permuted(weights: Tensor, heads: int) -> Tensor:
    """Rows (heads·D, …) of a projection, from halves side by side to neighbouring pairs."""
    rows = weights.shape[0]
    cells = weights.reshape(heads, 2, rows // heads // 2, *weights.shape[1:])
    return cells.transpose(1, 2).reshape(weights.shape)


def rope_factors(base: Base) -> Tensor | None:
    """How many times slower each pair of channels turns than plain rotary positions say (D/2,); None: all as plain."""
    turns = base.model.base_model.rotary_emb.inv_freq.float().cpu()  # type: ignore[union-attr, operator]
    theta, size = float(base.config.rope_parameters["rope_theta"]), 2 * turns.numel()
    plain = 1.0 / theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    factors = plain / turns
    return None if torch.allclose(factors, torch.ones_like(factors), rtol=1e-5) else factors


def _kind_of(name: str, weights: Tensor, wanted: Quantisation) -> Quantisation:
    if weights.dim() < 2:
        return Quantisation.F32
    if wanted == Quantisation.Q8_0 and weights.shape[-1] % BLOCK:
        wanted = Quantisation.F16
    if wanted == Quantisation.F16 and float(weights.abs().max()) > TOO_LARGE:
        raise ModelError(
            f"{name} holds weights beyond the range of f16",
            where="--type",
            rule=f"numbers of f16 end at {TOO_LARGE:.0f}",
            fix="use --type bf16 or --type f32",
        )
    return wanted


def _key_of(arch: str) -> gguf.MODEL_ARCH:
    return next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)


def context_of(config: Any) -> int:
    """Tokens for which the file computes as the model does: a sliding window ends them, since GGUF's Llama has none."""
    kinds = set(vars(config).get("layer_types") or ())
    window = vars(config).get("sliding_window")
    slides = bool(window) and ("sliding_attention" in kinds or not kinds)
    return min(int(config.max_position_embeddings), int(window)) if slides else int(config.max_position_embeddings)


def write_gguf(path: Path, base: Base, vocabulary: Vocabulary, kind: str, name: str) -> None:
    """Write a model (loaded in fp32) as one GGUF file.

    Args:
        path: a new file; see `tunesmith.core.store.staged_file`.
        vocabulary: see `tunesmith.model.gguf_tokenizer.vocabulary_of`.
        kind: a key of `TYPES`.
        name: what the file calls the model.

    Raises:
        ModelError: see `pieces`. OSError: the disk.
    """
    writer = gguf.GGUFWriter(None, ARCHITECTURES[base.config.model_type])
    _write_facts(writer, base, kind, name)
    vocabulary.add_to(writer)
    for piece in pieces(base, kind):
        shape, size = tuple(piece.weights.shape), piece.size
        writer.add_tensor_info(piece.name, shape, np.dtype(np.float16), size, raw_dtype=piece.kind)
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for piece in pieces(base, kind):
            writer.write_tensor_data(piece.data())
        writer.flush()
    except OSError as error:
        if error.errno is None:  # numpy says only how many bytes it could not write
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        writer.close()


def _write_facts(writer: gguf.GGUFWriter, base: Base, kind: str, name: str) -> None:
    config = base.config
    head_dim = 2 * base.model.base_model.rotary_emb.inv_freq.numel()  # type: ignore[union-attr, operator]
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(TYPES[kind][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(context_of(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def read_back(path: Path, base: Base) -> Any:
    """The model in a file as transformers reads it, fp32.

    Args:
        base: what the file was written from; only its configuration is looked at.

    Raises:
        ModelError: the file states another size or number of something than the source does.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    _require_same_facts(config, base.config, path)
    source, stated = base.config.to_dict(), config.to_dict()
    for key in UNREAD_BY_TRANSFORMERS:
        if key in source and key in stated:
            setattr(config, key, source[key])
    config.rope_parameters = {**base.config.rope_parameters, "rope_theta": config.rope_parameters["rope_theta"]}
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, config=config, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


FACTS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "rms_norm_eps",
)


def _require_same_facts(stated: Any, source: Any, path: Path) -> None:
    """Raise ModelError when a file says something else of its model than the source's configuration."""
    pairs = [(key, stated.to_dict()[key], source.to_dict()[key]) for key in FACTS]
    pairs.append(("rope_theta", stated.rope_parameters["rope_theta"], source.rope_parameters["rope_theta"]))
    for key, found, wanted in pairs:
        if not math.isclose(found, wanted, rel_tol=1e-6):
            raise ModelError(
                f"the file gives {key} as {found}, and the model has {wanted}",
                where=str(path),
                rule="a file that was just written reads back as what was written",
                fix="use --format safetensors, and report this: it is a fault of Tunesmith",
            )
