"""Files to rows: what is read, and what every damaged file is told."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

import pytest

from tests.curate.helpers import error_of, jsonl, pair, write
from tunesmith.core.errors import DataError
from tunesmith.curate.reading import json_rows, lines
from tunesmith.curate.reading.files import raw_rows, require_file


def rows(path: str) -> list[tuple[int, dict[str, object]]]:
    return [(place.line, dict(row)) for place, row in raw_rows(path)]


def test_json_lines_keep_their_line_numbers_over_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n\n   \n{"a": "é\\u00e9"}')
    assert rows(path) == [(1, {"a": 1}), (4, {"a": "éé"})]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz", "a.json.gz"])
def test_the_same_lines_under_every_name(tmp_path: Path, name: str) -> None:
    assert rows(write(tmp_path / name, '{"a": 1}\n{"a": 2}\n')) == [(1, {"a": 1}), (2, {"a": 2})]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
def test_a_json_list_gives_the_line_each_row_begins_on(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ' [\n{"a": 1}, {"a":\n 2}\n,\n\n{"a": "]"}\n]\n')
    assert rows(path) == [(2, {"a": 1}), (2, {"a": 2}), (6, {"a": "]"})]
    assert rows(write(tmp_path / name, "[ ]")) == []


def test_byte_order_mark_and_windows_line_ends_leave_no_trace(tmp_path: Path) -> None:
    bom = b"\xef\xbb\xbf"
    assert rows(write(tmp_path / "a.jsonl", bom + b'{"a": 1}\r\n{"a": 2}\r\n')) == [(1, {"a": 1}), (2, {"a": 2})]
    assert rows(write(tmp_path / "a.json", bom + b'[\r\n{"a": 1}]')) == [(2, {"a": 1})]
    assert rows(write(tmp_path / "a.csv", bom + b'a,b\r\n1,"x\r\ny"\r\n')) == [(2, {"a": "1", "b": "x\ny"})]


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_csv_finds_its_separator_and_numbers_rows_like_a_spreadsheet(tmp_path: Path, sign: str) -> None:
    lines = [f"question{sign}answer", f'"two\nlines"{sign}b', f"c{sign}d"]
    found = rows(write(tmp_path / "a.csv", "\n".join(lines)))
    assert found == [(2, {"question": "two\nlines", "answer": "b"}), (3, {"question": "c", "answer": "d"})]


def test_parquet_rows_with_nested_values(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([{"m": [{"role": "user"}], "x": 1}, {"m": None, "x": 2}])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    path = str(tmp_path / "a.parquet")
    assert rows(path) == [(1, {"m": [{"role": "user"}], "x": 1}), (2, {"m": None, "x": 2})]
    assert [dict(row) for _, row in raw_rows(path, wanted=("x",))] == [{"x": 1}, {"x": 2}]


def test_missing_file_offers_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "")
    error = error_of(lambda: rows(str(tmp_path / "trian.jsonl")))
    assert "there is no such file" in error.what
    assert "did you mean train.jsonl" in error.fix
    assert error.where == str(tmp_path / "trian.jsonl")


def test_a_folder_and_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "")
    error = error_of(lambda: rows(str(tmp_path)))
    assert "is a folder, not a file" in error.what
    assert "train.jsonl" in error.fix
    error = error_of(lambda: rows(write(tmp_path / "a.docx", "x")))
    assert "a file of kind .docx cannot be read" in error.what
    assert ".parquet" in error.rule


def test_wrong_json_on_line_17(tmp_path: Path) -> None:
    lines = [json.dumps(pair("q", "a"))] * 16 + ['{"prompt": "q", "completion": }']
    error = error_of(lambda: rows(write(tmp_path / "a.jsonl", "\n".join(lines))))
    assert error.where.endswith("a.jsonl:17 (column 31)")
    assert error.what == "is not valid JSON: expecting value"


def test_wrong_json_in_a_list_is_located_too(tmp_path: Path) -> None:
    good = '{"a": "' + "x" * 3_000_000 + '"},\n'
    error = error_of(lambda: rows(write(tmp_path / "a.json", "[\n" + good + '{"a": 1}, {"a" 2}\n]')))
    assert error.where.endswith("a.json:3 (column 16)")
    assert "expecting ':' delimiter" in error.what
    error = error_of(lambda: rows(write(tmp_path / "a.json", '[{"a": 1} {"a": 2}]')))
    assert error.where.endswith("a.json:1 (column 11)")
    assert "expected a comma or the closing bracket, found '{'" in error.what
    error = error_of(lambda: rows(write(tmp_path / "a.json", '[{"a": 1},\n{"a": 2}\n')))
    assert "found the end of the file" in error.what
    assert "cut off" in error.fix


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1, 2]", "is a list, not an object: [1, 2]"),
        ("42", "is a number, not an object: 42"),
        ('"text"', "is a text, not an object: 'text'"),
        ("null", "is null, not an object"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice in one object"),
        ('{"m": [{"role": 1, "role": 2}]}', "the key 'role' stands twice"),
        ('{"a": NaN}', "NaN is not a JSON value"),
        ('{"a": ' + "9" * 5000 + "}", "integer string conversion"),
        ('{"a": 1} {"a": 2}', "is not valid JSON: extra data"),
        ('{"a": ' + "[" * 1_000_000 + "]" * 1_000_000 + "}", "is nested too deeply"),
    ],
)
def test_rows_that_are_no_plain_objects(tmp_path: Path, line: str, said: str) -> None:
    error = error_of(lambda: rows(write(tmp_path / "a.jsonl", '{"a": 0}\n' + line)))
    assert said in error.what
    assert "a.jsonl:2" in error.where


def test_a_list_refuses_the_same_rows(tmp_path: Path) -> None:
    assert "is a number, not an object: 7" in error_of(lambda: rows(write(tmp_path / "a.json", '[{"a": 1},\n7]'))).what
    error = error_of(lambda: rows(write(tmp_path / "a.json", '[{"a": 1},\n{"b": 1, "b": 1}]')))
    assert "the key 'b' stands twice" in error.what
    assert error.where.endswith("a.json:2")


def test_one_object_over_several_lines(tmp_path: Path) -> None:
    error = error_of(lambda: rows(write(tmp_path / "a.json", json.dumps({"data": []}, indent=1))))
    assert "begins a JSON object that goes over several lines" in error.what
    assert "put the rows into a list" in error.fix


@pytest.mark.parametrize(("name", "line"), [("a.jsonl", 2), ("a.json", 2), ("a.csv", 2)])
def test_not_utf8_says_line_and_byte_offset(tmp_path: Path, name: str, line: int) -> None:
    content = {
        "a.jsonl": b'{"a": 1}\n{"a": "\xe9"}',
        "a.json": b'[{"a":1},\n{"a": "\xe9"}]',
        "a.csv": b"a,b\n1,caf\xe9",
    }
    data = content[name]
    error = error_of(lambda: rows(write(tmp_path / name, data)))
    assert f"is not UTF-8: byte 0xE9 at offset {data.index(0xE9)}" in error.what
    column = data.index(0xE9) - data.index(b"\n")
    assert f"{name}:{line} (column {column})" in error.where
    assert "WINDOWS-1252" in error.fix


def test_a_character_cut_at_the_end_of_a_list_is_not_utf8(tmp_path: Path) -> None:
    error = error_of(lambda: rows(write(tmp_path / "a.json", b'[{"a": "\xc3')))
    assert "byte 0xC3 at offset 8" in error.what


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_utf16_is_named(tmp_path: Path, name: str) -> None:
    start = "[" if name == "a.json" else ""
    error = error_of(lambda: rows(write(tmp_path / name, (start + '{"a": 1}').encode("utf-16"))))
    assert "begins like UTF-16" in error.what
    assert "iconv -f UTF-16" in error.fix


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.jsonl", b'{"a": "x\0y"}'), ("a.json", b'[{"a": "x\0y"}]'), ("a.csv", b"a,b\nx\0y,2\n")],
)
def test_nul_bytes_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    error = error_of(lambda: rows(write(tmp_path / name, data)))
    assert "has a NUL character (U+0000)" in error.what
    assert "column" in error.where


def test_bad_csv(tmp_path: Path) -> None:
    error = error_of(lambda: rows(write(tmp_path / "a.csv", "a,b\n1,2,3\n")))
    assert "has 3 cells, the header has 2" in error.what
    assert error.where.endswith("a.csv:2")
    error = error_of(lambda: rows(write(tmp_path / "a.csv", 'a,b\n1,2\n3,"open\n4,5\n')))
    assert "is not valid CSV" in error.what
    assert "row 3" in error.where
    error = error_of(lambda: rows(write(tmp_path / "a.csv", "a,b,a\n1,2,3\n")))
    assert "the column name 'a' stands twice" in error.what


def test_damaged_archives(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"plain")
    assert "the gzip file is damaged" in error_of(lambda: rows(str(tmp_path / "a.jsonl.gz"))).what
    whole = Path(jsonl(tmp_path / "b.jsonl.gz", *({"a": i} for i in range(100)))).read_bytes()
    (tmp_path / "b.jsonl.gz").write_bytes(whole[:-10])
    assert "gzip -t" in error_of(lambda: rows(str(tmp_path / "b.jsonl.gz"))).fix
    error = error_of(lambda: rows(write(tmp_path / "a.parquet", b"PAR1 no")))
    assert "is not a readable Parquet file" in error.what


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError

    path = write(tmp_path / "a.jsonl", "{}")
    monkeypatch.setattr(Path, "open", refuse)
    assert "no permission to read it" in error_of(lambda: rows(path)).what
    monkeypatch.undo()
    require_file(path)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "no permission to read it" in error_of(lambda: require_file(path)).what


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
def test_an_endless_row_is_refused_early_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in (lines, json_rows):
        monkeypatch.setattr(module, "MAX_ROW", 1 << 20)
    start = b"[" if name == "a.json" else b""
    path = write(tmp_path / name, start + b'{"a": "' + b" " * (60 << 20))
    tracemalloc.start()
    began = time.monotonic()
    error = error_of(lambda: rows(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "a row is longer than 1 MiB" in error.what
    assert peak < 40 << 20
    assert time.monotonic() - began < 5


def test_a_long_file_is_read_as_a_stream(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json"):
        many = [{"a": "x" * 1000}] * 20_000
        path = jsonl(tmp_path / name, *many) if name == "a.jsonl" else write(tmp_path / name, json.dumps(many))
        del many
        tracemalloc.start()
        assert sum(1 for _ in raw_rows(path)) == 20_000
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 12 << 20


def test_bad_rows_go_to_the_report_and_reading_goes_on(tmp_path: Path) -> None:
    data = b'{"a": 1}\n{"a"\n{"a": "\xff"}\n[]\n{"a": "x\0"}\n{"a": 1, "a": 1}\n{"a": 2}\n'
    bad: list[DataError] = []
    found = list(raw_rows(write(tmp_path / "a.jsonl", data), report=bad.append))
    assert [row for _, row in found] == [{"a": 1}, {"a": 2}]
    assert [error.where.rpartition(":")[2].split()[0] for error in bad] == ["2", "3", "4", "5", "6"]


def test_progress_counts_the_bytes_of_the_file(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[{"a": 1}] * 2000)
    seen: list[tuple[int, int]] = []
    assert sum(1 for _ in raw_rows(path, progress=lambda done, total: seen.append((done, total)))) == 2000
    size = Path(path).stat().st_size
    assert seen[-1] == (size, size)
    assert len(seen) > 2
