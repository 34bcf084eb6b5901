"""``tunesmith data synth``: what it refuses, what it writes, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.curate.helpers import jsonl, pair
from tests.curate.synth.test_synth import Numbered
from tunesmith.cli import main


@pytest.fixture
def seeds(tmp_path: Path) -> str:
    return jsonl(
        tmp_path / "seeds.jsonl", *[pair(f"question {i} of all?", json.dumps({"n": i, "m": 2})) for i in range(9)]
    )


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main.run(["data", "synth", *arguments]) == 2
    return capsys.readouterr().err


def test_what_cannot_be_made_is_refused_before_anything_is_asked(
    seeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "new.jsonl")
    assert "did you mean paraphrase?" in refused([seeds, "--out", out, "--method", "paraphrases"], capsys)
    assert "needs a generator, and none was given" in refused([seeds, "--out", out], capsys)
    assert "is no .jsonl file" in refused([seeds, "--out", out + ".csv", "--method", "pairs"], capsys)
    Path(out).write_text("kept")
    assert "is already there" in refused([seeds, "--out", out, "--method", "pairs"], capsys)
    assert Path(out).read_text() == "kept"
    schema = ["--schema", str(tmp_path / "none.json"), "--model", "x@http://127.0.0.1:9/v1"]
    assert "the JSON Schema cannot be read" in refused([seeds, "--out", out, "--force", *schema], capsys)


def test_rows_counts_and_cost(
    seeds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tunesmith.serve.open_remote", lambda name: Numbered("x", name=name))
    out = tmp_path / "new.jsonl"
    arguments = ["data", "synth", seeds, "--out", str(out), "--model", "m@http://127.0.0.1:9/v1", "--rows", "20"]
    assert main.run([*arguments, "--price", "2", "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (answer["rows"], answer["wanted"], answer["asked"]) == (20, 20, 64)
    assert answer["cost"] == "0.0017 EUR at 2 EUR for a million tokens"
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(row["synthetic"]["method"] == "new-questions" for row in rows)
    assert main.run([*arguments, "--force"]) == 0
    said = capsys.readouterr().out
    assert "20 of 20 rows, each marked as synthetic" in said
    assert "cost not measured (no --price given)" in said


def test_pairs_need_no_generator(seeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pairs.jsonl"
    assert main.run(["data", "synth", seeds, "--out", str(out), "--method", "pairs", "--rows", "10"]) == 0
    assert {"prompt", "chosen", "rejected", "synthetic"} == set(json.loads(out.read_text().splitlines()[0]))
    assert main.run(["data", "synth", seeds, "--out", str(out), "--method", "pairs", "--rows", "999", "--force"]) == 1
    assert " of 999 pairs" in capsys.readouterr().out
