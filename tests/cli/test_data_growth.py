"""`data enough` and `data select` as people meet them: trainings on parts of the rows, and no test row read."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import Any

import pytest

from tests.cli.conftest import Desk, refusal
from tests.command import SECONDS, Ran, plain, read_until, started
from tests.project import CONFIG, ROWS, questions, write_rows
from tunesmith import curate, lifecycle
from tunesmith import train as training

LEARNS = {"learning_rate": 3e-3, "num_train_epochs": 2, "val_size": 0.25}


def enough(desk: Desk, *arguments: object) -> Ran:
    return desk.ask("data", "enough", CONFIG, *arguments)


def select(desk: Desk, *arguments: object) -> Ran:
    return desk.ask("data", "select", CONFIG, *arguments)


class Poison:
    """A test row that may be told apart from others, and nothing more."""

    split = "test"

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"a test row was read: {name}")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits whose tokens were asked for; a test row that is read fails the test."""
    curated, tokenise, seen = curate.run, lifecycle.tokenise, []

    def poisoned(*arguments: Any, **named: Any) -> curate.Dataset:
        data = curated(*arguments, **named)
        assert data.of("test")
        rows = tuple(Poison() if example.split == "test" else example for example in data.examples)
        return replace(data, examples=rows, tokens={**data.tokens, "test": [Poison()]})  # type: ignore

    monkeypatch.setattr(curate, "run", poisoned)
    monkeypatch.setattr(lifecycle, "tokenise", lambda project, split: seen.append(split) or tokenise(project, split))
    monkeypatch.setattr("tunesmith.evaluate.run", lambda *_, **__: pytest.fail("an experiment evaluated something"))
    return seen


def test_poison_works() -> None:
    with pytest.raises(AssertionError, match="a test row was read: messages"):
        _ = Poison().messages


