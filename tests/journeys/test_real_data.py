"""Real rows, a real model: from the raw file to the verdict. Minutes; needs the data folder and a package registry."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import Ran, tunesmith
from tests.journeys.conftest import REAL_MODEL
from tests.project import CONFIG, write_config

pytestmark = [pytest.mark.slow, pytest.mark.registry]


def raw(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def write(path: Path, rows: Iterable[object]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def train(folder: Path, home: Path) -> dict[str, Any]:
    """The document of `tunesmith train` on all cores."""
    checked = tunesmith("data", "check", CONFIG, at=folder, TUNESMITH_HOME=str(home))
    assert checked.code == 0, checked.out
    ran: Ran = tunesmith("train", "--json", at=folder, TUNESMITH_HOME=str(home), TUNESMITH_THREADS="")
    assert ran.code == 0, ran.err
    assert all(check["passed"] for check in ran.document["run"]["checks"])
    assert "tuned is better than base" in (folder / "run" / "report.html").read_text(encoding="utf-8")
    return ran.document


def scores(document: dict[str, Any], metric: str) -> dict[str, float]:
    """Model → score."""
    return {s["model"]: s["value"] for s in document["summaries"] if s["metric"] == metric}


def verdict(document: dict[str, Any], metric: str) -> str:
    return next(c["verdict"] for c in document["comparisons"] if c["metric"] == metric)


def test_restaurant_facts_to_text(shared_data: Path, real_home: Path, tmp_path: Path) -> None:
    source = shared_data / "e2e-restaurants"
    chosen = random.Random(0).sample(list(raw(source / "train.jsonl.gz")), 400)
    distinct = {row["mr"]: row for row in raw(source / "dev.jsonl.gz")}  # several texts stand for the same facts
    write(tmp_path / "train.jsonl", chosen)
    write(tmp_path / "test.jsonl", random.Random(0).sample(list(distinct.values()), 48))
    shape = {
        "columns": {"prompt": "mr", "completion": "text"},
        "system": "Write one sentence about this restaurant.",
    }
    write_config(
        tmp_path / CONFIG,
        model=REAL_MODEL,
        datasets=[{"path": "train.jsonl", **shape}, {"path": "test.jsonl", "split": "test", **shape}],
        val_size=0.05,
        num_train_epochs=1,
    )
    document = train(tmp_path, real_home)
    assert document["run"]["origins"]["learning_rate"].startswith("auto: ")
    bleu = scores(document, "bleu")
    assert bleu["base"] < 6
    assert bleu["tuned"] > 25
    assert document["verdict"] == "better"
    assert verdict(document, "bleu") == "better"


SCHEMA = {
    "type": "object",
    "properties": {
        "intent": {"type": "string"},
        "slots": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["intent", "slots"],
    "additionalProperties": False,
}


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """The raw row as a question and the JSON that is wanted for it."""
    slots = {slot["slot"]: slot["value"] for slot in row["slots"]}
    return {"prompt": row["text"], "completion": {"intent": row["intent"], "slots": slots}}


def test_utterances_to_json(shared_data: Path, real_home: Path, tmp_path: Path) -> None:
    rows = {row["text"].casefold(): row for row in raw(shared_data / "snips-slots" / "train.jsonl.gz")}
    write(tmp_path / "rows.jsonl", map(as_json, random.Random(0).sample(list(rows.values()), 250)))
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    system = "Give the intent and the slots of the request as JSON."
    write_config(
        tmp_path / CONFIG,
        model=REAL_MODEL,
        datasets=[{"path": "rows.jsonl", "system": system}],
        val_size=0.04,
        test_size=0.18,
        json_schema="schema.json",
        num_train_epochs=1,
    )
    document = train(tmp_path, real_home)
    for metric in ("schema_valid", "field_f1"):
        score = scores(document, metric)
        assert score["tuned"] > score["base"] + 0.2, metric
        assert verdict(document, metric) == "better"
    assert scores(document, "schema_valid")["tuned"] >= 0.8
    assert document["verdict"] == "better"
