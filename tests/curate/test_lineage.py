"""From a record to the versions, runs, adapters and names that were made of it: what was planted is found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import inside
from tests.curate.helpers import jsonl, pair
from tunesmith.core.artifacts import Release, RunRecord
from tunesmith.core.errors import InputError
from tunesmith.core.records import Action, Edit, Finding, Source
from tunesmith.core.store import Workspace, write_text
from tunesmith.curate.config import Config, Dataset, DatasetSpec
from tunesmith.curate.run import run
from tunesmith.curate.versions import history, version
from tunesmith.curate.versions.lineage import keep_rows, trace
from tunesmith.curate.versions.repair import decide


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def dataset(path: str, **change: object) -> Dataset:
    spec = {"path": path, "provenance": {"subject_column": "customer"}}
    return run(Config.model_validate({"datasets": [spec], **change}))


def rows(path: Path, start: int = 0) -> str:
    people = [{**pair(f"question {i}", f"answer {i}"), "customer": f"c{i % 20}"} for i in range(start, start + 60)]
    return jsonl(path, *people)


def planted(name: str, data: Dataset, workspace: Workspace, parent: str = "") -> RunRecord:
    """A registered run with an adapter that answers under its name."""
    record = RunRecord(
        run_id=name,
        created_at=f"2026-01-0{len(workspace.list('run', RunRecord)) + 1}",
        config={},
        origins={},
        dataset_digest=data.card.digest,
        base_fingerprint="",
        renderer_digest="",
        seed=0,
        environment={},
        adapter_digest=f"weights-{name}",
        parent_digest=parent,
    )
    keep_rows(data, workspace)
    workspace.put("run", name, record)
    adapter = workspace.publish("adapter", lambda folder: write_text(folder / "a", name), {"run_id": name})
    workspace.release(Release(alias=f"{name}-alias", adapter_digest=adapter.digest, created_at="2026"))
    return record


def test_a_record_leads_to_its_runs_and_no_other(tmp_path: Path, workspace: Workspace) -> None:
    one, two = dataset(rows(tmp_path / "a.jsonl")), dataset(rows(tmp_path / "b.jsonl", 100))
    planted("one", one, workspace)
    planted("two", two, workspace)
    planted("again", dataset(rows(tmp_path / "a.jsonl"), split_seed=1), workspace)
    for example in one.examples[:20]:
        found = trace(example.id, workspace)
        assert [hit.run_id for hit in found.runs] == ["one", "again"]
        assert (found.runs[0].split, found.runs[0].source) == (example.split, str(example.source))
        assert found.runs[0].releases == ("one-alias",)
        assert len(found.runs[0].adapters) == 1
    assert trace(two.examples[0].id[:8], workspace).runs[0].run_id == "two"
    assert trace("0123456789abcdef", workspace).is_empty
    assert trace("nobody", workspace).is_empty


def test_a_person_leads_to_all_records_about_them_and_is_not_written_down(tmp_path: Path, workspace: Workspace) -> None:
    data = dataset(rows(tmp_path / "a.jsonl"))
    planted("one", data, workspace)
    found = trace("c7", workspace)
    assert found.is_subject
    assert set(found.records) == {example.id for example in data.examples if example.subject == "c7"}
    assert len(found.runs) == 3
    assert all(b'"c7"' not in path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())


def test_runs_that_went_on_from_the_weights_have_learned_it_too(tmp_path: Path, workspace: Workspace) -> None:
    data, other = dataset(rows(tmp_path / "a.jsonl")), dataset(rows(tmp_path / "b.jsonl", 100))
    planted("one", data, workspace)
    planted("two", other, workspace, parent="weights-one")
    planted("three", other, workspace, parent="weights-two")
    learned = next(example for example in data.examples if example.split == "train")
    assert [(hit.run_id, hit.through) for hit in trace(learned.id, workspace).runs] == [
        ("one", ""),
        ("two", "one"),
        ("three", "two"),
    ]
    judged = next(example for example in data.examples if example.split == "test")
    assert [hit.run_id for hit in trace(judged.id, workspace).runs] == ["one"], "a row of the test was not learned"


def test_an_edited_record_is_followed_both_ways(tmp_path: Path, workspace: Workspace) -> None:
    path = rows(tmp_path / "a.jsonl")
    before = dataset(path)
    where = [Source(path=path, line=line) for line in (1, 2)]
    edits = (Edit(turn=0, start=0, end=1, text="Q"), Edit(turn=1, start=0, end=6, text="It"))
    actions = (Action(kind="edit", edits=edits), Action(kind="quarantine", rows=(where[1],)))
    findings = [
        Finding(check="c", severity="info", message="m", source=source, action=action)
        for source, action in zip(where, actions, strict=True)
    ]
    made = history.repair(DatasetSpec(path=path), None, decide(findings), workspace)
    assert made is not None
    version.write_out(made, workspace, tmp_path / "b.jsonl")
    after = dataset(str(tmp_path / "b.jsonl"))
    planted("one", after, workspace)
    old, new = before.examples[0], after.examples[0]
    assert old.id != new.id
    for id in (old.id, new.id):
        found = trace(id, workspace)
        assert set(found.records) == {old.id, new.id}
        assert [hit.run_id for hit in found.runs] == ["one"]
        assert [(hit.digest, hit.state) for hit in found.versions] == [(made.digest, "edited")]
    gone = trace(before.examples[1].id, workspace)
    assert ([hit.state for hit in gone.versions], gone.runs) == (["in quarantine"], ())


def test_what_a_model_made_of_a_record_is_found_with_it(tmp_path: Path, workspace: Workspace) -> None:
    data = dataset(rows(tmp_path / "a.jsonl"))
    parent, other = data.examples[0], data.examples[1]
    mark = {"method": "paraphrase", "parents": [parent.id]}
    made = [{**pair(f"made {i}", "x"), "customer": "", "synthetic": mark} for i in range(3)]
    people = [{**pair(f"new {i}", "y"), "customer": ""} for i in range(60)]
    planted("two", dataset(jsonl(tmp_path / "b.jsonl", *made, *people)), workspace)
    assert {hit.run_id for hit in trace(parent.id, workspace).runs} == {"two"}, "it is known by its children alone"
    planted("one", data, workspace)
    found = trace(parent.id, workspace)
    assert len(found.records) == 4
    assert [hit.run_id for hit in found.runs] == ["two", "two", "two", "one"]
    assert [hit.run_id for hit in trace(other.id, workspace).runs] == ["one"]


def test_digits_that_fit_several_records_are_refused(tmp_path: Path, workspace: Workspace) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[pair(f"q{i}", "x") for i in range(3)])
    finding = Finding(
        check="q",
        severity="error",
        message="m",
        source=Source(path=path, line=1),
        action=Action(kind="quarantine", rows=(Source(path=path, line=1),)),
    )
    made = history.repair(DatasetSpec(path=path), None, decide([finding]), workspace)
    assert made is not None
    artifact = workspace.artifact(made.digest)
    ids = artifact.path / version.IDS
    ids.write_text("abcdef0000000001\nabcdef0000000002\n")
    with pytest.raises(InputError, match="2 records begin with abcdef"):
        trace("abcdef", workspace)
    assert trace("abc", workspace).is_empty


def test_lineage_on_the_command_line(tmp_path: Path, workspace: Workspace) -> None:
    data = dataset(rows(tmp_path / "a.jsonl"))
    planted("one", data, workspace)
    learned = next(example for example in data.examples if example.split == "train")
    ran = inside("data", "lineage", learned.id, at=tmp_path, TUNESMITH_HOME=str(tmp_path / "home"))
    assert ran.code == 0, ran.err
    assert f"run one: learned ({learned.source})" in ran.out
    assert ", answers as one-alias" in ran.out
    ran = inside("data", "lineage", "c3", "--json", at=tmp_path, TUNESMITH_HOME=str(tmp_path / "home"))
    assert (ran.document["found"], len(ran.document["records"])) == (True, 3)
    ran = inside("data", "lineage", "nobody", at=tmp_path, TUNESMITH_HOME=str(tmp_path / "home"))
    assert (ran.code, "was made of nobody" in ran.out) == (1, True)
