"""The GPU suite at tiny size on the processor: every check and timing runs, and says what it could not measure."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as suite
from benchmarks.gpu import checks, made, parts, speed
from benchmarks.results import Result
from benchmarks.settings import Unavailable
from tunesmith.model.quant import Linear4
from tunesmith.train.preflight import training_flops

CPU = torch.device("cpu")


def test_without_a_gpu_nothing_is_measured_and_that_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert suite.main([]) == 2
    assert "nothing was measured: torch finds no GPU here" in capsys.readouterr().err


def test_all_parts_together_take_nine_minutes_at_most() -> None:
    assert sum(part.limit for part in parts.PARTS.values()) <= 9 * 60


def test_made_models_have_true_shapes_and_no_zeros() -> None:
    assert (made.LLAMA_8B.linear, made.LLAMA_70B.linear) == (6_979_321_856, 68_451_041_280)
    assert (made.adapter_width(made.LLAMA_8B), made.adapter_width(made.LLAMA_70B)) == (2_621_440, 12_943_360)
    model = made.make_model(made.TINY, CPU, torch.float32, four_bit=False)
    assert sum(p.numel() for name, p in model.named_parameters() if name.endswith("proj.weight")) == made.TINY.linear
    assert all(bool((p != 0).all()) for p in model.parameters())
    assert made.TINY.config().hidden_size == model.config.hidden_size


def test_a_4_bit_base_is_made_layer_by_layer_and_runs_packed() -> None:
    base = made.make_base(made.TINY, CPU, torch.float32, four_bit=True)
    layers = [module for module in base.model.modules() if isinstance(module, Linear4)]
    assert (len(layers), base.way.alone) == (7 * made.TINY.layers, "")
    assert isinstance(base.model.lm_head, torch.nn.Linear)


def test_operations_are_those_of_the_planner_and_attention() -> None:
    base = made.make_base(made.TINY, CPU, torch.float32)
    trainable = checks.fresh(base, rank=4)
    lengths, targets = (10, 20), 15
    attention = 6.0 * made.TINY.layers * made.TINY.hidden * (100 + 400)
    planned = training_flops(base, trainable, sum(lengths), targets)
    assert made.model_flops(made.TINY, lengths, targets, rank=4) == pytest.approx(planned + attention)


def test_every_check_passes_on_the_processor() -> None:
    found = list(checks.run(CPU, made.TINY))
    verdicts = {result.what: (result.verdict, result.note) for result in found}
    kernels = {what for what in verdicts if what.startswith("variable-length kernel")}
    assert {verdicts[what][0] for what in kernels} == {"not measured"}, "there is no such kernel on a processor"
    assert {what: verdict for what, verdict in verdicts.items() if what not in kernels and verdict[0] != "met"} == {}
    assert len(found) == 10


def test_a_check_fails_where_the_device_computes_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    true = checks.varlen.plain
    monkeypatch.setattr(checks.varlen, "plain", lambda *arguments: true(*arguments[:4], 0.5, 0))
    assert checks.attention(CPU, torch.float32).verdict == "not met"


def test_steps_are_timed_with_and_without_recompute() -> None:
    base = made.make_base(made.TINY, CPU, torch.float32)
    for recompute in (False, True):
        found = speed.measure("tiny", base, made.TINY, (16, 8, 24), 2, recompute=recompute)
        assert [result.what for result in found] == ["tiny: speed", "tiny: peak memory of tensors", "tiny: GPU busy"]
        assert (found[0].value or 0) > 0
        assert "2 steps of 48 tokens" in found[0].note
        assert found[2].verdict == "not measured"
    assert base.router.training is None


def test_what_does_not_fit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    base = made.make_base(made.TINY, CPU, torch.float32)

    def full(*_arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    monkeypatch.setattr(speed, "run_steps", full)
    [result] = speed.measure("tiny", base, made.TINY, (16,), 1)
    assert (result.verdict, "does not fit into the memory" in result.note) == ("not measured", True)


def test_utilisation_is_stated_against_the_peak_that_is_given() -> None:
    timed = speed.Timed((0.5, 0.25, 0.25), tokens=100, targets=100, peak_bytes=2**30, busy=96.0)
    found = {r.what: r for r in speed.describe("x", made.TINY, timed, (100,), peak_flops=1e12, goal=300)}
    assert (found["x: speed"].value, found["x: speed"].verdict) == (400.0, "met")
    assert found["x: GPU busy"].verdict == "met"
    done = made.model_flops(made.TINY, (100,), 100, speed.RANK) / 0.25
    assert found["x: model-FLOP utilisation"].value == pytest.approx(100 * done / 1e12)


def test_the_busy_share_counts_overlapping_kernels_once() -> None:
    assert speed.busy_share([(0, 4), (2, 6), (8, 10)]) == pytest.approx(80.0)
    assert speed.busy_share([(5, 6), (0, 10)]) == pytest.approx(100.0)
    assert speed.busy_share([]) is None


def test_the_parts_run_at_tiny_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise Unavailable("Unsloth is not installed here")

    monkeypatch.setattr(parts, "unsloth_python", absent)
    tiny = made.TINY
    found = [
        *parts.eight_billion(CPU, tiny, (16, 16), 2),
        *parts.short_rows(CPU, tiny, (5, 9, 7), 2),
        *parts.seventy_billion(CPU, tiny, (16, 32), 1),
        *parts.unpacking(CPU, (128, 64), (4, 8), 0.01),
    ]
    named = {result.what: result for result in found}
    assert named["tiny, 2 × 16 tokens, all layers recomputed: speed"].value
    assert named["tiny, 3 short rows: speed, ours / Unsloth"].note == "not measured: Unsloth is not installed here"
    assert named["tiny, QLoRA, 32 tokens: memory of the device"].value
    assert named["… beside its product with 8 tokens"].value
    assert not [
        what for what, result in named.items() if "speed" in what and result.unit == "tokens/s" and not result.value
    ]


def test_the_job_for_the_rival_is_whole(tmp_path: Path) -> None:
    job = json.loads(parts.write_job(tmp_path, CPU, made.TINY, (5, 9), 3).read_text(encoding="utf-8"))
    assert (job["batch"], [len(row["input_ids"]) for row in job["rows"]]) == (2, [5, 9] * 4)
    assert job["order"] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert (Path(job["model"]) / "model.safetensors").exists()
    assert (Path(job["adapter"]) / "adapter_model.safetensors").exists()


def test_a_part_in_a_child_keeps_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        parts.PARTS, "two", parts.Part("", lambda _where: iter([Result("a", 1.0, "s", "", "no goal")]), 1)
    )
    assert suite.run_part("two", tmp_path / "out.json", "cpu") == 0
    [kept] = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert Result(**kept) == Result("a", 1.0, "s", "", "no goal")


def test_a_part_that_breaks_or_hangs_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    [broken] = suite.in_child("no such part", "cpu", 120.0)
    assert broken.what == "the rest of no such part"
    assert "ended with 1" in broken.note
    [hung] = suite.in_child("NF4 unpacking", "cpu", 0.1)
    assert hung.note == "not measured: stopped at its limit of 0.1 s"


def test_the_figures_are_kept_with_the_gpu_and_the_versions(tmp_path: Path) -> None:
    suite.save(tmp_path / "gpu.json", {"8B LoRA": [Result("a", 1.0, "s", "", "no goal")]}, {"gpu": "H200"})
    kept = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert (kept["machine"]["gpu"], kept["results"]["8B LoRA"][0]) == (
        "H200",
        asdict(Result("a", 1.0, "s", "", "no goal")),
    )
    assert set(suite.VERSIONED) < set(kept["versions"])
    assert sys.version.startswith(kept["machine"]["python"])
