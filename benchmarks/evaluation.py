"""Evaluation throughput: scoring and greedy answers by our engine beside transformers' own, on the same batches.

Scoring gives log p of each token of the wanted answers; answering makes a fixed number of tokens for every prompt,
greedily. Rounds alternate, each side in a process of its own; transformers' fastest attention is the rival.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load import Usage
from benchmarks.results import Result, busiest, judged, not_measured
from benchmarks.rows import training_rows, write_pairs
from benchmarks.settings import OFFLINE, Settings, Unavailable, environment, run, say

ROWS, BATCH, NEW_TOKENS = 48, 16, 48
SETTINGS = ("sdpa", "eager")
LOSS_GOAL = 2.0
MIB = 1024**2

Figures = dict[str, Any]


def measure(settings: Settings) -> list[Result]:
    """Tokens a second of both sides, and how far their answers and their scores are apart."""
    try:
        model = str(settings.model_folder())
        with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
            return _measured(model, settings.rounds, Path(name))
    except Unavailable as error:
        return [not_measured("evaluation", str(error))]


def _measured(model: str, rounds: int, folder: Path) -> list[Result]:
    rows, job_file = training_rows(ROWS, 0), folder / "job.json"
    write_pairs(folder / "pairs.jsonl", rows.train)
    job = {"model": model, "batch": BATCH, "new_tokens": NEW_TOKENS}
    job_file.write_text(json.dumps(job), encoding="utf-8")
    _run(["benchmarks.evaluate_ours", "prepare", str(job_file), str(folder / "pairs.jsonl")], folder)
    trials = {setting: _plain(folder, setting) for setting in SETTINGS}
    best = max(trials, key=lambda setting: _rate(trials[setting], "answers"))
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_side(folder, "ours", ["benchmarks.evaluate_ours", "measure"], []))
        theirs.append(_plain(folder, best))
    return judge(rows.name, ours, theirs, {name: _rate(figures, "answers") for name, figures in trials.items()})


def _plain(folder: Path, setting: str) -> Figures:
    return _side(folder, f"transformers, {setting}", ["benchmarks.evaluate_plain"], [setting])


def _side(folder: Path, name: str, command: Sequence[str], rest: Sequence[str]) -> Figures:
    out = folder / "figures.json"
    out.unlink(missing_ok=True)
    _run([*command, str(folder / "job.json"), str(out), *rest], folder)
    figures: Figures = json.loads(out.read_text(encoding="utf-8"))
    say(f"{name}: scoring {_rate(figures, 'scores'):.0f}, answering {_rate(figures, 'answers'):.0f} tokens/s")
    return figures


def _run(command: Sequence[str], folder: Path) -> None:
    run([sys.executable, "-m", *command], cwd=folder, env=environment(**OFFLINE))


def _rate(figures: Figures, part: str) -> float:
    return float(figures[part]["tokens"] / figures[part]["seconds"])


def judge(rows: str, ours: Sequence[Figures], theirs: Sequence[Figures], trials: Mapping[str, float]) -> list[Result]:
    """The figures of all rounds as results."""
    usage = busiest([Usage(**figures["usage"]) for figures in (*ours, *theirs)])
    results = []
    for part, what in (("scores", "scoring"), ("answers", "greedy answers")):
        sides = {name: [_rate(f, part) for f in side] for name, side in (("ours", ours), ("transformers", theirs))}
        note = f"{rows}, {BATCH} at a time"
        for name, rates in sides.items():
            results.append(judged(f"{what}, {name}", median(rates), "tokens/s", usage=usage, note=note, details=sides))
        ratio = median(sides["ours"]) / median(sides["transformers"])
        results.append(judged(f"{what}, ours / transformers", ratio, "", usage=usage))
    tried = ", ".join(f"{name} {rate:.0f}" for name, rate in trials.items())
    results += [
        judged("peak memory, ours", max(f["peak_bytes"] for f in ours) / MIB, "MiB"),
        judged("peak memory, transformers", max(f["peak_bytes"] for f in theirs) / MIB, "MiB", note=f"tried: {tried}"),
        compare(ours[0], theirs[0]),
    ]
    return results


def compare(ours: Figures, theirs: Figures) -> Result:
    """Difference of the mean scores; answers may differ where two tokens are as likely, which is counted."""
    means = [sum(map(sum, side["scores"]["logprobs"])) / side["scores"]["tokens"] for side in (ours, theirs)]
    pairs = list(zip(ours["answers"]["ids"], theirs["answers"]["ids"], strict=True))
    same = sum(a == b for a, b in pairs)
    note = f"{same} of {len(pairs)} greedy answers are the same tokens"
    difference = 100 * abs(means[0] - means[1]) / abs(means[1])
    return judged("difference of the mean log-probabilities", difference, "%", at_most=LOSS_GOAL, note=note)
