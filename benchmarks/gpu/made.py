"""Models of a true shape with random weights, made on the device: nothing is downloaded and nothing is read.

Weights are normal, not zero: zeros multiply faster than anything real. Speeds are those of a trained model of the same
shape; answers are noise. A 4-bit base is made and packed one layer at a time, so that it never exists whole in 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from tunesmith.core.records import TokenizedExample
from tunesmith.model.exact import find_way
from tunesmith.model.load import Base
from tunesmith.model.quant import Linear4

SPREAD = 0.02


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama model."""

    name: str
    vocabulary: int
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int

    def config(self) -> LlamaConfig:
        """As transformers wants it."""
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            max_position_embeddings=16384,
            rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
            tie_word_embeddings=False,
        )

    @property
    def linear(self) -> int:
        """Weights of the linear layers below the head."""
        size = self.hidden // self.heads
        attention = 2 * self.hidden * self.heads * size + 2 * self.hidden * self.kv_heads * size
        return self.layers * (attention + 3 * self.hidden * self.inner)


TINY = Shape("tiny", 256, 64, 128, 2, 4, 2)
SMALL = Shape("small", 4096, 512, 1024, 4, 8, 2)
LLAMA_8B = Shape("Llama-3.1-8B", 128256, 4096, 14336, 32, 32, 8)
LLAMA_70B = Shape("Llama-3.1-70B", 128256, 8192, 28672, 80, 64, 8)


def make_base(shape: Shape, where: torch.device, dtype: torch.dtype, four_bit: bool = False, seed: int = 0) -> Base:
    """A base of this shape, wired as a loaded one is; what the load proves of a real model is proved of it too."""
    model = make_model(shape, where, dtype, four_bit, seed)
    model.requires_grad_(False).eval()
    way = find_way(model, dtype, where)
    return Base(model, Path("made"), f"made-{shape.name}-{seed}", dtype, where, way, four_bit)


def make_model(shape: Shape, where: torch.device, dtype: torch.dtype, four_bit: bool, seed: int = 0) -> nn.Module:
    """The model alone: first without memory, then filled module by module."""
    config = shape.config()
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    generator = torch.Generator(where).manual_seed(seed)
    for name in [name for name, _ in model.named_modules()]:  # names alone: a module kept here would keep its weights
        module = model.get_submodule(name)
        if module is model.model.rotary_emb:
            continue
        _fill(module, where, dtype, generator)
        if four_bit and isinstance(module, nn.Linear) and module is not model.lm_head:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, Linear4(module))
    with where:  # its tables are computed, not filled
        model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    left = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if left:
        raise RuntimeError(f"no memory was given to {left[0]}")
    return model


def _fill(module: nn.Module, where: torch.device, dtype: torch.dtype, generator: torch.Generator) -> None:
    for name, parameter in list(module.named_parameters(recurse=False)):
        value = torch.empty(parameter.shape, dtype=dtype, device=where)
        if parameter.dim() == 1:
            value.fill_(1.0)
        else:
            value.normal_(0.0, SPREAD, generator=generator)
        setattr(module, name, nn.Parameter(value, requires_grad=False))


def documents(lengths: Sequence[int], vocabulary: int, targets: float = 1.0, seed: int = 0) -> list[TokenizedExample]:
    """Random documents; the last share ``targets`` of each is trained."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for number, length in enumerate(lengths):
        tokens = torch.randint(0, vocabulary, (length,), generator=generator).tolist()
        prompt = min(length - 1, round(length * (1 - targets)))
        weights = (0.0,) * prompt + (1.0,) * (length - prompt)
        made.append(TokenizedExample(example_id=str(number), tokens=tuple(tokens), weights=weights))
    return made


def model_flops(shape: Shape, lengths: Sequence[int], targets: int, rank: int) -> float:
    """Floating-point operations of a LoRA step on all linear layers, attention included, recompute not.

    4·N·T (forward, input gradient) + 6·P·T (adapters) + 4·W·V a target (frozen head) + 6·L·W·Σ s² (causal attention:
    forward 2, backward 4).
    """
    tokens = sum(lengths)
    adapters = rank * adapter_width(shape)
    attention = 6.0 * shape.layers * shape.hidden * sum(length**2 for length in lengths)
    return (4.0 * shape.linear + 6.0 * adapters) * tokens + 4.0 * shape.hidden * shape.vocabulary * targets + attention


def adapter_width(shape: Shape) -> int:
    """Σ (in + out) over the linear layers below the head: adapter weights for each rank."""
    key = shape.kv_heads * (shape.hidden // shape.heads)
    attention = 2 * (2 * shape.hidden) + 2 * (shape.hidden + key)
    return shape.layers * (attention + 3 * (shape.hidden + shape.inner))


def facts(where: torch.device) -> dict[str, Any]:
    """The GPU in words and numbers."""
    if where.type != "cuda":
        return {"gpu": "none"}
    properties = torch.cuda.get_device_properties(where)
    return {
        "gpu": properties.name,
        "gpu_memory_gib": round(properties.total_memory / 1024**3, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
    }
