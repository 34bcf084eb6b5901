"""What is trained: all weights, or an adapter of some kind on a frozen base, behind one small record.

The table is ``KINDS``: method → settings of an adapter. Master weights, gradients and optimiser state are fp32 and lie
in one flat buffer each, so that one fused optimiser call and one norm serve the whole model. Adapters are views of the
buffer; a bf16 model gets copies after each step, or is itself the buffer (`Options.master_dtype`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from tunesmith.core import store
from tunesmith.core.errors import ConfigError
from tunesmith.model.adapters import Spec, write_adapter
from tunesmith.model.bottleneck import BottleneckSpec
from tunesmith.model.device import FORMATS
from tunesmith.model.ia3 import IA3Spec
from tunesmith.model.load import Base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.virtual import VirtualSpec

if TYPE_CHECKING:
    from tunesmith.model.sharded import Shards

Tensor = torch.Tensor
TRAINING, TUNED = "<training>", "<tuned>"
"""Adapter names inside a training process: the fp32 one with gradients, and its copy for inference."""


@dataclass(frozen=True)
class Group:
    """A stretch of the flat buffer that the optimiser treats alike.

    ``decayed``: matrices may be decayed, norms and biases not. ``rate``: multiple of the run's learning rate.
    """

    start: int
    end: int
    decayed: bool
    rate: float


@dataclass
class Trainable:
    """The trained weights of a base.

    ``master`` (P,) fp32, or bf16 where asked for; ``grad`` (P,) fp32; ``groups`` cover them. ``publish`` makes the
    weights visible to inference; ``write`` saves them into a staged folder.
    """

    kind: str
    master: Tensor
    grad: Tensor
    groups: Sequence[Group]
    publish: Callable[[], None]
    write: Callable[[Path], None]
    adapter: str
    """Adapter name to route inference to after ``publish`` ("" for full fine-tuning)."""
    begin: Callable[[], None]
    """Route the forward to the weights with gradients."""
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    share: bool = False
    """Whether a beginning that rows have in common may be computed once (`tunesmith.model.batch.pack`)."""
    shards: Shards | None = None
    """How the weights are divided over several processes; None where each holds them all."""

    @property
    def is_adapter(self) -> bool:
        """Whether the base stays frozen."""
        return self.adapter != ""

    def optimiser_parameters(self) -> list[tuple[nn.Parameter, Group]]:
        """Flat parameters that share storage with ``master`` and ``grad``."""
        parts = []
        for group in self.groups:
            parameter = nn.Parameter(self.master[group.start : group.end], requires_grad=True)
            parameter.grad = self.grad[group.start : group.end]
            parts.append((parameter, group))
        return parts

    @property
    def sizes(self) -> list[int]:
        """How many numbers of ``master`` belong to each of ``parameters``."""
        if self.shards is not None:
            return self.shards.sizes
        return [parameter.numel() for parameter in self.parameters.values()]

    def whole(self, local: Tensor, decayed: bool | None = None) -> Tensor:
        """A flat buffer of all weights (or of a group's) as a checkpoint has it; see `tunesmith.model.sharded`."""
        return local if self.shards is None else self.shards.whole(local, decayed)

    def part(self, whole: Tensor, decayed: bool | None = None) -> Tensor:
        """What this process holds of a checkpoint's buffer."""
        return whole if self.shards is None else self.shards.part(whole, decayed)

    def load(self, master: Tensor) -> None:
        """Take over this process's weights (P,), as `part` gives them of a checkpoint."""
        self.master.copy_(master)
        self.publish()


@dataclass(frozen=True)
class Options:
    """Settings of all kinds; each kind reads its own."""

    lora: LoRASpec
    seed: int
    base_name: str
    virtual_tokens: int = 20
    bottleneck_size: int = 64
    master_dtype: str = "float32"
    """What ``full`` keeps between steps: fp32 weights, or a bf16 base's own; adapters are always fp32."""


def train_adapter(kind: str, spec: Spec, base: Base, options: Options) -> Trainable:
    """Attach a fresh adapter to a frozen base."""
    initial = spec.initial(base, torch.Generator().manual_seed(options.seed))
    # Stable: weights of one rate lie together, and otherwise in the order of the model.
    ordered = sorted(initial.items(), key=lambda item: spec.rate_of(item[0]))
    master, grad, views = flat_buffers([tensor.shape for _, tensor in ordered], base.device)
    weights = {name: _viewed(view, tensor) for (name, tensor), view in zip(ordered, views, strict=True)}
    spec.place(base, TRAINING, weights, training=True)

    def begin() -> None:
        base.router.training = TRAINING

    def publish() -> None:
        base.router.training = None
        spec.place(base, TUNED, weights)

    return Trainable(
        kind=kind,
        master=master,
        grad=grad,
        groups=groups_of([(p.numel(), True, spec.rate_of(name)) for name, p in weights.items()]),
        publish=publish,
        write=lambda folder: write_adapter(folder, spec, weights, base, options.base_name),
        adapter=TUNED,
        begin=begin,
        parameters=weights,
        share=not options.lora.dropout and not base.router.virtual and shares(base),
    )


def train_full(base: Base, options: Options) -> Trainable:
    """Train all weights: fp32 master weights beside a bf16 model, or the model's own where the formats are the same.

    Raises:
        ConfigError: bf16 master weights of a model that is not in bf16 throughout.
    """
    ordered = sorted(base.model.named_parameters(), key=lambda item: item[1].dim() < 2)
    dtype = FORMATS[options.master_dtype]
    if dtype == torch.bfloat16:
        _refuse_other_formats(base, ordered)
    master, grad, views = flat_buffers([p.shape for _, p in ordered], base.device, dtype)
    same = base.dtype == dtype
    for (value, gradient), (_, parameter) in zip(views, ordered, strict=True):
        value.copy_(parameter.detach())
        parameter.requires_grad_(True)
        if same:
            parameter.data = value
        if parameter.dtype == torch.float32 and same:
            parameter.grad = gradient
        else:
            parameter.register_post_accumulate_grad_hook(_drain(gradient))

    def publish() -> None:
        base.router.training = None
        if not same:
            for (value, _), (_, parameter) in zip(views, ordered, strict=True):
                parameter.data.copy_(value)

    return Trainable(
        kind="full",
        master=master,
        grad=grad,
        groups=groups_of([(p.numel(), p.dim() >= 2, 1.0) for _, p in ordered]),
        publish=publish,
        write=lambda folder: write_model(base, folder),
        adapter="",
        begin=publish,
        parameters=dict(ordered),
        share=shares(base),
    )


KINDS: Mapping[str, Callable[[Options], Spec]] = {
    "lora": lambda options: options.lora,
    "qlora": lambda options: options.lora,
    "prefix": lambda options: VirtualSpec("prefix", options.virtual_tokens),
    "prompt": lambda options: VirtualSpec("prompt", options.virtual_tokens),
    "ia3": lambda options: IA3Spec(),
    "bottleneck": lambda options: BottleneckSpec(options.bottleneck_size),
}
"""Method → settings of its adapter. The one other method is "full"."""


def make_trainable(method: str, base: Base, options: Options) -> Trainable:
    """What ``method`` trains on this base; "qlora" wants a base that was loaded in 4 bits."""
    if method == "full" and torch.distributed.is_available() and torch.distributed.is_initialized():
        from tunesmith.model.sharded import train_sharded

        return train_sharded(base)
    if method == "full":
        return train_full(base, options)
    return train_adapter(method, KINDS[method](options), base, options)


def shares(base: Base) -> bool:
    """Whether what rows begin with in common may be computed once.

    Packed, and without dropout, under which each document would draw its own.
    """
    drops = any(isinstance(module, nn.Dropout) and module.p > 0 for module in base.model.modules())
    return not base.way.alone and not drops


def groups_of(parts: Sequence[tuple[int, bool, float]]) -> list[Group]:
    """Neighbouring weights (count, may be decayed, rate) with the same treatment joined."""
    groups, start = [], 0
    for (decayed, rate), same in groupby(parts, key=lambda part: part[1:]):
        end = start + sum(count for count, _, _ in same)
        groups.append(Group(start, end, decayed, rate))
        start = end
    return groups


def _refuse_other_formats(base: Base, weights: Sequence[tuple[str, nn.Parameter]]) -> None:
    other = [(name, str(p.dtype).removeprefix("torch.")) for name, p in weights if p.dtype != torch.bfloat16]
    if other:
        name, dtype = other[0]
        raise ConfigError(
            f"master_dtype: bfloat16, and the model's {name} is {dtype}"
            + (f" (with {len(other) - 1} more)" if len(other) > 1 else ""),
            where="master_dtype",
            rule="without an fp32 copy the base's own weights are trained, so all of them must be bf16",
            fix="use master_dtype: float32"
            if base.dtype == torch.bfloat16
            else "set dtype: bfloat16 (`auto` is the best of this machine), or master_dtype: float32",
        )


def flat_buffers(
    shapes: list[torch.Size], device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """Master weights (P,) in ``dtype`` and gradients (P,) in fp32, zero, and their views with the given shapes."""
    sizes = [math.prod(shape) for shape in shapes]
    master = torch.zeros(sum(sizes), dtype=dtype, device=device)
    grad = torch.zeros(sum(sizes), dtype=torch.float32, device=device)
    views = [
        (value.view(shape), gradient.view(shape))
        for value, gradient, shape in zip(master.split(sizes), grad.split(sizes), shapes, strict=True)
    ]
    return master, grad, views


def _viewed(view: tuple[Tensor, Tensor], initial: Tensor) -> nn.Parameter:
    value, gradient = view
    value.copy_(initial)
    parameter = nn.Parameter(value)
    parameter.grad = gradient
    return parameter


def _drain(gradient: Tensor) -> Callable[[nn.Parameter], None]:
    """Add a bf16 gradient to its fp32 home and drop it, so that accumulation never rounds."""

    def hook(parameter: nn.Parameter) -> None:
        assert parameter.grad is not None
        gradient.add_(parameter.grad)
        parameter.grad = None

    return hook


def write_model(base: Base, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Save a base's present weights as a Hugging Face folder, with the tokenizer and settings that it came with.

    ``weights`` are those of the model by name, where it cannot be asked for them.
    """
    base.model.save_pretrained(folder, state_dict=weights)  # type: ignore[operator]
    for path in [*base.folder.iterdir(), *base.folder.glob("additional_chat_templates/*.jinja")]:
        wanted = path.suffix in {".json", ".jinja", ".model"} and not path.name.endswith(".index.json")
        target = folder / path.relative_to(base.folder)
        if wanted and not target.exists():
            store.make_folder(target.parent)
            store.write_bytes(target, path.read_bytes())
