"""Whether a device computes what the processor and plain formulas compute. Each check runs on any device.

What is checked: packed rows against single ones, LoRA against PEFT, the chunked head against float64, 4-bit packing
against the processor's, attention against plain attention, a killed and resumed run against an undisturbed one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu.made import SMALL, Shape, documents, make_base, make_model
from benchmarks.results import Result, judged, not_measured
from benchmarks.settings import OFFLINE, environment, last_words
from tunesmith.core import store
from tunesmith.model import varlen
from tunesmith.model.attention import packed_attention, plan_layout
from tunesmith.model.batch import pack
from tunesmith.model.head import Head, chunk_rows, head_loss
from tunesmith.model.load import Base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.quant import Linear4
from tunesmith.model.trainable import TUNED, Options, Trainable, make_trainable
from tunesmith.train import checkpoint
from tunesmith.train.loop import Plan, State, accumulate, make_optimiser, train
from tunesmith.train.order import Order
from tunesmith.train.sft import loss

Tensor = torch.Tensor
LENGTHS = (33, 7, 120, 64, 18)
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""Relative difference of gradients that rounding explains."""


def run(where: torch.device, shape: Shape = SMALL) -> Iterator[Result]:
    """All checks, one after the other."""
    for dtype in (torch.float32, torch.bfloat16):
        yield packed_is_unpacked(where, dtype, shape)
    yield lora_is_pefts(where, shape)
    yield chunked_head(where)
    yield nf4_round_trip(where)
    for windowed in (False, True):
        yield kernel(where, windowed)
    for dtype in (torch.float32, torch.bfloat16):
        yield attention(where, dtype)
    yield resumed(where, shape)


def fresh(base: Base, rank: int = 8) -> Trainable:
    """A LoRA adapter that changes the model: B is not zero."""
    trainable = make_trainable("lora", base, Options(LoRASpec(rank, 2.0 * rank), 0, "benchmark"))
    noise = torch.Generator().manual_seed(1)
    trainable.master.add_(torch.randn(trainable.master.shape, generator=noise).to(base.device), alpha=0.02)
    return trainable


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference as a share of the norm of ``theirs``."""
    ours, theirs = ours.detach().double().cpu(), theirs.detach().double().cpu()
    return float((ours - theirs).norm() / theirs.norm())


def packed_is_unpacked(where: torch.device, dtype: torch.dtype, shape: Shape) -> Result:
    """Gradients of all rows in one packed micro-batch, and of each row by itself."""
    base = make_base(shape, where, dtype)
    trainable, rows = fresh(base), documents(LENGTHS, shape.vocabulary, 0.5)
    found = []
    for parts in ([rows], [[row] for row in rows]):
        trainable.begin()
        base.model.train()
        accumulate(base, loss, [pack(part, where) for part in parts])
        found.append(trainable.grad.clone())
        trainable.grad.zero_()
    what = f"gradients, packed against one by one, {_name(dtype)}"
    return judged(what, distance(*found), "", at_most=ROUNDING[dtype], note=base.way.alone)


def lora_is_pefts(where: torch.device, shape: Shape) -> Result:
    """Logits of our adapter, and of the same files in PEFT over the same weights."""
    what = "logits, our LoRA against PEFT's, float32"
    if importlib.util.find_spec("peft") is None:
        return not_measured(what, "peft is not installed here")
    from peft import PeftModel

    base = make_base(shape, where, torch.float32)
    trainable, [row] = fresh(base), documents((48,), shape.vocabulary)
    trainable.publish()
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        with store.staged_folder(Path(name) / "adapter") as staged:
            trainable.write(staged)
        base.router.segments = [(TUNED, 0, len(row.tokens))]
        [ours] = base.logits([list(row.tokens)])
        model = make_model(shape, where, torch.float32, four_bit=False)
        model = PeftModel.from_pretrained(model, Path(name) / "adapter").eval()
        with torch.no_grad():
            theirs = model(torch.tensor([row.tokens], device=where)).logits[0]
    return judged(what, distance(ours, theirs), "", at_most=1e-4)


def chunked_head(where: torch.device) -> Result:
    """Loss and gradient of more rows than one chunk holds, against full logits in float64 on the processor."""
    rows, width, vocabulary = chunk_rows(where) + 37, 64, 512
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator)
    weight = torch.randn(vocabulary, width, generator=generator) * 0.2
    targets = torch.randint(0, vocabulary, (rows,), generator=generator)
    weights = torch.rand(rows, generator=generator)
    linear = torch.nn.Linear(width, vocabulary, bias=False, device=where)
    linear.weight.data.copy_(weight)
    linear.weight.requires_grad_(False)
    ours = hidden.to(where).requires_grad_()
    value, _ = head_loss(ours, Head(linear), targets.to(where), weights.to(where))
    [gradient] = torch.autograd.grad(value, ours)
    exact = hidden.double().requires_grad_()
    losses = torch.nn.functional.cross_entropy(exact @ weight.double().t(), targets, reduction="none")
    [wanted] = torch.autograd.grad((losses * weights.double()).sum(), exact)
    return judged("gradient, chunked head against full logits in float64", distance(gradient, wanted), "", at_most=1e-4)


def nf4_round_trip(where: torch.device) -> Result:
    """A weight packed and unpacked on the device, and on the processor."""
    what = "4-bit weights, packed here against on the processor"
    if importlib.util.find_spec("bitsandbytes") is None:
        return not_measured(what, "bitsandbytes is not installed here")
    torch.manual_seed(0)
    dense = torch.nn.Linear(512, 256, bias=False)
    there = torch.nn.Linear(512, 256, bias=False, device=where)
    there.weight.data.copy_(dense.weight.data)
    reference, packed = Linear4(dense).dense(), Linear4(there).dense()
    error = distance(reference, dense.weight)
    if not 0.05 < error < 0.15:
        return judged(what, float("nan"), "", at_most=0.01, note=f"the processor's own error is {error:.3f}")
    return judged(what, distance(packed, reference), "", at_most=0.01, note=f"rounding to 4 bits alone: {error:.3f}")


def kernel(where: torch.device, windowed: bool, heads: int = 32, kv_heads: int = 8, size: int = 128) -> Result:
    """The device's kernel for packed rows, forward and backward, against plain attention."""
    found = varlen.deviation(where, torch.bfloat16, heads, kv_heads, size, windowed)
    what = f"variable-length kernel{' with a window' * windowed}, bfloat16"
    return judged(what, found, "", at_most=varlen.ROUNDING, note="infinite where there is none: the padded way is used")


