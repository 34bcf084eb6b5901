"""The proof, at every load, that a model is run exactly: packed, or one document at a time, or not at all.

A packed row is right when (1) every layer's attention is ours and its mask is the one that transformers would use,
(2) packed logits are those of transformers' own forward on each document alone, and (3) no document feels another.
What fails one of these runs alone (`tunesmith.model.alone`), held against the same logits; what fails that too is
refused. The mask is asked at the borders of a window of any size, so that short documents suffice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from tunesmith.core.errors import ModelError
from tunesmith.model.adapted import close, linear_layers
from tunesmith.model.alone import memory_of, remembers
from tunesmith.model.attention import IMPLEMENTATION, WITNESSED, Carrier, Layout, Mask, carry, plan_layout, positions
from tunesmith.model.head import Head

Tensor = torch.Tensor
LENGTHS = (7, 5)
OPTIONS = frozenset({"dropout", "scaling", "sliding_window", "softcap", "s_aux", "layout", "position_ids", "use_cache"})
"""Options of an attention layer that are understood here, or mean nothing to it."""
HARMLESS = frozenset(
    {"output_attentions", "output_hidden_states", "output_router_logits", "is_causal", "cache_position"}
)
FAR = 1 << 20


class _Unpackable(Exception):
    """Why a model cannot take packed rows."""


@dataclass
class Witness:
    """Sees every attention layer of one forward. ``windows``: by layer, 0 for none."""

    windows: dict[int, int] = field(default_factory=dict)

    def __call__(self, module: nn.Module, mask: Any, window: int, options: Mapping[str, Any]) -> None:
        """Note a layer's window; raise _Unpackable for what packed rows cannot do."""
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        strange = [name for name, value in options.items() if name not in OPTIONS | HARMLESS and value is not None]
        if strange:
            raise _Unpackable(f"its attention has the option {strange[0]}, which packed rows don't know")
        if layer in self.windows:
            raise _Unpackable(f"layer {layer} attends more than once")
        if not isinstance(mask, Mask) or not _is_causal(mask, window):
            raise _Unpackable(f"layer {layer} has a mask other than causal or a sliding window")
        self.windows[layer] = window


def _is_causal(mask: Mask, window: int) -> bool:
    """Whether a query sees what is not after it and, with a window w, less than w before it."""
    wanted = {(0, 1): False, (FAR, FAR): True, (FAR, 0): window == 0}
    if window:
        wanted |= {(window, 1): True, (window, 0): False, (2 * window - 1, window): True}
    index = torch.tensor
    return all(bool(mask.sees(index(0), index(0), index(q), index(k))) == seen for (q, k), seen in wanted.items())


@dataclass(frozen=True)
class Way:
    """How a model is run. ``alone``: why its documents cannot share a row, "" when they do.

    ``windows``: sizes of its sliding windows. ``carrier``: hands the layout to layers that get no keywords.
    ``memory``: of what runs alone, see `tunesmith.model.alone.Alone`.
    """

    head: Head
    alone: str = ""
    windows: tuple[int, ...] = ()
    carrier: Carrier | None = None
    memory: str = ""


@dataclass(frozen=True)
class Trial:
    """Two short documents, and the logits that transformers gives for each by itself."""

    model: nn.Module
    documents: list[Tensor]
    logits: list[Tensor]
    dtype: torch.dtype

    def close(self, ours: Tensor, theirs: Tensor, strict: bool = False) -> bool:
        """Whether two tensors differ by rounding only; ``strict``: by few roundings."""
        tolerance = (1e-4, 1e-5) if self.dtype == torch.float32 else (0.1, 0.05)
        return _distance(ours, theirs) < tolerance[strict]


