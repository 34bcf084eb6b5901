"""Our side of the training benchmark, each in a process of its own.

``python -m benchmarks.train_ours prepare JOB.json PAIRS.jsonl``: rows as ids, first adapter, order of the rows. Of
preferences, rows are the better and the worse answer in turns, and a step has all its better ones first.
``python -m benchmarks.train_ours train JOB.json OUT.json STEPS``: the steps, through the loop that users run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks import double
from benchmarks.load import StepClock, peak_memory
from tunesmith import curate
from tunesmith.core import store
from tunesmith.core.events import Step
from tunesmith.core.records import TokenizedExample
from tunesmith.model import device
from tunesmith.model.adapters import read_adapter
from tunesmith.model.load import Base, load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.trainable import Options, Trainable, make_trainable
from tunesmith.serve import make_renderer
from tunesmith.train.loop import Plan, State, make_optimiser, train
from tunesmith.train.order import Order
from tunesmith.train.preflight import training_flops
from tunesmith.train.sft import loss

Job = dict[str, Any]


def prepare(job: Job, pairs: Path, folder: Path) -> Job:
    """The job with what both sides start from: rows as ids and labels, an adapter in PEFT's format, an order."""
    renderer = make_renderer(Path(job["model"]))
    rows = []
    for example in curate.read_file(str(pairs)):
        [row] = renderer.example(example)
        labels = [token if weight else -100 for token, weight in zip(row.tokens, row.weights, strict=True)]
        messages = [{"role": message.role, "content": message.text} for message in example.conversation]
        rows.append({"messages": messages, "input_ids": list(row.tokens), "labels": labels})
    job = {**job, "rows": rows, "order": _order(job, len(rows)), "adapter": ""}
    if job["method"] == "full":
        return {**job, "dtype": str(device.default_dtype()).removeprefix("torch.")}
    base = load_base(Path(job["model"]), device.default_dtype())
    adapter = folder / "adapter"
    with store.staged_folder(adapter) as staged:
        _fresh(base, {**job, "method": "lora"}).write(staged)
    return {**job, "adapter": str(adapter), "dtype": str(base.dtype).removeprefix("torch.")}


def _order(job: Job, rows: int) -> list[list[int]]:
    """The rows of every step of an epoch."""
    if job["method"] != "dpo":
        order = Order(rows, job["batch"], job["seed"])
        return [order.step(step) for step in range(order.steps_per_epoch)]
    order = Order(rows // 2, job["batch"], job["seed"])
    return [[2 * i + worse for worse in (0, 1) for i in order.step(step)] for step in range(order.steps_per_epoch)]


def _fresh(base: Base, job: Job) -> Trainable:
    spec = LoRASpec(job["lora_r"], job["lora_alpha"], "all-linear", 0.0, False)
    method = "lora" if job["method"] == "dpo" else job["method"]
    return make_trainable(method, base, Options(spec, job["seed"], "benchmark"))


def measure(job: Job, steps: int) -> dict[str, Any]:
    """Train ``steps`` steps; gives the seconds and the loss of each, peak memory, and the work that they were."""
    device.use_all_cores()
    base = load_base(Path(job["model"]), getattr(torch, job["dtype"]), four_bit=job["method"] == "qlora")
    trainable = _fresh(base, job)
    if job["adapter"]:
        for name, weight in read_adapter(Path(job["adapter"])).weights.items():
            trainable.parameters[name].data.copy_(weight)
    events = []
    clock = StepClock(job["warm_up"])
    running = _steps(job, steps, base, trainable)
    clock.start()
    for event in running:
        clock.step_ended()
        events.append(event)
    usage, peak = clock.usage(), peak_memory()
    for event in events:
        wanted = job["order"][(event.step - 1) % len(job["order"])]
        assert event.example_ids == tuple(map(str, wanted)), "both sides must see the same rows in the same order"
    timed = events[job["warm_up"] :]
    computed, targets = (sum(getattr(e, name) for e in timed) for name in ("computed_tokens", "target_tokens"))
    flops = training_flops(base, trainable, computed, targets)
    if job["method"] == "dpo":
        flops += double.reference_flops(base, computed, targets)
    return {
        "seconds": clock.seconds,
        "losses": [event.loss for event in events],
        "usage": usage.as_dict(),
        "peak_bytes": peak,
        "threads": torch.get_num_threads(),
        "timed_flops": flops,
        "gemm_flops": list(device.measure_gemm(seconds=1.0).values())[-1] * 1e9,
    }


def _steps(job: Job, steps: int, base: Base, trainable: Trainable) -> Iterator[Step | double.DoubleStep]:
    rows = [_tokenised(row, number) for number, row in enumerate(job["rows"])]
    order = Order(len(rows), job["batch"], job["seed"])
    rate, norm = job["learning_rate"], job["max_grad_norm"]
    plan = Plan(order, steps, job["batch"], rate, "constant", 0.0, job["weight_decay"], norm, steps + 1, 0)
    optimiser = make_optimiser(trainable, plan)
    if job["method"] == "dpo":
        chosen = [[rows[i] for i in job["order"][step % len(job["order"])]] for step in range(steps)]
        yield from double.train(base, trainable, chosen, optimiser, job["beta"], norm)
        return
    for event in train(base, trainable, loss, rows, plan, optimiser, State()):
        assert isinstance(event, Step)
        yield event


def _tokenised(row: dict[str, Any], number: int) -> TokenizedExample:
    weights = tuple(float(label != -100) for label in row["labels"])
    return TokenizedExample(example_id=str(number), tokens=tuple(row["input_ids"]), weights=weights)


if __name__ == "__main__":
    task, job_file = sys.argv[1], Path(sys.argv[2])
    described = json.loads(job_file.read_text(encoding="utf-8"))
    if task == "prepare":
        whole = prepare(described, Path(sys.argv[3]), job_file.parent)
        job_file.write_text(json.dumps(whole), encoding="utf-8")
    else:
        figures = measure(described, int(sys.argv[4]))
        Path(sys.argv[3]).write_text(json.dumps(figures), encoding="utf-8")
