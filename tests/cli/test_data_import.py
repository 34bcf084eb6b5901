"""``tunesmith data import`` as people and programs meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import Ran, inside
from tests.curate.helpers import jsonl, pair, write


def data(at: Path, *arguments: object) -> Ran:
    return inside("data", *arguments, at=at, TUNESMITH_HOME=str(at / "home"))


def test_a_table_becomes_chat_rows(tmp_path: Path) -> None:
    write(tmp_path / "faq.csv", "question,answer\nWhere?,There.\nWhen?,Now.\n")
    arguments = (
        "import",
        "faq.csv",
        "--out",
        "faq.jsonl",
        "--column",
        "prompt=question",
        "--column",
        "completion=answer",
    )
    ran = data(tmp_path, *arguments)
    assert ran.code == 0, ran.err
    assert "faq.csv → faq.jsonl: 2 rows, read as prompt-completion, written as chat" in ran.out
    first = json.loads((tmp_path / "faq.jsonl").read_text().splitlines()[0])
    assert first == {"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "There."}]}
    assert "the file to write is already there" in data(tmp_path, *arguments).err
    document = data(tmp_path, *arguments, "--force", "--to", "alpaca", "--json").document
    assert (document["rows"], document["written_as"]) == (2, "alpaca")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "b.jsonl", "--to", "opena"), "--to does not know the shape 'opena'"),
        (("--out", "a.jsonl", "--force"), "the file to write is the source itself"),
        (("--out", "b.txt"), "a file of kind .txt is not written"),
    ],
)
def test_what_is_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    jsonl(tmp_path / "a.jsonl", pair("q", "a"))
    ran = data(tmp_path, "import", "a.jsonl", *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert not (tmp_path / "b.jsonl").exists()