def _distance(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference in standard deviations of ``theirs``."""
    ours, theirs = ours.float(), theirs.float()
    return (ours - theirs).abs().max().item() / (theirs.std().item() or 1.0)


def body_of(model: nn.Module) -> nn.Module:
    """What stands below a model's head."""
    body: nn.Module = model.base_model  # type: ignore[assignment]
    return body if body is not model else model.get_submodule("model")


def find_way(model: nn.Module, dtype: torch.dtype, device: torch.device) -> Way:
    """How this model is run exactly.

    Raises:
        ModelError: neither packed nor alone gives the logits of transformers' own forward.
    """
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    documents = [torch.randint(0, vocabulary, (1, n), generator=generator).to(device) for n in LENGTHS]
    _use(model, "eager")
    with torch.no_grad():
        trial = Trial(model, documents, [_own_logits(model, d, dtype) for d in documents], dtype)
        head = _find_head(trial)
        close_layers(trial)
        try:
            return _packed(trial, head)
        except _Unpackable as reason:
            found = str(reason)
        except Exception as error:  # a forward that was not made for this fails in many ways, and all mean the same
            found = f"its forward cannot take packed rows ({type(error).__name__}: {error})"
        return _alone(trial, head, found)


def _own_logits(model: nn.Module, document: Tensor, dtype: torch.dtype) -> Tensor:
    """What transformers gives for a document (1, T) alone: (T, V) fp32."""
    try:
        return model(document, use_cache=False).logits[0].float()  # type: ignore[no-any-return]
    except RuntimeError as error:
        raise ModelError(
            f"the architecture {model.config.model_type!r} does not run in {dtype}: {error}",  # type: ignore[union-attr]
            where="dtype",
            rule="transformers' own forward must run in the number format of the weights",
            fix="set dtype: float32",
        ) from error


def _alone(trial: Trial, head: Head, reason: str) -> Way:
    model, body = trial.model, body_of(trial.model)
    _use(model, "sdpa" if getattr(model, "_supports_sdpa", False) else "eager")
    for document, theirs in zip(trial.documents, trial.logits, strict=True):
        ours = head(body(input_ids=document, use_cache=False).last_hidden_state[0])
        if not trial.close(ours, theirs):
            raise _refused(model, f"its logits differ by {_distance(ours, theirs):.2g} standard deviations")
    memory = memory_of(body)
    return Way(head, reason, memory=memory if remembers(body, memory, trial.documents[0], trial.close) else "")


def close_layers(trial: Trial) -> None:
    """Close the linear layers whose weights the model takes without calling them, or calls with some tokens only.

    Such are projections inside fused kernels, which only the training forward may take, and single experts.
    """
    watched = [(name, _Watched(layer)) for name, layer in linear_layers(trial.model)]
    _put(trial.model, [(name, watch) for name, watch in watched])
    trial.model.train()
    try:
        trial.model(trial.documents[0], use_cache=False)
    finally:
        trial.model.eval()
        _put(trial.model, [(name, watch.layer) for name, watch in watched])
    for _, watch in watched:
        if watch.taken or watch.rows != {trial.documents[0].shape[1]}:
            close(watch.layer)


class _Watched(nn.Module):
    """A linear layer that notes how many tokens it is called with, and whether its weights are taken from outside."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.rows, self.taken = layer, set[int](), False

    def forward(self, x: Tensor) -> Tensor:
        self.rows.add(x.shape[:-1].numel())
        return self.layer(x)  # type: ignore[no-any-return]

    @property
    def weight(self) -> Any:
        self.taken = True
        return self.layer.weight

    @property
    def bias(self) -> Any:
        self.taken = True
        return self.layer.bias


def _put(model: nn.Module, layers: Sequence[tuple[str, nn.Module]]) -> None:
    for name, layer in layers:
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer)


def _find_head(trial: Trial) -> Head:
    """The reading of the configuration under which the head's logits are the model's."""
    model = trial.model
    linear = model.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(linear, nn.Linear):
        raise _refused(model, "it has no linear head")
    try:
        hidden = body_of(model)(input_ids=trial.documents[0], use_cache=False).last_hidden_state[0]
    except (AttributeError, TypeError) as error:
        raise _refused(model, f"its body gives no hidden states ({error})") from error
    readings = [Head(linear, scale, cap) for scale in _scales(model.config) for cap in _caps(model.config)]
    best = min(readings, key=lambda reading: _distance(reading(hidden), trial.logits[0]))
    if not trial.close(best(hidden), trial.logits[0], strict=True):
        raise _refused(model, "its logits are not made of its last hidden states in a known way")
    return best


def _scales(config: Any) -> Iterator[float]:
    facts = config.to_dict()
    yield 1.0
    for name in ("logit_scale", "logits_scaling", "lm_head_multiplier", "logits_scale"):
        if isinstance(facts.get(name), int | float) and facts[name]:
            yield float(facts[name])
            yield 1 / float(facts[name])
    if facts.get("dim_model_base"):
        yield float(facts["dim_model_base"]) / float(facts["hidden_size"])


def _caps(config: Any) -> Iterator[float]:
    yield 0.0
    facts = config.to_dict()
    for name in ("final_logit_softcapping", "logits_soft_cap"):
        if facts.get(name):
            yield float(facts[name])


def _packed(trial: Trial, head: Head) -> Way:
    model = trial.model
    _use(model, WITNESSED)
    carrier = None
    try:
        windows = _windows(trial, None)
    except KeyError as error:
        if error.args != ("layout",):
            raise
        carrier = carry(model)
        windows = _windows(trial, carrier)
    if sorted(windows) != list(range(model.config.num_hidden_layers)):  # type: ignore[union-attr]
        raise _Unpackable(
            f"{len(windows)} of its {model.config.num_hidden_layers} layers use plain attention"  # type: ignore[union-attr]
        )
    _use(model, IMPLEMENTATION)
    first, second = (head(part) for part in _row(trial, trial.documents, carrier))
    for ours, theirs in zip((first, second), trial.logits, strict=True):
        if not trial.close(ours, theirs):
            raise _Unpackable(f"packed logits differ by {_distance(ours, theirs):.2g} standard deviations")
    other = [trial.documents[0].flip(1), trial.documents[1]]
    if not trial.close(head(_row(trial, other, carrier)[1]), second, strict=True):
        raise _Unpackable("a document feels its neighbour in the row")
    return Way(head, windows=tuple(sorted(set(windows.values()) - {0})), carrier=carrier)


def _windows(trial: Trial, carrier: Carrier | None) -> dict[int, int]:
    witness = Witness()
    document = trial.documents[0]
    layout = replace(plan_layout([document.shape[1]], document.device), witness=witness)
    _run(trial.model, layout, document, positions([document.shape[1]], document.device), carrier)
    return witness.windows


def _row(trial: Trial, documents: list[Tensor], carrier: Carrier | None) -> tuple[Tensor, ...]:
    """Hidden states of each document of one packed row."""
    lengths, where = [d.shape[1] for d in documents], documents[0].device
    hidden = _run(
        trial.model, plan_layout(lengths, where), torch.cat(documents, dim=1), positions(lengths, where), carrier
    )
    return hidden.split(lengths)


def _run(model: nn.Module, layout: Layout, tokens: Tensor, position_ids: Tensor, carrier: Carrier | None) -> Tensor:
    return packed_body(body_of(model), carrier)(layout=layout, position_ids=position_ids, input_ids=tokens)


def packed_body(body: nn.Module, carrier: Carrier | None) -> Any:
    """``body`` as a function of a layout and a packed row → last hidden states (T, W)."""

    def run(*, layout: Layout, **inputs: Any) -> Tensor:
        if carrier is None:
            return body(layout=layout, use_cache=False, **inputs).last_hidden_state[0]  # type: ignore[no-any-return]
        carrier.layout = layout
        return body(use_cache=False, **inputs).last_hidden_state[0]  # type: ignore[no-any-return]

    return run


def _use(model: nn.Module, implementation: str) -> None:
    model.set_attn_implementation(implementation)  # type: ignore[operator]


def _refused(model: nn.Module, reason: str) -> ModelError:
    return ModelError(
        f"the architecture {model.config.model_type!r} cannot be trained or served exactly: {reason}",  # type: ignore[union-attr]
        where="model",
        rule="documents must give the logits that transformers gives for each of them alone",
        fix="use a model of another architecture, for example of the Llama, Mistral, Qwen or Gemma family",
    )
