"""Importing and writing: what is written reads back as the same examples, or is refused by name."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.curate.helpers import chat, error_of, jsonl, pair, write
from tunesmith.core import fetch
from tunesmith.core.errors import ConfigError, InputError, OfflineError
from tunesmith.core.records import Example, Message, Reply, Source, Synthetic, ToolCall
from tunesmith.curate.config import DatasetSpec
from tunesmith.curate.reading.importing import read_import, wanted
from tunesmith.curate.reading.place import Place
from tunesmith.curate.reading.read import read, read_file
from tunesmith.curate.reading.templates import parse
from tunesmith.curate.reading.written import write_examples

MARKED = Synthetic(method="paraphrase", generator="m", parents=("0123456789abcdef",))
words = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
turns = st.lists(st.tuples(words, words), min_size=1, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> Example:
    """Conversations with system messages, weights, tools and calls."""
    messages = [Message(role="system", content=draw(words))] if draw(st.booleans()) else []
    for question, answer in draw(turns):
        messages += [Message(role="user", content=question), Message(role="assistant", content=answer)]
    if draw(st.booleans()):
        messages[-1] = messages[-1].model_copy(update={"weight": draw(st.sampled_from([0.0, 0.5, 1.0]))})
    tools: tuple[dict[str, Any], ...] = ()
    if draw(st.booleans()):
        call = ToolCall(id="c1", name="find", arguments='{"city": "Utrecht"}')
        messages[-1:-1] = [
            Message(role="assistant", content="", tool_calls=(call,)),
            Message(role="tool", content="12 °C", tool_call_id="c1"),
        ]
        tools = ({"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}},)
    return Example(messages=tuple(messages[:-1]), target=Reply(message=messages[-1]), tools=tools)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(example=conversations())
@pytest.mark.parametrize("shape", ["chat", "sharegpt", "alpaca", "prompt-completion"])
@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet"])
def test_what_is_written_reads_back_the_same_or_is_refused(
    example: Example, shape: str, kind: str, tmp_path: Path
) -> None:
    out = tmp_path / f"out{kind}"
    refused = ""
    try:
        write_examples([example], out, shape)
    except ValueError as error:
        refused = str(error)
    if refused:
        assert f"does not fit the shape {shape} in a {kind} file" in refused
    else:
        assert [e.id for e in read(DatasetSpec(path=str(out), format=shape))] == [example.id]  # type: ignore[arg-type]


def test_chat_rows_hold_everything(tmp_path: Path) -> None:
    @settings(max_examples=60, deadline=None)
    @given(conversations())
    def holds(example: Example) -> None:
        for kind in (".jsonl", ".parquet"):
            write_examples([example], tmp_path / f"a{kind}", "chat")
            assert read_file(str(tmp_path / f"a{kind}"))[0].id == example.id

    holds()


def test_an_export_imported_again_is_the_same(tmp_path: Path) -> None:
    rows = [chat(("system", "s"), ("user", f"q{i}"), ("assistant", f"a\n{i}")) for i in range(5000)]
    first = list(read_import(wanted(jsonl(tmp_path / "a.jsonl", *rows), "auto", [], []))[1])
    for shape, name in (("alpaca", "b.csv"), ("sharegpt", "b.parquet"), ("prompt-completion", "b.jsonl")):
        assert write_examples(first, tmp_path / name, shape) == 5000
        _, again = read_import(wanted(str(tmp_path / name), "auto", [], []))
        assert [e.id for e in again] == [e.id for e in first]


def test_a_refused_row_leaves_no_file(tmp_path: Path) -> None:
    example = Example(
        messages=(Message(role="user", content="q"),),
        target=Reply(message=Message(role="assistant", content="a", weight=0.5)),
    )
    example = example.model_copy(update={"source": Source(path="x.jsonl", line=3)})
    error = error_of(lambda: write_examples([example], tmp_path / "a.jsonl", "alpaca"))
    assert "does not fit the shape alpaca in a .jsonl file" in error.what
    with pytest.raises(InputError, match=r"a file of kind .xlsx is not written"):
        write_examples([example], tmp_path / "a.xlsx", "chat")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- templates


ROW = {"city": "Utrecht", "n": 3, "none": None, "who": {"name": "Ada", "tags": ["a", "b"]}, "a b": "x"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Where is {city}?", "Where is Utrecht?"),
        ("{n} {none}{who.name} {who.tags[1]} {a b}", "3 Ada b x"),
        ("{{{city}}} {who}", '{Utrecht} {"name":"Ada","tags":["a","b"]}'),
    ],
)
def test_templates_say_what_stands_in_the_row(text: str, said: str) -> None:
    assert parse(text).fill(ROW, Place("a", 1)) == said


@pytest.mark.parametrize("text", ["{city", "city}", "{", "a } b"])
def test_a_lonely_brace_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a brace stands alone in the template"):
        parse(text)


@pytest.mark.parametrize("text", ["{}", "{city!r}", "{n:>10}", "{who.}", "{who[name]}", "{[0]}", "{who..name}"])
def test_nothing_but_columns_stands_in_braces(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a column in the template"):
        parse(text)


@pytest.mark.parametrize("text", ["{city.__class__}", "{who.keys}", "{who.tags[9]}", "{n.real}", "{town}"])
def test_attributes_are_not_reached(text: str) -> None:
    assert "which the template" in error_of(lambda: parse(text).fill(ROW, Place("a", 1))).what


def test_the_nearest_column_is_offered() -> None:
    error = error_of(lambda: parse("{citi}").fill(ROW, Place("a", 1)))
    assert "has no citi, which the template" in error.what
    assert error.fix == "did you mean city?"


# ---------------------------------------------------------------- sources


def test_columns_and_templates_together(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "q,a\none,1\ntwo,2\n")
    asked = wanted(path, "csv", ["completion=a"], ["prompt=Say {q} as a number.", "system=Be brief."])
    shape, examples = read_import(asked)
    assert shape == "prompt-completion"
    assert [m.text for m in next(examples).conversation] == ["Be brief.", "Say one as a number.", "1"]


def test_tables_of_a_database(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE orders (item TEXT, kind TEXT)")
        db.executemany("INSERT INTO orders VALUES (?, ?)", [("tofu", "food"), ("pen", None)])
        db.execute("CREATE TABLE people (name TEXT)")
    before = path.read_bytes()
    _, examples = read_import(wanted(str(path), "auto", ["prompt=item", "completion=kind"], [], "orders"))
    assert [(e.messages[0].text, e.target.text) for e in examples] == [("tofu", "food"), ("pen", "")]
    assert path.read_bytes() == before
    for table, message in (("", "has 2 tables, and none is named"), ("order", "has no table 'order'")):
        assert message in error_of(lambda t=table: read_import(wanted(str(path), "auto", [], [], t))).what  # type: ignore[misc]
    text = write(tmp_path / "no.sqlite", "not a database, only words")
    assert "the database cannot be read" in error_of(lambda: read_import(wanted(text, "auto", [], []))).what
    gone = str(tmp_path / "gone.db")
    assert "there is no such database" in error_of(lambda: read_import(wanted(gone, "auto", [], []))).what
    assert not (tmp_path / "gone.db").exists()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for the package datasets, and a hub that answers."""
    library = ModuleType("datasets")

    def load_dataset(name: str, split: str, streaming: bool) -> list[dict[str, str]]:
        assert streaming
        if split == "nope":
            raise ValueError("Bad split: nope.")
        return [pair(f"{name} {split}", "yes")]

    library.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", library)
    monkeypatch.setattr(fetch, "_within", lambda seconds, ask: None)
    for switch in fetch.SWITCHES:
        monkeypatch.delenv(switch, raising=False)
    return library


