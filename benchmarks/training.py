"""Training throughput and memory: our loop beside its rivals at their best setting for a processor, on the same rows.

All start from the same adapter, see the same ids in the same order, and use the same optimiser settings and rate.
Rounds alternate (ours, TRL, Unsloth, ours, TRL, Unsloth …), each in a process of its own. What is trained, short or
long documents, with LoRA or otherwise, is in `benchmarks.work`.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import rivals, train_trl, train_unsloth
from benchmarks.load import Usage
from benchmarks.results import Result, busiest, foreign_load, judged, not_measured
from benchmarks.rows import preferences, write_pairs, write_preferences
from benchmarks.settings import OFFLINE, Settings, Unavailable, environment, run, say
from benchmarks.work import PAIRS, SHAPES, Work
from benchmarks.work import work as make_work

LOSS_GOAL = 2.0
MIB = 1024**2

Figures = dict[str, Any]


@dataclass(frozen=True)
class Rival:
    """Another trainer: how its Python is found, the module that runs it there, and the settings that are tried.

    ``settings``, by method; ``few``: those of LoRA's that are tried on rows of other shapes. ``slow_settings``: tried
    on request only, compiling lasts minutes, ten times as long as the steps of such a job. ``goal``: of LoRA's speed.
    """

    name: str
    python: Callable[[str], Path]
    module: str
    settings: Mapping[str, tuple[str, ...]]
    few: tuple[str, ...]
    slow_settings: tuple[str, ...]
    goal: float

    def tried(self, work: Work, compiled: bool) -> tuple[str, ...]:
        """The settings that are tried on this work."""
        if work.method != "lora":
            return self.settings[work.method]
        return (self.few if work.few else self.settings["lora"]) + (self.slow_settings if compiled else ())

    def goal_for(self, work: Work) -> float | None:
        """How many times as fast ours should be; None where no goal was set."""
        return self.goal if work.method == "lora" else None

    @property
    def speed(self) -> str:
        """What the ratio is called."""
        return f"speed, ours / {self.name}"

    @property
    def loss(self) -> str:
        """What the difference of the losses is called."""
        return f"largest difference of the first losses, ours and {self.name}'s"


RIVALS = (
    Rival(
        "TRL",
        lambda method: rivals.trl_python(four_bit=method == "qlora"),
        "benchmarks.train_trl",
        {method: tuple(settings) for method, settings in train_trl.SETTINGS.items()},
        tuple(train_trl.FEW),
        tuple(train_trl.COMPILED),
        3.2,
    ),
    Rival(
        "Unsloth",
        lambda _method: rivals.unsloth_python(),
        "benchmarks.train_unsloth",
        {method: tuple(settings) for method, settings in train_unsloth.SETTINGS.items()},
        tuple(train_unsloth.FEW),
        (),
        1.4,
    ),
)


@dataclass(frozen=True)
class Opponent:
    """A rival that is here, at the setting that won its trials."""

    rival: Rival
    python: Path
    setting: str
    trials: Mapping[str, Trial]


def measure(settings: Settings) -> list[Result]:
    """Speed, memory, use of the processor, and whether the losses are the same."""
    work = make_work(settings.shape, settings.method, settings.steps)
    if work.steps <= work.warm_up:
        reason = f"--steps must be more than {work.warm_up}"
        return [not_measured(rival.speed, reason) for rival in RIVALS]
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        bench = _Bench(settings, work, Path(name))
        opponents, missing = [], []
        for rival in RIVALS:
            try:
                opponents.append(_prepared(bench, rival))
            except Unavailable as error:
                missing += [not_measured(what, str(error)) for what in (rival.speed, rival.loss)]
        ours: list[Figures] = []
        theirs: dict[str, list[Figures]] = {opponent.rival.name: [] for opponent in opponents}
        for _ in range(settings.rounds):
            ours.append(bench.ours())
            for each in opponents:
                theirs[each.rival.name].append(bench.rival(each.rival, each.python, each.setting, work.steps))
        beside = [result for each in opponents for result in _beside(bench, ours, theirs[each.rival.name], each)]
        return [*_alone(bench, ours), *beside, *missing]


def _prepared(bench: _Bench, rival: Rival) -> Opponent:
    """A rival with its environment, at its best setting.

    Raises:
        Unavailable: its environment cannot be made, or no setting of it computes the same.
    """
    try:
        python = rival.python(bench.work.method)
    except Unavailable as error:
        raise Unavailable(f"{rival.name}'s environment: {error}") from error
    trials = _try(bench, rival, python)
    best = fastest(trials)
    if best is None:
        raise Unavailable(f"no setting of {rival.name} computes the same: {_listed(trials)}")
    return Opponent(rival, python, best, trials)


@dataclass(frozen=True)
class Trial:
    """A few steps of a rival at one setting: tokens a second, and how far its losses are from ours in percent."""

    rate: float
    difference: float
    usage: Usage
    failed: str = ""


def _try(bench: _Bench, rival: Rival, python: Path) -> dict[str, Trial]:
    losses = bench.reference()
    trials = {}
    for setting in rival.tried(bench.work, bench.settings.compiled):
        try:
            figures = bench.rival(rival, python, setting, bench.work.trial_steps)
        except Unavailable as error:
            say(f"{rival.name}, {setting}: {error}")
            trials[setting] = Trial(0.0, math.inf, Usage(0.0, 0.0, 0.0), str(error))
            continue
        pairs = min(len(losses), bench.work.trial_steps)
        difference = largest_difference(losses[:pairs], figures["losses"][:pairs])
        trials[setting] = Trial(bench.rate(figures), difference, Usage(**figures["usage"]))
    return trials


def fastest(trials: Mapping[str, Trial]) -> str | None:
    """The fastest setting whose losses are ours; None where there is none."""
    equal = [setting for setting, trial in trials.items() if trial.difference <= LOSS_GOAL]
    return max(equal, key=lambda setting: trials[setting].rate, default=None)


def _listed(trials: Mapping[str, Trial]) -> str:
    return ", ".join(_told(name, trial) for name, trial in trials.items())


def _told(name: str, trial: Trial) -> str:
    if trial.failed:
        return f"{name} failed ({trial.failed})"
    off = f" (losses {trial.difference:.1f} % off)" if trial.difference > LOSS_GOAL else ""
    return f"{name} {trial.rate:.0f}{off}"


class _Bench:
    """The job on disk, and how each side is run on it."""

    def __init__(self, settings: Settings, work: Work, folder: Path) -> None:
        self.settings, self.work, self.folder, self.job_file = settings, work, folder, folder / "job.json"
        self._reference: list[float] | None = None
        self.task = work.task()
        pairs = folder / "pairs.jsonl"
        self.rows_name = write_rows(pairs, work, self.task["batch"])
        self.job_file.write_text(json.dumps({**self.task, "model": str(settings.model_folder())}), encoding="utf-8")
        self._run([sys.executable, "-m", "benchmarks.train_ours", "prepare", str(self.job_file), str(pairs)])
        job = json.loads(self.job_file.read_text(encoding="utf-8"))
        self.step_tokens = [sum(len(job["rows"][i]["input_ids"]) for i in part) for part in job["order"]]

    def ours(self) -> Figures:
        command = [sys.executable, "-m", "benchmarks.train_ours", "train"]
        return self._measure("ours", command, [str(self.work.steps)])

    def reference(self) -> list[float]:
        """The losses of our side, which settings of rivals are held against."""
        if self._reference is None:
            self._reference = self.ours()["losses"]
        return self._reference

    def rival(self, rival: Rival, python: Path, setting: str, steps: int) -> Figures:
        command = [str(python), "-m", rival.module]
        return self._measure(f"{rival.name}, {setting}", command, [str(steps), setting])

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
        return rate(self.step_tokens, figures["seconds"], self.work.warm_up)


def write_rows(path: Path, work: Work, batch: int) -> str:
    """Write the rows of a job, as many as make whole steps; says what they are."""
    if work.method == "dpo":
        name, pairs = preferences(PAIRS // batch * batch)
        write_preferences(path, pairs)
        return name
    rows = SHAPES[work.shape].load()
    write_pairs(path, rows.train[: len(rows.train) // batch * batch])
    return rows.name


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
    shared = {
        "rows": bench.rows_name,
        "rounds": rates,
        "steps": bench.work.steps,
        "task": bench.task,
        "step_tokens": bench.step_tokens,
    }
    utilisation = 100 * median(done) / gemm
    return [
        judged("speed, ours", median(rates), "tokens/s", usage=usage, note=_range(rates), details=shared),
        judged("peak memory, ours", max(f["peak_bytes"] for f in ours) / MIB, "MiB"),
        judged("matrix products, this machine", gemm / 1e9, "GFLOP/s", usage=usage, note="1024×1536 · 1536×1536"),
        judged(
            "share of that reached, ours",
            utilisation,
            "%",
            usage=usage,
            note="operations that are carried out; a beginning that rows have in common counts once",
        ),
    ]


def _beside(bench: _Bench, ours: Sequence[Figures], theirs: Sequence[Figures], opponent: Opponent) -> list[Result]:
    rival, trials = opponent.rival, opponent.trials
    rounds = [Usage(**figures["usage"]) for figures in (*ours, *theirs)]
    usage = busiest([*rounds, *(trial.usage for trial in trials.values())])  # a disturbed trial may choose wrongly
    our_rates, their_rates = ([bench.rate(figures) for figures in side] for side in (ours, theirs))
    each = [a / b for a, b in zip(our_rates, their_rates, strict=True)]
    details = {"rounds": their_rates, "trials": {name: asdict(trial) for name, trial in trials.items()}}
    note = f"setting “{opponent.setting}”; {_range(their_rates)}"
    peak = max(figures["peak_bytes"] for figures in theirs) / MIB
    ratio, goal = median(our_rates) / median(their_rates), rival.goal_for(bench.work)
    return [
        judged(f"speed, {rival.name}", median(their_rates), "tokens/s", usage=usage, note=note, details=details),
        judged(f"peak memory, {rival.name}", peak, "MiB", note=f"tried: {_listed(trials)}"),
        judged(rival.speed, ratio, "", at_least=goal, usage=usage, note=_range(each), details={"rounds": each}),
        compare_losses(ours[0], theirs[0], rival.loss, bench.work.compared),
    ]


def compare_losses(ours: Figures, theirs: Figures, what: str, wanted: int = 20) -> Result:
    """Whether both sides computed the same thing; needs ``wanted`` steps of each."""
    losses = {"ours": ours["losses"][:wanted], "theirs": theirs["losses"][:wanted]}
    steps = len(losses["ours"])
    if steps < wanted:
        return not_measured(what, f"{steps} steps, {wanted} are needed", f"≤ {LOSS_GOAL:g} %")
    note, reading = f"{steps} steps from the same weights", theirs.get("reading")
    if reading:
        note += (
            f"; it reads {reading['rows_with_equal_ids']} of {reading['rows']} rows to the same ids by itself and "
            f"would train {reading['trained_by_trl']:,} tokens, both trained {reading['trained_here']:,} here"
        )
    difference = largest_difference(losses["ours"], losses["theirs"])
    return judged(what, difference, "%", at_most=LOSS_GOAL, note=note, details={**losses, "reading": reading})


def _range(values: Sequence[float]) -> str:
    digits = 0 if min(values) >= 100 else 2
    return f"rounds {min(values):.{digits}f} to {max(values):.{digits}f}"
