"""``tunesmith data`` as people and programs meet it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.curate.helpers import jsonl, pair, write
from tunesmith.cli import main
from tunesmith.cli.data import show
from tunesmith.core.records import Example, Message, Reply
from tunesmith.curate import Config
from tunesmith.text.template import TemplateRenderer, load_renderer


class Lifecycle(ModuleType):
    """The two functions of lifecycle that this command calls, over one tokenizer."""

    def __init__(self, folder: Path) -> None:
        super().__init__("tunesmith.lifecycle")
        self.folder = folder
        self.overrides: list[str] = []

    def renderer_for(self, model: str, emit: object = None) -> TemplateRenderer:
        return load_renderer(Path(model))

    def data_of(
        self, path: Path, overrides: Sequence[str], emit: object = None
    ) -> tuple[Config, TemplateRenderer, int, int]:
        self.overrides = list(overrides)
        files = path.read_text().split()
        config = Config.model_validate({"datasets": [{"path": file} for file in files]})
        return config, load_renderer(self.folder), 64, 512


@pytest.fixture(autouse=True)
def lifecycle(tiny_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lifecycle:
    monkeypatch.chdir(tmp_path)  # the report is written there
    module = Lifecycle(tiny_tokenizer)
    monkeypatch.setitem(sys.modules, "tunesmith.lifecycle", module)
    monkeypatch.setattr("tunesmith.lifecycle", module, raising=False)
    return module


@pytest.fixture
def good(tmp_path: Path) -> str:
    return jsonl(tmp_path / "good.jsonl", *[pair(f"question {i}", f"answer {i}") for i in range(60)])


def test_good_data_is_told_what_was_not_checked(
    good: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")  # however long the path is
    assert main.run(["data", "check", good]) == 0
    out, _ = capsys.readouterr()
    assert "60 rows, format prompt-completion" in out
    assert "not checked: token lengths (no model given)" in out
    assert "no errors, warnings: 0; " in out
    assert "checks did not run" in out
    assert "passed" not in out


def test_with_a_model_tokens_are_counted(good: str, tiny_tokenizer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "check", good, "--model", str(tiny_tokenizer), "--max-length", "512"]
    assert main.run(arguments) == 0
    out, _ = capsys.readouterr()
    assert "tokens: " in out
    assert "not checked: token lengths" not in out
    assert "not checked: chat template" not in out
    assert main.run([*arguments[:-1], "8"]) == 1
    out, _ = capsys.readouterr()
    assert "row length (error)" in out
    assert "max_length is 8" in out
    assert "… and 55 more in findings.jsonl" in out
    assert "errors: 60" in out


def test_findings_are_one_json_document_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "a.jsonl", pair("q", "a"), pair("q", "a"), pair("x", ""))
    assert main.run(["data", "check", path, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["rows"] == 3
    assert document["files"][0]["format"] == "prompt-completion"
    assert [(f["check"], f["severity"], f["source"]["line"]) for f in document["findings"][:2]] == [
        ("empty answers", "error", 3),
        ("exact duplicates", "warning", 1),
    ]
    assert {c["name"]: c["passed"] for c in document["checks"]}["row length"] is None
    assert document["tokens"] is None


def test_rows_that_cannot_be_read_are_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps(pair(f"q{i}", "a")) for i in range(16)] + ['{"prompt": "q", "completion": }', '{"prompt": 1}']
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    assert main.run(["data", "check", path]) == 2
    out, err = capsys.readouterr()
    assert "rows that cannot be read: 2" in out
    assert "is not valid JSON: expecting value" in err
    assert f"{path}:17 (column 31)" in err
    assert "has no field completion" in err
    assert main.run(["data", "check", path, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["where"] == f"{path}:17 (column 31)"
    assert len(document["unreadable"]) == 2
    assert document["rows"] == 16


def test_a_missing_file_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["data", "check", str(tmp_path / "nope.jsonl")]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_a_config_file_says_everything_itself(
    tmp_path: Path, good: str, lifecycle: Lifecycle, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path / "tunesmith.yaml", good)
    assert main.run(["data", "check", config, "--set", "val_size=0.2"]) == 0
    assert lifecycle.overrides == ["val_size=0.2"]
    assert "split: " in capsys.readouterr().out
    few = write(tmp_path / "few.yaml", jsonl(tmp_path / "few.jsonl", pair("q", "a")))
    assert main.run(["data", "check", few]) == 1
    assert "too few rows" in capsys.readouterr().out
    assert main.run(["data", "check", config, good]) == 2
    assert "a config file says everything itself" in capsys.readouterr().err


def test_for_plain_files_too_few_rows_are_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["data", "check", jsonl(tmp_path / "few.jsonl", {**pair("q", "a"), "topic": "x"})]) == 0
    out, _ = capsys.readouterr()
    assert "too few rows" in out
    assert f"{tmp_path / 'few.jsonl'}: the model will not see topic" in out


def test_columns_and_formats_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": "play jazz", "slots": {"genre": "jazz"}, "n": 1})
    columns = ["--column", "prompt=text", "--column", "completion=slots"]
    assert main.run(["data", "check", path, *columns]) == 0
    capsys.readouterr()
    for wrong, message in (
        (["--column", "prompt"], "--column prompt has no equals sign"),
        (["--column", "question=text"], "columns names the unknown field 'question'"),
        (["--format", "csv"], "--format does not know 'csv'"),
        (["--set", "val_size=0.2"], "--set changes a config file, and none was given"),
    ):
        assert main.run(["data", "check", path, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_show_marks_trained_tokens_without_colour(
    tmp_path: Path, tiny_tokenizer: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    path = jsonl(tmp_path / "a.jsonl", pair("What?", "The fox."), pair("b", "c"))
    assert main.run(["data", "show", path, "--model", str(tiny_tokenizer), "-n", "1"]) == 0
    out, _ = capsys.readouterr()
    assert f"{path}:1" in out
    assert "tokens trained" in out
    trained = out[out.index("⟦") + 1 : out.index("⟧")]
    assert trained.replace("│", "") == "The fox.<|im_end|>"
    assert "│" in trained
    assert "<|im_start|>│" in out
    assert "⏎" in out
    assert f"{path}:2" not in out


def test_show_gives_tokens_as_json(tmp_path: Path, tiny_tokenizer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "a.jsonl", pair("a", "b"), pair("c", "d"))
    assert main.run(["data", "show", path, "--model", str(tiny_tokenizer), "--line", "2", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["source"] == f"{path}:2"
    assert "".join(token["text"] for token in row["tokens"] if token["trained"]) == "d<|im_end|>"


def test_show_without_a_model_shows_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "a.jsonl", pair("two\nlines", "\x1b[31mred"))
    assert main.run(["data", "show", path]) == 0
    out, _ = capsys.readouterr()
    assert "two⏎\n  lines" in out
    assert "⟦\\x1b[31mred⟧" in out, "data cannot drive the terminal"
    assert "not shown: tokens (no model given: --model)" in out
    assert main.run(["data", "show", path, "--line", "7"]) == 2
    assert "no row begins on line 7" in capsys.readouterr().err


def test_turns_mark_what_is_trained() -> None:
    messages = (Message(role="user", content="a"), Message(role="assistant", content="b", weight=0))
    reply = Reply(message=Message(role="assistant", content="c"))
    shown: list[Any] = list(show.turns(Example(messages=messages, target=reply)))
    assert [str(line) for line in shown] == ["user:", "  a", "assistant:", "  b", "assistant:", "  ⟦c⟧"]
