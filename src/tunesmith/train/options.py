"""What the configuration says about the weights that are trained, as the model's side takes it."""

from __future__ import annotations

from tunesmith.model.lora import LoRASpec
from tunesmith.model.trainable import Options
from tunesmith.train.config import AdapterConfig, Config


def options_of(config: Config, adapter: AdapterConfig) -> Options:
    """The settings of the model's side, from the two configurations."""
    lora = LoRASpec(
        r=adapter.lora_r,
        alpha=adapter.lora_alpha,
        targets=adapter.lora_target_modules,
        dropout=adapter.lora_dropout,
        rank_stabilised=adapter.use_rslora,
        rank_pattern=adapter.rank_pattern,
        alpha_pattern=adapter.alpha_pattern,
        magnitude=adapter.use_dora,
        plus_ratio=adapter.loraplus_lr_ratio,
    )
    return Options(
        lora, config.seed, config.model, adapter.num_virtual_tokens, adapter.bottleneck_size, config.master_dtype
    )
