"""The verb as a whole: files in, data set and card out, or one error that says it all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.curate.helpers import WordRenderer, error_of, jsonl, pair
from tunesmith.core.artifacts import DatasetCard
from tunesmith.core.events import Note, Tick
from tunesmith.core.records import Example, Finding
from tunesmith.curate import Config, Dataset, DatasetSpec, examine, run
from tunesmith.curate.run import capped


def config(*paths: str, **change: object) -> Config:
    asked = {"require_provenance": None, **change}
    return Config(datasets=tuple(DatasetSpec(path=path) for path in paths), **asked)  # type: ignore[arg-type]


def rows(count: int = 60) -> list[dict[str, str]]:
    return [pair(f"question {i}", f"answer {i}") for i in range(count)]


def test_a_data_set_and_its_card(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *rows())
    events: list[object] = []
    data = run(config(path), WordRenderer(), 100, events.append)
    assert len(data.examples) == 60
    assert [len(data.of(name)) for name in ("train", "validation", "test")] == list(data.card.rows.values())  # type: ignore[arg-type]
    assert all(data.card.rows.values())
    assert data.card.formats == {path: "prompt-completion"}
    assert len(data.card.sources[path]) == 64
    assert data.card.findings == ()
    assert {event.task for event in events if isinstance(event, Tick)} == {
        "reading a.jsonl",
        "splitting rows",
        "counting tokens",
        "checking rows",
        "searching rows",
    }
    assert DatasetCard.model_validate_json(data.card.model_dump_json()) == data.card
    assert Example.model_validate_json(data.examples[0].model_dump_json()) == data.examples[0]


def test_the_digest_is_of_the_content_not_of_the_name_or_the_shape(tmp_path: Path) -> None:
    one = run(config(jsonl(tmp_path / "a.jsonl", *rows())))
    other_rows = [
        {"messages": [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["completion"]}]}
        for r in rows()
    ]
    other = run(config(jsonl(tmp_path / "b.jsonl.gz", *other_rows)))
    assert one.card.digest == other.card.digest
    assert one.card.digest != run(config(jsonl(tmp_path / "a.jsonl", *rows(61)))).card.digest
    assert one.card.digest != run(config(jsonl(tmp_path / "a.jsonl", *rows()), split_seed=1)).card.digest


def test_several_files_with_splits_of_their_own(tmp_path: Path) -> None:
    train, test = jsonl(tmp_path / "a.jsonl", *rows(40)), jsonl(tmp_path / "b.jsonl", *rows(50)[40:])
    specs = (DatasetSpec(path=train), DatasetSpec(path=test, split="test"))
    data = run(Config(datasets=specs, val_size=0.2))
    assert data.card.rows["test"] == 10
    assert len(data.of("validation")) > 0
    assert set(data.card.sources) == {train, test}


def test_a_leak_between_files_is_refused(tmp_path: Path) -> None:
    train, test = (
        jsonl(tmp_path / "a.jsonl", *rows(40)),
        jsonl(tmp_path / "b.jsonl", pair("QUESTION 3", "x"), pair("n", "y")),
    )
    specs = (DatasetSpec(path=train), DatasetSpec(path=test, split="test"))
    error = error_of(lambda: run(Config(datasets=specs, val_size=0.2)))
    assert "rows in more than one split (1)" in error.what
    assert f"{test}:1" in error.what


def test_errors_are_listed_worst_first_with_their_ways_out(tmp_path: Path) -> None:
    bad = [pair(f"long {i}", "word " * (100 + i)) for i in range(7)] + [pair("empty", "")]
    path = jsonl(tmp_path / "a.jsonl", *rows(20), *bad)
    error = error_of(lambda: run(config(path), WordRenderer(), 50))
    assert error.what.startswith("8 of 28 rows have errors: empty answers (1), row length (7)")
    assert f"{path}:28 empty answers: an answer is empty" in error.what
    assert "109 tokens, max_length is 50" in error.what
    assert "and 3 more: tunesmith data check" in error.what
    assert "max_length: 128" in error.fix
    assert "no row with an error" in error.rule


def test_long_rows_can_be_left_out_and_that_is_recorded(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *rows(60), pair("long", "word " * 99))
    events: list[object] = []
    data = run(config(path, on_too_long="drop"), WordRenderer(), 50, events.append)
    assert len(data.examples) == 60
    assert [f.message for f in data.card.findings] == ["left out: 102 tokens, max_length is 50"]
    assert [e.text for e in events if isinstance(e, Note)] == ["left out 1 row longer than max_length 50"]


def test_rows_that_cannot_be_read_are_named_together(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *rows(3), {"prompt": "q"}, *rows(2), {"completion": "a"})
    error = error_of(lambda: run(config(path)))
    assert error.where == f"{path}:4 (completion)"
    assert "has no field completion" in error.what
    assert f"(1 more row cannot be read: {path}:7 (prompt))" in error.what
    found = examine(config(path))
    assert len(found.examples) == 5
    assert [e.where for e in found.unreadable] == [f"{path}:4 (completion)", f"{path}:7 (prompt)"]


def test_reading_stops_when_nothing_can_be_read(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *rows(1), *[{"prompt": "q"}] * 500)
    error = error_of(lambda: examine(config(path)))
    assert "at least 19 more rows cannot be read" in error.what


def test_too_few_rows(tmp_path: Path) -> None:
    error = error_of(lambda: run(config(jsonl(tmp_path / "a.jsonl", *rows(2)))))
    assert "too few rows" in error.what


def test_fields_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[{**row, "context": "x", "id": 1} for row in rows()])
    (finding,) = run(config(path)).card.findings
    assert (finding.severity, finding.source.path) == ("info", path)
    assert finding.message == "the model will not see context, id"
    named = DatasetSpec(path=path, columns={"prompt": "prompt", "completion": "completion"})
    assert run(Config(datasets=(named,), require_provenance=None)).card.findings == ()


def test_a_card_keeps_some_findings_and_counts_the_rest() -> None:
    many = [Finding(check="x", severity="warning", message=str(i)) for i in range(70)]
    kept = capped([*many, Finding(check="y", severity="info", message="z")])
    assert len(kept) == 52
    assert kept[-1].message == "20 more"


def test_a_data_set_is_frozen(tmp_path: Path) -> None:
    data = run(config(jsonl(tmp_path / "a.jsonl", *rows())))
    assert isinstance(data, Dataset)
    with pytest.raises(AttributeError):
        data.examples = ()  # type: ignore[misc]


def test_the_json_schema_describes_every_field() -> None:
    schema = Config.model_json_schema()
    fields = {**schema["properties"], **schema["$defs"]["DatasetSpec"]["properties"]}
    assert all(field.get("description") for field in fields.values()), json.dumps(fields)
