"""From a file with personal data to one without, on the command line."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.curate.helpers import jsonl, pair, write
from tunesmith.cli import main
from tunesmith.curate.lab import keys

CALL = {
    "messages": [
        {"role": "user", "content": "Stuur het naar jan@bedrijf.nl"},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "send", "arguments": '{"bsn": 111222333}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "verstuurd naar jan@bedrijf.nl"},
        {"role": "assistant", "content": "Klaar, BSN 111222333."},
    ],
    "tools": [{"type": "function", "function": {"name": "send", "parameters": {"type": "object"}}}],
}


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_repair_takes_the_values_out_of_every_turn_and_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = jsonl(tmp_path / "chats.jsonl", CALL)
    assert main.run(["data", "repair", file, "--kind", "personal data"]) == 0
    (row,) = lines(tmp_path / "chats.repaired.jsonl")
    user, call, tool, answer = row["messages"]  # type: ignore[misc]
    assert user["content"] == "Stuur het naar [EMAIL]"
    assert call["tool_calls"][0]["function"] == {"name": "send", "arguments": '{"bsn": "[BSN]"}'}
    assert tool["content"] == "verstuurd naar [EMAIL]"
    assert answer["content"] == "Klaar, BSN [BSN]."
    capsys.readouterr()
    assert main.run(["data", "check", str(tmp_path / "chats.repaired.jsonl"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [f for f in document["findings"] if f["check"] == "personal data"] == []


def test_calls_written_as_turns_and_as_objects_are_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    turns = [
        {"from": "human", "value": "zoek"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {"mail": "jan@bedrijf.nl"}}'},
        {"from": "observation", "value": "ja"},
        {"from": "gpt", "value": "klaar"},
    ]
    file = jsonl(tmp_path / "share.jsonl", {"conversations": turns})
    assert main.run(["data", "repair", file, "--kind", "personal data"]) == 0
    (row,) = lines(tmp_path / "share.repaired.jsonl")
    call = json.loads(row["conversations"][1]["value"])  # type: ignore[index]
    assert call == {"name": "f", "arguments": {"mail": "[EMAIL]"}}


def test_a_row_with_a_secret_goes_to_quarantine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret = keys.secret("github_token", random.Random(3))
    file = jsonl(tmp_path / "a.jsonl", pair("q", "a"), pair(f"gebruik {secret}", "ja"), pair("r", "b"))
    assert main.run(["data", "check", file]) == 1
    assert main.run(["data", "repair", file, "--kind", "secrets"]) == 0
    assert secret not in (tmp_path / "a.repaired.jsonl").read_text("utf-8")
    assert len(lines(tmp_path / "a.repaired.jsonl")) == 2


def test_policies_of_a_config_file_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = write(
        tmp_path / "tunesmith.yaml",
        "model: x\ndatasets: [{path: a.jsonl}]\nchecks: {personal: {policies: {mail: mask}}}\n",
    )
    assert main.run(["data", "check", bad]) == 2
    assert "there is no class of personal data 'mail'" in capsys.readouterr().err


def test_paths_of_a_config_file_are_counted_from_its_folder(tmp_path: Path) -> None:
    from tunesmith import curate
    from tunesmith.lifecycle import load_settings

    text = "model: x\ndatasets: [{path: a.jsonl}]\nchecks: {personal: {dictionary: names.txt, key_file: the.key}}\n"
    settings = load_settings(Path(write(tmp_path / "tunesmith.yaml", text)))
    personal = settings.stage("data", curate.Config).checks.personal
    assert personal.dictionary == str(tmp_path / "names.txt")
    assert personal.key_file == str(tmp_path / "the.key")
    assert personal.ner_model == ""
