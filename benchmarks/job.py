"""The whole job as a user starts it: seconds until the saved adapter and the verdict, and minutes of the quickstart."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Usage, Watch
from benchmarks.results import Result, judged
from benchmarks.rows import training_rows, write_pairs
from benchmarks.settings import OFFLINE, Settings, Unavailable, environment, last_words, tunesmith

JOB_GOAL, QUICKSTART_GOAL = 100.0, 6.0
START_GOAL, LEAN_GOAL = 10.0, 1.9
"""Seconds until the first step is done, with a model that is there already; gigabytes of the leanest settings."""
TRAINED, VALIDATED, JUDGED = 400, 40, 20
SAVED, BASE, TRAINING, JUDGING = "saved best", "measuring the base model", "training", "judging"
FIRST = "training: 1/"
LEAN = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 8,
    "gradient_checkpointing": True,
    "max_steps": 4,
    "eval_steps": 4,
}
"""One row at a time, and the layers' inputs alone kept for the backward pass."""


@dataclass(frozen=True)
class Line:
    """A line of a program's progress, and the seconds since its start."""

    seconds: float
    text: str


@dataclass(frozen=True)
class Moments:
    """Seconds since the start at which the parts of a job began or ended."""

    base: float
    training: float
    first: float
    saved: float
    verified: float
    end: float


def measure(settings: Settings) -> list[Result]:
    """``tunesmith train`` on 400 rows, one epoch of 50 steps, everything else as it is by default."""
    folder_of_model = settings.model_folder()
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        usage, lines, run, rows = _trained(folder_of_model, Path(name), {})
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        _, _, lean, _ = _trained(folder_of_model, Path(name), LEAN)
    figures = judge(moments(lines, usage.seconds), usage, run, rows)
    settings_of_it = ", ".join(f"{key}: {value}" for key, value in LEAN.items() if "steps" not in key)
    memory = lean["peak_memory_bytes"] / 1e9
    return [
        *figures,
        judged("peak memory of the leanest settings", memory, "GB", at_most=LEAN_GOAL, note=settings_of_it),
    ]


def _trained(
    model: Path, folder: Path, changes: Mapping[str, Any]
) -> tuple[Usage, Sequence[Line], dict[str, Any], str]:
    """A job from the command to its verdict: use of the processor, progress, record, and what its rows are."""
    rows = training_rows(TRAINED, VALIDATED + JUDGED)
    files = {
        "train": rows.train,
        "validation": rows.held_out[:VALIDATED],
        "test": rows.held_out[VALIDATED:],
    }
    for split, pairs in files.items():
        write_pairs(folder / f"{split}.jsonl", pairs)
    config = {
        "model": str(model),
        "datasets": [{"path": f"{split}.jsonl", "split": split} for split in files],
        "num_train_epochs": 1,
        "output_dir": "run",
        **changes,
    }
    (folder / "job.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    home = {"TUNESMITH_HOME": str(folder / "home")}
    usage, lines, _ = timed_lines(tunesmith("train", "job.yaml", "--json"), folder, {**OFFLINE, **home})
    return usage, lines, json.loads((folder / "run" / "run.json").read_text(encoding="utf-8")), rows.name


def moments(lines: Iterable[Line], end: float) -> Moments:
    """When the parts of a job happened, read from its progress lines.

    Raises:
        Unavailable: a part is missing.
    """
    wanted = (BASE, TRAINING, FIRST, SAVED, JUDGING)
    found: dict[str, float] = {}
    for line in lines:
        for start in wanted:
            if line.text.strip().startswith(start):
                found[start] = line.seconds if start == SAVED else found.get(start, line.seconds)
    missing = [start for start in wanted if start not in found]
    if missing:
        raise Unavailable(f"the progress of the job has no line {missing[0]!r}")
    return Moments(*(found[start] for start in wanted), end)


def judge(when: Moments, usage: Usage, run: dict[str, Any], rows: str) -> list[Result]:
    """The figures of a finished job."""
    asked_first = when.training - when.base
    validations = len(run["validation_losses"])
    details = {"moments": vars(when), "steps": run["steps"], "tokens": run["tokens"], "rows": rows}
    rate = run["tokens"] / run["seconds"]
    note = (
        f"{rows}, {run['steps']} steps, {validations} evaluation losses; without the {asked_first:.0f} s of the base "
        "model's answers to the test rows, which other tools do not ask for"
    )
    return [
        judged(
            "start to saved adapter",
            when.saved - asked_first,
            "s",
            at_most=JOB_GOAL,
            usage=usage,
            note=note,
            details=details,
        ),
        judged("… with the base model's answers", when.saved, "s", usage=usage),
        judged(
            "start to the first step",
            when.first - asked_first,
            "s",
            at_most=START_GOAL,
            usage=usage,
            note="the first step included; also without the base model's answers",
        ),
        judged("… until it was loaded in a fresh process", when.verified, "s", usage=usage),
        judged(f"… until the verdict on {JUDGED} rows", when.end, "s", usage=usage),
        judged("the steps alone", run["seconds"], "s", usage=usage, note=f"{rate:.0f} tokens/s"),
        judged("peak memory", run["peak_memory_bytes"] / 1024**2, "MiB"),
    ]


def measure_quickstart(_settings: Settings) -> list[Result]:
    """``tunesmith quickstart`` with nothing downloaded or converted before."""
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        folder = Path(name)
        home = {"TUNESMITH_HOME": str(folder / "home")}
        usage, lines, output = timed_lines(tunesmith("quickstart", "--json"), folder, home)
    document = json.loads(output)
    stages = [{"seconds": round(line.seconds, 1), "text": line.text} for line in headings(lines)]
    note = "download and conversion of the model included; needs the package registry"
    figures = [
        judged(
            "quickstart",
            usage.seconds / 60,
            "min",
            at_most=QUICKSTART_GOAL,
            usage=usage,
            note=note,
            details={"stages": stages},
        )
    ]
    return figures + [judged("answers that fit the schema, tuned", v, "%", at_least=95.0) for v in fitting(document)]


def fitting(document: Mapping[str, Any]) -> list[float]:
    """Percent of the tuned model's answers that fit the JSON schema; [] where the document does not say."""
    wanted = ("tuned", "schema_valid")
    found = [s["value"] for s in document["summaries"] if (s["model"], s["metric"]) == wanted]
    return [100 * value for value in found if value is not None]


def headings(lines: Iterable[Line]) -> list[Line]:
    """The lines that begin a part: those that are not indented."""
    return [line for line in lines if line.text and not line.text.startswith(" ")]


def timed_lines(command: Sequence[str], cwd: Path, changes: dict[str, str]) -> tuple[Usage, list[Line], str]:
    """Run a program; gives how long it took, its progress lines with their times, and its standard output.

    Raises:
        Unavailable: it broke (exit code 1 is an answer).
    """
    watch, begin = Watch(), time.monotonic()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        subprocess.Popen(
            command, cwd=cwd, env=environment(**changes), stdout=output, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stderr is not None
        lines = [Line(time.monotonic() - begin, text.rstrip("\n")) for text in process.stderr]
        code = process.wait()
        output.seek(0)
        written = output.read()
    usage = watch.usage()
    if code not in (0, 1):
        raise Unavailable(f"exit code {code}: {last_words(''.join(line.text + chr(10) for line in lines))}")
    return usage, lines, written
