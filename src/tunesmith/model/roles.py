"""Which linear layers play which part in a transformer block, told by the names that transformers gives them."""

from __future__ import annotations

from torch import nn

from tunesmith.core.errors import ConfigError
from tunesmith.model.adapted import linear_layers, matches

KEYS_AND_VALUES = ("k_proj", "v_proj", "query_key_value", "qkv_proj", "attn.c_attn", "Wqkv")
ATTENTION_OUT = ("o_proj", "out_proj", "self_attn.dense", "attention.dense", "self_attention.dense", "attn.c_proj")
MLP_OUT = ("down_proj", "fc2", "mlp.c_proj", "dense_4h_to_h", "w2")


def layers_of(model: nn.Module, role: tuple[str, ...], what: str) -> list[str]:
    """Names of the layers that play a part.

    Args:
        what: the part in words, for the message.

    Raises:
        ConfigError: this model names no layer so.
    """
    names = [name for name, _ in linear_layers(model)]
    found = [name for name in names if matches(name, role)]
    if not found:
        endings = sorted({name.rsplit(".", 1)[-1] for name in names})
        raise ConfigError(
            f"no layer of this model is known as its {what}",
            where="method",
            rule=f"it is one of: {', '.join(role)}; this model has: {', '.join(endings)}",
            fix="use method: lora, which takes any linear layer",
        )
    return found
