"""Where rows come from: what a source may say, what is refused, and what rows carry."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.curate.helpers import error_of, jsonl, pair
from tunesmith.core.artifacts import Check
from tunesmith.core.errors import ConfigError
from tunesmith.curate.config import Config, DatasetSpec
from tunesmith.curate.provenance import Provenance, missing
from tunesmith.curate.reading.read import read
from tunesmith.curate.run import examine, run

SAID = {
    "owner": "Legal department",
    "licence": "own work",
    "basis": "no personal data",
    "collected": "2025-01/2026-03",
    "collection_method": "written by two lawyers",
}


def config(path: str, provenance: dict[str, str] | None, **change: object) -> Config:
    return Config.model_validate({"datasets": [{"path": path, "provenance": provenance}], **change})


def rows(path: Path) -> str:
    return jsonl(path, *[{**pair(f"question {i}", "yes"), "customer": f"c{i}" if i else ""} for i in range(40)])


def test_a_source_without_provenance_is_a_warning_or_refused(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl")
    (finding,) = [f for f in examine(config(path, None)).findings if f.check == "provenance"]
    assert (finding.severity, finding.message, finding.source.path) == ("warning", "no provenance", path)
    assert [f for f in examine(config(path, None, require_provenance=None)).findings if f.check == "provenance"] == []
    error = error_of(lambda: run(config(path, None, require_provenance=True)))
    assert "the source does not say where it comes from: owner, licence" in error.what
    error = error_of(lambda: run(config(path, {**SAID, "owner": ""}, require_provenance=True)))
    assert "owner missing" in error.what
    card = run(config(path, SAID, require_provenance=True)).card
    assert sum(card.rows.values()) == 40


def test_the_table_says_what_was_checked(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl")

    def line(config: Config) -> Check:
        return next(check for check in examine(config).inspection.checks if check.name == "provenance")

    assert line(config(path, SAID)).detail == "nothing found in 1 source"
    assert line(config(path, None)).detail == "1 warning"
    refused = line(config(path, None, require_provenance=True))
    assert (refused.passed, refused.detail) == (False, "1 error")


def test_personal_data_also_need_a_retention_and_a_column_of_the_person() -> None:
    assert missing(Provenance.model_validate(SAID)) == ()
    assert missing(Provenance.model_validate({**SAID, "basis": "consent"})) == ("retention", "subject_column")
    assert missing(None) == (
        "owner",
        "licence",
        "basis",
        "collected",
        "collection_method",
        "retention",
        "subject_column",
    )


def test_rows_carry_licence_and_subject_and_keep_their_ids(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl")
    spec = DatasetSpec(path=path, provenance=Provenance(licence="mit or apache-2.0", subject_column="customer"))
    found = list(read(spec))
    assert {example.licence for example in found} == {"MIT OR Apache-2.0"}
    assert [example.subject for example in found[:3]] == ["", "c1", "c2"]
    assert [example.id for example in found] == [example.id for example in read(DatasetSpec(path=path))]
    named = spec.model_copy(update={"columns": {"prompt": "prompt", "completion": "completion"}})
    assert next(iter(read(named))).licence == "MIT OR Apache-2.0"
    findings = examine(config(path, {**SAID, "subject_column": "customer"})).findings
    assert "1 row without a value in customer" in next(f.message for f in findings if f.check == "provenance")
    wrong = DatasetSpec(path=path, provenance=Provenance(subject_column="custmer"))
    error = error_of(lambda: list(read(wrong)))
    assert "has no column 'custmer' that says whom it is about" in error.what
    assert "did you mean customer?" in error.fix


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("licence", "Apache 2", "licence 'Apache 2' is no SPDX expression"),
        ("licence", "CC-BY-5.0", "is no SPDX expression"),
        ("collected", "last year", "'last year' is no date"),
        ("collected", "2026-13", "is no date"),
        ("retention", "2026-01/2026-02/2026-03", "is no date"),
    ],
)
def test_what_is_no_licence_and_no_date(field: str, value: str, message: str) -> None:
    with pytest.raises((ConfigError, ValidationError), match=message):
        Provenance.model_validate({field: value})


@pytest.mark.parametrize(
    "licence", ["", "own work", "Contract", "CC-BY-SA-4.0", "LicenseRef-Ours", "MIT AND (ISC OR MIT)"]
)
def test_licences_that_are_known(licence: str) -> None:
    assert Provenance(licence=licence).licence.lower() == licence.lower()
    assert Provenance(collected="2024", retention="unlimited").retention == "unlimited"
