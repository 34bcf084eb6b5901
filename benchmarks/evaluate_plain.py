"""transformers' side of the evaluation benchmark: its own forward and ``generate`` on padded batches, nothing of ours.

``python -m benchmarks.evaluate_plain JOB.json OUT.json ATTENTION``
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.load import Watch, peak_memory

Job = dict[str, Any]


def measure(job: Job, attention: str) -> dict[str, Any]:
    """Score all rows, then answer all prompts; the first batch of each is done once before, untimed."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        job["model"], dtype=getattr(torch, job["dtype"]), attn_implementation=attention
    ).eval()
    batches = [job["rows"][i : i + job["batch"]] for i in range(0, len(job["rows"]), job["batch"])]
    with torch.inference_mode():
        score(model, batches[0])
        answer(model, job, batches[0][:2])
        watch, begin = Watch(), time.perf_counter()
        logprobs = [values for batch in batches for values in score(model, batch)]
        scored = time.perf_counter() - begin
        begin = time.perf_counter()
        ids = [tokens for batch in batches for tokens in answer(model, job, batch)]
        answered = time.perf_counter() - begin
    usage, peak = watch.usage(), peak_memory()
    return {
        "scores": {"seconds": scored, "tokens": sum(len(row["ids"]) for row in job["rows"]), "logprobs": logprobs},
        "answers": {"seconds": answered, "tokens": sum(map(len, ids)), "ids": ids},
        "usage": usage.as_dict(),
        "peak_bytes": peak,
    }


def score(model: Any, batch: list[dict[str, Any]]) -> list[list[float]]:
    """log p of each token of each answer; logits only where they are needed, as far as a padded batch allows."""
    import torch

    rows = [row["ids"] for row in batch]
    ids, mask = padded(rows, left=False)
    wanted = min(row["first"] for row in batch) - 1
    keep = torch.arange(wanted, ids.shape[1])
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=keep).logits.float()
    found = []
    for number, row in enumerate(batch):
        own = logits[number, row["first"] - 1 - wanted : len(row["ids"]) - 1 - wanted].log_softmax(-1)
        answer_ids = torch.tensor(row["ids"][row["first"] :])
        found.append(own.gather(1, answer_ids[:, None]).squeeze(1).tolist())
    return found


def answer(model: Any, job: Job, batch: list[dict[str, Any]]) -> list[list[int]]:
    """Greedy tokens for each prompt, always as many, whatever they are."""
    ids, mask = padded([row["ids"][: row["first"]] for row in batch], left=True)
    made = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        max_new_tokens=job["new_tokens"],
        eos_token_id=-1,
        pad_token_id=0,
    )
    return [row[ids.shape[1] :].tolist() for row in made]


def padded(rows: list[list[int]], left: bool) -> tuple[Any, Any]:
    """Ids and mask (B, longest), padded on one side."""
    import torch

    longest = max(map(len, rows))
    gaps = [longest - len(row) for row in rows]
    if left:
        ids = [[0] * gap + row for gap, row in zip(gaps, rows, strict=True)]
        mask = [[0] * gap + [1] * len(row) for gap, row in zip(gaps, rows, strict=True)]
    else:
        ids = [row + [0] * gap for gap, row in zip(gaps, rows, strict=True)]
        mask = [[1] * len(row) + [0] * gap for gap, row in zip(gaps, rows, strict=True)]
    return torch.tensor(ids), torch.tensor(mask)


if __name__ == "__main__":
    described = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps(measure(described, sys.argv[3])), encoding="utf-8")
