"""``eval``, ``compare`` and ``report`` from the command line, on a tiny model."""

from __future__ import annotations

import json

from tests.cli.conftest import Desk, refusal
from tests.project import ROWS

_REPORT = json.dumps(
    {
        "report_id": "abc",
        "created_at": "2026-01-01",
        "dataset_digest": "",
        "models": [],
        "params": {},
        "primary_metric": "exact_match",
        "confidence": 0.95,
        "summaries": [],
        "comparisons": [],
        "items": [],
        "verdict": None,
        "sentence": "",
    }
)


def document(ran):
    assert ran.code in (0, 1), ran.err
    return json.loads(ran.out)


def test_a_spec_first_then_its_verdict_then_the_same_report_again(desk: Desk) -> None:
    (desk.folder / "brief.txt").write_text("Answer briefly.", encoding="utf-8")
    models = [desk.base, f"{desk.base}::brief.txt"]
    compare = ["compare", *models, "--data", ROWS, "--json"]
    fixed = document(desk.ask(*compare, "--write-spec", "eval.yaml", "--set", "bootstrap_samples=300"))
    assert fixed["models"] == [str(model) for model in models]
    first = document(desk.ask(*compare, "--spec", "eval.yaml", "--report", "page.html"))
    assert first["standing"]["kind"] == "confirmatory"
    assert first["models"][0]["digest"] != first["models"][1]["digest"]

    again = desk.ask(*compare, "--spec", "eval.yaml")
    assert document(again)["report_id"] == first["report_id"]
    kept = list((desk.home / "answers").iterdir())
    assert len(kept) == 2, "the answers of both are kept, so nothing is asked twice"

    unplanned = document(desk.ask(*compare, "--set", "primary_metric=exact_match", "--set", "bootstrap_samples=300"))
    assert unplanned["standing"]["kind"] == "exploratory"
    assert unplanned["standing"]["opening"] == 2

    shown = desk.ask("report", first["report_id"][:10], "--html", "again.html", "--markdown", "again.md", "--json")
    assert document(shown) == document(again)
    assert (desk.folder / "again.html").read_bytes() == (desk.folder / "page.html").read_bytes()
    assert desk.ask("report", first["report_id"], "--blind", "blind.html").code == 0
    page = (desk.folder / "blind.html").read_text(encoding="utf-8")
    assert str(desk.base) not in page
    rows = json.loads(page.split('id="data">')[1].split("</script>")[0])["rows"]
    made = [{"row": row["row"], "choice": "same"} for row in rows]
    saved = {"report": first["report_id"], "reviewer": "ann", "decisions": made}
    (desk.folder / "ann.json").write_text(json.dumps(saved), encoding="utf-8")
    found = document(desk.ask("report", first["report_id"], "--judged", "ann.json", "--json"))
    assert found["same"] == len(rows)
    assert "**Confirmatory**" in (desk.folder / "again.md").read_text(encoding="utf-8")


def test_a_run_that_measured_nothing_is_no_success(desk: Desk) -> None:
    """An endpoint gives no log-probabilities, and plain texts are judged by nothing else."""
    (desk.folder / "texts.jsonl").write_text('{"text": "Dogs bark."}\n{"text": "Cats purr."}\n', encoding="utf-8")
    ran = desk.ask("eval", "bot@http://127.0.0.1:9/v1", "--data", "texts.jsonl", "--json")
    assert ran.code == 1, ran.err
    report = json.loads(ran.out)
    assert [found["value"] for found in report["summaries"] if found["metric"] == "perplexity"] == [None]


def test_contradicting_options(desk: Desk) -> None:
    error = refusal(desk.ask("eval", desk.base, "--data", ROWS, "--spec", "e.yaml", "--set", "temperature=1"))
    assert error.what == "--spec and --config or --set were given together"
    error = refusal(desk.ask("eval", desk.base, "--data", ROWS, "--vault"))
    assert error.what == "--vault was given without --write-spec"
    error = refusal(desk.ask("eval", desk.base, "--data", ROWS, "--spec", "e.yaml", "--write-spec", "f.yaml"))
    assert error.what == "--spec and --write-spec were given together"
    error = refusal(desk.ask("eval", desk.base, "--data", ROWS, "--spec", "e.yaml"))
    assert error.what == "no such file: e.yaml"
    assert error.where == "--spec"


def test_a_report_that_is_not_there(desk: Desk) -> None:
    (desk.folder / "kept.json").write_text(_REPORT, encoding="utf-8")
    error = refusal(desk.ask("report", "kept.json", "--judged", "ann.json"))
    assert error.what.startswith("no blind page was written for report ")
    assert refusal(desk.ask("report")).what == "there is no report yet"
    (desk.folder / "report.json").write_text("{}", encoding="utf-8")
    assert "is no report: " in refusal(desk.ask("report", "report.json")).what
