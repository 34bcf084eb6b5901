"""The card: the same bytes for the same inputs, nothing made up, and metadata that Croissant readers take."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import Ran, inside
from tests.curate.helpers import error_of, jsonl, pair, write
from tests.curate.test_provenance import SAID
from tunesmith.core.store import Workspace
from tunesmith.curate.config import Config
from tunesmith.curate.versions import audit
from tunesmith.curate.versions.card import CardNotes, DataCard, describe
from tunesmith.curate.versions.card_page import MISSING, to_markdown
from tunesmith.curate.versions.croissant import CONTEXT, to_croissant

NOTES = {name: f"what people say about {name}" for name in CardNotes.model_fields} | {"published": "2026-05-17"}


def rows(path: Path) -> str:
    return jsonl(path, *[{**pair(f"question {i}", f"answer {i}"), "customer": f"c{i % 7}"} for i in range(50)])


def card(folder: Path, provenance: dict[str, str] | None = None, notes: dict[str, str] | None = None) -> DataCard:
    path = rows(folder / "my rows.jsonl")
    config = Config.model_validate({"datasets": [{"path": path, "provenance": provenance}]})
    return describe(config, CardNotes.model_validate(notes or {}), Workspace.open(folder / "home"))


def test_the_same_inputs_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    pages = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made = card(tmp_path / name, SAID, NOTES)
        pages.append((to_markdown(made), to_croissant(made), made.model_dump_json()))
    assert pages[0] == pages[1]
    assert str(tmp_path) not in "".join(pages[0])


def test_what_nobody_said_is_missing_and_nothing_is_made_up(tmp_path: Path) -> None:
    bare = to_markdown(card(tmp_path))
    for paragraph in "abdefgh":
        line = next(line for line in bare.splitlines() if f"10(2)({paragraph})" in line)
        assert MISSING in line
    assert "| owner | **MISSING** |" in bare
    assert "not measured: no report of `tunesmith data check` was given" in bare
    assert "not measured: no audit was given" in bare
    said = to_markdown(card(tmp_path, SAID, NOTES))
    assert "| licence | own work |" in said
    assert "| retention | not needed |" in said
    assert "what people say about biases" in said
    left = [line for line in said.splitlines() if MISSING in line]
    assert [line.split("|")[1].strip() for line in left] == ["tdm opt out", "10(2)(c)", "10(3)"]
    assert f"{said.count(MISSING)} statements are missing" in said
    assert "The rows are about 7 persons" in to_markdown(card(tmp_path, {**SAID, "subject_column": "customer"}))


def test_words_of_people_cannot_break_the_page(tmp_path: Path) -> None:
    page = to_markdown(card(tmp_path, notes={"biases": "a | b\n# c <script>"}))
    assert "a \\| b # c &lt;script>" in page


def croissant(made: DataCard) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(to_croissant(made))
    return value


def test_croissant_has_what_the_specification_requires(tmp_path: Path) -> None:
    value = croissant(card(tmp_path, {**SAID, "licence": "CC-BY-4.0", "retention": "2030"}, NOTES))
    assert value["@context"] == CONTEXT
    assert value["@type"] == "sc:Dataset"
    assert "http://mlcommons.org/croissant/1.0" in value["conformsTo"]
    for required in ("name", "description", "license", "url", "creator", "datePublished", "distribution", "recordSet"):
        assert value[required]
    assert value["license"] == ["https://spdx.org/licenses/CC-BY-4.0"]
    (file,) = value["distribution"]
    assert {"@type", "@id", "name", "contentUrl", "encodingFormat", "sha256", "contentSize"} <= file.keys()
    assert (file["@type"], file["encodingFormat"], len(file["sha256"])) == (
        "cr:FileObject",
        "application/jsonlines",
        64,
    )
    (records,) = value["recordSet"]
    assert [field["source"]["extract"]["column"] for field in records["field"]] == ["prompt", "completion"]
    ids = [file["@id"], records["@id"], *(field["@id"] for field in records["field"])]
    assert len({*ids}) == len(ids)
    assert all(field["source"]["fileObject"]["@id"] == file["@id"] for field in records["field"])
    assert value["rai:dataCollectionTimeFrame"] == ["2025-01", "2026-03"]
    assert "url" not in croissant(card(tmp_path))


@pytest.mark.skipif(not importlib.util.find_spec("mlcroissant"), reason="mlcroissant is not installed")
def test_mlcroissant_takes_it(tmp_path: Path) -> None:
    import mlcroissant  # type: ignore[import-not-found]

    target = tmp_path / "croissant.json"
    target.write_text(to_croissant(card(tmp_path, SAID, NOTES)))
    found = mlcroissant.Dataset(jsonld=target)
    assert not found.metadata.ctx.issues.errors
    assert len(list(found.records(f"{found.metadata.record_sets[0].id}"))) == 50


def data(at: Path, *arguments: object, typed: str = "") -> Ran:
    return inside("data", *arguments, at=at, typed=typed, TUNESMITH_HOME=str(at / "home"))


def test_a_card_cites_reports_of_the_same_files_only(tmp_path: Path) -> None:
    rows(tmp_path / "a.jsonl")
    write(tmp_path / "notes.yaml", "name: Questions\npurpose: answers to customers\n")
    data(tmp_path, "check", "a.jsonl")
    data(tmp_path, "audit", "a.jsonl", "--n", "5", "--reviewer", "ann", typed="g\n" * 5)
    arguments = ("card", "a.jsonl", "--notes", "notes.yaml", "--audit", "a.audit.jsonl")
    ran = data(tmp_path, *arguments)
    assert ran.code == 0, ran.err
    page = (tmp_path / "data-card/card.md").read_text()
    assert page.startswith("# Questions\n")
    assert "0 of 5 rows are wrong" in page
    assert "| exact duplicates | ok |" in page
    first = {path.name: path.read_bytes() for path in (tmp_path / "data-card").iterdir()}
    assert data(tmp_path, *arguments, "--json").document["rows"] == 50
    assert {path.name: path.read_bytes() for path in (tmp_path / "data-card").iterdir()} == first
    other = jsonl(tmp_path / "b.jsonl", *[pair(f"q{i}", "a") for i in range(40)])
    assert "is about other files" in data(tmp_path, "card", "b.jsonl").out
    for extra, message in (
        (("--report", "data-check/curation_report.json"), "the report is about other files"),
        (("--report", "a.jsonl"), "this is no report of data check"),
        (("--audit", "a.audit.jsonl"), "the audit was of other files"),
        (("--notes", write(tmp_path / "n.yaml", "nmae: x\n")), "nmae"),
        (("--set", "val_size=0.2"), "--set changes a config file"),
    ):
        ran = data(tmp_path, "card", other, *extra)
        assert (ran.code, message in ran.err) == (2, True), ran.err


def test_a_config_file_needs_no_model(tmp_path: Path) -> None:
    rows(tmp_path / "a.jsonl")
    sets = [{"path": "a.jsonl", "provenance": SAID}]
    write(tmp_path / "tunesmith.yaml", json.dumps({"model": "nobody/has-this", "datasets": sets}))
    ran = data(tmp_path, "card", "tunesmith.yaml", "--set", "val_size=0.3")
    assert ran.code == 0, ran.err
    assert "Legal department" in (tmp_path / "data-card/card.md").read_text()
    assert data(tmp_path, "split", "tunesmith.yaml", "--out", "s").code == 0
    ran = data(tmp_path, "card", "tunesmith.yaml", "a.jsonl")
    assert (ran.code, "a config file says everything itself" in ran.err) == (2, True)


def test_a_missing_notes_file_and_versions(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", *[pair(f"q{i % 30}", "a") for i in range(40)])
    data(tmp_path, "repair", "a.jsonl", "--all")
    assert data(tmp_path, "card", "a.repaired.jsonl").code == 0
    page = (tmp_path / "data-card/card.md").read_text()
    assert "| a.repaired.jsonl | quarantine | 10 | exact duplicates |" in page
    assert "In quarantine: 10 rows" in page
    assert data(tmp_path, "card", "a.jsonl", "--notes", "none.yaml").code == 2
    error = error_of(lambda: audit.read_journal(tmp_path / "none"))
    assert "there is no such journal" in error.what
