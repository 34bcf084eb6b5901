"""A search: suggestions, budget, pruning, failures, resuming, bad candidates. Trials on real weights: test_trial."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tunesmith.core.artifacts import SweepRecord, SweepTrial
from tunesmith.core.config import Settings, load
from tunesmith.core.errors import ConfigError, InputError, Interrupted, TrainingError
from tunesmith.core.events import Note
from tunesmith.core.store import Workspace
from tunesmith.lifecycle import STAGES
from tunesmith.train import sweep as sweeping
from tunesmith.train.space import KNOBS, make_space
from tunesmith.train.sweep import Budget, Search, Watch, new_record, run_sweep, sentence, stored, trial_settings

WIDE = "sweep.learning_rate={low: 1.0e-5, high: 1.0e-1}"
IDENTITY = {"configuration": "c", "data": "d"}


def settings(*overrides: str) -> Settings:
    common = ("datasets.0.path=rows.jsonl", "learning_rate=1e-4", "seed=7")
    return load(None, STAGES, [*common, *overrides])


class Clock:
    """Time that passes when somebody says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A search over made-up losses: ``loss(values, share)``; a trial plans ``planned`` and takes ``takes`` seconds."""

    def __init__(
        self,
        home: Path,
        loss: Callable[[dict, float], float],
        *overrides: str,
        planned: float = 8.0,
        takes: float = 8.0,
    ) -> None:
        self.workspace, self.clock, self.notes = Workspace.open(home), Clock(), []
        self.loss, self.planned, self.takes = loss, planned, takes
        self.settings = settings(*(overrides or (WIDE,)))
        self.search = Search(self.settings, make_space(self.settings), 64, self.trial, self.emit, self.clock)

    def emit(self, event: object) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)

    def trial(self, chosen: Settings, watch: Watch) -> None:
        watch.begin(self.planned)
        for step in range(1, 9):
            self.clock.now += self.takes / 8
            watch.step()
            watch.validated(step / 8, self.loss(chosen.as_dict(), step / 8))

    def run(self, trials: int | None = None, seconds: float | None = None, **identity: str) -> SweepRecord:
        fresh = new_record(self.search, "here", {**IDENTITY, **identity})
        return run_sweep(self.search, fresh, Budget(trials, seconds), self.workspace)


def planted(values: dict, share: float) -> float:
    """Lowest at a learning rate of 1e-3; falls while the trial goes on."""
    return 1 + abs(math.log10(values["learning_rate"]) + 3) + (1 - share)


def test_the_planted_learning_rate_is_found(tmp_path: Path) -> None:
    record = Bench(tmp_path, planted).run(trials=15)
    assert record.has_own
    assert record.trials[0].values == {"learning_rate": 1e-4}
    assert record.trials[0].loss == pytest.approx(2.0)
    best = record.ranking[0]
    assert best.loss is not None
    assert best.loss < 1.2
    assert abs(math.log10(best.values["learning_rate"]) + 3) < 0.2


def test_values_outside_the_candidates_do_not_begin(tmp_path: Path) -> None:
    bench = Bench(tmp_path, planted, "sweep.learning_rate={low: 1.0e-3, high: 1.0e-2}")
    record = bench.run(trials=1)
    assert not record.has_own
    assert 1e-3 <= record.trials[0].values["learning_rate"] <= 1e-2


def test_the_same_seed_gives_the_same_suggestions_stopped_or_not(tmp_path: Path) -> None:
    overrides = (WIDE, "sweep.lora_r=[8, 16, 32]", "sweep.lr_scheduler_type=[cosine, linear]")
    whole = Bench(tmp_path / "a", planted, *overrides).run(trials=12)
    parts = Bench(tmp_path / "b", planted, *overrides)
    parts.run(trials=3)
    parts.run(trials=8)
    again = parts.run(trials=12)
    assert [trial.values for trial in again.trials] == [trial.values for trial in whole.trials]
    assert [trial.state for trial in again.trials] == [trial.state for trial in whole.trials]
    other = Bench(tmp_path / "c", planted, *overrides, "seed=8").run(trials=12)
    assert [trial.values for trial in other.trials][1:] != [trial.values for trial in whole.trials][1:]


def test_no_combination_is_tried_twice(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda values, _: values["lora_r"], "sweep.lora_r=[8, 16, 32, 4]")
    record = bench.run(trials=50)
    assert sorted(trial.values["lora_r"] for trial in record.trials) == [4, 8, 16, 32]
    assert record.stopped == "every combination was tried"


def test_the_number_of_trials_counts_over_all_commands(tmp_path: Path) -> None:
    bench = Bench(tmp_path, planted)
    assert bench.run(trials=4).stopped == "4 of 4 trials"
    with pytest.raises(ConfigError, match="the budget is used up: 4 of 4 trials") as error:
        bench.run(trials=4)
    assert error.value.fix == "raise --trials or --minutes to go on; the result so far is in that folder"
    assert len(bench.run(trials=6).trials) == 6
    assert any(note.startswith("goes on after 4 trials") for note in bench.notes)


def test_a_trial_that_cannot_finish_is_not_begun(tmp_path: Path) -> None:
    bench = Bench(tmp_path, planted, planned=60, takes=60)
    record = bench.run(seconds=210)
    assert len(record.trials) == 3
    assert record.stopped == "the next trial needs about 1.0 minutes, and 0.5 are left"
    assert record.seconds == bench.clock.now == 180


def test_what_trials_really_took_corrects_the_plan(tmp_path: Path) -> None:
    record = Bench(tmp_path, planted, planned=30, takes=60).run(seconds=170)
    assert len(record.trials) == 2
    assert record.stopped == "the next trial needs about 1.0 minutes, and 0.8 are left"


def test_a_trial_is_cut_where_the_budget_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path, planted, planned=10, takes=80)
    record = bench.run(seconds=45)
    (trial,) = record.trials
    assert (trial.state, trial.steps, trial.reason) == ("cut", 5, "the budget ended before the trial did")
    assert record.ranking == ()
    assert record.sentence == "No trial was completed, so nothing is recommended."
    assert bench.clock.now == 50


def test_a_budget_too_small_for_one_trial_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, planted, planned=300)
    with pytest.raises(ConfigError, match=r"no trial fits .* the next trial needs about 5\.0 minutes") as e:
        bench.run(seconds=60)
    assert e.value.fix == "raise --minutes, or lower num_train_epochs"
    kept = stored(bench.workspace, "here")
    assert kept is not None
    assert (kept.trials, kept.seconds) == ((), 0.0)


def test_no_budget_is_the_default_one_aloud() -> None:
    notes: list[object] = []
    config = settings().stage("sweep", STAGES["sweep"])
    assert Budget.of(config, notes.append) == Budget(20, None)
    assert [note.text for note in notes] == ["no budget was stated: 20 trials; --trials or --minutes sets one"]
    both = settings("sweep_minutes=2", "sweep_trials=3").stage("sweep", STAGES["sweep"])
    assert Budget.of(both) == Budget(3, 120.0)


def test_pruning_stops_what_is_behind_early(tmp_path: Path) -> None:
    bench = Bench(tmp_path, planted)
    record = bench.run(trials=20)
    pruned = [trial for trial in record.trials if trial.state == "pruned"]
    assert pruned
    assert all(trial.steps < 8 and len(trial.losses) == trial.steps for trial in pruned)
    assert all(trial.steps == 8 for trial in record.trials if trial.state == "complete")
    assert "behind the median of the complete trials after" in pruned[0].reason
    assert all(trial.state == "complete" for trial in record.trials[:3])
    assert bench.clock.now == sum(trial.steps for trial in record.trials)
    # What was stopped was worse than the median at that moment, each time.
    for trial in pruned:
        point = max(trial.losses)
        before = sorted(t.losses[point] for t in record.trials[: trial.number] if t.state == "complete")
        middle = (before[(len(before) - 1) // 2] + before[len(before) // 2]) / 2
        assert min(trial.losses.values()) > middle


def test_trials_with_few_steps_are_compared_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, planted)

    def three_validations(chosen: Settings, watch: Watch) -> None:
        watch.begin(1)
        for share in (0.3, 0.6, 1.0):
            watch.step()
            watch.validated(share, planted(chosen.as_dict(), share))

    search = Search(bench.settings, make_space(bench.settings), 64, three_validations, clock=bench.clock)
    record = run_sweep(search, new_record(search, "few", IDENTITY), Budget(1, None), bench.workspace)
    assert sorted(record.trials[0].losses) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert record.trials[0].losses[3] == record.trials[0].losses[4] == planted({"learning_rate": 1e-4}, 0.6)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingError("training diverged: loss nan", where="step 3"), "training diverged: loss nan"),
        (ConfigError("lora_r: 64 is larger", where="lora_r"), "lora_r: 64 is larger"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out of memory"),
        (MemoryError(), "out of memory"),
        (math.nan, "the validation loss is not a number"),
    ],
)
def test_a_failure_is_recorded_and_the_sweep_goes_on(tmp_path: Path, error: object, reason: str) -> None:
    def loss(values: dict, share: float) -> float:
        if values["learning_rate"] > 1e-3 and share > 0.3:
            if isinstance(error, Exception):
                raise error
            return math.nan
        return planted(values, share)

    record = Bench(tmp_path, loss).run(trials=12)
    failed = [trial for trial in record.trials if trial.state == "failed"]
    assert {trial.reason for trial in failed} == {reason}
    assert len(record.trials) == 12
    assert record.ranking[0].values["learning_rate"] <= 1e-3
    # The search learns from failures: after the random trials they become rare.
    assert sum(trial.number > 6 for trial in failed) <= 2


def test_the_sampler_is_told_of_a_failure_as_the_worst_there_is() -> None:
    from optuna.trial import TrialState

    shared = {"eval_steps": 1, "losses": {1: 0.5}}  # the failed one was ahead until it broke
    failed = SweepTrial(number=0, values={"learning_rate": 1e-2}, state="failed", **shared)
    pruned = SweepTrial(number=1, values={"learning_rate": 1e-3}, state="pruned", **shared)
    record = made([]).model_copy(update={"trials": (failed, pruned)})
    told = sweeping._study(make_space(settings(WIDE)), record, "seed").trials
    assert [(trial.state, trial.intermediate_values) for trial in told] == [
        (TrialState.PRUNED, {}),
        (TrialState.PRUNED, {1: 0.5}),
    ]


def test_a_fault_of_ours_is_no_failed_trial(tmp_path: Path) -> None:
    def loss(_values: dict, _share: float) -> float:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        Bench(tmp_path, loss).run(trials=2)


def test_nothing_but_failures_ends_the_sweep(tmp_path: Path) -> None:
    def loss(_values: dict, _share: float) -> float:
        raise TrainingError("training diverged: loss inf", where="step 1")

    bench = Bench(tmp_path, loss)
    with pytest.raises(TrainingError, match="the first 5 trials all failed, the last one so: training diverged"):
        bench.run(trials=50)
    kept = stored(bench.workspace, "here")
    assert kept is not None
    assert len(kept.trials) == 5


def test_ctrl_c_keeps_the_finished_trials_and_the_time(tmp_path: Path) -> None:
    whole = Bench(tmp_path / "whole", planted).run(trials=5)
    stops = iter([False] * 20 + [True])

    def loss(values: dict, share: float) -> float:
        if next(stops, False):
            raise Interrupted("stopped by SIGINT", where="x")
        return planted(values, share)

    bench = Bench(tmp_path / "stopped", loss)
    with pytest.raises(Interrupted):
        bench.run(trials=5)
    kept = stored(bench.workspace, "here")
    assert kept is not None
    assert len(kept.trials) == 2
    assert kept.seconds == bench.clock.now == 21
    again = bench.run(trials=5)
    assert [trial.values for trial in again.trials] == [trial.values for trial in whole.trials]


def test_another_sweep_is_refused_by_name(tmp_path: Path) -> None:
    bench = Bench(tmp_path, planted)
    bench.run(trials=2)
    with pytest.raises(ConfigError, match="the trials of this sweep belong to another one: data changed") as error:
        bench.run(trials=4, data="other")
    assert error.value.fix == "undo the change, start over with --fresh, or choose another output_dir"
    wider = Bench(tmp_path, planted, "sweep.learning_rate={low: 1.0e-6, high: 1.0e-1}")
    with pytest.raises(ConfigError, match="configuration, search space changed"):
        wider.run(trials=4, configuration="other")
    fresh = new_record(wider.search, "here", IDENTITY)
    assert len(run_sweep(wider.search, fresh, Budget(3, None), bench.workspace, over=True).trials) == 3


def test_two_commands_do_not_mix_their_trials(tmp_path: Path) -> None:
    def loss(values: dict, share: float) -> float:
        if share == 1:
            other = new_record(bench.search, "here", IDENTITY).model_copy(update={"seconds": 5.0})
            bench.workspace.put("sweep", "here", other)
        return planted(values, share)

    bench = Bench(tmp_path, loss)
    with pytest.raises(InputError, match="another command works on the same sweep"):
        bench.run(trials=3)


def test_validations_are_spread_over_the_trial(tmp_path: Path) -> None:
    search = Bench(tmp_path, planted).search
    assert trial_settings(search, {"learning_rate": 1e-3}).as_dict()["eval_steps"] == 2  # 64 rows, 8 a step, 2 epochs
    known = Bench(tmp_path, planted, WIDE, "eval_steps=5").search
    assert trial_settings(known, {"learning_rate": 1e-3}).as_dict()["eval_steps"] == 5


def test_default_candidates_lie_around_the_own_values() -> None:
    space = {knob.name: str(knob) for knob in make_space(settings())}
    assert space == {
        "learning_rate": "1e-05 to 0.0005, logarithmic",
        "lora_r": "4, 8, 16, 32",
        "num_train_epochs": "1.0, 2.0, 3.0",
        "per_device_train_batch_size": "4, 8, 16",
    }
    assert [knob.name for knob in make_space(settings("method=full", "max_steps=10"))] == [
        "learning_rate",
        "per_device_train_batch_size",
    ]


def test_every_knob_is_a_key() -> None:
    assert set(KNOBS) <= set(settings().as_dict())


@pytest.mark.parametrize(
    ("override", "what", "fix"),
    [
        ("sweep.lora_rank=[8, 16]", "unknown key 'lora_rank' in sweep", "did you mean 'lora_r'?"),
        ("sweep.qwerty=[8, 16]", "unknown key 'qwerty' in sweep", "remove it"),
        ("sweep.seed=[1, 2]", "seed cannot be searched", "take it out of sweep, and set seed as a key of its own"),
        (
            "sweep.lora_r=[]",
            "sweep.lora_r has nothing to choose from: []",
            "add values, or set lora_r as a key of its own",
        ),
        (
            "sweep.lora_r=[8, 8]",
            "sweep.lora_r has nothing to choose from: [8, 8]",
            "add values, or set lora_r as a key of its own",
        ),
        (
            "sweep.lora_r={low: 32, high: 8}",
            "the range of sweep.lora_r is empty: low is 32, high is 8",
            "exchange the two",
        ),
        (
            "sweep.lora_r={low: 8, high: 8}",
            "the range of sweep.lora_r is empty: low is 8, high is 8",
            "set lora_r as a key of its own",
        ),
        (
            "sweep.weight_decay={low: 0, high: 0.1, log: true}",
            "sweep.weight_decay is logarithmic and begins at 0",
            "raise low, or set log: false",
        ),
        ("sweep.lora_r={low: 0, high: 8}", "sweep: lora_r is 0", "correct it in sweep"),
        ("sweep.lora_r={low: 1.5, high: 8}", "sweep: lora_r is 1.5", "correct it in sweep"),
        ("sweep.lr_scheduler_type=[cosine, cosin]", 'sweep: lr_scheduler_type is "cosin"', "correct it in sweep"),
        ("sweep.learning_rate=[auto, 1e-3]", "sweep.learning_rate holds auto", "name the values themselves"),
    ],
)
def test_bad_candidates(override: str, what: str, fix: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_space(settings(override))
    assert (error.value.what, error.value.fix) == (what, fix)
    assert error.value.where.startswith("--set")


def test_a_logarithmic_range_from_zero_needs_no_log_key() -> None:
    with pytest.raises(ConfigError, match=r"sweep: learning_rate is 0"):
        make_space(settings("sweep.learning_rate={low: 0, high: 0.1}"))


def test_candidates_that_nothing_reads_are_refused() -> None:
    with pytest.raises(ConfigError, match="sweep searches lora_r, which method: full does not read"):
        make_space(settings("method=full", "sweep.lora_r=[8, 16]"))
    assert make_space(settings("method=prefix", "sweep.num_virtual_tokens=[4, 8]"))[0].choices == (4, 8)
    with pytest.raises(ConfigError, match="sweep searches num_virtual_tokens, which method: lora") as error:
        make_space(settings("sweep.num_virtual_tokens=[4, 8]"))
    assert error.value.fix == "take num_virtual_tokens out of sweep, or set method: prefix"
    with pytest.raises(ConfigError, match="sweep searches num_train_epochs, and max_steps overrides it"):
        make_space(settings("max_steps=5", "sweep.num_train_epochs=[1, 2]"))
    with pytest.raises(ConfigError, match="2 problems"):
        make_space(settings("sweep.lora_r=[]", "sweep.sede=[1, 2]"))


def made(losses: list[float], has_own: bool = True) -> SweepRecord:
    trials = [
        SweepTrial(number=n, values={"lora_r": n}, eval_steps=1, state="complete", loss=loss)
        for n, loss in enumerate(losses)
    ]
    return SweepRecord(
        sweep_id="x", created_at="", identity={}, space={"lora_r": "0, 1"}, has_own=has_own, trials=tuple(trials)
    )


def test_the_sentence_says_how_sure_one_may_be() -> None:
    said = sentence(made([1.3, 1.2, 1.205, 1.5]))
    assert said.startswith("Trial 1 has the lowest validation loss, 1.2000, of 4 complete trials.")
    assert "The best 3 lie 0.1000 apart, the best and the worst 0.3000." in said
    assert "2 of them are within 1% of the best: take these as equally good." in said
    assert "Your configuration as it stood reached 1.3000, 0.1000 behind." in said
    assert "The best of 4 on one validation set looks better than it is" in said
    assert "test rows, which no trial has seen" in said
    assert "as it stood is the best one" in sentence(made([1.0, 1.2]))
    assert "as it stood" not in sentence(made([1.0, 1.2], has_own=False))
    assert "Only trial 0 was completed" in sentence(made([1.0]))
