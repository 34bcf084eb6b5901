"""Numbers in fewer bits: stochastic rounding to bf16, and blocks of 256 numbers in 8 bits each.

Both are functions of tensors on any device; who calls them decides what they are for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import final

import torch

Tensor = torch.Tensor
BLOCK = 256
"""Neighbouring numbers that share a scale."""

LARGEST_BF16 = torch.finfo(torch.bfloat16).max
_HIGH = -(1 << 16)  # 0xFFFF0000 as int32: the half of an fp32 number that bf16 keeps


def stochastic_round(values: Tensor, generator: torch.Generator) -> Tensor:
    """bf16 neighbours of fp32 ``values`` (n,), drawn so that the mean of many draws is the value itself.

    A bf16 number is the upper half of an fp32 number's bits, and between two neighbours the lower half counts up evenly
    (also below the smallest normal number). So a random 16-bit integer is added and the lower half cut off: the
    magnitude goes up with exactly the share of the way that lies behind it. What bf16 represents stays as it is. NaN
    and infinities stay what they are, and from the largest bf16 number on rounding is to nearest, so that chance makes
    no infinity. (Gupta et al. 2015, arXiv 1502.02551; for bf16 weights Zamirai et al. 2020, arXiv 2010.06192.)

    Args:
        generator: on the device of ``values``; its state alone decides the draw.
    """
    count = values.numel()
    noise = torch.empty(-(-count // 4), dtype=torch.int64, device=values.device)  # four draws in one: that is faster
    noise.random_(torch.iinfo(torch.int64).min, None, generator=generator)
    bits = noise.view(torch.int16)[:count].to(torch.int32).bitwise_and_(~_HIGH)
    bits.add_(values.view(torch.int32)).bitwise_and_(_HIGH)
    ordinary = values.abs() < LARGEST_BF16
    return torch.where(ordinary, bits.view(torch.float32), values).to(torch.bfloat16)


@final
@dataclass(frozen=True)
class Book:
    """What the 256 codes of a byte stand for, as shares of a block's largest magnitude.

    ``values`` (256,) fp32, ascending. ``upper`` (256,): a number above it belongs to a later code. ``first`` (65536,)
    int32: upper half of an fp32 number's bits → code of the smallest number that begins with them. No two borders fall
    into one such bucket, so one comparison finds the nearest code.
    """

    values: Tensor
    upper: Tensor
    first: Tensor


@cache
def book(signed: bool, device: torch.device) -> Book:
    """The dynamic code book of Dettmers et al. 2022 (arXiv 2110.02861), on a device.

    A byte has a sign (or not), an exponent of base 10 in unary, and the rest as a linear fraction: from 1 down to about
    5e-7, finest near 1. The unsigned one never rounds to zero what is above it: it holds second moments, by whose root
    is divided, and one that vanished beside a first moment that did not would make a leap of the weight.
    """
    positive: list[float] = []
    for exponent in range(7):
        borders = torch.linspace(0.1, 1, 2 ** (exponent if signed else exponent + 1) + 1)
        positive += (10.0 ** (exponent - 6) * ((borders[:-1] + borders[1:]) / 2)).tolist()
    negative = [-value for value in positive] if signed else []
    values = torch.tensor(sorted([*negative, 0.0, *positive, 1.0]))
    upper = torch.cat([(values[1:] + values[:-1]) / 2, torch.tensor([torch.inf])])
    if not signed:
        upper[0] = 0.0
    heads = torch.arange(1 << 16, dtype=torch.int32) << 16
    smallest = torch.where(heads < 0, heads | ~_HIGH, heads).view(torch.float32)
    first = torch.bucketize(smallest.nan_to_num(0.0).clamp(-1, 1), upper[:-1], out_int32=True)
    return Book(values.to(device), upper.to(device), first.to(device))


def quantise(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Codes (n,) uint8 and scales (⌈n / 256⌉,) fp32 of finite fp32 ``values`` (n,); see `book`."""
    codes, count = book(signed, values.device), values.numel()
    blocks = _blocks(values)
    scales = blocks.abs().amax(1)
    shares = (blocks / scales.where(scales > 0, 1.0)[:, None]).view(-1)[:count]
    heads = (shares.view(torch.int32) >> 16).bitwise_and_(~_HIGH)
    code = codes.first.index_select(0, heads)
    code += shares > codes.upper.index_select(0, code)
    return code.to(torch.uint8), scales


def dequantise(code: Tensor, scales: Tensor, signed: bool) -> Tensor:
    """The fp32 numbers (n,) that codes (n,) uint8 and scales stand for."""
    count = code.numel()
    shares = book(signed, code.device).values.index_select(0, code.to(torch.int32))
    return (_blocks(shares) * scales[:, None]).view(-1)[:count]


def _blocks(values: Tensor) -> Tensor:
    """(n,) as (⌈n / 256⌉, 256), filled up with zeros."""
    missing = -values.numel() % BLOCK
    return (torch.nn.functional.pad(values, (0, missing)) if missing else values).view(-1, BLOCK)
