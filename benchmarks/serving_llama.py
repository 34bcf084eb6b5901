"""llama.cpp through llama-cpp-python, in its own environment: ``python serving_llama.py JOB.json OUT.json``.

One answer, then eight requests over four adapters. It cannot hold two adapters in one batch, and one context answers
one request at a time, so that the eight follow each other, those of one adapter together (which is to its advantage).
Standard library and llama_cpp only.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from llama_cpp import Llama


def prompt(seed: int, length: int = 100) -> list[int]:
    """The same prompts as on our side."""
    return random.Random(seed).choices(range(1000, 20_000), k=length)


def answer(model: Llama, seed: int, count: int) -> tuple[float, float]:
    """Seconds of the whole, and of the tokens after the first."""
    model.reset()
    begin = first = time.perf_counter()
    for number, _token in enumerate(model.generate(prompt(seed), temp=0.0)):
        if number == 0:
            first = time.perf_counter()
        if number + 1 == count:
            break
    end = time.perf_counter()
    return end - begin, end - first


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second of both, for each round; the first one is left out."""
    options = {"n_ctx": 1024, "n_threads": job["threads"], "n_threads_batch": job["threads"], "verbose": False}
    count, alone, eight = job["new_tokens"], [], []
    plain = Llama(job["gguf"], **options)
    adapted = [Llama(job["gguf"], lora_path=path, **options) for path in job["gguf_adapters"]]
    for turn in range(job["rounds"] + 1):
        alone.append((count - 1) / answer(plain, turn, count)[1])
        eight.append(8 * count / sum(answer(adapted[i // 2], i, count)[0] for i in range(8)))
    return {"single": alone[1:], "eight": eight[1:]}


if __name__ == "__main__":
    described = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps(measure(described)), encoding="utf-8")
