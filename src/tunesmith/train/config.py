"""The knobs of training. One field is one knob; help, schema and reference are generated from here.

`Config` says what is trained and how: a run is resumed only with the same values. `LoopConfig` says how it is carried
out and watched: it changes no weight, and a resumed run may have other values.
"""

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
    master_dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="What method: full keeps of the weights between steps: float32 (a copy beside a bfloat16 base), or "
        "bfloat16 (the base's own weights, updated with stochastic rounding: no copy; dtype: auto follows).",
    )
    optim: Literal["adamw", "adamw_8bit"] = Field(
        default="adamw", description="Optimiser: adamw, or adamw_8bit, which keeps its state in 8 bits."
    )
    torch_compile: bool = Field(
        default=False,
        description="Compile the layers for training with torch.compile: some percent faster after a minute or two of "
        "compiling, for long runs. Needs a C++ compiler (CPU) or Triton (GPU).",
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
    init_adapter: str = Field(
        default="",
        description="Adapter to go on from: a run, an adapter folder or a released name. Its shape is taken over.",
    )
    deploy_to: Literal["embedded", "vllm"] = Field(
        default="embedded",
        description="What will serve it; checked before training. embedded: tunesmith serve, which takes every kind.",
    )


class LoopConfig(Record):
    """How a run is carried out and watched. Nothing here changes what is learnt."""

    gradient_checkpointing: Literal["auto"] | bool = Field(
        default="auto",
        description="Keep only the layers' inputs and compute the rest twice: less memory, about a third more time, "
        "the same gradients. auto: for as many layers as the plan needs to fit.",
    )
    activation_offload: Literal["auto"] | bool = Field(
        default="auto",
        description="Keep the inputs of recomputed layers in the host's memory. "
        "auto: on a GPU, when nothing else fits.",
    )
    eval_generate_rows: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        default="auto",
        description="Validation rows that are answered and graded at every validation; 0: none. "
        "auto: up to 32, as many as a tenth of the training time allows.",
    )
    keep_adapters: bool = Field(
        default=False,
        description="Also keep the weights of every validation, as an adapter of its own in steps/ of the run.",
    )
    report_to: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
        default=(), description="Also send the run's events to these, each an optional package; all write locally."
    )


ADAPTERS: tuple[Method, ...] = ("lora", "qlora", "prefix", "prompt", "ia3", "bottleneck")

READ_BY: Mapping[str, tuple[Method, ...]] = {
    "init_adapter": ADAPTERS,
    "deploy_to": (*ADAPTERS, "full"),
    "num_virtual_tokens": ("prefix", "prompt"),
    "bottleneck_size": ("bottleneck",),
}
"""Adapter key → methods that read it; the other keys are for lora and qlora."""

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM 0.32 takes as --max-lora-rank; an adapter needs one that is not below its largest rank."""


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


def refuse_formats(config: Config, origins: Mapping[str, str]) -> None:
    """Refuse bf16 master weights where there is nothing that they could be the master of.

    Args:
        origins: key → where its value comes from.

    Raises:
        ConfigError: names the key, where it was set, and the way out.
    """
    if config.master_dtype == "float32":
        return
    if config.method != "full":
        raise ConfigError(
            f"master_dtype: {config.master_dtype} means nothing to method: {config.method}",
            where=origins["master_dtype"],
            rule="an adapter is small and always trained in float32; only all weights are worth fewer bits",
            fix="take master_dtype out, or use method: full",
        )
    if config.dtype == "float32":
        raise ConfigError(
            f"master_dtype: {config.master_dtype} beside dtype: {config.dtype}",
            where=origins["master_dtype"],
            rule="without an fp32 copy the base's own weights are trained, so both formats are the same",
            fix="set dtype: bfloat16, or take master_dtype out",
        )


def refuse_undeployable(method: Method, adapter: AdapterConfig, origins: Mapping[str, str]) -> None:
    """Refuse what the place that it is meant for could not serve, before anything is spent on it.

    Facts of vLLM 0.32 (``lora/peft_helper.py``, ``config/lora.py``): plain or rank-stabilised LoRA, own ranks and
    alphas by pattern, no DoRA, no other kind of adapter, and a base in full weights.

    Args:
        origins: key → where its value comes from.

    Raises:
        ConfigError: names the key, where it was set, and the way out.
    """
    if adapter.deploy_to != "vllm" or method == "full":
        return
    largest = max([adapter.lora_r, *adapter.rank_pattern.values()])
    merge = "deploy_to: embedded and `tunesmith merge` afterwards: vLLM serves the merged model"
    refusals = {
        ("method", f"method: {method}", f"use method: lora, or {_way(method, merge)}"): method not in ("lora", "qlora"),
        ("method", "an adapter of a base in 4 bits", f"use method: lora, or {merge}"): method == "qlora",
        ("use_dora", "use_dora: true", f"take use_dora out, or {merge}"): adapter.use_dora,
        ("lora_r", f"a rank of {largest}", f"use a rank of at most {VLLM_RANKS[-1]}"): largest > VLLM_RANKS[-1],
    }
    for (key, what, fix), refused in refusals.items():
        if refused:
            raise ConfigError(
                f"vLLM cannot serve {what}",
                where=origins[key],
                rule=f"vLLM takes LoRA adapters of ranks up to {VLLM_RANKS[-1]} on the full weights of a base",
                fix=fix,
            )


def _way(method: Method, merge: str) -> str:
    return merge if method == "ia3" else "deploy_to: embedded, whose server takes every kind of adapter"
