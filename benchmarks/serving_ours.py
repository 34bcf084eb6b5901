"""One side of the serving benchmark, our engine: ``python -m benchmarks.serving_ours PART JOB.json OUT.json``."""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.load import Watch
from tunesmith.core.disk import write_manifest
from tunesmith.core.generation import GenerationRequest
from tunesmith.core.records import SamplingParams
from tunesmith.model import device
from tunesmith.model.engine import Engine
from tunesmith.model.load import load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.packed import lay_out
from tunesmith.model.trainable import Options, make_trainable

Job = dict[str, Any]
PROMPT = 100
"""Tokens of a prompt, where nothing else is said."""


def prompt(seed: int, length: int = PROMPT) -> tuple[int, ...]:
    """Random ids of ordinary tokens."""
    return tuple(random.Random(seed).choices(range(1000, 20_000), k=length))


def ask(name: str, tokens: tuple[int, ...], adapter: str, count: int) -> GenerationRequest:
    """A request that never stops by itself."""
    return GenerationRequest(name, tokens, SamplingParams(max_tokens=count), frozenset(), adapter)


def open_engine(job: Job, weights: str = "packed", **options: Any) -> Engine:
    """The engine as the server has it."""
    device.use_all_cores()
    base = load_base(Path(job["model"]))
    lay_out(base, weights)  # type: ignore[arg-type]
    return Engine(base, **options)


def write_adapters(job: Job, folder: Path, count: int, rank: int, targets: str | tuple[str, ...]) -> None:
    """Random low-rank adapters; every further one is the first with other numbers in one matrix."""
    base = load_base(Path(job["model"]))
    for index in range(count):
        trainable = make_trainable("lora", base, Options(LoRASpec(rank, 2 * rank, targets), index, "bench"))
        generator = torch.Generator().manual_seed(index)
        trainable.master.add_(0.01 * torch.randn(trainable.master.shape, generator=generator))
        target = folder / str(index)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        trainable.write(target)
        write_manifest(target)


def play(engine: Engine, requests: Iterable[GenerationRequest], at_once: int) -> tuple[float, int, int]:
    """Seconds, tokens and failures of requests, so many of them at a time."""
    waiting, running, tokens, failed = list(requests)[::-1], 0, 0, 0
    begin = time.perf_counter()
    while waiting or not engine.idle:
        while waiting and running < at_once:
            engine.submit(waiting.pop())
            running += 1
        for out in engine.step():
            tokens += 1
            running -= out.finished is not None
        lost = len(engine.take_failures())
        failed, running = failed + lost, running - lost
    return time.perf_counter() - begin, tokens, failed


def mixed(job: Job) -> dict[str, Any]:
    """Tokens a second of eight requests at once: all for the base, then each for an adapter of its own; in turns."""
    engine = open_engine(job)
    for index in range(8):
        engine.add_adapter(str(index), Path(job["adapters"]) / str(index))
    sides: dict[str, list[str]] = {"base": [""] * 8, "mixed": [str(i) for i in range(8)], "four": list("01230123")}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(-1, job["rounds"]):
        for name, adapters in sides.items():
            wanted = [ask(f"{i}", prompt(i), a, job["new_tokens"]) for i, a in enumerate(adapters)]
            engine.forget()
            seconds, tokens, _ = play(engine, wanted, 8)
            if turn >= 0:
                found[name].append(tokens / seconds)
    return found


def single(job: Job, weights: str = "packed") -> dict[str, Any]:
    """Tokens a second of one answer after its first token, the bytes that a token reads, and how fast memory reads."""
    engine = open_engine(job, weights)
    count, rates = job["new_tokens"], []
    for turn in range(-1, job["rounds"]):
        engine.submit(ask("x", prompt(turn), "", count))
        engine.step()
        begin = time.perf_counter()
        while not engine.idle:
            engine.step()
        rates.append((count - 1) / (time.perf_counter() - begin))
    layers = [m for m in engine.base.model.modules() if isinstance(m, torch.nn.Linear)]
    size = sum(layer.weight.nbytes for layer in layers) // (2 if weights == "int8" else 1)
    return {"rates": rates[1:], "bytes": size, "read_bytes_per_second": read_speed(size)}


