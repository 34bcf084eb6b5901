"""What `tunesmith train` planned against what it took: time and memory, for several shapes of rows and methods.

Goal: both within 15 %. The plan is made and kept by the run itself (``estimate`` and ``outturn`` of its record).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Usage, Watch
from benchmarks.results import Result, judged, not_measured
from benchmarks.rows import Pair, write_pairs
from benchmarks.settings import OFFLINE, Settings, Unavailable, environment, last_words, say, tunesmith
from benchmarks.work import METHODS, SHAPES

WITHIN = 15.0
"""Percent."""
VALIDATED, JUDGED = 16, 1


@dataclass(frozen=True)
class Case:
    """A run: the shape of its rows, its method, its steps, and how often it validates."""

    shape: str
    method: str
    steps: int
    eval_steps: int

    @property
    def about(self) -> str:
        """In words."""
        return f"{METHODS[self.method].about}, {SHAPES[self.shape].about}, {self.steps} steps"


CASES = (
    Case("short", "lora", 40, 10),
    Case("long", "lora", 10, 5),
    Case("shared", "lora", 16, 8),
    Case("short", "full", 12, 6),
)


def measure(settings: Settings) -> list[Result]:
    """Every case, one after the other; ``--steps`` shortens or lengthens all of them."""
    model = settings.model_folder()
    results: list[Result] = []
    for case in CASES:
        say(case.about)
        try:
            usage, run = planned_and_run(case, model, settings.steps)
        except Unavailable as error:
            results.append(not_measured(f"plan, {case.about}", str(error), f"≤ {WITHIN:g} %"))
        else:
            results += judge(case, usage, run)
    return results


def judge(case: Case, usage: Usage, run: Mapping[str, Any]) -> list[Result]:
    """How far plan and run are apart, in percent of the plan."""
    outturn = run["outturn"]
    details = {"estimate": run["estimate"], "outturn": outturn}
    return [
        judged(
            f"time against the plan, {case.about}",
            abs(100 * outturn["seconds_share"]),
            "%",
            at_most=WITHIN,
            usage=usage,
            note=outturn["sentence"],
            details=details,
        ),
        judged(
            f"memory against the plan, {case.about}",
            abs(100 * outturn["peak_memory_share"]),
            "%",
            at_most=WITHIN,
        ),
    ]


def planned_and_run(case: Case, model: Path, steps: int | None = None) -> tuple[Usage, dict[str, Any]]:
    """Train once; gives the use of the processor and the record of the run.

    Raises:
        Unavailable: it broke.
    """
    shape = SHAPES[case.shape]
    pairs = shape.load().train
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        folder = Path(name)
        for split, part in parts(pairs).items():
            write_pairs(folder / f"{split}.jsonl", part)
        (folder / "plan.yaml").write_text(json.dumps(config(case, model, shape.batch, steps)), encoding="utf-8")
        watch = Watch()
        done = subprocess.run(
            tunesmith("train", "plan.yaml", "--json"),
            cwd=folder,
            env=environment(**OFFLINE, TUNESMITH_HOME=str(folder / "home")),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1):
            raise Unavailable(f"exit code {done.returncode}: {last_words(done.stderr)}")
        return watch.usage(), json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))


def parts(pairs: tuple[Pair, ...]) -> dict[str, tuple[Pair, ...]]:
    """The rows of each split: few to validate and one to judge, since only training is looked at."""
    held = min(VALIDATED, len(pairs) // 4)
    return {"train": pairs[held + JUDGED :], "validation": pairs[JUDGED : held + JUDGED], "test": pairs[:JUDGED]}


def config(case: Case, model: Path, batch: int, steps: int | None) -> dict[str, Any]:
    """The configuration of a case."""
    total = steps or case.steps
    return {
        "model": str(model),
        "datasets": [{"path": f"{split}.jsonl", "split": split} for split in ("train", "validation", "test")],
        "method": case.method,
        "learning_rate": METHODS[case.method].learning_rate,
        "per_device_train_batch_size": batch,
        "max_steps": total,
        "eval_steps": min(case.eval_steps, total),
        "early_stopping_patience": 0,
        "eval_generate_rows": 0,
        "max_new_tokens": 8,
        "output_dir": "run",
    }
