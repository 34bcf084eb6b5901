"""``eval --risk``: what tuning may have done besides, from the command line, on a tiny run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, refusal
from tests.command import Ran
from tests.project import Project


@pytest.fixture
def run(project: Project, trained: Ran) -> Path:
    assert trained.code == 0, trained.err
    return project.run


def test_risks_of_a_run_are_measured_and_not_passed_without_power(desk: Desk, run: Path) -> None:
    ran = desk.ask("eval", run, "--risk", "leakage", "--risk", "bias", "--json")
    assert ran.code == 1, ran.err
    leakage, bias = json.loads(ran.out)["risks"]
    assert [leakage["kind"], bias["kind"]] == ["leakage", "bias"]
    gates = {gate["name"]: gate for gate in leakage["gates"]}
    assert gates["leakage: canaries"]["verdict"] == "not measured"
    assert {gate["subject_digest"] for gate in leakage["gates"]} == {leakage["tuned"]["digest"]}
    assert "does not by itself establish anonymity" in leakage["statement"]
    assert len(bias["items"]) == 432
    told = desk.ask("eval", run, "--risk", "bias")
    assert told.code in (0, 1)
    assert "bias: " in told.out


def test_canaries_are_made_and_a_run_without_them_is_no_twin(desk: Desk, run: Path) -> None:
    made = desk.ask("data", "canaries", "tunesmith.yaml", "--candidates", "200", "--json")
    assert made.code == 0, made.err
    planting = json.loads(made.out)
    assert len(planting["candidates"]) == 200
    lines = (desk.folder / "canaries.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 20 * (1 + 2 + 4 + 8 + 16)
    error = refusal(desk.ask("eval", run, "--risk", "leakage", "--twin", run))
    assert "was not trained on canaries of this workspace" in error.what


def test_what_cannot_be_measured(desk: Desk, run: Path) -> None:
    assert refusal(desk.ask("eval", run)).what == "there is nothing to measure"
    assert refusal(desk.ask("eval", run, "--risk", "drift")).what == "there is no risk called drift"
    error = refusal(desk.ask("eval", desk.base, "--risk", "bias"))
    assert error.what == f"{desk.base} is a base, and no adapter on one"
    shutil.copytree(run / "adapter", desk.folder / "copied")
    error = refusal(desk.ask("eval", "copied", "--risk", "leakage"))
    assert error.what.startswith("the training rows of ")
    assert refusal(desk.ask("eval", desk.folder / "no-run", "--risk", "all")).what