def test_data_sets_of_the_hub(hub: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    _, examples = read_import(wanted("hf:acme/faq:validation", "auto", [], []))
    assert [(e.messages[0].text, str(e.source)) for e in examples] == [
        ("acme/faq validation", "hf:acme/faq:validation:1")
    ]
    _, examples = read_import(wanted("acme/faq", "hf", [], []))
    assert next(examples).messages[0].text == "acme/faq train"
    with pytest.raises(InputError, match="the hub has no such data set, or no split nope"):
        read_import(wanted("hf:acme/faq:nope", "auto", [], []))
    with pytest.raises(InputError, match="'faq' is not the name of a data set of the hub"):
        read_import(wanted("hf:faq", "auto", [], []))
    monkeypatch.setattr(fetch, "_within", lambda seconds, ask: "no answer within 4 seconds")
    with pytest.raises(OfflineError, match="no answer within 4 seconds"):
        read_import(wanted("hf:acme/faq", "auto", [], []))
    monkeypatch.setenv("TUNESMITH_OFFLINE", "1")
    with pytest.raises(OfflineError, match="TUNESMITH_OFFLINE is set"):
        read_import(wanted("hf:acme/faq", "auto", [], []))


def test_a_missing_package_is_named(hub: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="the package datasets is not installed") as caught:
        read_import(wanted("hf:acme/faq", "auto", [], []))
    assert "tunesmith[datasets]" in caught.value.fix


@pytest.mark.parametrize(
    ("format", "columns", "templates", "table", "message"),
    [
        ("opnai", [], [], "", "--format does not know 'opnai' as something to import"),
        ("auto", ["prompt"], [], "", "--column prompt has no equals sign"),
        ("auto", [], ["prompt"], "", "--template prompt has no equals sign"),
        ("auto", [], ["messages={a}"], "", "--template fills the field messages, which is no text"),
        ("auto", ["prompt=a"], ["prompt={a}"], "", "--template fills the field prompt, and --column too"),
        ("parquet", [], [], "", "--format parquet does not fit the source"),
        ("auto", [], [], "t", "--table t is for databases only"),
        ("auto", ["prompt=q", "completion=a"], [], "", "has no column a to import"),
    ],
)
def test_what_does_not_fit_together(
    format: str, columns: list[str], templates: list[str], table: str, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", "q,answer\none,1\n")
    with pytest.raises(ValueError, match=message):
        read_import(wanted(path, format, columns, templates, table))


def test_an_empty_source_has_nothing_to_import(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "q,answer\n")
    assert "has no rows to import" in error_of(lambda: read_import(wanted(path, "auto", [], []))).what


def test_packed_files_and_csv_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(pair('q,\n"x"', "a")).encode()))
    write_examples(read_import(wanted(str(path), "auto", [], []))[1], tmp_path / "a.csv", "prompt-completion")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["system", "prompt", "completion", "tools"], ["", 'q,\n"x"', "a", ""]]


def test_a_synthetic_row_keeps_its_mark_or_is_refused(tmp_path: Path) -> None:
    mark = MARKED.model_dump(mode="json")
    path = jsonl(tmp_path / "a.jsonl", {**pair("q", "a"), "synthetic": mark}, {"question": "x", **pair("r", "b")})
    _, examples = read_import(wanted(path, "auto", ["prompt=prompt", "completion=completion"], []))
    rows = list(examples)
    assert [example.synthetic for example in rows] == [MARKED, None]
    for shape in ("chat", "alpaca", "sharegpt", "prompt-completion"):
        write_examples(rows, tmp_path / "b.jsonl", shape)
        assert [example.synthetic for example in read_file(str(tmp_path / "b.jsonl"))] == [MARKED, None]
    for kind in (".csv", ".parquet"):
        assert (
            "does not fit the shape" in error_of(lambda k=kind: write_examples(rows, tmp_path / f"b{k}", "chat")).what
        )  # type: ignore[misc]
