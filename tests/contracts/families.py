"""Tiny random models of every architecture that the contract covers: some thousand weights each, fp32, no download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

VOCABULARY = 96

PLAIN: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
"""What most configurations call the sizes; weights are large enough that a wrong mask or scale shows."""

IDS = {key: PLAIN[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
WINDOWED = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}

GPT = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 4,
}

PACKED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("llama", PLAIN),
    "llama, biased": ("llama", {**PLAIN, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "mistral": ("mistral", {**PLAIN, "sliding_window": None}),
    "mistral, windows": ("mistral", {**PLAIN, "sliding_window": 4}),
    "mixtral": ("mixtral", {**PLAIN, **EXPERTS}),
    "qwen2": ("qwen2", PLAIN),
    "qwen2, windows": ("qwen2", {**PLAIN, **WINDOWED, "use_sliding_window": True, "max_window_layers": 0}),
    "qwen3": ("qwen3", {**PLAIN, "head_dim": 8}),
    "qwen3_moe": ("qwen3_moe", {**PLAIN, **EXPERTS, "head_dim": 8}),
    "gemma": ("gemma", {**PLAIN, "head_dim": 8}),
    "gemma2": (
        "gemma2",
        {
            **PLAIN,
            **WINDOWED,
            "head_dim": 8,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
            "query_pre_attn_scalar": 8,
        },
    ),
    "gemma3": (
        "gemma3_text",
        {**PLAIN, **WINDOWED, "head_dim": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0},
    ),
    "phi": ("phi", PLAIN),
    "phi3": ("phi3", {**PLAIN, "sliding_window": 4}),
    "smollm3": ("smollm3", {**PLAIN, "no_rope_layers": [1, 0]}),
    "gpt2": ("gpt2", {**IDS, **GPT}),
    "gpt2, scaled": ("gpt2", {**IDS, **GPT, "scale_attn_by_inverse_layer_idx": True}),
    "gpt_bigcode": ("gpt_bigcode", {**IDS, **GPT}),
    "gpt_neox": ("gpt_neox", PLAIN),
    "gpt_neox, serial": ("gpt_neox", {**PLAIN, "use_parallel_residual": False}),
    "opt": ("opt", {**PLAIN, "ffn_dim": 32, "word_embed_proj_dim": 16, "init_std": 0.3}),
    "opt, projected": (
        "opt",
        {**PLAIN, "ffn_dim": 32, "word_embed_proj_dim": 8, "init_std": 0.3, "do_layer_norm_before": False},
    ),
    "stablelm": ("stablelm", PLAIN),
    "stablelm, parallel": ("stablelm", {**PLAIN, "use_parallel_residual": True, "qk_layernorm": True}),
    "starcoder2": ("starcoder2", {**PLAIN, "sliding_window": None}),
    "cohere": ("cohere", {**PLAIN, "logit_scale": 0.3}),
    "cohere2": ("cohere2", {**PLAIN, **WINDOWED, "logit_scale": 0.3}),
    "olmo": ("olmo", {**PLAIN, "clip_qkv": 0.5}),
    "olmo2": ("olmo2", PLAIN),
    "olmo3": ("olmo3", {**PLAIN, **WINDOWED}),
    "granite": (
        "granite",
        {
            **PLAIN,
            "logits_scaling": 3.0,
            "residual_multiplier": 0.5,
            "embedding_multiplier": 2.0,
            "attention_multiplier": 0.2,
        },
    ),
    "gpt_oss": ("gpt_oss", {**PLAIN, **WINDOWED, **EXPERTS, "head_dim": 8}),
    "glm4": ("glm4", {**PLAIN, "head_dim": 8}),
    "nemotron": ("nemotron", PLAIN),
    "exaone4": ("exaone4", {**PLAIN, **WINDOWED}),
    "helium": ("helium", {**PLAIN, "head_dim": 4}),
    "ernie4_5": ("ernie4_5", {**PLAIN, "head_dim": 8}),
    "seed_oss": ("seed_oss", {**PLAIN, "head_dim": 8}),
    "arcee": ("arcee", PLAIN),
    "apertus": ("apertus", PLAIN),
    "deepseek_v3": (
        "deepseek_v3",
        {
            **PLAIN,
            **LATENT,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
        },
    ),
    "biogpt": ("biogpt", PLAIN),
    "persimmon": ("persimmon", PLAIN),
    "ministral3": ("ministral3", {**PLAIN, "head_dim": 8}),
    "minicpm3": ("minicpm3", {**PLAIN, **LATENT}),
    "gemma4": (
        "gemma4_text",
        {
            **PLAIN,
            **WINDOWED,
            "head_dim": 8,
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 96,
            "global_head_dim": 8,
            "num_kv_shared_layers": 0,
        },
    ),
}
"""Name → model type and configuration of what runs packed."""

ALONE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "falcon": ("falcon", {**PLAIN, "alibi": False}),
    "falcon, alibi": ("falcon", {**PLAIN, "alibi": True, "new_decoder_architecture": False}),
    "bloom": ("bloom", {**IDS, "hidden_size": 16, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}),
    "mpt": ("mpt", {**IDS, "d_model": 16, "n_layers": 2, "n_heads": 4, "max_seq_len": 64, "initializer_range": 0.3}),
    "gptj": (
        "gptj",
        {**IDS, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "rotary_dim": 4, "initializer_range": 0.3},
    ),
    "gpt_neo": (
        "gpt_neo",
        {
            **IDS,
            "hidden_size": 16,
            "num_layers": 2,
            "num_heads": 4,
            "window_size": 4,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 64,
            "initializer_range": 0.3,
        },
    ),
    "codegen": (
        "codegen",
        {**IDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 4, "initializer_range": 0.3},
    ),
    "mamba": ("mamba", {**IDS, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "initializer_range": 0.3}),
    "mamba2": (
        "mamba2",
        {
            **IDS,
            "hidden_size": 16,
            "state_size": 4,
            "num_hidden_layers": 2,
            "num_heads": 4,
            "head_dim": 8,
            "n_groups": 1,
            "chunk_size": 8,
            "initializer_range": 0.3,
        },
    ),
    "recurrent_gemma": (
        "recurrent_gemma",
        {
            **PLAIN,
            "lru_width": 16,
            "attention_window_size": 8,
            "w_init_variance_scale": 0.3,
            "block_types": ["recurrent", "attention"],
            "head_dim": 4,
        },
    ),
    "qwen3_next": ("qwen3_next", {**PLAIN, **EXPERTS, **LINEAR, "head_dim": 8, "shared_expert_intermediate_size": 16}),
    "lfm2": (
        "lfm2",
        {
            **PLAIN,
            "initializer_range": 0.1,
            "layer_types": ["conv", "full_attention"],
            "block_auto_adjust_ff_dim": False,
        },
    ),
    "falcon_h1": (
        "falcon_h1",
        {
            **PLAIN,
            "mamba_d_ssm": 16,
            "mamba_n_heads": 4,
            "mamba_d_head": 4,
            "mamba_d_state": 4,
            "mamba_n_groups": 1,
            "mamba_chunk_size": 8,
        },
    ),
    "llama4": (
        "llama4_text",
        {
            **PLAIN,
            **EXPERTS,
            "intermediate_size_mlp": 32,
            "attention_chunk_size": 4,
            "head_dim": 8,
            "layer_types": ["chunked_attention", "full_attention"],
            "no_rope_layers": [1, 0],
            "moe_layers": [],
        },
    ),
    "xglm": (
        "xglm",
        {
            **IDS,
            "d_model": 16,
            "ffn_dim": 32,
            "num_layers": 2,
            "attention_heads": 4,
            "max_position_embeddings": 64,
            "init_std": 0.3,
        },
    ),
    "qwen3_5": ("qwen3_5_text", {**PLAIN, **LINEAR, "head_dim": 8}),
}
"""Name → model type and configuration of what runs one document at a time."""


def build(folder: Path, model_type: str, settings: Mapping[str, Any], seed: int = 0) -> Path:
    """A random model of the type, saved as a Hugging Face folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases begin at 1 and 0, where a slip would not show
            if parameter.dim() < 2:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return folder
