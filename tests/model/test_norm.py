"""The fused RMSNorm is transformers' own: outputs bit for bit, gradients up to the order of fp32 sums."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from tunesmith.model.norm import fuse_norms

CLASSES = (LlamaRMSNorm, Gemma2RMSNorm, Olmo2RMSNorm)


def pair(kind: type[nn.Module], dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """A module with random weights as it comes, and fused."""
    plain = kind(24, 1e-5)
    plain.weight.data = torch.randn(24, generator=torch.Generator().manual_seed(1))
    plain = plain.to(dtype)
    fused = copy.deepcopy(plain)
    assert fuse_norms(nn.ModuleList([fused])) == 1
    return plain, fused


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", CLASSES)
def test_equals_the_module_forward_and_backward(kind: type[nn.Module], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    x = (torch.randn(1, 40, 24, generator=generator) * torch.logspace(-4, 2, 40)[:, None]).to(dtype)
    grad = torch.randn(1, 40, 24, generator=generator).to(dtype)
    found = []
    for module in pair(kind, dtype):
        row = x.clone().requires_grad_()
        y = module(row)
        found.append((y, *torch.autograd.grad(y, (row, module.weight), grad)))
    (wanted, *wanted_grads), (got, *got_grads) = found
    assert torch.equal(got, wanted)
    tolerance = 1e-5 if dtype == torch.float32 else 2**-7
    for ours, theirs in zip(got_grads, wanted_grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * theirs.abs().max().item())


def test_gradients_equal_float64() -> None:
    _, fused = pair(LlamaRMSNorm, torch.float32)
    x = torch.randn(3, 24, requires_grad=True)
    grad = torch.randn(3, 24)
    got = torch.autograd.grad(fused(x), (x, fused.weight), grad)
    x64, w64 = x.detach().double().requires_grad_(), fused.weight.detach().double().requires_grad_()
    exact = x64 * (x64.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * w64
    for ours, theirs in zip(got, torch.autograd.grad(exact, (x64, w64), grad.double()), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_keeps_half_of_what_the_module_keeps_for_backward() -> None:
    sizes = []
    for module in pair(LlamaRMSNorm, torch.bfloat16):
        x, kept = torch.randn(64, 24).bfloat16().requires_grad_(), dict[int, int]()
        keep = lambda t, kept=kept: kept.setdefault(t.data_ptr(), t.nbytes) and t  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            module(x)
        sizes.append(sum(kept.values()))
    assert sizes[1] * 2 < sizes[0]


class _CentredRMSNorm(LlamaRMSNorm):
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return super().forward(hidden_states - hidden_states.mean(-1, keepdim=True))


def test_a_class_that_does_something_else_keeps_its_own_forward() -> None:
    for module in (_CentredRMSNorm(24), nn.LayerNorm(24)):
        assert fuse_norms(nn.ModuleList([module])) == 0
        assert "forward" not in vars(module)


def test_a_call_with_a_gate_runs_as_it_came() -> None:
    gated = MambaRMSNormGated(24, 24)
    x, gate = torch.randn(2, 5, 24, requires_grad=True).unbind()
    wanted = gated(x, gate)
    fuse_norms(nn.ModuleList([gated]))
    assert torch.equal(gated(x, gate), wanted)


def test_passes_without_gradients_and_other_formats_run_as_they_came() -> None:
    plain, fused = pair(LlamaRMSNorm, torch.bfloat16)
    x = torch.randn(5, 24)
    assert torch.equal(fused(x), plain(x))
    assert fused(x).dtype == plain(x).dtype
    with torch.no_grad():
        assert torch.equal(fused(x.bfloat16()), plain(x.bfloat16()))
