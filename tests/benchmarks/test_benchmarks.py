"""The benchmarks can be started, and what they compute from timings is right. Nothing is timed here."""

from __future__ import annotations

import gzip
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

import benchmarks
from benchmarks import __main__ as command
from benchmarks import attention, commands, data, install, job, load, results, rivals, rows, settings, training, work
from benchmarks.load import Usage
from benchmarks.results import Result, judged, not_measured

QUIET, BUSY = Usage(10.0, 1.98, 0.02), Usage(10.0, 1.2, 0.5)


def test_every_module_imports() -> None:
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name != "__main__"]
    assert len(names) >= 10
    for name in names:
        if name != "serving_llama":  # runs in an environment of its own, which has what it imports
            importlib.import_module(f"benchmarks.{name}")


def test_every_listed_benchmark_has_its_function(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(callable(benchmark.load()) for benchmark in command.BENCHMARKS.values())
    assert command.main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(command.BENCHMARKS)


def test_the_rival_side_needs_nothing_of_ours() -> None:
    code = "import sys; sys.modules.update(tunesmith=None, torch=None, rich=None); "
    code += "import benchmarks.train_trl, benchmarks.train_unsloth"
    child = subprocess.run([sys.executable, "-c", code], cwd=settings.ROOT, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr


@pytest.mark.parametrize(
    ("value", "at_most", "at_least", "usage", "verdict"),
    [
        (0.4, 0.5, None, QUIET, "met"),
        (0.5, 0.5, None, None, "met"),
        (0.6, 0.5, None, QUIET, "not met"),
        (2.3, None, 2.2, QUIET, "met"),
        (2.1, None, 2.2, QUIET, "not met"),
        (2.3, None, 2.2, BUSY, "not measured"),
        (0.6, 0.5, None, BUSY, "not measured"),
        (float("nan"), 0.5, None, QUIET, "not measured"),
        (float("nan"), None, None, None, "not measured"),
        (3.0, None, None, BUSY, "no goal"),
    ],
)
def test_verdicts(
    value: float, at_most: float | None, at_least: float | None, usage: Usage | None, verdict: str
) -> None:
    assert judged("x", value, "s", at_most=at_most, at_least=at_least, usage=usage).verdict == verdict


def test_a_contended_timing_is_shown_and_says_so() -> None:
    result = judged("x", 0.4, "s", at_most=0.5, usage=BUSY)
    assert result.measured == "0.40 s"
    assert result.note == "others used 0.50 cores (more than 0.12): contended, figures not valid"


def test_what_could_not_be_measured_is_never_passed() -> None:
    result = not_measured("x", "no network", "≤ 1 s")
    assert (result.verdict, result.value, result.note) == ("not measured", None, "not measured: no network")
    assert not results.failed({"a": [result, judged("y", 1, "s", at_most=1)]})
    assert results.failed({"a": [result], "b": [judged("y", 2, "s", at_most=1)]})


def test_the_table_shows_every_figure() -> None:
    from rich.console import Console

    found = {
        "help": [judged("--help", 0.2, "s", at_most=0.5, usage=QUIET)],
        "install": [not_measured("size", "no pip")],
    }
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(results.table(found))
    text = console.export_text()
    assert [word in text for word in ("≤ 0.5 s", "0.20 s", "met", "not measured: no pip")] == [True] * 4


def test_saved_figures_name_machine_versions_and_date(tmp_path: Path) -> None:
    path = results.save(tmp_path / "results", "help", [judged("--help", 0.2, "s", at_most=0.5, usage=QUIET)])
    document = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == f"{document['date'][:10]}-help.json"
    assert document["machine"]["cores"] >= 1
    assert set(results.VERSIONED) == set(document["versions"])
    [figure] = document["results"]["help"]
    assert (figure["goal"], figure["verdict"], figure["details"]["usage"]["own"]) == ("≤ 0.5 s", "met", 1.98)


def test_a_benchmark_that_breaks_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_settings: settings.Settings) -> list[Result]:
        raise settings.Unavailable("exit code 2: no such thing")

    monkeypatch.setattr(commands, "measure_help", broken)
    assert command.main(["help", "--no-save", "--json", str(tmp_path / "all.json")]) == 0
    assert "not measured: exit code 2: no such thing" in capsys.readouterr().out
    assert json.loads((tmp_path / "all.json").read_text())["results"]["help"][0]["value"] is None


def test_processor_time_of_all_is_read() -> None:
    stat = "cpu  100 20 30 9999 888 7 6 5 4 3\ncpu0 1 2 3\n"
    assert load.busy_seconds(stat) == pytest.approx((100 + 20 + 30 + 7 + 6 + 5) / 100)


def test_the_clock_counts_steps_after_the_warm_up() -> None:
    clock = load.StepClock(2)
    clock.start()
    for _ in range(3):
        clock.step_ended()
    assert len(clock.seconds) == 3
    assert clock.usage().seconds <= sum(clock.seconds) + 1
    assert load.peak_memory() > 1024**2


def test_speed_is_the_median_after_the_warm_up() -> None:
    assert training.rate([100, 200], [50.0, 50.0, 1.0, 1.0, 2.0], warm_up=2) == 100.0


def test_losses_are_compared_step_by_step() -> None:
    assert training.largest_difference([2.0, 1.0, 1.5], [2.0, 1.25, 1.5]) == pytest.approx(20.0)
    reading = {"rows": 2, "rows_with_equal_ids": 2, "trained_by_trl": 10, "trained_here": 8}
    ours = {"losses": [2.0] * 25}
    assert training.compare_losses(ours, {"losses": [2.01] * 25, "reading": reading}, "x").verdict == "met"
    assert training.compare_losses(ours, {"losses": [2.1] * 25, "reading": reading}, "x").verdict == "not met"
    short = training.compare_losses({"losses": [2.0]}, {"losses": [2.0]}, "x")
    assert short.note == "not measured: 1 steps, 20 are needed"


def test_the_rival_is_the_fastest_setting_that_computes_the_same() -> None:
    trials = {
        "slow": training.Trial(150.0, 0.4, QUIET),
        "fast": training.Trial(290.0, 0.5, QUIET),
        "other": training.Trial(400.0, 9.9, QUIET),
    }
    assert training.fastest(trials) == "fast"
    assert training.fastest({"other": trials["other"]}) is None


def test_without_the_rival_only_our_side_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bench:
        settings, work, rows_name = settings.Settings(steps=5, rounds=1), work.work(steps=5), "rows"
        task: ClassVar[dict[str, object]] = {}
        step_tokens: ClassVar[list[int]] = []

        def __init__(self, *_arguments: object) -> None: ...

        def ours(self) -> dict[str, object]:
            usage = {"seconds": 1.0, "own": 2.0, "foreign": 0.0}
            return {"timed_flops": 1e9, "gemm_flops": 4e9, "peak_bytes": 2**30, "usage": usage}

        def rate(self, _figures: object) -> float:
            return 300.0

    def absent() -> Path:
        raise settings.Unavailable("pip found nothing")

    monkeypatch.setattr(training, "_Bench", Bench)
    monkeypatch.setattr(rivals, "trl_python", lambda four_bit: absent())
    monkeypatch.setattr(rivals, "unsloth_python", absent)
    found = {result.what: result for result in training.measure(settings.Settings(steps=5, rounds=1))}
    assert found["speed, ours"].value == 300.0
    assert found["share of that reached, ours"].value == 25.0
    for rival in training.RIVALS:
        assert found[rival.speed].note == f"not measured: {rival.name}'s environment: pip found nothing"
        assert {found[rival.speed].verdict, found[rival.loss].verdict} == {"not measured"}


def test_rivals_take_turns_and_each_is_judged_by_its_own_goal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    turns: list[str] = []
    quiet = {"seconds": 1.0, "own": 2.0, "foreign": 0.0}

    class Bench(training._Bench):
        def __init__(self, given: settings.Settings, chosen: work.Work, folder: Path) -> None:
            self.settings, self.work, self.folder, self.rows_name, self._reference = given, chosen, folder, "rows", None
            self.step_tokens, self.task = [300], chosen.task()

        def _measure(self, side: str, _command: object, rest: list[str]) -> dict[str, object]:
            turns.append(side)
            seconds = {"ours": 1.0, "TRL": 4.0, "Unsloth": 1.2}[side.partition(",")[0]]
            known = {"usage": quiet, "peak_bytes": 2**30, "timed_flops": 1e9, "gemm_flops": 4e9}
            steps = int(rest[0])
            return {**known, "seconds": [seconds] * steps, "losses": [2.0] * steps}

    monkeypatch.setattr(training, "_Bench", Bench)
    monkeypatch.setattr(rivals, "trl_python", lambda four_bit: tmp_path)
    monkeypatch.setattr(rivals, "unsloth_python", lambda: tmp_path)
    found = {result.what: result for result in training.measure(settings.Settings(steps=20, rounds=2))}
    assert [side.partition(",")[0] for side in turns[-6:]] == ["ours", "TRL", "Unsloth"] * 2
    assert (found["speed, ours / TRL"].value, found["speed, ours / TRL"].verdict) == (4.0, "met")
    assert (found["speed, ours / Unsloth"].value, found["speed, ours / Unsloth"].verdict) == (1.2, "not met")


def test_rows_are_the_same_on_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tuple(rows.made_rows(500))
    assert made == tuple(rows.made_rows(500))
    assert len(set(made)) == 500
    folder = tmp_path / "shared" / "data" / "e2e-restaurants"
    folder.mkdir(parents=True)
    for name in ("train", "dev"):
        lines = "".join(json.dumps({"mr": f"name[{name} {n}]", "text": f"{n}"}) + "\n" for n in range(20))
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    monkeypatch.setattr(rows, "ROOT", tmp_path / "repository" / "deeper")
    found = rows.training_rows(15, 3)
    assert (len(found.train), len(found.held_out)) == (15, 3)
    assert found.train[0].prompt.startswith("Write one sentence or two about this restaurant: name[train ")
    rows.write_pairs(tmp_path / "pairs.jsonl", found.train)
    assert json.loads((tmp_path / "pairs.jsonl").read_text().splitlines()[0])["completion"] == found.train[0].completion


def test_sizes_leave_out_torch_and_ourselves() -> None:
    listed = {"torch": "2", "pip": "1", "setuptools": "1", "tunesmith": "0", "numpy": "2", "rouge_score": "0"}
    count, size = install.sizes(listed, {"torch": 10**9, "numpy": 70_000_000, "rouge-score": 1_000_000})
    assert (count.value, size.value) == (2, 71.0)
    assert "numpy 70" in size.note
    assert "torch itself 1000" in size.note


def test_packages_are_weighed() -> None:
    site = Path(pytest.__file__).parents[1]
    assert install.package_bytes(site)["pytest"] > 100_000


@pytest.mark.parametrize(
    ("loaded", "listed", "verdict"),
    [(["json"], ["numpy"], "met"), (["wandb"], [], "not met"), ([], ["torchvision"], "not met")],
)
def test_unwanted_packages_are_noticed(loaded: list[str], listed: list[str], verdict: str) -> None:
    found = install.unwanted({"modules": 3, "loaded": loaded}, dict.fromkeys(listed, "1"))
    assert found.verdict == verdict


PROGRESS = """
model  smollm2
measuring the base model  20 held-out rows
training  lora, 400 rows
  training: 1/50 (2 %)  loss 2.9
  training: 10/50 (20 %)  loss 1.9
  saved best of step 40: run/adapter
judging  the saved weights against the base"""


def test_the_parts_of_a_job_are_read_from_its_progress() -> None:
    lines = [job.Line(10.0 * number, text) for number, text in enumerate(PROGRESS.splitlines())]
    when = job.moments(lines, 80.0)
    assert list(vars(when).values()) == [20.0, 30.0, 40.0, 60.0, 70.0, 80.0]
    run = {"validation_losses": {10: 1.0}, "steps": 50, "tokens": 1000, "seconds": 10.0, "peak_memory_bytes": 2**30}
    found = job.judge(when, QUIET, run, "rows")
    assert (found[0].value, found[0].verdict, found[4].value) == (50.0, "met", 80.0)
    assert (found[2].what, found[2].value, found[2].verdict) == ("start to the first step", 30.0, "not met")
    with pytest.raises(settings.Unavailable, match="no line 'saved best'"):
        job.moments(lines[:5], 70.0)
    assert [line.text for line in job.headings(lines)][:2] == ["model  smollm2", PROGRESS.splitlines()[2]]


def test_progress_lines_carry_their_times(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('one\\n  two', file=sys.stderr); sys.exit(1)"
    usage, lines, output = job.timed_lines([sys.executable, "-c", code], tmp_path, {})
    assert ([line.text for line in lines], output) == (["one", "  two"], "out\n")
    assert 0 <= lines[0].seconds <= usage.seconds
    with pytest.raises(settings.Unavailable, match="exit code 2: gone"):
        job.timed_lines([sys.executable, "-c", "import sys; print('gone', file=sys.stderr); sys.exit(2)"], tmp_path, {})


def test_the_share_of_fitting_answers_is_the_tuned_ones() -> None:
    summaries = [
        {"model": "base", "metric": "schema_valid", "value": 0.0},
        {"model": "tuned", "metric": "json_valid", "value": 1.0},
        {"model": "tuned", "metric": "schema_valid", "value": 0.975},
    ]
    assert job.fitting({"summaries": summaries}) == [97.5]


TABLE = [
    {"length": 64, "documents": 8, "padded": 1.0, "fused": 2.0},
    {"length": 512, "documents": 8, "padded": 2.0, "fused": 1.9},
    {"length": 1024, "documents": 4, "padded": 3.0, "fused": 1.5},
]


def test_the_switch_between_attentions_is_judged() -> None:
    assert attention.best_switch(TABLE) == 512
    assert attention.most_lost(TABLE, 512) == pytest.approx(0.0)
    assert attention.most_lost(TABLE, 4096) == pytest.approx(100.0)
    usage = QUIET.as_dict()
    good = attention.judge({"table": TABLE, "long_document": 1024, "usage": usage})[-1]
    assert (good.verdict, round(good.value or 0, 1)) == ("met", 5.3)
    assert attention.judge({"table": TABLE, "long_document": 64, "usage": usage})[-1].verdict == "not met"


def test_environments_of_rivals_lie_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNESMITH_RIVALS", str(tmp_path))
    assert rivals.folder() == tmp_path.resolve()
    monkeypatch.delenv("TUNESMITH_RIVALS")
    assert rivals.folder() == settings.ROOT / "build" / "rivals"


def test_a_failed_program_says_why() -> None:
    with pytest.raises(settings.Unavailable, match=r"ended with 3: first \| last"):
        settings.run([sys.executable, "-c", "import sys; print('first\\nlast', file=sys.stderr); sys.exit(3)"])


def test_growth_compares_the_largest_count_with_smaller_ones() -> None:
    def figures(seconds: float, peak: float) -> dict[str, object]:
        return {"seconds": seconds, "peak": peak, "usage": QUIET.as_dict()}

    found = {
        **{("rows", n): figures(n * 1e-3, 400e6) for n in data.COUNTS},
        **{("first", n): figures(n * 2e-3, 300e6 + n * 4096) for n in data.COUNTS},
        **{("second", n): figures(n * 5e-4, 300e6) for n in data.COUNTS},
    }
    linear, flat, per_row, saved = data.growth(found)
    assert (linear.value, linear.verdict) == (pytest.approx(1.0), "met")
    assert (flat.value, flat.verdict) == (1.0, "met")
    assert per_row.value == pytest.approx(4.0)
    assert saved.value == pytest.approx(75.0)
    found["rows", 100_000] = figures(200.0, 4000e6)
    assert [result.verdict for result in data.growth(found)[:2]] == ["not met", "not met"]


def test_one_measurement_of_the_way_to_batches(tiny_tokenizer: Path, tmp_path: Path) -> None:
    assert set(data.rows_to_batches(tiny_tokenizer, 20, tmp_path)) == {"tokenising", "opening", "packing"}
    assert data.start(tiny_tokenizer, 80, tmp_path)["curate.run"] > 0
    shards = [path for path in (tmp_path / "workspace" / "cache").iterdir() if path.name.startswith("rows-")]
    data.start(tiny_tokenizer, 80, tmp_path)
    assert [path for path in (tmp_path / "workspace" / "cache").iterdir() if path.name.startswith("rows-")] == shards
