"""The knobs of training. One field is one knob; help, schema and reference are generated from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record

Method = Literal["lora", "qlora", "prefix", "prompt", "ia3", "bottleneck", "full"]


class Config(Record):
    """Model, method, optimiser, length of the run. Names are Hugging Face's."""

    model: str = Field(
        default="smollm2-135m-instruct",
        description="Base model: folder, .gguf file, hub id (owner/name) or built-in name.",
    )
    chat_template: str = Field(
        default="model",
        description='Chat template: "model" for the tokenizer\'s own, a built-in name, or a .jinja file.',
    )
    method: Method = Field(
        default="lora",
        description=(
            "What is trained: lora (a small adapter on a frozen base), qlora (the same on a base in 4 bits), prefix or "
            "prompt (virtual tokens before the text), ia3 (scaling vectors), bottleneck (small layers in series), or "
            "full (all weights)."
        ),
    )
    task: Literal["sft"] = Field(default="sft", description="Objective: sft (supervised tuning on wanted answers).")
    train_on: Literal["assistant", "last", "all"] = Field(
        default="assistant", description="Which turns are trained: every assistant turn, only the last, or all text."
    )
    max_length: Annotated[int, Field(ge=8)] | Literal["auto"] = Field(
        default="auto",
        description="Longest row in tokens; longer rows are an error. auto: the model's context, at most 2048.",
    )
    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        default="auto", description="Peak learning rate. auto: from the model's width and the method."
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="Shape of the learning rate after warm-up."
    )
    warmup_ratio: float = Field(default=0.05, ge=0.0, lt=1.0, description="Share of all steps that warm up.")
    weight_decay: float = Field(default=0.0, ge=0.0, lt=1.0, description="AdamW's decay of matrices.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are scaled down to this norm.")
    num_train_epochs: float = Field(default=2.0, gt=0, le=100, description="Passes over the training rows.")
    max_steps: int = Field(default=0, ge=0, description="Optimiser steps; overrides num_train_epochs when above 0.")
    per_device_train_batch_size: int = Field(default=8, ge=1, description="Rows of one forward pass.")
    gradient_accumulation_steps: int = Field(default=1, ge=1, description="Forward passes of one optimiser step.")
    eval_steps: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="Steps between validation losses. auto: five times an epoch, at most every 200."
    )
    early_stopping_patience: int = Field(
        default=4, ge=0, description="Stop after this many validations without a new best; 0 never stops."
    )
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="Number format of the base. auto: bfloat16 where the hardware multiplies it."
    )
    seed: int = Field(default=42, ge=0, lt=2**31, description="Seed of data order, initial adapter and dropout.")
    output_dir: str = Field(
        default="runs/tunesmith", description="Folder of the run: adapter/, last/, run.json, report.html."
    )


class AdapterConfig(Record):
    """The shape of the adapter. Each method reads its own keys and refuses those of others."""

    lora_r: int = Field(default=16, ge=1, le=1024, description="Rank of the adapter.")
    lora_alpha: float = Field(default=32.0, gt=0, description="Scale of the adapter: its update counts alpha / rank.")
    lora_dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Dropout on the adapter's input.")
    lora_target_modules: str | tuple[str, ...] = Field(
        default="all-linear", description="Adapted layers: all-linear, a list of layer names, or a regular expression."
    )
    use_rslora: bool = Field(default=False, description="Scale by alpha / √rank instead (rank-stabilised LoRA).")
    use_dora: bool = Field(default=False, description="Train each output's magnitude apart from its direction (DoRA).")
    loraplus_lr_ratio: float = Field(
        default=1.0, ge=1.0, le=64.0, description="Learning rate of B as a multiple of A's (LoRA+ uses about 16)."
    )
    rank_pattern: dict[str, int] = Field(
        default={}, description="Layers with a rank of their own: ending of the name, or an expression → rank."
    )
    alpha_pattern: dict[str, float] = Field(
        default={}, description="Layers with an alpha of their own: ending of the name, or an expression → alpha."
    )
    num_virtual_tokens: int = Field(default=20, ge=1, le=1024, description="Virtual tokens of prefix and prompt.")
    bottleneck_size: int = Field(default=64, ge=1, le=4096, description="Width of a bottleneck adapter's middle.")


READ_BY: Mapping[str, tuple[Method, ...]] = {
    "num_virtual_tokens": ("prefix", "prompt"),
    "bottleneck_size": ("bottleneck",),
}
"""Adapter key → methods that read it; the other keys are for lora and qlora."""


def refuse_unread(method: Method, adapter: AdapterConfig, origins: Mapping[str, str]) -> None:
    """Refuse a key of the adapter that somebody changed and this method does not read.

    Args:
        origins: key → where its value comes from.

    Raises:
        ConfigError: names the key, where it was set, and the methods that read it.
    """
    for key, field in AdapterConfig.model_fields.items():
        readers = READ_BY.get(key, ("lora", "qlora"))
        if getattr(adapter, key) != field.default and method not in readers:
            raise ConfigError(
                f"{key} means nothing to method: {method}",
                where=origins[key],
                rule=f"it is read by method: {' and '.join(readers)}",
                fix=f"take {key} out, or use method: {readers[0]}",
            )
