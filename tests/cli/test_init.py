"""The config file that ``init`` writes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest
from pydantic import Field

from tunesmith.cli import main
from tunesmith.cli.init import next_steps, template
from tunesmith.core.config import load
from tunesmith.core.records import Record


class Spec(Record):
    path: str
    columns: Mapping[str, str] = {}


class CurateConfig(Record):
    datasets: tuple[Spec, ...] = Field(min_length=1, description="The data files, in order.")
    val_size: float = Field(default=0.1, ge=0, lt=1, description="Share of the rows that choose the best checkpoint.")


class TrainConfig(Record):
    model: str = Field(default="smollm2-135m-instruct", description="Base model.")
    method: Literal["lora", "full"] = Field(default="lora", description="What is trained.")
    lora_target_modules: str | tuple[str, ...] = Field(default=("q_proj", "v_proj"), description="Adapted layers.")
    learning_rate: float | Literal["auto"] = Field(default="auto", description="Peak learning rate.")
    num_train_epochs: float = Field(default=2.0, gt=0, description="Passes over the training rows.")
    output_dir: str = Field(default="runs/first", description="Folder of the run.")


STAGES = {"curate": CurateConfig, "train": TrainConfig}


@pytest.fixture(autouse=True)
def _project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty project folder; the stages are small stand-ins."""
    lifecycle = ModuleType("tunesmith.lifecycle")
    lifecycle.STAGES = STAGES  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tunesmith.lifecycle", lifecycle)
    monkeypatch.chdir(tmp_path)


def test_the_file_loads_and_holds_the_defaults() -> None:
    assert main.run(["init"]) == 0
    settings = load(Path("tunesmith.yaml"), STAGES)
    assert settings.stage("curate", CurateConfig).datasets == (Spec(path="data/train.jsonl"),)
    assert settings.stage("train", TrainConfig) == TrainConfig()


def test_every_key_stands_in_the_file_once_with_its_description() -> None:
    text = template(STAGES, None)
    for model in STAGES.values():
        for key, field in model.model_fields.items():
            assert len(re.findall(rf"^#?{key}:", text, flags=re.MULTILINE)) == 1, key
            assert f"# {field.description}" in text


def test_a_default_may_be_enabled_by_removing_its_sign(tmp_path: Path) -> None:
    enabled = tmp_path / "all.yaml"
    enabled.write_text(re.sub(r"^#(?=[a-z]|- )", "", template(STAGES, None), flags=re.MULTILINE))
    settings = load(enabled, STAGES)
    assert settings.stage("train", TrainConfig) == TrainConfig()
    assert set(settings.origins.values()) & {"default"} == set()


def test_the_given_data_file_is_in_the_config() -> None:
    Path("rows.jsonl").write_text("{}")
    assert main.run(["init", "--data", "rows.jsonl"]) == 0
    assert load(Path("tunesmith.yaml"), STAGES).stage("curate", CurateConfig).datasets[0].path == "rows.jsonl"


def test_two_columns_of_a_table_are_guessed() -> None:
    Path("faq.csv").write_text("question,answer\nWhy?,Because.\n")
    assert main.run(["init", "--data", "faq.csv"]) == 0
    spec = load(Path("tunesmith.yaml"), STAGES).stage("curate", CurateConfig).datasets[0]
    assert spec.columns == {"prompt": "question", "completion": "answer"}
    assert "please check which column is the answer" in Path("tunesmith.yaml").read_text()


def test_more_columns_are_named_but_not_guessed() -> None:
    Path("faq.tsv").write_text("id\tquestion\tanswer\n")
    text = template(STAGES, Path("faq.tsv"))
    assert "# The columns of faq.tsv: id, question, answer." in text
    assert not re.search(r"^ +columns:", text, flags=re.MULTILINE)


def test_an_unreadable_table_is_left_to_the_data_check() -> None:
    Path("faq.csv").write_bytes(b"\xff\xfe\x00")
    assert main.run(["init", "--data", "faq.csv"]) == 0


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("tunesmith.yaml").write_text("model: mine\n")
    assert main.run(["init"]) == 2
    err = capsys.readouterr().err
    assert "tunesmith.yaml is already there" in err
    assert "tunesmith init --force" in err
    assert Path("tunesmith.yaml").read_text() == "model: mine\n"


def test_force_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    Path("tunesmith.yaml").write_text("model: mine\n")
    assert main.run(["init", "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["replaced"] is True
    assert "smollm2-135m-instruct" in Path("tunesmith.yaml").read_text()


def test_a_data_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["init", "--data", "nowhere.jsonl"]) == 2
    err = capsys.readouterr().err
    assert "there is no such data file" in err
    assert "nowhere.jsonl" in err
    assert not Path("tunesmith.yaml").exists()


@pytest.mark.parametrize("content", ["", " \n\n\t\n"])
def test_an_empty_data_file_is_refused_before_anything_is_written(
    content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rows.jsonl").write_text(content)
    assert main.run(["init", "--data", "rows.jsonl"]) == 2
    err = capsys.readouterr().err
    assert "the data file is empty" in err
    assert "rows.jsonl" in err
    assert not Path("tunesmith.yaml").exists()


def test_only_commands_that_exist_are_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "VERBS", {"train": ""})
    assert next_steps(Path("a.jsonl")) == ["tunesmith train tunesmith.yaml"]
    monkeypatch.setattr(main, "VERBS", {"data": "", "train": ""})
    assert next_steps(None)[1:] == [
        "tunesmith data check tunesmith.yaml",
        "tunesmith data show tunesmith.yaml",
        "tunesmith train tunesmith.yaml",
    ]
