"""AdamW on the flat buffers of what is trained: torch's own, or a lean one that updates piece by piece.

The lean one is for weights without an fp32 copy (`master_dtype: bfloat16`) and for moments in 8 bits
(`optim: adamw_8bit`). A piece is brought to fp32, updated by the same fused kernel as ever, and put back: weights by
stochastic rounding, moments by nearest code. So only a piece is ever held in fp32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Protocol, final

import torch
from torch.optim.adamw import adamw

from tunesmith.model.rounding import BLOCK, dequantise, quantise, stochastic_round
from tunesmith.model.trainable import Group, Trainable

Tensor = torch.Tensor
BETAS, EPS = (0.9, 0.999), 1e-8
PIECE = {"cpu": 1 << 17, "cuda": 1 << 24}
"""Weights that are updated at once: what a core's cache holds, and what keeps a GPU busy. Whole blocks."""


class Optimiser(Protocol):
    """What the loop and the checkpoints need of an optimiser; torch's own have it."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Move the weights against the gradient."""

    def state_dict(self) -> dict[str, Any]:
        """``state``: index of a group → names and tensors."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go back to a state."""


def make_adamw(trainable: Trainable, optim: str, learning_rate: float, weight_decay: float, seed: int) -> Optimiser:
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101) as the configuration wants it; betas 0.9, 0.999, eps 1e-8.

    Args:
        optim: "adamw", or "adamw_8bit" for moments in 8 bits.
        weight_decay: of the groups that may be decayed.
        seed: of stochastic rounding.
    """
    groups = [
        {"lr": learning_rate, "weight_decay": weight_decay if group.decayed else 0.0, "rate": group.rate}
        for group in trainable.groups
    ]
    if optim == "adamw_8bit" or trainable.master.dtype != torch.float32:
        return LeanAdamW(trainable, groups, optim == "adamw_8bit", seed)
    flat = [{**group, "params": [p]} for group, (p, _) in zip(groups, trainable.optimiser_parameters(), strict=True)]
    return torch.optim.AdamW(flat, lr=learning_rate, betas=BETAS, eps=EPS, fused=True)


@final
class Wide:
    """A moment (n,) in fp32."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.values = torch.zeros(count, device=device)

    def read(self, start: int, end: int) -> Tensor:
        """The numbers of a piece, to be changed in place."""
        return self.values[start:end]

    def write(self, start: int, end: int, values: Tensor) -> None:
        """Nothing: ``values`` are the moment's own."""

    def tensors(self, name: str) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return {name: self.values}


