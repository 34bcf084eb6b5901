"""Recompute: a layer keeps only its input for the backward pass and runs forward again when its turn comes.

Costs about one more forward pass of the layers it is used on, and saves nearly all that they would keep. The random
generators are put back for the second forward, so gradients are those without it, dropout included. Offload moves the
kept inputs to the host's memory while they wait.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

COMPILED = "tunesmith_compiled"
"""Where a layer keeps a compiled forward, if it has one; see `tunesmith.model.compiled`."""


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The model's stack of equal layers: the longest list of modules of one class; [] when there is none."""
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    stacks = [layers for layers in lists if layers and len({type(layer) for layer in layers}) == 1]
    return max(stacks, key=len, default=[])


def set_recompute(model: nn.Module, layers: int, offload: bool = False) -> int:
    """Recompute the first ``layers`` decoder layers from now on (0: none); returns how many there are to choose from.

    The first ones, because the last layer's turn comes right after its forward: keeping what it made is cheapest.
    Passes without gradients are not touched.
    """
    stack = decoder_layers(model)
    for number, layer in enumerate(stack):
        vars(layer).pop("forward", None)  # the class's own forward shows again
        if COMPILED in vars(layer):
            layer.forward = vars(layer)[COMPILED]
        if number < layers:
            layer.forward = _recomputed(layer.forward, offload)
    return len(stack)


def _recomputed(forward: Callable[..., Any], offload: bool) -> Callable[..., Any]:
    def run(*arguments: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments, **options)
        place = torch.autograd.graph.save_on_cpu(pin_memory=torch.cuda.is_available()) if offload else None
        with place or contextlib.nullcontext():
            return checkpoint(forward, *arguments, use_reentrant=False, **options)

    return run
