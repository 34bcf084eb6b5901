"""Nothing in a training step or an answer is left on the processor when the model is elsewhere.

The device here is torch's "meta", which has shapes and no values: an operation that mixes it with the processor fails
as one that mixes a GPU with the processor would. (Indices that stay behind are the exception: "meta" takes them.)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, masking_utils

from tunesmith.core.records import TokenizedExample
from tunesmith.model import head, varlen
from tunesmith.model.attention import IMPLEMENTATION, Layout, packed_attention, plan_layout
from tunesmith.model.batch import Batch, pack
from tunesmith.model.exact import Way
from tunesmith.model.head import Head
from tunesmith.model.load import Base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.quant import Linear4, quantise
from tunesmith.model.recompute import set_recompute
from tunesmith.model.trainable import KINDS, Options, make_trainable
from tunesmith.train.row_losses import Collector
from tunesmith.train.sft import loss

META = torch.device("meta")


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Base:
    # transformers looks for packed rows by the values of positions, to make a mask that is not used here
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda _positions: None)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    with META:
        model = LlamaForCausalLM(config)
    model.requires_grad_(False).eval()
    model.set_attn_implementation(IMPLEMENTATION)
    return Base(model, Path("none"), "none", torch.float32, META, Way(Head(model.lm_head)))


def _moved(value: Any) -> Any:
    """A record with every tensor on the other device."""
    if isinstance(value, torch.Tensor):
        return value.to(META)
    if isinstance(value, tuple):
        return tuple(map(_moved, value))
    if isinstance(value, Batch | Layout) or hasattr(value, "gather"):
        names = [name for name in vars(value) if name not in ("masks", "borders", "cache", "witness")]
        return replace(value, **{name: _moved(getattr(value, name)) for name in names})
    return value


def _batch(share: bool) -> Batch:
    rows = [
        TokenizedExample(
            example_id=str(n), tokens=(*range(1, 11), *range(20, 22 + n)), weights=(0.0,) * 10 + (1.0,) * (2 + n)
        )
        for n in range(3)
    ]
    return _moved(pack(rows, share=share))


@pytest.mark.parametrize("method", [kind for kind in KINDS if kind not in ("qlora", "prefix", "prompt")] + ["full"])
@pytest.mark.parametrize("share", [False, True])
def test_a_step_of_every_method_stays_on_its_device(base: Base, method: str, share: bool) -> None:
    trainable = make_trainable(method, base, Options(LoRASpec(2, 4.0, dropout=0.1), 0, "test", bottleneck_size=4))
    trainable.begin()
    base.model.train()
    value, losses = loss(base, _batch(share))
    value.backward()
    assert (value.device, losses.device, trainable.grad.device) == (META, META, META)
    trainable.publish()


def test_recompute_stays_on_its_device(base: Base) -> None:
    trainable = make_trainable("lora", base, Options(LoRASpec(2, 4.0), 0, "test"))
    set_recompute(base.model, 2)
    trainable.begin()
    base.model.train()
    loss(base, _batch(False))[0].backward()
    assert trainable.grad.device == META


def test_the_losses_of_rows_are_summed_where_they_are(base: Base) -> None:
    batch = replace(_batch(False), owners=torch.tensor([0, 1, 2]))
    with pytest.raises(RuntimeError, match="device"):  # the detector bites
        Collector().add(batch, torch.zeros(3, device=META))


def test_what_is_left_on_the_processor_is_noticed(base: Base) -> None:
    trainable = make_trainable("lora", base, Options(LoRASpec(2, 4.0), 0, "test"))
    trainable.begin()
    batch = _batch(False)
    for name in ("weights", "positions"):
        left = torch.zeros(getattr(batch, name).shape, dtype=getattr(batch, name).dtype)
        with pytest.raises(RuntimeError, match="device"):
            loss(base, replace(batch, **{name: left}))


def test_the_kernel_for_packed_rows_is_called_as_it_wants_to_be() -> None:
    q = torch.empty(9, 4, 16, dtype=torch.bfloat16, device=META, requires_grad=True)
    k, v = (torch.empty(9, 2, 16, dtype=torch.bfloat16, device=META, requires_grad=True) for _ in range(2))
    borders = varlen.borders_of((5, 4), META)
    assert (borders.shape, borders.dtype) == ((3,), torch.int32)
    for window in (0, 3):
        out = varlen.attend((5, 4), borders, q, k, v, 0.25, window)
        assert (out.shape, out.dtype) == (q.shape, q.dtype)
        grads = torch.autograd.grad(out.sum(), (q, k, v))
        assert [grad.shape for grad in grads] == [q.shape, k.shape, v.shape]


def test_borders_are_where_documents_begin() -> None:
    assert varlen.borders_of((5, 4, 1), torch.device("cpu")).tolist() == [0, 5, 9, 10]


@pytest.mark.parametrize("window", [0, 3])
def test_the_oracle_of_the_kernel_is_the_padded_block(window: int) -> None:
    torch.manual_seed(0)
    lengths = (7, 1, 5)
    q, k, v = (torch.randn(13, heads, 8) for heads in (4, 2, 2))
    ours = packed_attention(plan_layout(lengths), 0, q, k, v, 0.3, window)
    assert torch.allclose(ours, varlen.plain(lengths, q, k, v, 0.3, window), atol=1e-6)


def test_the_kernel_is_not_used_where_it_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    varlen.proven.cache_clear()
    assert not varlen.proven(torch.device("cpu"), torch.bfloat16, 4, 2, 16, False), "there is none on a processor"
    real = torch.device("cpu")

    def right(lengths: Any, _borders: Any, q: Any, k: Any, v: Any, scaling: float, window: int) -> torch.Tensor:
        return varlen.plain(lengths, q.float(), k.float(), v.float(), scaling, window).to(q.dtype)

    def without_mask(lengths: Any, _borders: Any, q: Any, k: Any, v: Any, scaling: float, window: int) -> torch.Tensor:
        scores = (q.transpose(0, 1) @ k.repeat_interleave(2, 1).permute(1, 2, 0) * scaling).softmax(-1)
        return (scores @ v.repeat_interleave(2, 1).transpose(0, 1)).transpose(0, 1)

    def window_too_wide(
        lengths: Any, borders: Any, q: Any, k: Any, v: Any, scaling: float, window: int
    ) -> torch.Tensor:
        return right(lengths, borders, q, k, v, scaling, window + 1 if window else 0)

    for kernel, windowed, expected in (
        (right, False, True),
        (right, True, True),
        (without_mask, False, False),
        (window_too_wide, False, True),
        (window_too_wide, True, False),
    ):
        varlen.proven.cache_clear()
        monkeypatch.setattr(varlen, "attend", kernel)
        assert varlen.proven(real, torch.bfloat16, 4, 2, 16, windowed) is expected, (kernel.__name__, windowed)
    varlen.proven.cache_clear()


def test_what_the_kernel_cannot_take_goes_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        is_cuda, device = True, torch.device("cuda")

        def __init__(self, tokens: int, heads: int, size: int, dtype: torch.dtype = torch.bfloat16) -> None:
            self.shape, self.dtype = (tokens, heads, size), dtype

    monkeypatch.setattr(varlen, "proven", lambda *_arguments: True)

    def usable(q: Any, k: Any, v: Any) -> bool:
        return varlen.usable(q, k, v, (10,), 0)

    k = Elsewhere(10, 2, 64)
    assert usable(Elsewhere(10, 4, 64), k, k)
    assert not usable(Elsewhere(10, 4, 64, torch.float32), k, k)
    assert not usable(Elsewhere(10, 3, 64), k, k)
    assert not usable(Elsewhere(10, 4, 64), k, Elsewhere(10, 2, 32))
    odd = Elsewhere(10, 4, 36)
    assert not usable(odd, odd, odd)
    wide = Elsewhere(10, 4, 512)
    assert not usable(wide, wide, wide)
    many = Elsewhere(2**19, 64, 64)
    assert not usable(many, many, many)
    assert not varlen.usable(torch.zeros(1, 1, 8), torch.zeros(1, 1, 8), torch.zeros(1, 1, 8), (1,), 0)


def test_the_head_takes_more_rows_at_a_time_on_a_gpu() -> None:
    assert head.chunk_rows(torch.device("cuda")) == head.GPU_CHUNK_ROWS > head.chunk_rows(torch.device("cpu"))


def test_a_base_is_packed_layer_by_layer_where_it_will_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[tuple[str, torch.device | None]] = []
    plain = torch.nn.Linear.to

    def to(layer: torch.nn.Module, where: torch.device) -> Any:
        moved.append((type(layer).__name__, where))
        return plain(layer, where)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = (torch.nn.Linear(64, 64) for _ in range(3))

        def get_output_embeddings(self) -> torch.nn.Module:
            return self.head

    model = Model()
    monkeypatch.setattr(torch.nn.Linear, "to", to)
    quantise(model, torch.device("cpu"))
    assert moved == [("Linear", torch.device("cpu"))] * 2
    assert [type(layer) for layer in (model.first, model.second, model.head)] == [Linear4, Linear4, torch.nn.Linear]
