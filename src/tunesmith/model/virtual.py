"""Trained virtual tokens before every document: prefix tuning and prompt tuning.

Prefix tuning (Li & Liang, arXiv 2101.00190) trains keys and values of every layer; prompt tuning (Lester et al.,
arXiv 2104.08691) trains embeddings. Both take n positions, so that a document's own tokens count from n, as in PEFT.
They begin at the base's own keys, values or embeddings of random vocabulary: random numbers are far from anything
that the model has seen.

Shapes: T tokens, n virtual tokens, K key/value heads, D head size, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from tunesmith.core.errors import ConfigError
from tunesmith.model.attention import Layout, plan_layout
from tunesmith.model.kv import record
from tunesmith.model.router import Router, Virtual

if TYPE_CHECKING:
    from tunesmith.model.load import Base

Tensor = torch.Tensor
WEIGHTS = "prompt_embeddings"
"""PEFT's name for the one tensor of both kinds."""


def forward_with_virtual(
    body: Callable[..., Tensor],
    embed: nn.Module,
    router: Router,
    tokens: Tensor,
    position_ids: Tensor,
    layout: Layout,
) -> Tensor:
    """Last hidden states (T, W) of a packed row, some of whose documents stand behind virtual tokens.

    Args:
        body: the model below its head; takes ``layout``, ``position_ids`` and ``input_ids`` or ``inputs_embeds``.
        tokens: (1, T) int64, as the documents are, without virtual tokens; ``position_ids`` likewise, from 0.
    """
    parts = router.virtual_parts(tokens.shape[1])
    shift = torch.cat([torch.full((end - start,), found.count if found else 0) for found, start, end in parts])
    position_ids = position_ids + shift.to(position_ids.device)
    before = _before_each(parts, layout.lengths)
    if any(found.embeddings is not None for found in before if found):
        return _behind_prompts(body, embed, router, tokens, position_ids, layout, before)
    if any(before):
        layout = replace(layout, prefixes=tuple(before))
    return body(layout=layout, position_ids=position_ids, input_ids=tokens)


def _before_each(parts: Sequence[tuple[Virtual | None, int, int]], lengths: Sequence[int]) -> list[Virtual | None]:
    """The virtual tokens before each document."""
    found, at, part = [], 0, 0
    for length in lengths:
        while at >= parts[part][2]:
            part += 1
        found.append(parts[part][0])
        at += length
    return found


def _behind_prompts(
    body: Callable[..., Tensor],
    embed: nn.Module,
    router: Router,
    tokens: Tensor,
    position_ids: Tensor,
    layout: Layout,
    before: Sequence[Virtual | None],
) -> Tensor:
    """Put the trained embeddings into the row, run it, and take the documents' own rows out again."""
    own = embed(tokens)[0]
    pieces, places, real, lengths, at, row = [], [], [], [], 0, 0
    for found, length in zip(before, layout.lengths, strict=True):
        trained = found.embeddings if found else None
        count = 0 if trained is None else trained.shape[0]
        if trained is not None:
            pieces.append(trained.to(own.dtype))
            places.append(torch.arange(count, device=tokens.device))
        pieces.append(own[at : at + length])
        places.append(position_ids[0, at : at + length])
        real.append(torch.arange(row + count, row + count + length, device=tokens.device))
        lengths.append(count + length)
        at, row = at + length, row + count + length
    wider = plan_layout(lengths, tokens.device)
    prefixes = tuple(None if found and found.embeddings is not None else found for found in before)
    segments = router.segments
    try:
        router.segments = [] if router.training is not None else _widened(router, layout.lengths, lengths)
        hidden = body(
            layout=replace(wider, prefixes=prefixes if any(prefixes) else ()),
            position_ids=torch.cat(places)[None],
            inputs_embeds=torch.cat(pieces)[None],
        )
    finally:
        router.segments = segments
    return hidden.index_select(0, torch.cat(real))


def _widened(router: Router, lengths: Sequence[int], wider: Sequence[int]) -> list[tuple[str, int, int]]:
    """The router's segments over a row in which documents grew from ``lengths`` to ``wider``."""
    if router.training is not None:
        return list(router.segments)  # of the last answers: they mean nothing while one adapter trains
    ends = {0: 0}
    at = total = 0
    for length, wide in zip(lengths, wider, strict=True):
        at, total = at + length, total + wide
        ends[at] = total
    return [(name, ends[start], ends[end]) for name, start, end in router.segments]


