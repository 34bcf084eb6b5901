"""Stochastic rounding to bf16 is exact on average; blocks in 8 bits are those of bitsandbytes."""

from __future__ import annotations

import math

import pytest
import torch

from tunesmith.model.rounding import BLOCK, LARGEST_BF16, book, dequantise, quantise, stochastic_round

CPU = torch.device("cpu")
TINY = 2.0**-133  # the smallest number of bf16 above zero


def draws(value: float, count: int = 200_000, seed: int = 0) -> torch.Tensor:
    rounded = stochastic_round(torch.full((count,), value), torch.Generator().manual_seed(seed))
    assert rounded.dtype == torch.bfloat16
    return rounded.double()


def neighbours(value: float) -> tuple[float, float]:
    """The bf16 numbers below and above ``value``, found by search among all of them."""
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).double()
    every = every[every.isfinite()]
    return float(every[every <= value].max()), float(every[every >= value].min())


@pytest.mark.parametrize(
    "value",
    [
        1.001, -1.001, math.pi, -3e-5, 0.0117,
        1.0 + 2**-8,  # a tie: exactly half way, where rounding to even always goes down
        2.0 - 2**-10,  # the upper neighbour lies in the next binade
        1e-30, -2.0**-127 * 1.01,  # near and below the smallest normal number
        TINY * 1.3, -TINY * 0.25,  # between subnormal neighbours, and between zero and the first
        3.3e38,
    ],
)  # fmt: skip
def test_draws_are_the_neighbours_and_their_mean_is_the_number(value: float) -> None:
    value = float(torch.tensor(value))  # what fp32 makes of it
    below, above = neighbours(value)
    drawn = draws(value)
    assert set(drawn.unique().tolist()) == {below, above}
    share = (value - below) / (above - below)
    found = float((drawn == above).double().mean())
    assert abs(found - share) < 5 * math.sqrt(share * (1 - share) / len(drawn))


def test_what_bf16_represents_stays_bit_by_bit() -> None:
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    for seed in range(3):
        rounded = stochastic_round(every.float(), torch.Generator().manual_seed(seed))
        numbers = ~every.isnan()
        assert torch.equal(rounded[numbers].view(torch.int16), every[numbers].view(torch.int16))
        assert bool(rounded[~numbers].isnan().all())


def test_nan_infinity_and_the_largest_numbers() -> None:
    payloads = torch.tensor([0x7F800001, 0x7FFFFFFF, -0x7FFFFF, -1], dtype=torch.int32).view(torch.float32)
    assert bool(payloads.isnan().all())
    almost = float(torch.tensor(LARGEST_BF16).nextafter(torch.tensor(math.inf)))
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        assert bool(stochastic_round(payloads.clone(), generator).isnan().all())
        values = torch.tensor([math.inf, -math.inf, almost, -almost, 0.0, -0.0])
        rounded = stochastic_round(values, generator).float()
        assert rounded.tolist()[:4] == [math.inf, -math.inf, LARGEST_BF16, -LARGEST_BF16]
        assert rounded.signbit().tolist() == values.signbit().tolist()


def test_neighbours_in_memory_draw_independently_and_the_seed_decides() -> None:
    half = torch.full((40_001,), 1.0 + 2**-8)
    first, again, other = (stochastic_round(half, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    up = (first > 1).double() - 0.5
    for lag in (1, 2, 3, 4):  # four draws come from one random number
        assert abs(float((up[lag:] * up[:-lag]).mean())) < 5 * 0.25 / math.sqrt(len(half))


def test_the_code_books_are_those_of_bitsandbytes() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    for signed in (True, False):
        theirs = functional.create_dynamic_map(signed=signed)
        torch.testing.assert_close(book(signed, CPU).values, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("signed", [True, False])
def test_every_number_gets_the_nearest_code(signed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(64 * BLOCK, generator=generator) * 10.0 ** (-6 * torch.rand(64 * BLOCK, generator=generator))
    values = values if signed else values.abs()
    codes, scales = quantise(values, signed)
    assert torch.equal(scales, values.view(-1, BLOCK).abs().amax(1))
    shares = (values.view(-1, BLOCK) / scales[:, None]).view(-1)
    distances = (book(signed, CPU).values[None] - shares[:, None]).abs()
    nearest = distances.min(1).values
    chosen = distances.gather(1, codes.long()[:, None])[:, 0]
    lost = torch.zeros_like(shares, dtype=torch.bool) if signed else (shares > 0) & (distances.argmin(1) == 0)
    assert torch.equal(chosen[~lost], nearest[~lost])
    assert bool((codes[lost] == 1).all())


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("count", [BLOCK * 40, BLOCK * 3 + 17, 5])
def test_blocks_are_as_near_as_those_of_bitsandbytes(signed: bool, count: int) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    values = torch.randn(count, generator=torch.Generator().manual_seed(1))
    values = values if signed else values**2
    codes, scales = quantise(values, signed)
    ours = dequantise(codes, scales, signed)
    theirs, state = functional.quantize_blockwise(values, code=functional.create_dynamic_map(signed), blocksize=BLOCK)
    assert torch.equal(scales, state.absmax)
    state.code = functional.create_dynamic_map(signed)
    torch.testing.assert_close(dequantise(theirs, scales, signed), functional.dequantize_blockwise(theirs, state))
    other = codes != theirs
    assert float(other.float().mean()) < 0.06  # near borders it looks up a coarser table
    steps, large = (codes.int() - theirs.int()).abs(), values.abs() > 0.01 * scales.max()
    assert int(steps[large].max()) <= 1
    worse = (dequantise(theirs, scales, signed) - values).abs() - (ours - values).abs()
    assert bool((worse[other & (codes > 1)] >= -1e-6 * scales.max()).all())


def test_zeros_small_second_moments_and_lone_outliers() -> None:
    codes, scales = quantise(torch.zeros(300), True)
    assert torch.equal(dequantise(codes, scales, True), torch.zeros(300))
    values = torch.full((BLOCK,), 1e-12)
    values[7], values[8] = 1.0, 0.0
    back = dequantise(*quantise(values, False), False)
    assert float(back[7]) == 1.0
    assert float(back[8]) == 0.0
    assert bool((back[9:] > 0).all()), "a second moment that vanishes makes a leap of the weight"
    subnormal = torch.full((BLOCK,), 1e-42)
    assert bool(dequantise(*quantise(subnormal, True), True).isfinite().all())