@final
class Narrow:
    """A moment (n,) in 8 bits a number, with a scale for every 256 of them."""

    def __init__(self, count: int, signed: bool, device: torch.device) -> None:
        self.signed = signed
        self.codes, self.scales = quantise(torch.zeros(BLOCK, device=device), signed)
        self.codes = self.codes[:1].repeat(count)
        self.scales = self.scales.repeat(-(-count // BLOCK))

    def read(self, start: int, end: int) -> Tensor:
        """The numbers of a piece of whole blocks (the last may be shorter), in fp32."""
        return dequantise(self.codes[start:end], self.scales[start // BLOCK : -(-end // BLOCK)], self.signed)

    def write(self, start: int, end: int, values: Tensor) -> None:
        """Put a piece back."""
        codes, scales = quantise(values, self.signed)
        self.codes[start:end].copy_(codes)
        self.scales[start // BLOCK : -(-end // BLOCK)].copy_(scales)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """What a checkpoint holds: the 8 bits themselves."""
        return {name: self.codes, f"{name}_absmax": self.scales}


def narrow(group: Group, eight_bit: bool) -> bool:
    """Whether the moments of a group are kept in 8 bits. Norms and biases are few, and stay in fp32."""
    return eight_bit and group.decayed


def moment_bytes(trainable: Trainable, optim: str) -> int:
    """Bytes that both moments of all weights take."""
    total = 0
    for group in trainable.groups:
        count = group.end - group.start
        total += 2 * (count + 4 * -(-count // BLOCK) if narrow(group, optim == "adamw_8bit") else 4 * count)
    return total


def update_passes(trainable: Trainable, optim: str) -> int:
    """How many times as long as the norm of the gradient an update takes, roughly: measured on a CPU, for plans."""
    return 10 + 30 * (trainable.master.dtype != torch.float32) + 90 * (optim == "adamw_8bit")


@final
class LeanAdamW:
    """AdamW piece by piece; decoupled decay, bias correction and update are torch's fused kernel's.

    The draw of stochastic rounding is a function of seed, step and place, as the order of the data is: the step, which
    a checkpoint holds, is all the state that the generator has.
    """

    def __init__(self, trainable: Trainable, groups: list[dict[str, Any]], eight_bit: bool, seed: int) -> None:
        self.param_groups = groups
        self._trainable, self._eight_bit, self._seed, self._steps = trainable, eight_bit, seed, 0
        self._generator = torch.Generator(trainable.master.device)
        self._piece = PIECE.get(trainable.master.device.type, PIECE["cpu"])

    @cached_property
    def _moments(self) -> list[tuple[Wide | Narrow, Wide | Narrow]]:
        """Both moments of each group; made when they are first needed, as torch does: a plan comes before them."""
        made: list[tuple[Wide | Narrow, Wide | Narrow]] = []
        for group in self._trainable.groups:
            count, where = group.end - group.start, self._trainable.master.device
            if narrow(group, self._eight_bit):
                made.append((Narrow(count, True, where), Narrow(count, False, where)))
            else:
                made.append((Wide(count, where), Wide(count, where)))
        return made

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights against the gradient."""
        for group, settings, moments in zip(self._trainable.groups, self.param_groups, self._moments, strict=True):
            count = group.end - group.start
            for start in range(0, count, self._piece):
                self._update(group.start, start, min(start + self._piece, count), settings, moments)
        self._steps += 1

    def _update(
        self,
        offset: int,
        start: int,
        end: int,
        settings: Mapping[str, Any],
        moments: tuple[Wide | Narrow, Wide | Narrow],
    ) -> None:
        weights = self._trainable.master[offset + start : offset + end]
        gradient = self._trainable.grad[offset + start : offset + end]
        exact = weights.float()  # the weights themselves where they are fp32
        first, second = (moment.read(start, end) for moment in moments)
        adamw(
            [exact], [gradient], [first], [second], [], [torch.tensor(float(self._steps), device=exact.device)],
            fused=True, amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], lr=settings["lr"],
            weight_decay=settings["weight_decay"], eps=EPS, maximize=False,
        )  # fmt: skip
        for moment, values in zip(moments, (first, second), strict=True):
            moment.write(start, end, values)
        if weights.dtype != torch.float32:
            self._generator.manual_seed(_draw(self._seed, self._steps, offset + start))
            weights.copy_(stochastic_round(exact, self._generator))

    def state_dict(self) -> dict[str, Any]:
        """``state``: index of a group → step and moments, in the bits in which they are kept."""
        state = {
            index: {
                "step": torch.tensor(float(self._steps)),
                **first.tensors("exp_avg"),
                **second.tensors("exp_avg_sq"),
            }
            for index, (first, second) in enumerate(self._moments)
        }
        return {"state": state, "param_groups": self.param_groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go back to a state."""
        for index, tensors in self.state_dict()["state"].items():
            for name, tensor in tensors.items():
                tensor.copy_(state_dict["state"][index][name])
            self._steps = int(state_dict["state"][index]["step"])


def _draw(seed: int, step: int, place: int) -> int:
    """A seed that no two pieces of a run have in common (but by rare chance, which does no harm)."""
    digest = hashlib.blake2b(f"{seed} {step} {place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def reached(optimiser: Optimiser, trainable: Trainable) -> Iterator[str]:
    """Names of the weights that had a gradient: their second moment is not zero, in fp32 or as a code."""
    state = optimiser.state_dict()["state"]
    place = 0
    for name, parameter in trainable.parameters.items():
        end = place + parameter.numel()
        index, group = next((i, g) for i, g in enumerate(trainable.groups) if g.start <= place < g.end)
        if bool(state[index]["exp_avg_sq"][place - group.start : end - group.start].any()):
            yield name
        place = end
