"""Repairing: which action wins, what a version holds, and that every row comes back as it was."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.curate.helpers import chat, error_of, jsonl, pair, write
from tunesmith.core.errors import DataError, InputError
from tunesmith.core.records import Action, Edit, Finding, Severity, Source
from tunesmith.core.store import Workspace
from tunesmith.curate.config import DatasetSpec
from tunesmith.curate.reading.read import read
from tunesmith.curate.versions import history, version
from tunesmith.curate.versions.repair import decide


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def aside(path: str, line: int, *rows: int, check: str = "copies", severity: Severity = "warning") -> Finding:
    action = Action(kind="quarantine", rows=tuple(Source(path=path, line=row) for row in rows))
    return Finding(check=check, severity=severity, message="m", source=Source(path=path, line=line), action=action)


def edit(
    path: str, line: int, *edits: tuple[int, int, int, str], check: str = "e", severity: Severity = "info"
) -> Finding:
    changes = tuple(Edit(turn=turn, start=start, end=end, text=text) for turn, start, end, text in edits)
    where = Source(path=path, line=line)
    return Finding(check=check, severity=severity, message="m", source=where, action=Action(kind="edit", edits=changes))


def repaired(path: str, workspace: Workspace, findings: Sequence[Finding], out: Path) -> version.DataVersion | None:
    before = version.version_of(Path(path), workspace)
    decision = decide(findings, history.kept_by(before))
    made = history.repair(DatasetSpec(path=path), before, decision, workspace)
    if made:
        version.write_out(made, workspace, out)
    return made


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


# ---------------------------------------------------------------- what is decided


def test_a_row_that_leaves_is_not_edited() -> None:
    decision = decide([edit("a", 1, (0, 0, 1, "x")), aside("a", 1, 1)])
    assert list(decision.leaving) == [Source(path="a", line=1)]
    assert not decision.edited


def test_the_graver_of_two_overlapping_edits_is_made() -> None:
    mild, grave = edit("a", 1, (0, 0, 5, "mild")), edit("a", 1, (0, 3, 8, "grave"), severity="error")
    for order in ([mild, grave], [grave, mild]):
        decision = decide(order)
        assert [change.text for change, _ in decision.edited[Source(path="a", line=1)]] == ["grave"]
        assert decision.left_undone == (mild,)
    apart = decide([edit("a", 1, (0, 0, 3, "x")), edit("a", 1, (0, 3, 5, "y"), (1, 0, 1, "z"))])
    assert [change.text for change, _ in apart.edited[Source(path="a", line=1)]] == ["x", "y", "z"]
    inside = decide([edit("a", 1, (0, 5, 5, "in")), edit("a", 1, (0, 3, 8, "x"), severity="error")])
    assert len(inside.left_undone) == 1


def test_when_the_keeper_of_a_group_leaves_another_row_of_it_stays() -> None:
    copies, bad = aside("a", 1, 2, 3), aside("a", 1, 1, check="bad", severity="error")
    assert [row.line for row in decide([copies]).leaving] == [2, 3]
    assert [row.line for row in decide([copies, bad]).leaving] == [1, 3]
    assert [row.line for row in decide([bad, copies]).leaving] == [1, 3]


def test_the_order_of_the_findings_changes_nothing() -> None:
    rng = random.Random(0)
    for _ in range(50):
        findings = [
            aside("a", rng.randrange(1, 9), *rng.sample(range(1, 9), 2), check=rng.choice("pq")) for _ in range(6)
        ]
        findings += [
            edit("a", rng.randrange(1, 9), (0, s := rng.randrange(9), s + 3, rng.choice("xy"))) for _ in range(6)
        ]
        once = decide(findings)
        rng.shuffle(findings)
        assert decide(findings) == once


# ---------------------------------------------------------------- versions


ODD = [
    '{"prompt":"a",   "completion":"b", "note": 1.50}',
    '{"completion": "é\\u00e9", "prompt": "q2"} ',
    '{"prompt": "q3", "completion": "three"}',
    '{"prompt": "q4", "completion": "four"}',
]


def test_rows_keep_their_bytes_and_come_back_to_their_places(tmp_path: Path, workspace: Workspace) -> None:
    path = write(tmp_path / "a.jsonl", "\ufeff" + "\r\n".join([*ODD[:2], "", *ODD[2:]]) + "\r\n")
    made = repaired(path, workspace, [aside(path, 1, 1, 4), edit(path, 2, (0, 0, 1, "Q"))], tmp_path / "b.jsonl")
    assert made is not None
    assert (made.rows, made.in_quarantine) == (2, 2)
    assert lines(tmp_path / "b.jsonl") == ['{"completion": "éé", "prompt": "Q2"}', ODD[3]]
    entries = [json.loads(line) for line in lines(tmp_path / "b.quarantine.jsonl")]
    assert [(e["position"], e["action"], e["row"]) for e in entries] == [
        (0, "quarantine", ODD[0]),
        (1, "edit", ODD[1]),
        (2, "quarantine", ODD[2]),
    ]
    assert entries[0]["source"] == {"path": "a.jsonl", "line": 1}
    assert entries[0]["findings"][0]["check"] == "copies"
    found = version.version_of(tmp_path / "b.jsonl", workspace)
    assert found is not None
    for order in ([0, 2, 1], [2, 1, 0]):
        current, name = found, "b.jsonl"
        for position in order:
            entry = next(e for e in current.aside if e.position == position)
            back = history.restore(DatasetSpec(path=str(tmp_path / name)), current, [entry], workspace)
            name = f"back{position}.jsonl"
            version.write_out(back, workspace, tmp_path / name)
            current = version.version_of(tmp_path / name, workspace)  # type: ignore[assignment]
        assert lines(tmp_path / name) == ODD
        assert current.version.in_quarantine == 0
        assert len(current.version.steps) == 5
        assert not current.aside


def test_the_same_repair_gives_the_same_bytes_and_a_second_one_does_nothing(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[pair(f"q{i}", "x") for i in range(9)])
    findings = [aside(path, 1, 3, 5), edit(path, 2, (1, 0, 1, "y"))]
    digests = set()
    for name in ("one", "two"):
        made = repaired(path, Workspace.open(tmp_path / name), findings, tmp_path / name / "b.jsonl")
        digests.add((made.digest, made.sha256) if made else None)
    assert len(digests) == 1
    assert (tmp_path / "one/b.jsonl").read_bytes() == (tmp_path / "two/b.jsonl").read_bytes()
    again = history.repair(DatasetSpec(path=path), None, decide([]), Workspace.open(tmp_path / "one"))
    assert again is None


def test_what_a_person_restored_stays(tmp_path: Path, workspace: Workspace) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[pair(f"q{i}", "x") for i in range(4)])
    repaired(path, workspace, [aside(path, 1, 2, 3)], tmp_path / "b.jsonl")
    found = version.version_of(tmp_path / "b.jsonl", workspace)
    assert found is not None
    back = history.restore(DatasetSpec(path=str(tmp_path / "b.jsonl")), found, found.aside[:1], workspace)
    out = str(tmp_path / "c.jsonl")
    version.write_out(back, workspace, Path(out))
    assert repaired(out, workspace, [aside(out, 1, 2)], tmp_path / "d.jsonl") is None
    other = repaired(out, workspace, [aside(out, 1, 2, check="another")], tmp_path / "d.jsonl")
    assert other is not None
    assert (other.parent, other.rows) == (back.digest, 2)


def test_any_sequence_of_steps_can_be_undone(tmp_path: Path, workspace: Workspace) -> None:
    rng = random.Random(1)
    texts = [json.dumps(pair(f"question {i}", f"answer {i}")) for i in range(12)]
    for trial in range(8):
        path = write(tmp_path / f"{trial}.jsonl", "\n".join(texts) + "\n")
        for step in range(4):
            rows = len(lines(Path(path)))
            findings = [aside(path, n, n, check=f"c{step}") for n in rng.sample(range(1, rows + 1), 2)]
            findings += [edit(path, rng.randrange(1, rows + 1), (0, 0, 1, "Z"), check=f"e{step}")]
            out = tmp_path / f"{trial}-{step}.jsonl"
            if repaired(path, workspace, findings, out):
                path = str(out)
        found = version.version_of(Path(path), workspace)
        assert found is not None
        assert version.is_intact(found.version.steps)
        assert len(lines(Path(path))) == found.version.rows == len(list(read(DatasetSpec(path=path))))
        back = history.restore(DatasetSpec(path=path), found, found.aside, workspace)
        version.write_out(back, workspace, tmp_path / "whole.jsonl")
        assert lines(tmp_path / "whole.jsonl") == texts
        (tmp_path / "whole.jsonl").unlink()


@pytest.mark.parametrize(
    ("row", "turn", "wanted"),
    [
        (chat(("system", "s"), ("user", "hello"), ("assistant", "a"), x=1), 1, ("messages", 1, "content")),
        ({**chat(("user", "hello"), ("assistant", "a")), "system": "s"}, 1, ("messages", 0, "content")),
        ({"conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "a"}]}, 0,
         ("conversations", 0, "value")),
        ({"instruction": "do", "input": "hello", "output": "a"}, 0, ("input",)),
        ({"instruction": "hello", "input": "", "output": "a", "system": "s"}, 1, ("instruction",)),
        ({"instruction": "do", "output": "a", "history": [["hello", "b"]]}, 0, ("history", 0, 0)),
        ({"prompt": [{"role": "user", "content": "hello"}], "completion": "a"}, 0, ("prompt", 0, "content")),
        ({"prompt": "hello", "completion": "a"}, 0, ("prompt",)),
        ({"text": "hello"}, 0, ("text",)),
    ],
)  # fmt: skip
def test_an_edit_changes_one_text_in_every_shape(
    row: dict[str, object], turn: int, wanted: tuple[str | int, ...], tmp_path: Path, workspace: Workspace
) -> None:
    path = jsonl(tmp_path / "a.jsonl", row, row)
    shift = len("do\n\n") if wanted == ("input",) else 0
    repaired(path, workspace, [edit(path, 1, (turn, shift + 1, shift + 5, "ALT"))], tmp_path / "b.jsonl")
    changed, same = map(json.loads, lines(tmp_path / "b.jsonl"))
    value = changed
    for step in wanted[:-1]:
        value = value[step]
    assert value[wanted[-1]] == "hALT"
    value[wanted[-1]] = "hello"
    assert changed == same == row


def test_an_edit_over_the_border_of_instruction_and_input_joins_them(tmp_path: Path, workspace: Workspace) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"instruction": "do", "input": "this", "output": "a"})
    repaired(path, workspace, [edit(path, 1, (0, 1, 5, " "))], tmp_path / "b.jsonl")
    assert json.loads(lines(tmp_path / "b.jsonl")[0]) == {"instruction": "d his", "input": "", "output": "a"}


def test_tables_and_named_columns_become_rows_that_are_read_without_options(
    tmp_path: Path, workspace: Workspace
) -> None:
    path = write(tmp_path / "a.csv", "q,a,topic\none,1,x\ntwo,2,y\nthree,3,z\n")
    spec = DatasetSpec(path=path, columns={"prompt": "q", "completion": "a"})
    made = history.repair(spec, None, decide([aside(path, 3, 3)]), workspace)
    assert made is not None
    version.write_out(made, workspace, tmp_path / "b.jsonl")
    assert [json.loads(line) for line in lines(tmp_path / "b.jsonl")] == [
        {"prompt": "one", "completion": "1", "topic": "x"},
        {"prompt": "three", "completion": "3", "topic": "z"},
    ]
    assert [e.target.text for e in read(DatasetSpec(path=str(tmp_path / "b.jsonl")))] == ["1", "3"]


# ---------------------------------------------------------------- what is refused


def test_a_version_without_rows_is_refused(tmp_path: Path, workspace: Workspace) -> None:
    path = jsonl(tmp_path / "a.jsonl", pair("q", "a"))
    error = error_of(lambda: repaired(path, workspace, [aside(path, 1, 1)], tmp_path / "b.jsonl"))
    assert "no row would be left: all 1 rows" in error.what
    assert not (tmp_path / "b.jsonl").exists()


def test_an_edit_of_other_words_is_refused(tmp_path: Path, workspace: Workspace) -> None:
    path = jsonl(tmp_path / "a.jsonl", pair("q", "a"))
    error = error_of(lambda: repaired(path, workspace, [edit(path, 1, (0, 0, 9, ""))], tmp_path / "b.jsonl"))
    assert "an edit does not fit: turn 1" in error.what
    assert not list(tmp_path.glob("b.*"))


def test_files_that_do_not_belong_together_are_refused_unless_the_workspace_knows_them(
    tmp_path: Path, workspace: Workspace
) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[pair(f"q{i}", "x") for i in range(4)])
    out = tmp_path / "b.jsonl"
    repaired(path, workspace, [aside(path, 1, 2)], out)
    (tmp_path / "b.quarantine.jsonl").write_text("")
    found = version.version_of(out, workspace)
    assert found is not None
    assert len(found.aside) == 1, "a stopped command left the files apart; the workspace has them together"
    out.write_text(json.dumps(pair("new", "row")) + "\n")
    error = error_of(lambda: version.version_of(out, workspace))
    assert "the files of this version do not belong together" in error.what


def test_a_changed_history_is_refused(tmp_path: Path, workspace: Workspace) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[pair(f"q{i}", "x") for i in range(4)])
    repaired(path, workspace, [aside(path, 1, 2)], tmp_path / "b.jsonl")
    record = tmp_path / "b.version.json"
    whole = record.read_text()
    record.write_text(whole.replace('"check": "copies"', '"check": "nothing"'))
    assert "the chain of steps is broken" in error_of(lambda: version.version_of(tmp_path / "b.jsonl", workspace)).what
    record.write_text(whole[:40])
    assert "the version cannot be read" in error_of(lambda: version.version_of(tmp_path / "b.jsonl", workspace)).what


def test_nothing_but_versions_is_overwritten(tmp_path: Path, workspace: Workspace) -> None:
    path = Path(jsonl(tmp_path / "a.jsonl", *[pair(f"q{i}", "x") for i in range(4)]))
    with pytest.raises(InputError, match="the output is the input"):
        version.refuse_overwriting(tmp_path / "." / "a.jsonl", [path], workspace)
    other = Path(jsonl(tmp_path / "b.jsonl", pair("mine", "own")))
    with pytest.raises(InputError, match="a file stands there that is no version"):
        version.refuse_overwriting(other, [path], workspace)
    repaired(str(path), workspace, [aside(str(path), 1, 2)], tmp_path / "c.jsonl")
    version.refuse_overwriting(tmp_path / "c.jsonl", [path], workspace)


def test_a_stop_while_writing_leaves_nothing_half_written(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[pair(f"q{i}", "x") for i in range(4)])

    def stop(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(history, "as_line", stop)
        with pytest.raises(KeyboardInterrupt):
            repaired(path, workspace, [edit(path, 2, (0, 0, 1, "Z"))], tmp_path / "b.jsonl")
    with monkeypatch.context() as patched:
        patched.setattr(version, "_flush", stop)
        with pytest.raises(KeyboardInterrupt):
            repaired(path, workspace, [aside(path, 1, 2)], tmp_path / "b.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "home"]
    assert not list((tmp_path / "home/artifacts").iterdir())
    assert not list((tmp_path / "home/tmp").iterdir())


def test_unknown_rows_and_checks_cannot_be_restored(tmp_path: Path, workspace: Workspace) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[pair(f"q{i}", "x") for i in range(4)])
    repaired(path, workspace, [aside(path, 1, 2)], tmp_path / "b.jsonl")
    found = version.version_of(tmp_path / "b.jsonl", workspace)
    assert found is not None
    with pytest.raises(InputError, match="no row abc was put aside"):
        history.chosen_entries(found, ["abc"], [], "b.jsonl")
    with pytest.raises(InputError, match="nothing was put aside by 'copy'"):
        history.chosen_entries(found, [], ["copy"], "b.jsonl")
    assert [e.position for e in history.chosen_entries(found, [found.aside[0].id[:6]], ["copies"], "b.jsonl")] == [1]
    assert isinstance(error_of(lambda: version.version_of(Path(path), workspace) or _none()), DataError)


def _none() -> None:
    raise DataError("a plain file is no version", where="a.jsonl", rule="r", fix="f")
