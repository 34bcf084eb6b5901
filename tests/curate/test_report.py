"""The files that a check of the data leaves: every finding, the numbers, and the page."""

from __future__ import annotations

import json
from pathlib import Path

from tests.curate.helpers import jsonl, pair
from tunesmith.core.records import Finding
from tunesmith.curate import Config, DatasetSpec, examine, summarise, write_report
from tunesmith.curate.checks.report import CurationReport


def checked(path: str, folder: Path) -> tuple[list[Finding], CurationReport, str]:
    config = Config(datasets=(DatasetSpec(path=path),), require_provenance=None)
    found = examine(config)
    paths = write_report(folder, summarise(found, config, found.findings), found.findings)
    findings = [Finding.model_validate_json(line) for line in paths[0].read_text().splitlines()]
    return findings, CurationReport.model_validate_json(paths[1].read_text()), paths[2].read_text()


def test_every_finding_every_number_and_a_page(tmp_path: Path) -> None:
    rows = [
        pair("Q", "A"),
        pair("q", "a"),
        pair("Q", "<b>B</b>"),
        pair("x", " "),
        *[pair(f"n{i}", "y") for i in range(40)],
    ]
    findings, report, page = checked(jsonl(tmp_path / "a.jsonl", *rows, rows[-1]), tmp_path / "out")
    assert [f.check for f in findings].count("exact duplicates") == 2
    by_name = {check.name: check for check in report.checks}
    assert by_name["exact duplicates"].findings == {"warning": 2}
    assert by_name["exact duplicates"].repairable == 2
    assert by_name["exact duplicates"].figures == {
        "groups": 2,
        "copies": 2,
        "rows_with_a_question_again": 3,
        "rows_with_an_answer_again": 41,
    }
    assert by_name["empty answers"].passed is False
    assert by_name["row length"].passed is None
    assert (report.rows, report.ok, sum(report.splits.values())) == (45, False, 45)
    counts = {word: sum(f.severity == word for f in findings) for word in ("error", "warning")}
    assert counts["error"] == 1
    assert f"1 error and {counts['warning']} warnings: not ready for training" in page
    assert "chat template, row length" in page
    assert "put aside 1 row (line 2)" in page
    assert "<script" not in page


def test_what_a_row_says_is_escaped_and_long_lists_are_cut(tmp_path: Path) -> None:
    rows = [pair(f"<script>{i}</script>", " ") for i in range(60)]
    findings, _, page = checked(jsonl(tmp_path / "<a>.jsonl", *rows), tmp_path / "out")
    assert [f.check for f in findings].count("empty answers") == 60
    assert page.count("an answer is empty") == 20
    assert "<script>" not in page
    assert "<a>.jsonl" not in page


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[pair(f"q{i % 7}", f"a{i % 3}") for i in range(50)])
    for folder in ("one", "two"):
        checked(path, tmp_path / folder)
    for name in ("findings.jsonl", "curation_report.json", "curation.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_what_must_not_stand_in_a_report_is_taken_out(tmp_path: Path) -> None:
    config = Config(datasets=(DatasetSpec(path=jsonl(tmp_path / "a.jsonl", pair("q", "a"))),), require_provenance=None)
    found = examine(config)
    secret = Finding(check="x", severity="info", message="it says hunter2", evidence="hunter2!")
    paths = write_report(
        tmp_path / "out", summarise(found, config, [secret]), [secret], lambda text: text.replace("hunter2", "[secret]")
    )
    assert json.loads(paths[0].read_text())["evidence"] == "[secret]!"
    assert all("hunter2" not in path.read_text() for path in paths)
