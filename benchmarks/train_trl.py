"""TRL's side of the training benchmark, run by the Python of TRL's own environment; nothing of ours is imported.

``python -m benchmarks.train_trl JOB.json OUT.json STEPS SETTING``
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import StepClock, peak_memory
from benchmarks.trl_arguments import trainer_arguments

Job = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One way to run TRL on a processor. All have the base in bf16, recompute off, all cores."""

    autocast: bool = True
    attention: str = "sdpa"
    padding_free: bool = False
    adapter_fp32: bool = True
    compiled: bool = False


SETTINGS = {
    "plain": Setting(),
    "eager attention": Setting(attention="eager"),
    "padding-free": Setting(padding_free=True),
    "bf16 adapter": Setting(autocast=False, adapter_fp32=False),
    "bf16 adapter, eager attention": Setting(autocast=False, adapter_fp32=False, attention="eager"),
    "bf16 adapter, padding-free": Setting(autocast=False, adapter_fp32=False, padding_free=True),
}
"""Tried first, a few steps each; the fastest one that computes the same is the rival. (Packing is not among them: it
puts other rows into a step.)"""

COMPILED = {
    "bf16 adapter, eager attention, compiled": Setting(
        autocast=False, adapter_fp32=False, attention="eager", compiled=True
    ),
}
"""Tried on request: compiling lasts minutes, ten times as long as the steps of such a job."""


def measure(job: Job, steps: int, setting: Setting) -> dict[str, Any]:
    """Train ``steps`` steps; gives the seconds and the loss of each, peak memory, and how TRL reads the same rows."""
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTTrainer

    clock = StepClock(job["warm_up"])
    losses: list[float] = []

    class Recorder(TrainerCallback):
        def on_train_begin(self, *_args: Any, **_options: Any) -> None:
            clock.start()

        def on_step_end(self, *_args: Any, **_options: Any) -> None:
            clock.step_ended()

        def on_log(self, *_args: Any, logs: dict[str, float], **_options: Any) -> None:
            losses.extend([logs["loss"]] if "loss" in logs else [])

    model = AutoModelForCausalLM.from_pretrained(
        job["model"], dtype=getattr(torch, job["dtype"]), attn_implementation=setting.attention
    )
    model = PeftModel.from_pretrained(
        model, job["adapter"], is_trainable=True, autocast_adapter_dtype=setting.adapter_fp32
    )
    order = [job["order"][step % len(job["order"])] for step in range(steps)]
    chosen = [job["rows"][i] for part in order for i in part]
    dataset = Dataset.from_list([{"input_ids": row["input_ids"], "labels": row["labels"]} for row in chosen])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    with tempfile.TemporaryDirectory() as output:
        trainer = SFTTrainer(
            model=model,
            args=_arguments(job, steps, setting, output),
            train_dataset=dataset,
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
        "reading": reading(job, tokenizer),
    }


def _arguments(job: Job, steps: int, setting: Setting, output: str) -> Any:
    return trainer_arguments(
        job,
        steps,
        output,
        bf16=setting.autocast and job["dtype"] == "bfloat16",
        padding_free=setting.padding_free,
        torch_compile=setting.compiled,
        completion_only_loss=True,
    )


def reading(job: Job, tokenizer: Any) -> dict[str, int]:
    """How TRL's own reading of prompt/completion rows (through its chat template) compares with the ids given to it."""
    same_ids = theirs = ours = 0
    for row in job["rows"]:
        prompt = tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True, return_dict=True)
        whole = tokenizer.apply_chat_template(row["messages"], return_dict=True)
        same_ids += list(whole["input_ids"]) == row["input_ids"]
        theirs += len(whole["input_ids"]) - len(prompt["input_ids"])
        ours += sum(label != -100 for label in row["labels"])
    return {"rows": len(job["rows"]), "rows_with_equal_ids": same_ids, "trained_by_trl": theirs, "trained_here": ours}


if __name__ == "__main__":
    described = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    figures = measure(described, int(sys.argv[3]), {**SETTINGS, **COMPILED}[sys.argv[4]])
    Path(sys.argv[2]).write_text(json.dumps(figures), encoding="utf-8")
