"""Packed rows are exact: each document as if it were alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from tests.model.conftest import rows
from tunesmith.model import attention
from tunesmith.model.attention import packed_attention, plan_layout, positions
from tunesmith.model.batch import pack
from tunesmith.model.load import Base


def reference(lengths: list[int], q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    outputs, start = [], 0
    for length in lengths:
        q1, k1, v1 = (x[start : start + length].transpose(0, 1).double() for x in (q, k, v))
        rows_, columns = torch.arange(length)[:, None], torch.arange(length)[None]
        visible = columns <= rows_
        if window:
            visible &= columns > rows_ - window
        repeat = q1.shape[0] // k1.shape[0]
        k1, v1 = k1.repeat_interleave(repeat, 0), v1.repeat_interleave(repeat, 0)
        outputs.append(F.scaled_dot_product_attention(q1, k1, v1, attn_mask=visible).transpose(0, 1))
        start += length
    return torch.cat(outputs)


@pytest.mark.parametrize("lengths", [[5], [7, 7, 7], [3, 20, 1, 9, 20, 2], [700, 5, 690]])
@pytest.mark.parametrize("window", [0, 4])
def test_equals_one_call_per_document_forward_and_backward(lengths: list[int], window: int) -> None:
    generator = torch.Generator().manual_seed(1)
    total = sum(lengths)
    q, k, v = (torch.randn(total, h, 8, generator=generator, requires_grad=True) for h in (4, 2, 2))
    grad = torch.randn(total, 4, 8, generator=generator)
    wanted = reference(lengths, q, k, v, window)
    wanted_grads = torch.autograd.grad(wanted, (q, k, v), grad.double())
    got = packed_attention(plan_layout(lengths), 0, q, k, v, 8**-0.5, window)
    torch.testing.assert_close(got.double(), wanted, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(torch.autograd.grad(got, (q, k, v), grad), wanted_grads, strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("lengths", [[9, 5], [12, 7, 7, 1], [40, 3, 20, 1, 9], [700, 5, 690]])
@pytest.mark.parametrize("window", [0, 4, 11])
def test_a_common_beginning_equals_one_in_every_document(lengths: list[int], window: int) -> None:
    generator = torch.Generator().manual_seed(2)
    common, total = lengths[0], sum(lengths)
    q, k, v = (torch.randn(total, h, 8, generator=generator, requires_grad=True) for h in (4, 2, 2))
    grad = torch.randn(total, 4, 8, generator=generator)
    starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
    whole = [torch.cat([torch.arange(common), torch.arange(a, b)]) for a, b in pairwise(starts[1:])]
    rows_ = torch.cat([torch.arange(common), *whole])
    out = reference([common, *map(len, whole)], q[rows_], k[rows_], v[rows_], window)
    own, at = [torch.arange(common)], common
    for document in whole:
        own.append(torch.arange(at + common, at + len(document)))
        at += len(document)
    wanted = out[torch.cat(own)]
    wanted_grads = torch.autograd.grad(wanted, (q, k, v), grad.double())
    got = packed_attention(plan_layout(lengths, shared=True), 0, q, k, v, 8**-0.5, window)
    torch.testing.assert_close(got.double(), wanted, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(torch.autograd.grad(got, (q, k, v), grad), wanted_grads, strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), atol=5e-5, rtol=1e-3)


def test_layout_covers_every_token_once_and_bounds_the_padding() -> None:
    lengths = [3, 50, 4, 60, 5, 58]
    layout = plan_layout(lengths)
    padded = sum(block.documents * block.longest**2 for block in layout.blocks)
    assert padded <= attention.WASTE * sum(n * n for n in lengths)
    assert len(set(layout.cells.tolist())) == sum(lengths)


def test_packed_logits_equal_transformers_own_forward(base: Base) -> None:
    documents = [list(row.tokens) for row in rows(5)]
    packed = base.logits(documents)
    base.model.set_attn_implementation("eager")
    with torch.inference_mode():
        for ours, document in zip(packed, documents, strict=True):
            theirs = base.model(torch.tensor([document])).logits[0]
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_changing_one_document_leaves_the_others_bit_identical(base: Base) -> None:
    documents = [list(row.tokens) for row in rows(6, high=10)]
    before = base.logits(documents)
    documents[2][-1] = (documents[2][-1] + 1) % 384
    after = base.logits(documents)
    for index, (x, y) in enumerate(zip(before, after, strict=True)):
        assert torch.equal(x, y) == (index != 2)


def test_positions_restart_and_no_document_predicts_another() -> None:
    examples = rows(4)
    examples[1] = examples[1].model_copy(update={"weights": (1.0,) * len(examples[1].tokens)})
    batch = pack(examples)
    assert positions([3, 2]).tolist() == [[0, 1, 2, 0, 1]]
    trained = sum(sum(w > 0 for w in e.weights[1:]) for e in examples)
    assert batch.target_count == trained
    ends = torch.tensor([len(e.tokens) for e in examples]).cumsum(0) - 1
    assert not set(batch.rows.tolist()) & set(ends.tolist())
