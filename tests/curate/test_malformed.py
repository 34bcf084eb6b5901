"""Broken files: each gets its own error, with code, line and field; hostile ones soon and in little memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.curate.helpers import chat, error_of, write
from tunesmith.curate import read_file

GOOD = json.dumps({"prompt": "q", "completion": "a"}).encode() + b"\n"


def turns(*rows: object, **more: object) -> bytes:
    return json.dumps({"messages": list(rows), **more}).encode()


USER, REPLY = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}

MALFORMED = {
    "not-utf8": ("a.jsonl", GOOD + b'{"prompt": "caf\xe9", "completion": "x"}', ":2 (column 16)"),
    "utf-16": ("a.jsonl", '{"prompt": "q"}'.encode("utf-16"), ":1 (byte 0)"),
    "nul-character": ("a.jsonl", GOOD + b'{"prompt": "\0"}', ":2 (column 13)"),
    "half-surrogate": ("a.jsonl", GOOD + b'{"prompt": "\\ud800", "completion": "x"}', ":2 (prompt)"),
    "invalid-json": ("a.jsonl", GOOD + b'{"prompt": "q" "completion"}', ":2 (column 16)"),
    "ambiguous-json": ("a.jsonl", GOOD + b'{"prompt": "q", "prompt": "r", "completion": "a"}', ":2"),
    "nested-too-deeply": ("a.jsonl", GOOD + b"[" * 1_000_000, ":2"),
    "not-an-object": ("a.jsonl", GOOD + b'["q", "a"]', ":2"),
    "object-over-lines": ("a.jsonl", b'{\n"prompt": "q"\n}', ":1"),
    "broken-list": ("a.json", b"[" + GOOD + GOOD + b"]", ":2 (column 1)"),
    "invalid-csv": ("a.csv", b'prompt,completion\n"q"x,a\n', ":2 (row 2)"),
    "column-twice": ("a.csv", b"prompt,completion,prompt\nq,a,b\n", ":1 (header)"),
    "cell-count": ("a.csv", b"prompt,completion\nq,a\nq,a,b\n", ":3"),
    "damaged-gzip": ("a.jsonl.gz", b"\x1f\x8b\x08\0 no gzip", ""),
    "no-rows": ("a.jsonl", b"\n\n", ""),
    "unknown-kind": ("a.docx", b"PK", ""),
    "unknown-shape": ("a.jsonl", b'{"foo": 1}', ":1"),
    "missing-field": ("a.jsonl", GOOD + b'{"prompt": "q"}', ":2 (completion)"),
    "no-turns": ("a.jsonl", turns(USER, REPLY) + b"\n" + turns(), ":2 (messages)"),
    "invalid-turn": ("a.jsonl", turns("hello"), ":1 (messages[0])"),
    "unknown-role": ("a.jsonl", turns({"role": "bot", "content": "x"}), ":1 (messages[0].role)"),
    "unknown-key": ("a.jsonl", turns({**USER, "contnt": "x"}, REPLY), ":1 (messages[0])"),
    "invalid-weight": ("a.jsonl", turns(USER, {**REPLY, "weight": "much"}), ":1 (messages[1].weight)"),
    "no-assistant-turn": ("a.jsonl", turns(USER), ":1 (messages)"),
    "ends-without-answer": ("a.jsonl", turns(USER, REPLY, USER), ":1 (messages[2].role)"),
    "invalid-tools": ("a.jsonl", turns(USER, REPLY, tools="search"), ":1 (tools)"),
    "invalid-arguments": (
        "a.jsonl",
        turns(USER, {"role": "assistant", "tool_calls": [CALL]}),
        ":1 (messages[1].tool_calls[0].function.arguments)",
    ),
    "unknown-part": (
        "a.jsonl",
        turns({"role": "user", "content": [{"type": "image_url"}]}, REPLY),
        ":1 (messages[0].content[0])",
    ),
}


@pytest.mark.parametrize("code", MALFORMED)
def test_each_broken_file_gets_its_own_error(tmp_path: Path, code: str) -> None:
    name, data, where = MALFORMED[code]
    path = tmp_path / name
    path.write_bytes(data)
    began = time.process_time()
    error = error_of(lambda: read_file(str(path)))
    assert (error.code, error.where) == (code, f"{path}{where}")
    assert error.as_dict()["code"] == code
    assert time.process_time() - began < 2


LETTERS = b"q," + b"a" * (1 << 20) + b"\n"

HOSTILE = {
    "one endless line": ("row-too-long", "a.jsonl", None),
    "one endless line of a table": ("row-too-long", "a.csv", None),
    "a packed file of nothing": ("row-too-long", "a.jsonl.gz", b"\0" * (64 << 20)),
    "a packed file of empty lines": ("empty-lines", "a.jsonl.gz", GOOD + b"\n" * (128 << 20)),
    "a packed file of one letter": ("gzip-bomb", "a.csv.gz", b"prompt,completion\n" + LETTERS * 64),
    "a packed list of spaces": ("gzip-bomb", "a.json.gz", b"[" + b" " * (128 << 20)),
}

READ = """
import sys, time
from tunesmith.core.errors import DataError
from tunesmith.curate import read_file
began = time.process_time()  # other processes may be busy
try:
    read_file(sys.argv[1])
except DataError as error:
    memory = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(error.code, time.process_time() - began, memory)
"""


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_soon_and_in_little_memory(tmp_path: Path, kind: str) -> None:
    code, name, data = HOSTILE[kind]
    path = tmp_path / name
    if data is None:  # a gigabyte without a line end, which takes no room on the disk
        with path.open("wb") as file:
            file.truncate(1 << 30)
    else:
        path.write_bytes(gzip.compress(data, 9))
    answer = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    said, seconds, kilobytes = answer.stdout.split()
    assert said == code
    assert float(seconds) < 2
    assert int(kilobytes) < 500_000


def test_what_looks_broken_and_is_not(tmp_path: Path) -> None:
    rows = [chat(("user", "q"), ("assistant", "a\u2028b")), chat(("user", "Ä"), ("assistant", "😀"))]
    text = "\ufeff" + "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    first, second = read_file(write(tmp_path / "a.jsonl", text))
    assert first.target.text == "a\u2028b"
    assert (second.messages[0].text, second.source.line) == ("Ä", 3)
