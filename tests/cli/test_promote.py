"""``tunesmith promote`` and ``tunesmith rollback``: no promotion without a verdict, and a way back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import Ran, inside
from tunesmith.core.artifacts import AdapterCard, Report, RunRecord
from tunesmith.core.gates import Gate
from tunesmith.core.records import SamplingParams
from tunesmith.core.store import Workspace, write_manifest
from tunesmith.serve import require_deployed


def write_run(folder: Path, name: str, verdict: str | None = "better", **report: object) -> Path:
    """A finished run as promotion sees it: record, adapter with card and manifest, report."""
    run = folder / name
    adapter = run / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "name": name}))
    (adapter / "adapter_model.safetensors").write_bytes(name.encode())
    card = AdapterCard(
        method="lora",
        base="tiny",
        base_fingerprint="f",
        renderer_digest="r",
        chat_template="chatml",
        stop_ids=(0,),
        run_id=name,
        dtype="float32",
    )
    (adapter / "tunesmith.json").write_text(card.model_dump_json())
    write_manifest(adapter)
    record = RunRecord(
        run_id=name,
        created_at="now",
        config={},
        origins={},
        dataset_digest="d",
        base_fingerprint="f",
        renderer_digest="r",
        seed=0,
        environment={},
    )
    (run / "run.json").write_text(record.model_dump_json())
    if verdict is not None:
        judged = Report(
            report_id=f"report-{name}",
            created_at="now",
            dataset_digest="d",
            models=(),
            params=SamplingParams(),
            primary_metric="exact_match",
            confidence=0.95,
            summaries=(),
            comparisons=(),
            items=(),
            verdict=verdict or None,
            sentence="",
            **report,
        )
        (run / "report.json").write_text(judged.model_dump_json())
    return run


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    return tmp_path


def ask(desk: Path, *arguments: object) -> Ran:
    return inside(*arguments, at=desk, TUNESMITH_HOME=str(desk / "home"))


def test_a_judged_run_is_promoted_and_rolled_back(desk: Path) -> None:
    first, second = write_run(desk, "first"), write_run(desk, "second", "equivalent")
    done = ask(desk, "promote", first, "--as", "support-bot")
    assert done.code == 0, done.err
    assert "promoted: " in done.out
    assert "(verdict: better)" in done.out
    share = ask(desk, "promote", second, "--as", "support-bot", "--share", "0.1", "--json").document
    arms = {arm["name"]: arm for arm in share["deployment"]["arms"]}
    workspace = Workspace.open(desk / "home")
    assert arms["candidate"]["weight"] == 0.1
    assert workspace.artifact(arms["candidate"]["digest"]).meta["source"] == "second"
    assert workspace.artifact(arms["control"]["digest"]).meta["source"] == "first"
    back = ask(desk, "rollback", "support-bot", "--reason", "slower")
    assert back.code == 0, back.err
    now = require_deployed(workspace, "support-bot")
    assert [arm.digest for arm in now.arms] == [arms["control"]["digest"]]
    assert now.reason.endswith("slower")
    assert ask(desk, "rollback", "nothing").code == 2


@pytest.mark.parametrize(
    ("verdict", "gates", "why"),
    [
        (None, (), "it was never judged"),
        ("", (), "it was judged without a baseline"),
        ("worse", (), "its verdict is 'worse'"),
        ("cannot tell", (), "its verdict is 'cannot tell'"),
        ("better", (Gate(name="leakage", verdict="fail", sentence="s"),), "its gates say 'fail'"),
        ("better", (Gate(name="leakage", verdict="not measured", sentence="s"),), "its gates say 'not measured'"),
    ],
)
def test_without_a_good_verdict_a_reason_is_needed(desk: Path, verdict: str | None, gates: object, why: str) -> None:
    run = write_run(desk, "run", verdict, **({"gates": gates} if verdict is not None else {}))
    refused = ask(desk, "promote", run, "--as", "bot")
    assert refused.code == 2
    assert f"may not go: {why}" in refused.err
    assert "--reason TEXT" in refused.err
    assert ask(desk, "promote", run, "--as", "bot", "--reason", "the board said so").code == 0
    assert require_deployed(Workspace.open(desk / "home"), "bot").reason == "the board said so"


def test_what_cannot_be_promoted(desk: Path) -> None:
    run = write_run(desk, "run")
    for arguments, text in [
        (("tiny-model", "--as", "bot"), "is not an adapter"),
        ((run, "--as", "bot", "--share", "0.5"), "cannot be promoted as 'bot'"),
        ((run, "--as", "bot", "--share", "1.5"), "a share of 1.5 cannot be promoted"),
    ]:
        refused = ask(desk, "promote", *arguments)
        assert (refused.code, text in refused.err) == (2, True), refused.err
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"other")
    assert ask(desk, "promote", run, "--as", "bot").code == 2