def test_enough_from_config_to_page_and_again_without_training(
    desk: Desk, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.config(**LEARNS)
    ran = enough(desk, "--fractions", "0.25,0.5,1", "--seeds", 2, "--json")
    assert ran.code in (0, 1), ran.err
    found = ran.document
    assert asked == ["train", "validation"]
    assert found["answer"] in ("more data will likely help", "flat", "cannot tell")
    assert (found["answer"] == "cannot tell") == (ran.code == 1)
    small, middle, whole = found["rows"]
    assert 4 * small == pytest.approx(whole, abs=3)
    assert small < middle < whole
    assert [len(each) for each in found["losses"]] == [2, 2, 2]
    assert found["losses"][0][0] > found["losses"][2][0]
    assert found["seeds"] == 2
    page = (desk.folder / "run-enough" / "report.html").read_text(encoding="utf-8")
    assert found["sentence"] in page.replace("&#39;", "'")
    assert page.count("<circle") == 9
    assert "The test rows took no part" in page
    assert "<script" not in page
    assert json.loads((desk.folder / "run-enough" / "enough.json").read_text())["answer"] == found["answer"]
    assert not desk.run.exists()

    monkeypatch.setattr("tunesmith.train.subset_trial.train_on", lambda *_: pytest.fail("it trained again"))
    again = enough(desk, "--fractions", "0.25,0.5,1", "--seeds", 2)
    assert again.code == ran.code, again.err
    assert "training 6 of 6: 100 %" in again.err
    assert "known already" in again.err
    assert found["sentence"] in plain(again.out)
    assert "share" in again.out
    assert "between seeds" in again.out


def test_select_compares_with_chance_and_writes_on_request_only(
    desk: Desk, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith.curate.selection.MOST", 100.0)  # questions mislead a base that knows nothing
    desk.config(**LEARNS)
    ran = select(desk, "--arms", "ifd,diversity,all", "--budget", 0.4, "--seeds", 2, "--json")
    assert ran.code in (0, 1), ran.err
    found = ran.document
    assert asked == ["train", "validation"]
    arms = {arm["arm"]: arm for arm in found["arms"]}
    assert list(arms) == ["random", "ifd", "diversity", "all"]
    assert arms["random"]["rows"] == arms["ifd"]["rows"] == arms["diversity"]["rows"] < arms["all"]["rows"]
    assert arms["random"]["against_random"] is None
    assert {arms[name]["against_random"] for name in ("ifd", "diversity", "all")} <= {
        "better",
        "worse",
        "no visible difference",
    }
    assert found["written"] is None
    page = (desk.folder / "run-select" / "report.html").read_text(encoding="utf-8")
    assert "the measure of the others" in page
    assert page.count('<svg class="interval"') == 3

    chosen = desk.folder / "chosen.jsonl"
    shown = select(desk, "--budget", 0.4, "--seeds", 2, "--write", "ifd", chosen)
    assert "known already" in shown.err
    assert f"rows:    {chosen}" in shown.out
    assert shown.out.count("random") >= 2
    given = {(row["prompt"], row["completion"]) for row in map(json.loads, (desk.folder / ROWS).open())}
    written = [json.loads(line)["messages"] for line in chosen.read_text().splitlines()]
    assert len(written) == arms["ifd"]["rows"]
    assert {(turns[0]["content"], turns[1]["content"]) for turns in written} <= given


def test_what_is_refused_before_anything_slow(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "prepare", lambda *_, **__: pytest.fail("it began"))
    assert refusal(enough(desk, "--fractions", "1,0.5")).what == "these shares make no learning curve: 1, 0.5"
    assert refusal(enough(desk, "--fractions", "half")).what == "'half' is no list of shares"
    assert refusal(enough(desk, "--seeds", 1)).what == "1 seed shows no chance"
    assert refusal(select(desk, "--arms", "random")).what == "only the random arm takes part, so nothing is compared"
    wrong = refusal(select(desk, "--arms", "idf"))
    assert (wrong.what, wrong.fix) == ("there is no arm 'idf'", "did you mean ifd?")
    assert refusal(select(desk, "--budget", 1)).what == "a budget of 1 selects nothing"
    other = refusal(select(desk, "--arms", "ifd", "--write", "all", "x.jsonl"))
    assert other.what == "the arm to write, 'all', does not take part"
    there = refusal(select(desk, "--write", "ifd", ROWS))
    assert there.what == "the file for the chosen rows is already there"
    kind = refusal(select(desk, "--write", "ifd", "x.doc"))
    assert kind.what == "no rows are written into a file of kind .doc"


def test_too_few_rows_for_the_shares(desk: Desk) -> None:
    write_rows(desk.folder / ROWS, questions(range(5)))
    desk.config(val_size=0.3)
    error = refusal(enough(desk, "--fractions", "0.1,0.11,1"))
    assert "training rows are too few for these shares" in error.what


def test_no_row_that_the_base_finds_sensible(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.curate.hard_rows", lambda *_: [])
    desk.config(**LEARNS)
    error = refusal(select(desk, "--arms", "ifd"))
    assert error.what == "no row has an IFD of at most 1"
    monkeypatch.setattr("tunesmith.curate.hard_rows", lambda *_: [0, 1, 2])
    ran = select(desk, "--arms", "ifd", "--seeds", 2, "--json")
    assert {arm["rows"] for arm in ran.document["arms"]} == {3}
    assert "the budget is lowered from" in plain(ran.err)


def test_ctrl_c_keeps_finished_trainings(desk: Desk) -> None:
    desk.config(**{**LEARNS, "num_train_epochs": 10})
    home = {"TUNESMITH_HOME": str(desk.home)}
    with started("data", "enough", CONFIG, "--seeds", "2", at=desk.folder, **home) as process:
        read_until(process.stderr, "training 2 of 6")
        read_until(process.stderr, "validation loss")
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    assert out == ""
    said = plain(err)
    assert "stopped by SIGINT in the middle of a training" in said
    assert "fix: resume with: tunesmith data enough tunesmith.yaml --seeds 2" in said
    from tunesmith.core.store import Workspace

    kept = Workspace.open(desk.home).list(training.SUBSET_TRAINING, training.SubsetTraining)
    assert len(kept) == 1
