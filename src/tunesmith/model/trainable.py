"""What is trained: all weights or low-rank adapters, behind one small record. The table is ``KINDS``.

Master weights, gradients and optimiser state are fp32 and lie in one flat buffer each, so that one fused optimiser
call and one norm serve the whole model. Adapters are views of the buffer; a bf16 model gets copies after each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from tunesmith.core import store
from tunesmith.model.adapters import portable_targets, write_adapter
from tunesmith.model.load import Base
from tunesmith.model.lora import LoRASpec, LowRank, choose_targets, initial_weights, wrap

Tensor = torch.Tensor
TRAINING, TUNED = "<training>", "<tuned>"
"""Adapter names inside a training process: the fp32 one with gradients, and its copy for inference."""


@dataclass
class Trainable:
    """The trained weights of a base.

    ``master`` and ``grad`` (P,) fp32. The first ``decayed`` entries may be decayed (matrices), the rest may not
    (norms, biases). ``publish`` makes the weights visible to inference; ``write`` saves them into a staged folder.
    """

    kind: str
    master: Tensor
    grad: Tensor
    decayed: int
    publish: Callable[[], None]
    write: Callable[[Path], None]
    adapter: str
    """Adapter name to route inference to after ``publish`` ("" for full fine-tuning)."""
    begin: Callable[[], None]
    """Route the forward to the weights with gradients."""
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)

    def optimiser_parameters(self) -> list[tuple[nn.Parameter, bool]]:
        """Flat parameters that share storage with ``master`` and ``grad``, each with “may be decayed”."""
        parts = []
        for start, end, decay in ((0, self.decayed, True), (self.decayed, self.master.numel(), False)):
            if end > start:
                parameter = nn.Parameter(self.master[start:end], requires_grad=True)
                parameter.grad = self.grad[start:end]
                parts.append((parameter, decay))
        return parts

    def load(self, master: Tensor) -> None:
        """Take over weights (P,) of a checkpoint."""
        self.master.copy_(master)
        self.publish()


@dataclass(frozen=True)
class Options:
    """Settings of all kinds; each kind reads its own."""

    lora: LoRASpec
    seed: int
    base_name: str


def train_lora(base: Base, options: Options) -> Trainable:
    """Attach fresh low-rank adapters (A random, B zero) to the chosen linear layers of a frozen base."""
    names = choose_targets(base.model, options.lora.targets)
    spec = LoRASpec(
        r=options.lora.r,
        alpha=options.lora.alpha,
        targets=portable_targets(base, names),
        dropout=options.lora.dropout,
        rank_stabilised=options.lora.rank_stabilised,
    )
    layers = wrap(base.model, names, base.router)
    generator = torch.Generator().manual_seed(options.seed)
    initial = {name: initial_weights(layer, spec.rank_of(name), generator) for name, layer in layers.items()}
    shapes = [tensor.shape for pair in initial.values() for tensor in pair]
    master, grad, views = _flat(shapes, base.device)
    pairs: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
    for index, (name, pair) in enumerate(initial.items()):
        a, b = (_viewed(views[2 * index + i], pair[i]) for i in (0, 1))
        pairs[name] = (a, b)
        layers[name].dropout = spec.dropout
        layers[name].adapters[TRAINING] = LowRank(a, b, spec.scale_of(name))

    def begin() -> None:
        base.router.training = TRAINING

    def publish() -> None:
        base.router.training = None
        for name, layer in layers.items():
            a, b = (x.detach().to(base.dtype, copy=True) for x in pairs[name])
            layer.adapters[TUNED] = LowRank(a, b, spec.scale_of(name))

    return Trainable(
        kind="lora",
        master=master,
        grad=grad,
        decayed=master.numel(),
        publish=publish,
        write=lambda folder: write_adapter(folder, spec, pairs, options.base_name),
        adapter=TUNED,
        begin=begin,
        parameters={f"{n}.{part}": p for n, pair in pairs.items() for part, p in zip("ab", pair, strict=True)},
    )


def train_full(base: Base, _options: Options) -> Trainable:
    """Train all weights: fp32 master weights beside a bf16 model, or the model's own where it is fp32."""
    ordered = sorted(base.model.named_parameters(), key=lambda item: item[1].dim() < 2)
    master, grad, views = _flat([p.shape for _, p in ordered], base.device)
    decayed = sum(p.numel() for _, p in ordered if p.dim() >= 2)
    same = base.dtype == torch.float32
    for (value, gradient), (_, parameter) in zip(views, ordered, strict=True):
        value.copy_(parameter.detach())
        parameter.requires_grad_(True)
        if same:
            parameter.data, parameter.grad = value, gradient
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
        decayed=decayed,
        publish=publish,
        write=lambda folder: _write_model(base, folder),
        adapter="",
        begin=lambda: None,
        parameters=dict(ordered),
    )


KINDS: Mapping[str, Callable[[Base, Options], Trainable]] = {"lora": train_lora, "full": train_full}


def _flat(shapes: list[torch.Size], device: torch.device) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    sizes = [math.prod(shape) for shape in shapes]
    master = torch.zeros(sum(sizes), dtype=torch.float32, device=device)
    grad = torch.zeros_like(master)
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


def _write_model(base: Base, folder: Path) -> None:
    base.model.save_pretrained(folder)  # type: ignore[operator]
    for path in [*base.folder.iterdir(), *base.folder.glob("additional_chat_templates/*.jinja")]:
        wanted = path.suffix in {".json", ".jinja", ".model"} and not path.name.endswith(".index.json")
        target = folder / path.relative_to(base.folder)
        if wanted and not target.exists():
            store.make_folder(target.parent)
            store.write_bytes(target, path.read_bytes())
