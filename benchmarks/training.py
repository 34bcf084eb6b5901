"""Training throughput and memory: our loop beside TRL at its best setting for a processor, on the same rows.

Both start from the same adapter, see the same ids in the same order, and use the same optimiser settings and rate.
Rounds alternate (ours, theirs, ours, theirs …), each in a process of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import rivals
from benchmarks.load import Usage
from benchmarks.results import Result, busiest, foreign_load, judged, not_measured
from benchmarks.rows import training_rows, write_pairs
from benchmarks.settings import OFFLINE, Settings, Unavailable, environment, run, say
from benchmarks.train_trl import COMPILED, SETTINGS

ROWS = 400
TRIAL_STEPS = 6
COMPARED_STEPS = 20
TASK = {
    "batch": 8,
    "learning_rate": 2e-4,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "seed": 42,
    "lora_r": 16,
    "lora_alpha": 32.0,
    "warm_up": 3,
}
"""What both sides are told; the rate is constant. The first ``warm_up`` steps of each round are not timed."""

SPEED_GOAL, LOSS_GOAL = 2.2, 2.0
SPEED, LOSS = "speed, ours / TRL", "largest difference of the first losses"
MIB = 1024**2

Figures = dict[str, Any]


def measure(settings: Settings) -> list[Result]:
    """Speed, memory, use of the processor, and whether the losses are the same."""
    if settings.steps <= TASK["warm_up"]:
        return [not_measured(SPEED, f"--steps must be more than {TASK['warm_up']}", f"≥ {SPEED_GOAL:g}")]
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        bench = _Bench(settings, Path(name))
        try:
            python = rivals.trl_python()
        except Unavailable as error:
            ours = [bench.ours() for _ in range(settings.rounds)]
            missing = [not_measured(what, f"TRL's environment: {error}") for what in (SPEED, LOSS)]
            return [*_alone(bench, ours), *missing]
        trials = _try(bench, python, {**SETTINGS, **(COMPILED if settings.compiled else {})})
        best = fastest(trials)
        if best is None:
            return [not_measured(SPEED, f"no setting of TRL computes the same: {_listed(trials)}")]
        ours, theirs = [], []
        for _ in range(settings.rounds):
            ours.append(bench.ours())
            theirs.append(bench.trl(python, best, settings.steps))
        return [*_alone(bench, ours), *_beside(bench, ours, theirs, best, trials)]


@dataclass(frozen=True)
class Trial:
    """A few steps of TRL at one setting: tokens a second, and how far its losses are from ours in percent."""

    rate: float
    difference: float
    usage: Usage


def _try(bench: _Bench, python: Path, settings: Iterable[str]) -> dict[str, Trial]:
    losses = bench.ours()["losses"]
    trials = {}
    for setting in settings:
        figures = bench.trl(python, setting, TRIAL_STEPS)
        pairs = min(len(losses), TRIAL_STEPS)
        difference = largest_difference(losses[:pairs], figures["losses"][:pairs])
        trials[setting] = Trial(bench.rate(figures), difference, Usage(**figures["usage"]))
    return trials


def fastest(trials: Mapping[str, Trial]) -> str | None:
    """The fastest setting whose losses are ours; None where there is none."""
    equal = [setting for setting, trial in trials.items() if trial.difference <= LOSS_GOAL]
    return max(equal, key=lambda setting: trials[setting].rate, default=None)


def _listed(trials: Mapping[str, Trial]) -> str:
    return ", ".join(
        f"{name} {trial.rate:.0f}" + (f" (losses {trial.difference:.1f} % off)" if trial.difference > LOSS_GOAL else "")
        for name, trial in trials.items()
    )


class _Bench:
    """The job on disk, and how each side is run on it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder, self.job_file = settings, folder, folder / "job.json"
        rows = training_rows(ROWS, 0)
        self.rows_name = rows.name
        pairs = folder / "pairs.jsonl"
        write_pairs(pairs, rows.train[: len(rows.train) // TASK["batch"] * TASK["batch"]])
        self.job_file.write_text(json.dumps({**TASK, "model": str(settings.model_folder())}), encoding="utf-8")
        self._run([sys.executable, "-m", "benchmarks.train_ours", "prepare", str(self.job_file), str(pairs)])
        job = json.loads(self.job_file.read_text(encoding="utf-8"))
        self.step_tokens = [sum(len(job["rows"][i]["input_ids"]) for i in part) for part in job["order"]]

    def ours(self) -> Figures:
        command = [sys.executable, "-m", "benchmarks.train_ours", "train"]
        return self._measure("ours", command, [str(self.settings.steps)])

    def trl(self, python: Path, setting: str, steps: int) -> Figures:
        return self._measure(f"TRL, {setting}", [str(python), "-m", "benchmarks.train_trl"], [str(steps), setting])

    def _measure(self, side: str, command: Sequence[str], rest: Sequence[str]) -> Figures:
        out = self.folder / "figures.json"
        out.unlink(missing_ok=True)
        self._run([*command, str(self.job_file), str(out), *rest])
        figures: Figures = json.loads(out.read_text(encoding="utf-8"))
        load = foreign_load(Usage(**figures["usage"]))
        say(f"{side}: {self.rate(figures):.0f} tokens/s, {len(figures['seconds'])} steps, {load}")
        return figures

    def _run(self, command: Sequence[str]) -> None:
        run(command, cwd=self.folder, env=environment(**OFFLINE))

    def rate(self, figures: Figures) -> float:
        """Non-padding tokens a second: the median over the timed steps of a round."""
        return rate(self.step_tokens, figures["seconds"], TASK["warm_up"])


def rate(step_tokens: Sequence[int], seconds: Sequence[float], warm_up: int) -> float:
    """Median of tokens / seconds over the steps after ``warm_up``; tokens of an epoch's steps, repeated."""
    tokens = [step_tokens[step % len(step_tokens)] for step in range(len(seconds))]
    return median(t / s for t, s in zip(tokens[warm_up:], seconds[warm_up:], strict=True))


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Largest relative difference of the losses step by step, in percent of the second ones."""
    return max(100 * abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def _alone(bench: _Bench, ours: Sequence[Figures]) -> list[Result]:
    usage = busiest([Usage(**figures["usage"]) for figures in ours])
    rates = [bench.rate(figures) for figures in ours]
    done = [figures["timed_flops"] / figures["usage"]["seconds"] for figures in ours]
    gemm = max(figures["gemm_flops"] for figures in ours)
    shared = {"rows": bench.rows_name, "rounds": rates, "steps": bench.settings.steps, "task": TASK}
    utilisation = 100 * median(done) / gemm
    return [
        judged("speed, ours", median(rates), "tokens/s", usage=usage, note=_range(rates), details=shared),
        judged("peak memory, ours", max(f["peak_bytes"] for f in ours) / MIB, "MiB"),
        judged("matrix products, this machine", gemm / 1e9, "GFLOP/s", usage=usage, note="1024×1536 · 1536×1536"),
        judged("share of that reached, ours", utilisation, "%", usage=usage, note="operations that are carried out; a beginning that rows have in common counts once"),
    ]


def _beside(
    bench: _Bench, ours: Sequence[Figures], theirs: Sequence[Figures], setting: str, trials: Mapping[str, Trial]
) -> list[Result]:
    rounds = [Usage(**figures["usage"]) for figures in (*ours, *theirs)]
    usage = busiest([*rounds, *(trial.usage for trial in trials.values())])  # a disturbed trial may choose wrongly
    our_rates, their_rates = ([bench.rate(figures) for figures in side] for side in (ours, theirs))
    ratio = median(our_rates) / median(their_rates)
    each = [a / b for a, b in zip(our_rates, their_rates, strict=True)]
    return [
        judged(
            "speed, TRL",
            median(their_rates),
            "tokens/s",
            usage=usage,
            note=f"setting “{setting}”; {_range(their_rates)}",
            details={"rounds": their_rates, "trials": {name: asdict(trial) for name, trial in trials.items()}},
        ),
        judged("peak memory, TRL", max(f["peak_bytes"] for f in theirs) / MIB, "MiB", note=f"tried: {_listed(trials)}"),
        judged(SPEED, ratio, "", at_least=SPEED_GOAL, usage=usage, note=_range(each), details={"rounds": each}),
        compare_losses(ours[0], theirs[0]),
    ]


def compare_losses(ours: Figures, theirs: Figures) -> Result:
    """Whether both sides computed the same thing; needs `COMPARED_STEPS` steps of each."""
    losses = {"ours": ours["losses"][:COMPARED_STEPS], "trl": theirs["losses"][:COMPARED_STEPS]}
    reading, steps = theirs["reading"], len(losses["ours"])
    if steps < COMPARED_STEPS:
        return not_measured(LOSS, f"{steps} steps, {COMPARED_STEPS} are needed", f"≤ {LOSS_GOAL:g} %")
    note = (
        f"{steps} steps from the same adapter; TRL itself reads {reading['rows_with_equal_ids']} of {reading['rows']} "
        f"rows to the same ids and would train {reading['trained_by_trl']:,} tokens, both trained "
        f"{reading['trained_here']:,} here"
    )
    difference = largest_difference(losses["ours"], losses["trl"])
    return judged(LOSS, difference, "%", at_most=LOSS_GOAL, note=note, details={**losses, "reading": reading})


def _range(values: Sequence[float]) -> str:
    digits = 0 if min(values) >= 100 else 2
    return f"rounds {min(values):.{digits}f} to {max(values):.{digits}f}"