def read_speed(size: int) -> float:
    """Bytes a second at which all threads read memory of this size; the best of nine times."""
    memory = torch.ones(max(size // 4, 1), dtype=torch.float32)
    return memory.nbytes / device.fastest(memory.sum, 9)


def eight_bits(job: Job) -> dict[str, Any]:
    """What 8 bits change: log-probabilities and likeliest tokens on the same prompts, and the rate of one answer."""
    plain, short = open_engine(job, "plain"), open_engine(job, "int8")
    differences, same = [], []
    for seed in range(8):
        wanted, found = [e.base.logits([list(prompt(seed, 200))])[0] for e in (plain, short)]
        differences.append(
            float(
                (wanted.log_softmax(-1) - found.log_softmax(-1)).abs().gather(1, wanted.argmax(-1, keepdim=True)).mean()
            )
        )
        same.append(float((wanted.argmax(-1) == found.argmax(-1)).float().mean()))
    del plain, short
    return {**single(job, "int8"), "difference": median(differences), "agreement": median(same)}


def first_token(job: Job) -> dict[str, Any]:
    """Seconds to the first token of a 500-token prompt whose first 400 tokens are known, or nothing of it."""
    engine, found = open_engine(job), {"whole": [], "known": []}  # type: ignore[var-annotated]
    for turn in range(-1, job["rounds"]):
        common = prompt(1000 + turn, 400)
        for name, salt in (("whole", 2 * turn), ("known", 2 * turn + 1)):
            engine.submit(ask("x", (*common, *prompt(9000 + salt, 100)), "", 1))
            begin = time.perf_counter()
            [out] = engine.step()
            if turn >= 0:
                found[name].append(time.perf_counter() - begin)
                assert out.cached == (384 if name == "known" else 0), out
    return found


def many(job: Job) -> dict[str, Any]:
    """Zipf traffic over as many adapters as are resident, four times as many, and all; loads by themselves."""
    count, resident = job["many"], job["resident"]
    engine = open_engine(job, max_resident=resident)
    for index in range(count):
        engine.add_adapter(str(index), Path(job["many_adapters"]) / str(index))
    found: dict[str, Any] = {"failed": 0}
    for name, known in (("resident", resident), ("four times", min(count, 4 * resident)), ("all", count)):
        draw, weights = random.Random(0), [1 / (rank + 1) for rank in range(known)]
        chosen = draw.choices(range(known), weights, k=job["requests"])
        wanted = [ask(str(i), prompt(i), str(a), job["new_tokens"]) for i, a in enumerate(chosen)]
        seconds, tokens, failed = play(engine, wanted, 16)
        found[name] = tokens / seconds
        found["failed"] += failed
    loads = []
    for index in random.Random(1).sample(range(count), min(count, 300)):
        cold = engine.adapters[str(index)] not in engine.residency.resident
        begin = time.perf_counter()
        with engine.using(str(index)):
            if cold:
                loads.append(time.perf_counter() - begin)
    found["loads"] = sorted(loads)
    return found


PARTS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "mixed": mixed,
    "single": single,
    "int8": eight_bits,
    "first": first_token,
    "many": many,
}


def main(part: str, job: Job) -> dict[str, Any]:
    """The figures of one part, with who used the processor meanwhile."""
    if part == "prepare":
        write_adapters(job, Path(job["adapters"]), 8, 16, "all-linear")
        return {}
    if part == "many":
        write_adapters(job, Path(job["many_adapters"]), job["many"], 8, ("q_proj", "v_proj"))
    watch = Watch()
    found = PARTS[part](job)
    return {**found, "usage": watch.usage().as_dict()}


if __name__ == "__main__":
    described = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    Path(sys.argv[3]).write_text(json.dumps(main(sys.argv[1], described)), encoding="utf-8")
