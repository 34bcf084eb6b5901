"""The chunked head equals full logits in float64."""

from __future__ import annotations

import pytest
import torch

from tunesmith.model import head as head_module
from tunesmith.model.head import HeadLoss


@pytest.mark.parametrize("chunk", [3, 128])
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_loss_and_gradients_equal_full_logits_in_float64(
    monkeypatch: pytest.MonkeyPatch, chunk: int, scale: float
) -> None:
    monkeypatch.setattr(head_module, "CHUNK_ROWS", chunk)
    generator = torch.Generator().manual_seed(0)
    hidden = (scale * torch.randn(11, 6, generator=generator)).requires_grad_()
    weight = torch.randn(50, 6, generator=generator, requires_grad=True)
    bias = torch.randn(50, generator=generator, requires_grad=True)
    targets = torch.randint(0, 50, (11,), generator=generator)
    weights = torch.rand(11, generator=generator)
    loss, losses = HeadLoss.apply(hidden, weight, bias, targets, weights)
    got = torch.autograd.grad(loss * 0.5, (hidden, weight, bias))
    h, w, b = (x.detach().double().requires_grad_() for x in (hidden, weight, bias))
    wanted_losses = torch.nn.functional.cross_entropy(h @ w.t() + b, targets, reduction="none")
    wanted = torch.autograd.grad((wanted_losses * weights).sum() * 0.5, (h, w, b))
    torch.testing.assert_close(losses.double(), wanted_losses, atol=1e-4, rtol=1e-5)
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=1e-4 * max(1, scale), rtol=1e-4)


def test_frozen_head_gets_no_gradient() -> None:
    hidden = torch.randn(4, 6, requires_grad=True)
    weight = torch.randn(50, 6)
    loss, _ = HeadLoss.apply(hidden, weight, None, torch.tensor([1, 2, 3, 4]), torch.ones(4))
    loss.backward()
    assert weight.grad is None
    assert hidden.grad is not None
