"""Rows that cannot be trained on: `train` names file, line, field, rule and way out, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, refusal
from tests.project import CONFIG, ROWS, questions


def replace_line(path: Path, number: int, line: bytes) -> None:
    lines = path.read_bytes().splitlines()
    lines[number - 1] = line
    path.write_bytes(b"\n".join(lines) + b"\n")


def test_missing_file(desk: Desk) -> None:
    desk.config(datasets=[{"path": "rosw.jsonl"}])
    error = refusal(desk.train())
    assert error.what == "there is no such file"
    assert error.where == "rosw.jsonl"
    assert error.rule == "every path under datasets must exist"
    assert error.fix == f"did you mean {ROWS}?"
    assert desk.is_untouched()


def test_a_path_counts_from_the_folder_of_its_config(desk: Desk) -> None:
    (desk.folder / ROWS).unlink()
    error = refusal(desk.ask("train", desk.folder / CONFIG))
    assert error.where == str(desk.folder / ROWS)
    assert desk.is_untouched()


def test_empty_file(desk: Desk) -> None:
    (desk.folder / ROWS).write_bytes(b"")
    error = refusal(desk.train())
    assert (error.what, error.where) == ("has no rows", ROWS)
    assert error.rule.startswith("a data file has at least one row")
    assert error.fix.startswith("check that the file was written to its end")
    assert desk.is_untouched()


def test_wrong_json_on_line_17(desk: Desk) -> None:
    replace_line(desk.folder / ROWS, 17, b'{"prompt": "q", "completion": }')
    error = refusal(desk.train())
    assert error.what == "is not valid JSON: expecting value"
    assert error.where == f"{ROWS}:17 (column 31)"
    assert error.rule.startswith("every row is one complete JSON object")
    assert error.fix.startswith("correct this row")
    assert desk.is_untouched()


def test_not_utf_8(desk: Desk) -> None:
    replace_line(desk.folder / ROWS, 5, '{"prompt": "café", "completion": "a"}'.encode("latin-1"))
    error = refusal(desk.train())
    assert error.what.startswith("is not UTF-8: byte 0xE9 at offset ")
    assert error.where == f"{ROWS}:5 (column 16)"
    assert error.rule == "data files are UTF-8"
    assert error.fix.startswith("save it as UTF-8")
    assert desk.is_untouched()


def test_unknown_role(desk: Desk) -> None:
    talks = [
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}
        for prompt, answer in questions(range(20))
    ]
    talks[2]["messages"][0]["role"] = "usr"
    (desk.folder / ROWS).write_text("".join(json.dumps(talk) + "\n" for talk in talks), encoding="utf-8")
    error = refusal(desk.train())
    assert error.what == "unknown role 'usr'"
    assert error.where == f"{ROWS}:3 (messages[0].role)"
    assert error.rule == "every turn has a role that the model's chat template knows"
    assert error.fix.startswith("did you mean user?")
    assert desk.is_untouched()


def test_empty_answer(desk: Desk) -> None:
    replace_line(desk.folder / ROWS, 9, b'{"prompt": "q", "completion": " "}')
    error = refusal(desk.train())
    assert error.what.startswith("1 of 60 rows have errors: empty answers (1)")
    assert f"{ROWS}:9 empty answers: an answer is empty" in error.what
    assert error.where == f"{ROWS}:9"
    assert error.rule == "no row with an error is trained or judged on"
    assert error.fix.startswith("write the answer, or remove the row")
    assert desk.is_untouched()


def test_row_longer_than_the_context(desk: Desk) -> None:
    row = {"prompt": "word " * 400, "completion": "long"}
    replace_line(desk.folder / ROWS, 4, json.dumps(row).encode())
    error = refusal(desk.train())
    assert f"{ROWS}:4 row length: " in error.what
    assert "tokens, max_length is 512" in error.what
    assert error.where == f"{ROWS}:4"
    assert error.fix.startswith(
        "the model takes 512 tokens: shorten the row, or leave such rows out with on_too_long: drop"
    )
    assert "set max_length" not in error.fix, "a length that the model does not take is no advice"
    assert desk.is_untouched()
    checked = desk.ask("data", "check", CONFIG, "--json")
    assert checked.code == 1
    assert checked.document["findings"][0]["fix"] == error.fix


def test_every_bad_row_is_counted_and_the_first_ones_are_named(desk: Desk) -> None:
    for number in (3, 8, 21):
        replace_line(desk.folder / ROWS, number, b"{")
    error = refusal(desk.train())
    assert error.where.startswith(f"{ROWS}:3 ")
    assert "2 more rows cannot be read" in error.what
    assert f"{ROWS}:8 " in error.what
    assert desk.is_untouched()


def test_the_same_error_is_one_json_document(desk: Desk) -> None:
    replace_line(desk.folder / ROWS, 17, b"{")
    ran = desk.train("--json")
    assert ran.code == 2
    assert list(ran.document) == ["error"]
    assert ran.error["type"] == "DataError"
    assert ran.error["where"].startswith(f"{ROWS}:17")
    assert ran.error["exit_code"] == 2
    assert ran.error["rule"]
    assert ran.error["fix"]


@pytest.mark.parametrize("command", ["eval", "compare"])
def test_held_out_rows_are_read_as_strictly(desk: Desk, command: str) -> None:
    models = [str(desk.base)] * (2 if command == "compare" else 1)
    error = refusal(desk.ask(command, *models, "--data", "nowhere.jsonl"))
    assert (error.what, error.where) == ("there is no such file", "nowhere.jsonl")
    replace_line(desk.folder / ROWS, 6, b'{"prompt": 1}')
    error = refusal(desk.ask(command, *models, "--data", ROWS))
    assert error.where == f"{ROWS}:6 (completion)" or error.where == f"{ROWS}:6"
    assert "has no field completion" in error.what
    assert desk.is_untouched()


def test_a_held_out_row_longer_than_the_context(desk: Desk) -> None:
    replace_line(desk.folder / ROWS, 4, json.dumps({"prompt": "word " * 400, "completion": "long"}).encode())
    error = refusal(desk.ask("eval", desk.base, "--data", ROWS))
    assert error.what.endswith("tokens, and the model takes 512")
    assert error.where == f"{ROWS}:4"
    assert error.fix == "shorten the row, or leave it out of the file"
    assert desk.is_untouched()
