"""Every recipe's config loads, and its data pass the checks."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tunesmith import curate
from tunesmith.core.config import load
from tunesmith.lifecycle import STAGES
from tunesmith.text.template import load_renderer

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(path.parent for path in (ROOT / "recipes").glob("*/tunesmith.yaml"))


@pytest.fixture
def recipe(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a recipe with its data made, and the current folder."""
    copy = tmp_path / "recipe"
    shutil.copytree(request.param, copy)
    monkeypatch.chdir(copy)
    subprocess.run([sys.executable, "make_data.py"], check=True, capture_output=True, timeout=60)
    return copy


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name, indirect=True)
def test_config_and_data_are_good(recipe: Path, tiny_tokenizer: Path) -> None:
    settings = load(recipe / "tunesmith.yaml", STAGES)
    dataset = curate.run(settings.stage("data", curate.Config), load_renderer(tiny_tokenizer), 512)
    assert dataset.card.findings == ()
    assert {split for split, rows in dataset.card.rows.items() if rows > 10} == {"train", "validation", "test"}


def test_the_tickets_follow_their_schema_and_are_always_the_same() -> None:
    rows = runpy.run_path(str(ROOT / "recipes" / "tickets-to-json" / "make_data.py"))["rows"]
    schema = json.loads((ROOT / "recipes" / "tickets-to-json" / "ticket.schema.json").read_text())
    made = rows(50)
    assert made == rows(50)
    for ticket in made:
        jsonschema.validate(json.loads(ticket["completion"]), schema)
