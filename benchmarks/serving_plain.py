"""The other side in our own environment: ``python -m benchmarks.serving_plain PART JOB.json OUT.json``.

``peft``: eight requests at once, each with an adapter of its own, by PEFT's ``adapter_names``. ``single``: one answer
by transformers' generate. Both with transformers' default attention, and all cores.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from benchmarks.load import Watch
from benchmarks.serving_ours import prompt
from tunesmith.model import device

Job = dict[str, Any]


def load(job: Job) -> Any:
    """The model as our engine has it: same folder, same number format."""
    device.use_all_cores()
    return AutoModelForCausalLM.from_pretrained(job["model"], dtype=device.default_dtype()).eval()


def generate(model: Any, rows: int, count: int, **options: Any) -> float:
    """Tokens a second of a batch of prompts of one length."""
    ids = torch.tensor([prompt(index) for index in range(rows)])
    begin = time.perf_counter()
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            min_new_tokens=count,
            max_new_tokens=count,
            pad_token_id=0,
            **options,
        )
    return float((made.shape[1] - ids.shape[1]) * rows / (time.perf_counter() - begin))


def measure(part: str, job: Job) -> dict[str, Any]:
    """Tokens a second of each round, the first one left out."""
    model, options, rows = load(job), {}, 1
    if part == "peft":
        folder = Path(job["adapters"])
        model = PeftModel.from_pretrained(model, folder / "0", adapter_name="0", autocast_adapter_dtype=False)
        for index in range(1, 8):
            model.load_adapter(folder / str(index), adapter_name=str(index), autocast_adapter_dtype=False)
        options, rows = {"adapter_names": [str(i) for i in range(8)]}, 8
    watch = Watch()
    rates = [generate(model, rows, job["new_tokens"], **options) for _ in range(job["rounds"] + 1)]
    return {"rates": rates[1:], "usage": watch.usage().as_dict()}


if __name__ == "__main__":
    described = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    Path(sys.argv[3]).write_text(json.dumps(measure(sys.argv[1], described)), encoding="utf-8")
