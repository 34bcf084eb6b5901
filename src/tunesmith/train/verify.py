"""The checks that every run makes on itself, printed as the verify table and stored in the run record.

Each is cheap, and each catches a way of training that gives a wrong model without an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from tunesmith.core import rows as columns
from tunesmith.core.artifacts import Canary, Check
from tunesmith.core.protocols import Renderer
from tunesmith.core.records import TokenizedExample
from tunesmith.model.batch import pack
from tunesmith.model.difference import NEUTRAL_TEXTS
from tunesmith.model.load import Base
from tunesmith.model.sample import answer_logprobs
from tunesmith.model.trainable import Trainable
from tunesmith.train import ranks
from tunesmith.train.optimiser import Optimiser, reached

Tensor = torch.Tensor
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Largest difference of a token's log-probability that a reload may show, by number format (same machine: 0)."""


def canaries(base: Base, renderer: Renderer, adapter: str) -> tuple[Canary, ...]:
    """Log-probabilities of the neutral texts under base + adapter, through the inference path."""
    rows = [(renderer.text(text), 1) for text in NEUTRAL_TEXTS]
    values = answer_logprobs(base, rows, adapter)
    return tuple(Canary(tokens=ids, logprobs=tuple(v)) for (ids, _), v in zip(rows, values, strict=True))


def largest_difference(before: Sequence[Canary], after: Sequence[Canary]) -> float:
    """Largest absolute difference of any canary token's log-probability."""
    pairs = [(x, y) for a, b in zip(before, after, strict=True) for x, y in zip(a.logprobs, b.logprobs, strict=True)]
    return max(abs(x - y) for x, y in pairs)


def mask_coverage(rows: Sequence[TokenizedExample]) -> Check:
    """Every row has trained tokens; says what share of all tokens that is."""
    counts = columns.trained(rows)
    tokens, trained, empty = sum(columns.lengths(rows)), sum(counts), sum(count == 0 for count in counts)
    detail = f"{trained:,} of {tokens:,} tokens trained ({trained / tokens:.0%}); rows without any: {empty}"
    return Check(name="mask coverage", passed=empty == 0, detail=detail)


def stop_trained(rows: Sequence[TokenizedExample], stop_ids: frozenset[int]) -> Check:
    """Every trained turn, and every plain text, ends in a stop token that is trained."""
    found = [token in stop_ids and weight > 0 for token, weight in columns.endings(rows)]
    detail = f"{sum(found)} of {len(found)} answers and texts end in a trained stop"
    return Check(name="stop tokens", passed=all(found), detail=detail)


def packing(base: Base) -> Check:
    """How documents run: packed, or one at a time and why; proven against transformers' own logits at every load."""
    return Check(name="packing", passed=True, detail=packing_sentence(base))


def packing_sentence(base: Base) -> str:
    """The same in words."""
    if base.way.alone:
        return f"one document per row, because {base.way.alone}"
    return "packed rows give the logits of each document alone"


def packing_isolation(base: Base, rows: Sequence[TokenizedExample]) -> Check:
    """Changing a token of one packed document leaves the next document's hidden states bit-identical."""
    if len(rows) < 2:
        return Check(name="packing isolation", passed=None, detail="not measured: fewer than two rows")
    first, second = rows[0], rows[1]
    changed = first.model_copy(update={"tokens": (*first.tokens[:-1], (first.tokens[-1] + 1) % base.config.vocab_size)})
    base.router.training, base.router.segments = None, []
    with torch.inference_mode():
        outputs = []
        for head in (first, changed):
            batch = pack([head, second], base.device)
            outputs.append(base.hidden(batch.tokens, batch.positions, batch.layout)[len(first.tokens) :])
    difference = float((outputs[0] - outputs[1]).abs().max())
    return Check(name="packing isolation", passed=difference == 0.0, detail=f"neighbour's influence: {difference:g}")


def every_weight_moved(trainable: Trainable, before: Tensor, steps: int, optimiser: Optimiser) -> Check:
    """No trained matrix is where it began, and every number is finite, in all processes together.

    Where the second of two matrices begins at zero, the first has no gradient in the first step; a run of one step is
    judged without it. In a short run at a low rate, chance may never have moved a small vector of bf16 weights; there
    it counts that it had a gradient.
    """
    finite = ranks.most(not torch.isfinite(trainable.master).all()) == 0
    sizes = trainable.sizes
    parts = zip(trainable.master.split(sizes), before.split(sizes), strict=True)
    moved = ranks.summed([not torch.equal(now, then) for now, then in parts])
    still = [name for name, count in zip(trainable.parameters, moved, strict=True) if not count]
    if steps == 1:
        still = [name for name in still if not name.endswith((".lora_A.weight", ".down", ".down_bias"))]
    if still and trainable.master.dtype != torch.float32:
        tried = frozenset(reached(optimiser, trainable))
        still = [name for name in still if name not in tried]
    detail = f"{len(sizes) - len(still)} of {len(sizes)} tensors changed" + (f"; not: {still[0]}" if still else "")
    return Check(name="weights trained", passed=finite and not still, detail=detail if finite else "not finite")


def same_everywhere(trainable: Trainable) -> list[Check]:
    """Where each of several processes holds all trained weights: they hold the same ones."""
    if ranks.world() == 1 or trainable.shards is not None:
        return []
    digest = hashlib.sha256(trainable.master.cpu().numpy().tobytes()).hexdigest()
    return [Check(name="same weights", passed=ranks.same(digest), detail=f"compared in {ranks.world()} processes")]


def adapter_differs(base_canaries: Sequence[Canary], tuned: Sequence[Canary]) -> Check:
    """The tuned model does not answer as the base does."""
    difference = largest_difference(base_canaries, tuned)
    return Check(
        name="tuned ≠ base", passed=difference > 0, detail=f"log-probabilities differ by up to {difference:.3g}"
    )


class Reload:
    """Loads saved weights in a fresh process while training goes on, and compares checksums and canaries.

    Args:
        folder: the saved adapter or model, with card and manifest.
        base: the base that it belongs to.
        threads: of the other process.
        beside: training goes on meanwhile, and comes first: a step whose two threads wait for a busy core takes twice
            as long, and the run would take longer than was planned.
    """

    def __init__(self, name: str, folder: Path, base: Base, threads: int, beside: bool = False) -> None:
        self.name, self.dtype = name, base.dtype
        command = [
            sys.executable,
            "-m",
            "tunesmith.train.reload",
            str(folder),
            str(base.folder),
            base.format,
            *(["beside"] if beside else []),
        ]
        source = str(Path(__file__).parents[2])
        environment = os.environ | {
            "TUNESMITH_THREADS": str(threads),
            "PYTHONPATH": os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH", "")) if p),
        }
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def finished(self) -> bool:
        """Whether the other process has ended."""
        return self.process.poll() is not None

    def check(self) -> Check:
        """Wait for the result."""
        output, errors = self.process.communicate()
        if self.process.returncode != 0:
            reason = (errors.strip().splitlines() or ["no message"])[-1]
            return Check(name=self.name, passed=False, detail=f"a fresh process could not load it: {reason}")
        difference = float(json.loads(output.strip().splitlines()[-1])["largest_difference"])
        passed = difference <= TOLERANCE[self.dtype]
        return Check(
            name=self.name,
            passed=passed,
            detail=f"fresh process: checksums match, log-probabilities differ by {difference:.2g}",
        )

    def kill(self) -> None:
        """End the other process, if it still runs."""
        if not self.finished():
            self.process.kill()
        self.process.communicate()
