"""What was decided before the rows were looked at, and what a verdict may claim."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluate.fakes import Scripted, examples
from tunesmith.core.errors import ConfigError, InputError
from tunesmith.core.store import Workspace
from tunesmith.evaluate import Config, make_spec, read_spec, require_rows, rows_digest, spec_to_yaml
from tunesmith.held_out import fix, look_at

ROWS = examples(["yes", "no", "maybe"])
MODELS = [Scripted("base", (), digest="d1"), Scripted("tuned", (), digest="d2")]
NAMES = ("base", "tuned")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def test_a_spec_reads_back_the_same(tmp_path: Path) -> None:
    spec = make_spec(NAMES, ROWS, Config(primary_metric="exact_match"), vault=True)
    path = tmp_path / "eval.yaml"
    path.write_text(spec_to_yaml(spec), encoding="utf-8")
    assert read_spec(path) == spec
    assert spec.digest in path.read_text(encoding="utf-8")


def test_the_order_of_the_rows_does_not_matter_and_a_changed_row_does() -> None:
    assert rows_digest(ROWS) == rows_digest(ROWS[::-1])
    spec = make_spec(NAMES, ROWS, Config())
    require_rows(spec, ROWS[::-1], "rows.jsonl")
    with pytest.raises(InputError, match="the rows are not those of the spec"):
        require_rows(spec, examples(["yes", "no", "perhaps"]), "rows.jsonl")


def test_what_was_fixed_before_the_first_look_confirms(workspace: Workspace) -> None:
    spec = make_spec(NAMES, ROWS, Config())
    fix(spec, workspace)
    first = look_at(ROWS, MODELS, workspace, spec, NAMES)
    assert (first.kind, first.opening) == ("confirmatory", 1)
    again = look_at(ROWS, MODELS, workspace, spec, NAMES)
    assert (again.kind, again.opening) == ("confirmatory", 1), "the same look, taken up again"


def test_an_edited_spec_explores(workspace: Workspace) -> None:
    spec = make_spec(NAMES, ROWS, Config())
    fix(spec, workspace)
    edited = spec.model_copy(update={"evaluation": Config(equivalence_margin=0.2)})
    standing = look_at(ROWS, MODELS, workspace, edited, NAMES)
    assert standing.kind == "exploratory"
    assert "edited" in standing.reason


def test_a_spec_written_after_a_look_explores(workspace: Workspace) -> None:
    assert look_at(ROWS, MODELS, workspace).kind == "exploratory"
    spec = make_spec(NAMES, ROWS, Config())
    fix(spec, workspace)
    standing = look_at(ROWS, MODELS, workspace, spec, NAMES)
    assert standing.kind == "exploratory"
    assert standing.opening == 2
    assert "looked at before" in standing.reason


def test_other_weights_by_the_same_spec_explore(workspace: Workspace) -> None:
    spec = make_spec(NAMES, ROWS, Config())
    fix(spec, workspace)
    look_at(ROWS, MODELS, workspace, spec, NAMES)
    better = [MODELS[0], Scripted("tuned", (), digest="d3")]
    standing = look_at(ROWS, better, workspace, spec, NAMES)
    assert standing.kind == "exploratory"
    assert "other weights" in standing.reason
    assert look_at(ROWS, MODELS, workspace, spec, ("base", "other")).reason.startswith("the spec names other models")


def test_a_vault_opens_as_often_as_it_says(workspace: Workspace) -> None:
    spec = make_spec(NAMES, ROWS, Config(), vault=True)
    fix(spec, workspace)
    for number in range(3):
        models = [MODELS[0], Scripted("tuned", (), digest=f"try {number}")]
        assert look_at(ROWS, models, workspace, spec, NAMES).opening == number + 1
    with pytest.raises(InputError, match="opened 3 times, and 3 was the limit"):
        look_at(ROWS, MODELS, workspace, spec, NAMES, "vault.jsonl")
    with pytest.raises(InputError, match="opened 3 times"):
        look_at(ROWS, MODELS, workspace, None, NAMES)  # no way round by leaving the spec out


def test_a_broken_spec_says_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_spec(tmp_path / "eval.yaml")
    path = tmp_path / "eval.yaml"
    path.write_text("models: [a]\nrows: x\ncount: 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="count"):
        read_spec(path)
