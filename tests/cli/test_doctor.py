"""What the doctor sees, says, and answers with."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tunesmith.cli import doctor, main
from tunesmith.core.artifacts import Machine

GIB = 1024**3
GOOD = Machine(
    facts={"device": "Some CPU", "cores": "2", "threads": "2 (all)", "memory": "20.0 of 24.0 GiB", "gpu": "none"},
    threads=2,
    threads_reason="all 2 usable cores",
    fast_bf16=True,
    available_memory_bytes=20 * GIB,
    gflops={"one thread": 200.0, "2 threads": 390.0},
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A healthy machine; tests change ``found`` to make it ill."""
    state = SimpleNamespace(found=GOOD)
    lifecycle = ModuleType("tunesmith.lifecycle")
    lifecycle.machine = lambda: state.found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tunesmith.lifecycle", lifecycle)
    monkeypatch.setattr(metadata, "requires", lambda _name: ["numpy>=2", "peft>=1; extra == 'dev'"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=50 * GIB))
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "workspace"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return state


def _report(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, Any]]]:
    code = main.run(["doctor", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    return code, {check["name"]: check for check in checks}


@pytest.mark.usefixtures("machine")
def test_a_healthy_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "✓ packages      numpy" in out
    assert "✓ threads       2: all 2 usable cores" in out
    assert "✓ speed         one thread 200 GFLOP/s, 2 threads 390 GFLOP/s" in out
    assert out.endswith("\nready\n")


@pytest.mark.usefixtures("machine")
def test_json_report_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = _report(capsys)
    assert code == 0
    assert {check["status"] for check in checks.values()} == {"ok"}
    assert {"Python", "packages", "workspace", "disk", "network", "torch", "threads", "memory", "speed"} <= set(checks)


@pytest.mark.usefixtures("machine")
def test_an_inherited_thread_limit_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    code, checks = _report(capsys)
    assert code == 0, "a warning is no failure"
    assert checks["threads"]["status"] == "warning"
    assert "unset OMP_NUM_THREADS" in checks["threads"]["fix"]


def test_a_busy_neighbour_shows_as_a_missing_speed_up(
    machine: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.found = GOOD.model_copy(update={"gflops": {"one thread": 200.0, "2 threads": 170.0}})
    code, checks = _report(capsys)
    assert code == 0
    assert checks["speed"]["status"] == "warning"
    assert "something else uses the cores" in checks["speed"]["detail"]
    assert "stop the other program" in checks["speed"]["fix"]


def test_no_speed_up_is_expected_of_one_thread(machine: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    machine.found = GOOD.model_copy(update={"threads": 1, "gflops": {"one thread": 200.0}})
    assert _report(capsys)[1]["speed"]["status"] == "ok"


@pytest.mark.parametrize(("free", "status", "code"), [(3 * GIB, "warning", 0), (GIB // 2, "error", 1)])
def test_little_memory(
    free: int, status: str, code: int, machine: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.found = GOOD.model_copy(update={"available_memory_bytes": free})
    exit_code, checks = _report(capsys)
    assert (exit_code, checks["memory"]["status"]) == (code, status)
    assert "choose a smaller model" in checks["memory"]["fix"]


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("free", "status", "code"), [(2 * GIB, "warning", 0), (GIB // 4, "error", 1)])
def test_little_disk_space(
    free: int, status: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    exit_code, checks = _report(capsys)
    assert (exit_code, checks["disk"]["status"]) == (code, status)
    assert "free some space" in checks["disk"]["fix"]


def test_slow_number_format(machine: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    machine.found = GOOD.model_copy(update={"fast_bf16": False})
    assert _report(capsys)[1]["number format"] == {
        "name": "number format",
        "status": "warning",
        "detail": "fp32",
        "fix": "",
    }


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("requirement", "detail"),
    [("numpy>=999", "does not fit: >=999 is needed"), ("no-such-package>=2", "no-such-package is missing")],
)
def test_a_missing_or_unfit_package_is_an_error(
    requirement: str, detail: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _name: [requirement])
    assert main.run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "✗ packages" in out
    assert detail in out
    assert "fix: pip install" in out
    assert out.endswith("1 of these must be put right first\n")


@pytest.mark.usefixtures("machine")
def test_a_workspace_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "taken" / "workspace"))
    code, checks = _report(capsys)
    assert code == 1
    assert "is a file" in checks["workspace"]["detail"]
    assert "set TUNESMITH_HOME" in checks["workspace"]["fix"]


def test_looking_makes_nothing(machine: SimpleNamespace, tmp_path: Path) -> None:
    assert machine.found is GOOD
    assert main.run(["doctor"]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("machine")
def test_the_offline_switch_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TUNESMITH_OFFLINE", "1")
    assert "switched off" in _report(capsys)[1]["network"]["detail"]


def test_a_broken_torch_is_an_error(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert machine.found is GOOD

    def broken() -> Machine:
        raise ImportError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr(sys.modules["tunesmith.lifecycle"], "machine", broken)
    code, checks = _report(capsys)
    assert code == 1
    assert "libtorch.so" in checks["torch"]["detail"]
    assert "threads" not in checks


@pytest.mark.usefixtures("machine")
def test_marks_survive_a_terminal_without_unicode(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "MARKS", doctor.ASCII_MARKS)
    assert main.run(["doctor"]) == 0
    assert "+ Python" in capsys.readouterr().out