def attention(where: torch.device, dtype: torch.dtype) -> Result:
    """Attention of a packed row as layers call it, whichever way it goes, against plain attention in float32."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(sum(LENGTHS), heads, 64, generator=generator).to(where, dtype) for heads in (8, 2, 2)]
    inputs = [part.clone().requires_grad_() for part in parts]
    exact = [part.float().requires_grad_() for part in parts]
    ours = packed_attention(plan_layout(LENGTHS, where), 0, inputs[0], inputs[1], inputs[2], 0.125)
    theirs = varlen.plain(LENGTHS, exact[0], exact[1], exact[2], 0.125, 0)
    ours_grads = torch.autograd.grad(ours.float().square().sum(), inputs)
    theirs_grads = torch.autograd.grad(theirs.square().sum(), exact)
    worst = max(map(distance, (ours, *ours_grads), (theirs, *theirs_grads)))
    return judged(f"attention of a packed row, {_name(dtype)}", worst, "", at_most=ROUNDING[dtype])


STEPS, KILLED_AFTER, PER_STEP = 6, 3, 2


def resumed(where: torch.device, shape: Shape) -> Result:
    """A run that is killed after a checkpoint and resumed ends with the bits of an undisturbed one.

    Kernels are deterministic meanwhile: the usual ones of a GPU add in any order.
    """
    what = "a killed and resumed run against an undisturbed one: differing weights"
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name, deterministic():
        command = [sys.executable, "-m", "benchmarks.gpu.checks", name, str(where), shape.name]
        threads = str(torch.get_num_threads())  # on a processor they are part of what fixes the bits
        changes = {**OFFLINE, "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OMP_NUM_THREADS": threads}
        child = subprocess.run(command, env=environment(**changes), capture_output=True, text=True, check=False)
        if child.returncode != -signal.SIGKILL:
            return not_measured(what, f"the run to be killed ended with {child.returncode}: {last_words(child.stderr)}")
        whole = steps(where, shape, None)
        found = checkpoint.latest(Path(name), lambda _event: None)
        if found is None or not found.name.endswith(f"{KILLED_AFTER:06d}"):
            return not_measured(what, f"the killed run left the checkpoint {found and found.name}")
        again = steps(where, shape, None, found)
    note = f"SHA-256 {digest(whole)[:12]} and {digest(again)[:12]}"
    return judged(what, float((whole != again).sum()), "", at_most=0.0, note=note)


class deterministic:
    """Kernels that give the same bits every time, where there are such."""

    def __enter__(self) -> None:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self.before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=True)

    def __exit__(self, *_error: object) -> None:
        torch.use_deterministic_algorithms(self.before)


def steps(where: torch.device, shape: Shape, kill_in: Path | None, resume: Path | None = None) -> Tensor:
    """Train `STEPS` steps and give the master weights; with ``kill_in``, save there and die on the way."""
    base = make_base(shape, where, torch.bfloat16 if where.type == "cuda" else torch.float32)
    trainable, rows = fresh(base), documents(LENGTHS * 2, shape.vocabulary, 0.5)
    plan = Plan(Order(len(rows), PER_STEP, 0), STEPS, PER_STEP, 1e-3, "constant", 0.0, 0.0, 1.0, STEPS + 1, 0)
    optimiser, state = make_optimiser(trainable, plan), State()
    if resume is not None:
        state, _ = checkpoint.load(resume, trainable, optimiser)
    for _ in train(base, trainable, loss, rows, plan, optimiser, state):
        if kill_in is not None:
            checkpoint.save(kill_in, trainable, optimiser, state, trainable.master.clone(), {})
            if state.step == KILLED_AFTER:
                os.kill(os.getpid(), signal.SIGKILL)
    return trainable.master.detach().cpu().clone()


def digest(weights: Tensor) -> str:
    """SHA-256 of the bits."""
    return hashlib.sha256(weights.contiguous().numpy().tobytes()).hexdigest()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    from benchmarks.gpu import made

    named = {shape.name: shape for shape in (made.TINY, made.SMALL)}
    with deterministic():
        steps(torch.device(sys.argv[2]), named[sys.argv[3]], Path(sys.argv[1]))
