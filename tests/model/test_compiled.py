"""Compiled layers are the plain ones: the same loss and gradients, and refused where they are not."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.model.conftest import rows
from tunesmith.core.errors import ConfigError
from tunesmith.model import compiled
from tunesmith.model.batch import pack
from tunesmith.model.compiled import compile_layers, release_layers
from tunesmith.model.head import head_loss
from tunesmith.model.load import Base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.recompute import set_recompute
from tunesmith.model.trainable import Options, Trainable, make_trainable

NO_COMPILER = shutil.which("g++") is None and shutil.which("clang++") is None


def trained(base: Base) -> Trainable:
    trainable = make_trainable("lora", base, Options(LoRASpec(4, 8, dropout=0.2), 0, "tiny"))
    generator = torch.Generator().manual_seed(3)
    trainable.master.add_(torch.randn(trainable.master.shape, generator=generator), alpha=0.02)
    return trainable


def one_step(base: Base, trainable: Trainable, count: int) -> tuple[float, torch.Tensor]:
    trainable.begin()
    base.model.train()
    torch.manual_seed(5)
    batch = pack(rows(count, seed=count))
    hidden = base.hidden(batch.tokens, batch.positions, batch.layout)
    loss, _ = head_loss(hidden[batch.rows], base.head, batch.targets, batch.weights)
    loss.backward()
    gradient = trainable.grad.clone()
    trainable.grad.zero_()
    return loss.item(), gradient


@pytest.mark.slow
@pytest.mark.skipif(NO_COMPILER, reason="torch.compile needs a C++ compiler, and none is installed")
def test_compiled_equals_plain_for_any_number_of_tokens_with_dropout_and_recompute(base: Base) -> None:
    from torch._dynamo.utils import counters

    trainable = trained(base)
    wanted = [one_step(base, trainable, count) for count in (3, 7)]
    assert compile_layers(base, trainable) > 0
    assert not trainable.grad.any()
    graphs = counters["stats"]["unique_graphs"]
    found = [one_step(base, trainable, count) for count in (3, 7)]
    again = [one_step(base, trainable, count) for count in (3, 7)]
    assert counters["stats"]["unique_graphs"] == graphs, "a new number of tokens compiled again"
    for (loss, gradient), (plain_loss, plain_gradient), (loss_again, gradient_again) in zip(
        found, wanted, again, strict=True
    ):
        assert loss == pytest.approx(plain_loss, rel=1e-6)
        torch.testing.assert_close(gradient, plain_gradient, rtol=1e-5, atol=1e-6 * plain_gradient.norm().item())
        assert loss == loss_again
        assert torch.equal(gradient, gradient_again)
    set_recompute(base.model, 1)
    loss, gradient = one_step(base, trainable, 3)
    assert loss == found[0][0]
    torch.testing.assert_close(gradient, found[0][1], rtol=1e-5, atol=1e-6 * gradient.norm().item())
    release_layers(base)
    assert one_step(base, trainable, 3)[0] == wanted[0][0]


def test_no_compiler_is_an_error_that_says_what_to_do(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder

    def missing() -> str:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    with pytest.raises(ConfigError) as found:
        compile_layers(base, trained(base))
    assert "torch_compile: true, and no C++ compiler is found" in str(found.value)
    assert "torch.compile writes source code and builds it on this machine" in str(found.value)
    assert "install g++ (apt install g++) or leave torch_compile out" in str(found.value)


def test_layers_that_do_something_else_are_refused_and_taken_back(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    trainable = trained(base)
    plain = one_step(base, trainable, 3)
    monkeypatch.setattr(compiled, "_in_training", lambda forward: lambda x, **options: forward(x * 1.01, **options))
    with pytest.raises(ConfigError) as found:
        compile_layers(base, trainable)
    assert "cannot be compiled: compiled hidden states differ by" in str(found.value)
    assert "compiled layers give the hidden states and gradients of plain ones" in str(found.value)
    assert "fix:  leave torch_compile out" in str(found.value)
    assert one_step(base, trainable, 3)[0] == plain[0]


def test_a_layer_that_cannot_be_traced_is_refused_with_its_reason(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_forward: object) -> object:
        def run(*_arguments: object, **_options: object) -> object:
            raise RuntimeError("unsupported: generator")

        return run

    monkeypatch.setattr(compiled, "_in_training", fails)
    with pytest.raises(ConfigError, match="cannot be compiled: RuntimeError: unsupported: generator"):
        compile_layers(base, trained(base))


def test_a_model_that_runs_one_document_at_a_time_is_refused(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(base, "way", replace(base.way, alone="it has a state"))
    with pytest.raises(ConfigError, match="cannot be compiled: its documents run one at a time"):
        compiled._require_stack(base)
