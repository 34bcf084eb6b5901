"""Unsloth's side of the training benchmark, run by the Python of its own environment; nothing of ours is imported.

``python -m benchmarks.train_unsloth JOB.json OUT.json STEPS SETTING``
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.load import StepClock, peak_memory
from benchmarks.trl_trainers import make_trainer, recorder

Job = dict[str, Any]
BOTH: dict[str, dict[str, Any]] = {"recompute off": {}, "recompute off, compiled": {"compiled": True}}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "lora": BOTH,
    "full": {"fp32 weights, autocast": {"fp32": True}, "bf16 weights": {}},
    "qlora": BOTH,
    "dpo": BOTH,
}
FEW = {"recompute off": BOTH["recompute off"]}
"""By method. All have the base in bf16 and all cores; packing and padding-free are off on a processor, whatever one
asks for. ``FEW``: tried on rows of other shapes; compiling lasts minutes there, and its losses were not the same."""

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def measure(job: Job, steps: int, compiled: bool = False, fp32: bool = False) -> dict[str, Any]:
    """Train ``steps`` steps; gives the seconds and the loss of each, and peak memory."""
    os.environ |= {"UNSLOTH_SKIP_TORCHVISION_CHECK": "1", "UNSLOTH_DISABLE_STATISTICS": "1"}
    os.environ["UNSLOTH_CPU_COMPILE"] = "1" if compiled else "0"
    from unsloth import FastLanguageModel  # isort: skip: it patches what is imported after it
    import torch
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    clock, losses = StepClock(job["warm_up"]), list[float]()
    full = job["method"] == "full"
    model, tokenizer = FastLanguageModel.from_pretrained(
        job["model"],
        load_in_4bit=job["method"] == "qlora",
        full_finetuning=full,
        dtype=torch.float32 if full and fp32 else getattr(torch, job["dtype"]),
        max_seq_length=4096,
        use_gradient_checkpointing=False,
    )
    if not full:
        model = FastLanguageModel.get_peft_model(
            model,
            r=job["lora_r"],
            lora_alpha=job["lora_alpha"],
            target_modules=LINEAR,
            lora_dropout=0.0,
            bias="none",
            use_gradient_checkpointing=False,
            random_state=job["seed"],
        )
        set_peft_model_state_dict(model, load_file(Path(job["adapter"]) / "adapter_model.safetensors"))
    with tempfile.TemporaryDirectory() as output:
        trainer = make_trainer(job, steps, output, model, tokenizer, {"bf16": True} if fp32 else {})
        trainer.add_callback(recorder(clock, losses))
        trainer.train()
    usage, peak = clock.usage(), peak_memory()
    return {
        "seconds": clock.seconds,
        "losses": losses,
        "usage": usage.as_dict(),
        "peak_bytes": peak,
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    described = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    figures = measure(described, int(sys.argv[3]), **SETTINGS[described["method"]][sys.argv[4]])
    Path(sys.argv[2]).write_text(json.dumps(figures), encoding="utf-8")