@dataclass(frozen=True)
class VirtualSpec:
    """``count`` virtual tokens of one of the two kinds."""

    kind: Literal["prefix", "prompt"]
    count: int

    prefixed = False

    @property
    def peft_type(self) -> str:
        """PEFT's name of the kind."""
        return "PREFIX_TUNING" if self.kind == "prefix" else "PROMPT_TUNING"

    def initial(self, base: Base, generator: torch.Generator) -> dict[str, Tensor]:
        """Keys and values (n, layers·2·K·D), or embeddings (n, W), of n random tokens; fp32.

        Raises:
            ConfigError: more virtual tokens than context; for a prefix, a model with sliding windows, with keys and
                values of several sizes, or one that cannot be packed.
        """
        self._require_room(base)
        vocabulary = base.model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
        tokens = torch.randint(0, vocabulary, (1, self.count), generator=generator).to(base.device)
        with torch.no_grad():
            if self.kind == "prompt":
                embed = base.model.get_input_embeddings()  # type: ignore[operator]
                return {WEIGHTS: embed(tokens)[0].float().cpu()}
            seen = record(base, tokens)
        parts = [x for pair in zip(seen.keys, seen.values, strict=True) for x in pair]
        if len({part.shape for part in parts}) > 1:
            raise ConfigError(
                f"method: prefix does not fit the architecture {base.config.model_type!r}",
                where="method",
                rule="keys and values of all layers have one size",
                fix="use method: lora, or method: prompt",
            )
        return {WEIGHTS: torch.stack(parts, dim=1).reshape(self.count, -1).float().cpu()}

    def _require_room(self, base: Base) -> None:
        if self.kind == "prefix" and base.way.alone:
            raise ConfigError(
                f"method: prefix does not fit the architecture {base.config.model_type!r}",
                where="method",
                rule=f"its documents run one at a time through its own attention, because {base.way.alone}",
                fix="use method: lora, or method: prompt",
            )
        if self.kind == "prefix" and base.way.windows:
            raise ConfigError(
                "method: prefix does not fit a model with sliding windows",
                where="method",
                rule="every token must see the whole prefix, and a window hides it from later ones",
                fix="use method: lora, or method: prompt",
            )
        if self.count >= base.context_length:
            raise ConfigError(
                f"num_virtual_tokens: {self.count} fills the model's context of {base.context_length} tokens",
                where="num_virtual_tokens",
                rule="virtual tokens take positions of the context",
                fix="use 10 to 100",
            )

    def place(self, base: Base, adapter: str, weights: Mapping[str, Tensor], training: bool = False) -> None:
        """Put the virtual tokens on the base under the name ``adapter``; in the base's dtype unless in training."""
        tensor = weights[WEIGHTS]
        if not training:
            tensor = tensor.detach().to(base.device, base.dtype, copy=True)
        place = "embeddings" if self.kind == "prompt" else "table"
        base.router.virtual[adapter] = Virtual(self.count, **{place: tensor})

    def misfits(self, base: Base, weights: Mapping[str, Tensor]) -> list[str]:
        """What does not fit this base, in words; [] when all does."""
        layers, heads, size = _shape(base)
        width = base.model.get_input_embeddings().weight.shape[1]  # type: ignore[operator]
        wanted = (self.count, 2 * layers * heads * size if self.kind == "prefix" else width)
        shape = tuple(weights[WEIGHTS].shape) if set(weights) == {WEIGHTS} else ()
        return [] if shape == wanted else [f"{WEIGHTS} should be {wanted}, it is {shape or 'missing'}"]

    def rate_of(self, _name: str) -> float:
        """The learning rate of a weight as a multiple of the run's."""
        return 1.0

    def to_peft(self, base: Base) -> dict[str, Any]:
        """What ``adapter_config.json`` says of this kind; PEFT counts key/value heads as attention heads."""
        layers, heads, size = _shape(base)
        width = base.model.get_input_embeddings().weight.shape[1]  # type: ignore[operator]
        common = {"num_virtual_tokens": self.count, "num_layers": layers, "num_transformer_submodules": 1}
        if self.kind == "prompt":
            heads_of_model = base.config.num_attention_heads
            return {**common, "token_dim": width, "num_attention_heads": heads_of_model, "prompt_tuning_init": "RANDOM"}
        own = {"token_dim": heads * size, "num_attention_heads": heads, "encoder_hidden_size": heads * size}
        return {**common, **own, "prefix_projection": False}

    @classmethod
    def from_peft(cls, config: Mapping[str, Any]) -> VirtualSpec:
        """What ``adapter_config.json`` says."""
        return cls("prefix" if config["peft_type"] == "PREFIX_TUNING" else "prompt", int(config["num_virtual_tokens"]))


def _shape(base: Base) -> tuple[int, int, int]:
    """Layers, key/value heads and head size."""
    config = base.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(config.num_hidden_layers), int(heads), int(size)
