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
from benchmarks.trl_arguments import trainer_arguments

Job = dict[str, Any]
SETTINGS: dict[str, dict[str, Any]] = {
    "recompute off": {},
    "recompute off, compiled": {"compiled": True},
}
"""All have the base in bf16 and all cores. Packing and padding-free are off on a processor, whatever one asks for."""

READY: dict[str, Any] = {"dataset_kwargs": {"skip_prepare_dataset": True}}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def measure(job: Job, steps: int, compiled: bool = False) -> dict[str, Any]:
    """Train ``steps`` steps; gives the seconds and the loss of each, and peak memory."""
    os.environ |= {"UNSLOTH_SKIP_TORCHVISION_CHECK": "1", "UNSLOTH_DISABLE_STATISTICS": "1"}
    os.environ["UNSLOTH_CPU_COMPILE"] = "1" if compiled else "0"
    from unsloth import FastLanguageModel  # isort: skip: it patches what is imported after it
    import torch
    from datasets import Dataset
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import TrainerCallback
    from trl import SFTTrainer

    clock = StepClock(job["warm_up"])
    losses: list[float] = []

    class Recorder(TrainerCallback):
        def on_train_begin(self, *_args: Any, **_options: Any) -> None:
            clock.start()

        def on_step_end(self, *_args: Any, **_options: Any) -> None:
            clock.step_ended()

        def on_log(self, *_args: Any, logs: dict[str, float], **_options: Any) -> None:
            losses.extend([float(logs["loss"])] if "loss" in logs else [])

    model, tokenizer = FastLanguageModel.from_pretrained(
        job["model"], load_in_4bit=False, dtype=getattr(torch, job["dtype"]), max_seq_length=2048
    )
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
        trainer = SFTTrainer(
            model=model,
            args=trainer_arguments(job, steps, output, packing=False, remove_unused_columns=False, **READY),
            train_dataset=Dataset.from_dict(_columns(job, steps)),
            processing_class=tokenizer,
            callbacks=[Recorder()],
        )
        trainer.train()
    usage, peak = clock.usage(), peak_memory()
    return {
        "seconds": clock.seconds,
        "losses": losses,
        "usage": usage.as_dict(),
        "peak_bytes": peak,
        "threads": torch.get_num_threads(),
    }


def _columns(job: Job, steps: int) -> dict[str, list[list[int]]]:
    """The rows of all steps in their order, as a data set that is ready for the trainer."""
    chosen = [job["rows"][i] for step in range(steps) for i in job["order"][step % len(job["order"])]]
    return {
        "input_ids": [row["input_ids"] for row in chosen],
        "labels": [row["labels"] for row in chosen],
        "attention_mask": [[1] * len(row["input_ids"]) for row in chosen],
    }


if __name__ == "__main__":
    described = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    figures = measure(described, int(sys.argv[3]), **SETTINGS[sys.argv[4]])
    Path(sys.argv[2]).write_text(json.dumps(figures), encoding="utf-8")
