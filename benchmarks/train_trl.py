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
from benchmarks.trl_trainers import make_trainer, recorder

Job = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One way to run TRL on a processor. All have the base in bf16, recompute off, all cores.

    ``fp32``: what is trained is kept in fp32 (without it, in bf16).
    """

    autocast: bool = True
    attention: str = "sdpa"
    padding_free: bool = False
    fp32: bool = True
    compiled: bool = False


LORA = {
    "plain": Setting(),
    "eager attention": Setting(attention="eager"),
    "padding-free": Setting(padding_free=True),
    "bf16 adapter": Setting(autocast=False, fp32=False),
    "bf16 adapter, eager attention": Setting(autocast=False, fp32=False, attention="eager"),
    "bf16 adapter, padding-free": Setting(autocast=False, fp32=False, padding_free=True),
}
FEW = {name: LORA[name] for name in ("bf16 adapter", "bf16 adapter, padding-free")}
SETTINGS = {
    "lora": LORA,
    "full": {
        "fp32 weights, autocast": Setting(),
        "bf16 weights": Setting(autocast=False, fp32=False),
        "bf16 weights, padding-free": Setting(autocast=False, fp32=False, padding_free=True),
    },
    "qlora": {"plain": Setting(), **FEW},
    "dpo": {"plain": Setting(), "bf16 adapter": Setting(autocast=False, fp32=False)},
}
"""By method. Tried first, a few steps each; the fastest one that computes the same is the rival. (Packing is not among
them: it puts other rows into a step. TRL's preference trainer has no padding-free way.)"""

COMPILED = {
    "bf16 adapter, eager attention, compiled": Setting(autocast=False, fp32=False, attention="eager", compiled=True),
}
"""Tried on request: compiling lasts minutes, ten times as long as the steps of such a job."""


def measure(job: Job, steps: int, setting: Setting) -> dict[str, Any]:
    """Train ``steps`` steps; gives the seconds and the loss of each, peak memory, and how TRL reads the same rows."""
    import torch
    from transformers import AutoTokenizer

    clock, losses = StepClock(job["warm_up"]), list[float]()
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    with tempfile.TemporaryDirectory() as output:
        own = {
            "bf16": setting.autocast and job["dtype"] == "bfloat16",
            "padding_free": setting.padding_free,
            "torch_compile": setting.compiled,
        }
        trainer = make_trainer(job, steps, output, _model(job, setting), tokenizer, own)
        trainer.add_callback(recorder(clock, losses))
        trainer.train()
    usage, peak = clock.usage(), peak_memory()
    return {
        "seconds": clock.seconds,
        "losses": losses,
        "usage": usage.as_dict(),
        "peak_bytes": peak,
        "threads": torch.get_num_threads(),
        "reading": reading(job, tokenizer) if job["method"] != "dpo" else None,
    }


def _model(job: Job, setting: Setting) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    kept = torch.float32 if job["method"] == "full" and setting.fp32 else getattr(torch, job["dtype"])
    options: dict[str, Any] = {"dtype": kept, "attn_implementation": setting.attention}
    if job["method"] == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=kept,
        )
    model = AutoModelForCausalLM.from_pretrained(job["model"], **options)
    if job["method"] == "full":
        return model
    from peft import PeftModel

    return PeftModel.from_pretrained(model, job["adapter"], is_trainable=True, autocast_adapter_dtype=setting.fp32)


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
    figures = measure(described, int(sys.argv[3]), {**SETTINGS[described["method"]], **COMPILED}[sys.argv[4]])
    Path(sys.argv[2]).write_text(json.dumps(figures), encoding="utf-8")
