"""The first three losses of every method and adapter kind on the tiny Llama, at a fixed seed.

``python -m tests.goldens.first_losses`` writes ``first_losses.json`` anew. A change of these numbers is a change of
what every run computes: renew them only together with the reason, in the same commit.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from tests.tiny import build_model
from tests.train.job import config, rows
from tunesmith.model import device
from tunesmith.model.load import load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.trainable import Options, make_trainable
from tunesmith.train.loop import State, make_optimiser, train
from tunesmith.train.runs import TASKS, make_plan

GOLDENS = Path(__file__).with_suffix(".json")
STEPS = 3
SPEC = LoRASpec(r=4, alpha=8)
KINDS: dict[str, tuple[str, LoRASpec]] = {
    "full": ("full", SPEC),
    "full, adamw_8bit": ("full", SPEC),
    "full, bfloat16 without a copy": ("full", SPEC),
    "lora": ("lora", SPEC),
    "lora, adamw_8bit": ("lora", SPEC),
    "lora, rank-stabilised": ("lora", replace(SPEC, rank_stabilised=True)),
    "lora+": ("lora", replace(SPEC, plus_ratio=16.0)),
    "dora": ("lora", replace(SPEC, magnitude=True)),
    "qlora": ("qlora", SPEC),
    "prefix": ("prefix", SPEC),
    "prompt": ("prompt", SPEC),
    "ia3": ("ia3", SPEC),
    "bottleneck": ("bottleneck", SPEC),
}
"""Name → method and the settings of its LoRA. A new method or kind is one more line here."""


def first_losses(model: Path, kind: str, task: str = "sft") -> list[float]:
    """Losses of the first steps of ``kind``, in nats a target token, without dropout; in fp32 where not said."""
    method, spec = KINDS[kind]
    master = "bfloat16" if "bfloat16" in kind else "float32"
    optim = "adamw_8bit" if "adamw_8bit" in kind else "adamw"
    torch.manual_seed(0)
    base = load_base(model, device.FORMATS[master], four_bit=method == "qlora")
    options = Options(spec, 0, "tiny", virtual_tokens=3, bottleneck_size=4, master_dtype=master)
    trainable = make_trainable(method, base, options)
    data = rows()
    wanted = config(method=method, max_steps=STEPS, learning_rate=1e-2, warmup_ratio=0.0, optim=optim)
    plan = make_plan(wanted, len(data.train))
    state = State()
    for _ in train(base, trainable, TASKS[task], data.train, plan, make_optimiser(trainable, plan), state):
        pass
    return state.losses


def build(folder: Path) -> Path:
    """The model of the goldens: not the random tiny one of other tests, whose first losses are all log V."""
    return build_model(folder / "golden-llama", seed=1, spread=0.2)


def renew() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder:
        model = build(Path(folder))
        made = {task: {kind: first_losses(model, kind, task) for kind in KINDS} for task in TASKS}
    GOLDENS.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    renew()
