"""Our side of the evaluation benchmark, each in a process of its own.

``python -m benchmarks.evaluate_ours prepare JOB.json PAIRS.jsonl``: prompts and answers as ids.
``python -m benchmarks.evaluate_ours measure JOB.json OUT.json``: scoring and answering, through the engine of `eval`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.load import Watch, peak_memory
from tunesmith import curate
from tunesmith.core.generation import GenerationRequest
from tunesmith.core.records import SamplingParams
from tunesmith.model import device
from tunesmith.model.engine import Engine
from tunesmith.model.load import Base, load_base
from tunesmith.model.sample import answer_logprobs
from tunesmith.serve import make_renderer

Job = dict[str, Any]


def prepare(job: Job, pairs: Path) -> Job:
    """The job with rows as ids (prompt and answer, and where the answer begins) and the number format of the base."""
    renderer = make_renderer(Path(job["model"]))
    rows = []
    for example in curate.read_file(str(pairs)):
        [row] = renderer.example(example)
        span = row.spans[-1]
        rows.append({"ids": list(row.tokens[: span.end]), "first": span.start})
    return {**job, "rows": rows, "dtype": str(device.default_dtype()).removeprefix("torch.")}


def measure(job: Job) -> dict[str, Any]:
    """Score all rows, then answer all prompts; the first batch of each is done once before, untimed."""
    device.use_all_cores()
    base = load_base(Path(job["model"]), getattr(torch, job["dtype"]))
    batches = [job["rows"][i : i + job["batch"]] for i in range(0, len(job["rows"]), job["batch"])]
    score(base, batches[0])
    answer(base, job, batches[0][:2])
    watch, begin = Watch(), time.perf_counter()
    logprobs = [values for batch in batches for values in score(base, batch)]
    scored = time.perf_counter() - begin
    begin = time.perf_counter()
    ids = [tokens for batch in batches for tokens in answer(base, job, batch)]
    answered = time.perf_counter() - begin
    usage, peak = watch.usage(), peak_memory()
    return {
        "scores": {"seconds": scored, "tokens": sum(len(row["ids"]) for row in job["rows"]), "logprobs": logprobs},
        "answers": {"seconds": answered, "tokens": sum(map(len, ids)), "ids": ids},
        "usage": usage.as_dict(),
        "peak_bytes": peak,
    }


def score(base: Base, batch: list[dict[str, Any]]) -> list[list[float]]:
    """log p of each token of each answer."""
    return answer_logprobs(base, [(row["ids"], row["first"]) for row in batch])


def answer(base: Base, job: Job, batch: list[dict[str, Any]]) -> list[list[int]]:
    """Greedy tokens for each prompt, always as many, whatever they are."""
    engine, params = Engine(base), SamplingParams(max_tokens=job["new_tokens"], temperature=0.0)
    for number, row in enumerate(batch):
        engine.submit(GenerationRequest(str(number), tuple(row["ids"][: row["first"]]), params, frozenset(), ""))
    found: list[list[int]] = [[] for _ in batch]
    while not engine.idle:
        for out in engine.step():
            found[int(out.request_id)].append(out.token)
    return found


if __name__ == "__main__":
    task, job_file = sys.argv[1], Path(sys.argv[2])
    described = json.loads(job_file.read_text(encoding="utf-8"))
    if task == "prepare":
        job_file.write_text(json.dumps(prepare(described, Path(sys.argv[3]))), encoding="utf-8")
    else:
        Path(sys.argv[3]).write_text(json.dumps(measure(described)), encoding="utf-8")
