"""All weights trained by several processes, each of which holds and updates its share (FSDP2, ``fully_shard``).

A unit is a decoder layer, or all that is outside of the layers. Its weights are put together for its forward and its
backward pass, and divided again; gradients are added up over processes in fp32 as soon as a unit has them. Beside that
each process has the fp32 master weights, gradients and optimiser state of its own share in flat buffers, as
`tunesmith.model.trainable` has them of everything. Number formats stay ours: FSDP moves weights in the model's.

For inference (`Trainable.publish`) the weights are put together once and stay so until the next step begins. Then the
model is an ordinary one, and what a process does with it concerns no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from tunesmith.core.errors import ConfigError
from tunesmith.core.ranks import place
from tunesmith.model.load import Base
from tunesmith.model.recompute import decoder_layers
from tunesmith.model.trainable import Trainable, flat_buffers, groups_of, shares, write_model

Tensor = torch.Tensor


@dataclass(frozen=True)
class Shards:
    """How a process's flat buffer follows from the whole one: of each tensor, its part of the rows.

    ``shapes`` are those of the whole tensors, matrices (which may be decayed) first.
    """

    mesh: DeviceMesh
    shapes: tuple[torch.Size, ...]

    @property
    def sizes(self) -> list[int]:
        """How many numbers this process has of each tensor."""
        return [_local(shape).numel() for shape in self.shapes]

    def whole(self, local: Tensor, decayed: bool | None = None) -> Tensor:
        """The flat buffer of all processes together, on the CPU; all of them have to ask. Only the first gets it.

        Args:
            local: this process's share.
            decayed: None for a buffer of all weights, else of those with this treatment.
        """
        shapes = self._chosen(decayed)
        parts, first = [], place().is_first
        for share, shape in zip(local.split([_local(shape).numel() for shape in shapes]), shapes, strict=True):
            tensor = DTensor.from_local(
                share.view(_local(shape)), self.mesh, [Shard(0)], shape=shape, stride=_strides(shape)
            )
            full = tensor.full_tensor()
            parts += [full.reshape(-1).cpu()] if first else []
        return torch.cat(parts) if first else local.new_zeros(0)

    def part(self, whole: Tensor, decayed: bool | None = None) -> Tensor:
        """This process's share of a whole flat buffer."""
        shapes = self._chosen(decayed)
        parts = whole.split([shape.numel() for shape in shapes])
        return torch.cat([own_rows(part.view(s)).reshape(-1) for part, s in zip(parts, shapes, strict=True)])

    def _chosen(self, decayed: bool | None) -> list[torch.Size]:
        return [shape for shape in self.shapes if decayed is None or (len(shape) >= 2) == decayed]


def own_rows(tensor: Tensor) -> Tensor:
    """The rows of a tensor that this process keeps; none where there are too few."""
    here = place()
    parts = tensor.chunk(here.world)
    return parts[here.rank] if here.rank < len(parts) else tensor[:0]


def _local(shape: torch.Size) -> torch.Size:
    return own_rows(torch.empty(shape, device="meta")).shape


def _strides(shape: torch.Size) -> tuple[int, ...]:
    return torch.empty(shape, device="meta").stride()


class _Root(nn.Module):
    """What FSDP takes for the outermost module: a model that is run from below its head, head and all."""

    def __init__(self, model: nn.Module, body: Any) -> None:
        super().__init__()
        self.model = model
        self._body = body

    def forward(self, **inputs: Any) -> Tensor:
        """Last hidden states; the weights outside of the layers stay together until the backward pass is over."""
        hidden: Tensor = self._body(**inputs)
        return hidden.clone()  # a view would lose FSDP's hook as soon as somebody wrote into it


def train_sharded(base: Base) -> Trainable:
    """Train all weights of a base, divided over the processes of this run.

    Raises:
        ConfigError: the architecture does not run packed, or mixes number formats.
    """
    _require_divisible(base)
    initial = {name: own_rows(p.detach()).to(torch.float32, copy=True) for name, p in base.model.named_parameters()}
    names = list(base.model.state_dict())
    mesh = init_device_mesh(base.device.type, (place().world,))
    layers = decoder_layers(base.model)
    base.model.requires_grad_(True)
    root = _Root(base.model, base.body)
    units = [_divide(module, mesh) for module in [*layers, root]]
    base.body = root
    ordered = sorted(base.model.named_parameters(), key=lambda item: item[1].dim() < 2)
    shards = Shards(mesh, tuple(parameter.shape for _, parameter in ordered))
    master, grad, views = flat_buffers([initial[name].shape for name, _ in ordered], base.device)
    homes, counts = [], []
    for (name, parameter), (value, gradient) in zip(ordered, views, strict=True):
        homes.append((_shard(parameter), value))
        counts.append((value.numel(), parameter.dim() >= 2, 1.0))
        value.copy_(initial.pop(name))
        parameter.register_post_accumulate_grad_hook(_drain(gradient))

    def begin() -> None:
        for unit in units[:-1]:
            unit.set_reshard_after_forward(True, recurse=False)
        _divided(units, homes)

    def publish() -> None:
        base.router.training = None
        _divided(units, homes)
        for unit in units:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()

    trainable = Trainable(
        kind="full",
        master=master,
        grad=grad,
        groups=groups_of(counts),
        publish=publish,
        write=lambda folder: write_model(base, folder, {name: _tensor(base.model, name) for name in names}),
        adapter="",
        begin=begin,
        parameters=dict(ordered),
        share=shares(base),
        shards=shards,
    )
    trainable.publish()
    return trainable


def _require_divisible(base: Base) -> None:
    formats = {parameter.dtype for parameter in base.model.parameters()}
    reason = f"mixes {len(formats)} number formats" if len(formats) > 1 else ""
    if base.way.alone:
        reason = f"runs one document at a time ({base.way.alone})"
    if reason:
        raise ConfigError(
            f"method: full on several processes: the model {reason}",
            where="method",
            rule="divided weights need one number format, and every process must run as many forward passes",
            fix="use method: lora, or train in one process",
        )


def _divide(module: nn.Module, mesh: DeviceMesh) -> FSDPModule:
    """Make a unit. Gradients are summed, not averaged: the loss is divided by the targets of all processes."""
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    unit = fully_shard(module, mesh=mesh, mp_policy=policy)
    unit.set_gradient_divide_factor(1.0)
    unit.set_force_sum_reduction_for_comms(True)
    unit.set_reduce_scatter_unused_params(True, recurse=False)  # an expert may have no token in one process
    return unit


def _shard(parameter: nn.Parameter) -> Tensor:
    """The memory of this process's share of a divided weight."""
    assert isinstance(parameter, DTensor)
    with torch.no_grad():
        return parameter.to_local()


def _tensor(model: nn.Module, name: str) -> Tensor:
    """A weight or buffer as it stands; ``state_dict`` would divide the weights again."""
    owner, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(model.get_submodule(owner), leaf)
    return tensor.detach()


def _divided(units: list[FSDPModule], homes: list[tuple[Tensor, Tensor]]) -> None:
    """Divide the weights of all units again, and bring the shares up to date with the master weights."""
    for unit in units:
        unit.reshard()
    with torch.no_grad():
        for share, value in homes:
            share.copy_(value)


def _drain(gradient: Tensor) -> Any:
    """Add the gradient of a share to its fp32 home and drop it, so that accumulation never rounds."""

    def hook(parameter: nn.Parameter) -> None:
        assert isinstance(parameter.grad, DTensor)
        gradient.add_(parameter.grad.to_local())
        parameter.grad = None

    return hook
