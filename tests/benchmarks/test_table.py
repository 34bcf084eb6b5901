"""Works, their rows, the driver of the table and the page that is written from the figures. Nothing is timed here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import evaluation, page, results, rivals, rows, settings, table, training, trl_trainers, work
from benchmarks.load import Usage
from benchmarks.results import judged, not_measured

QUIET, BUSY = Usage(10.0, 1.98, 0.02), Usage(10.0, 1.2, 0.5)


def test_every_work_has_a_name_of_its_own_and_settings_of_each_rival() -> None:
    works = [work.work(shape, method) for shape in work.SHAPES for method in work.METHODS]
    assert len({each.name for each in works}) == len(works)
    assert work.work().name == "training"
    for each in works:
        assert each.steps > each.warm_up
        assert each.compared <= each.steps
        assert all(rival.tried(each, compiled=False) for rival in training.RIVALS)
    assert {rival.goal_for(work.work("long")) for rival in training.RIVALS} == {3.2, 1.4}
    assert {rival.goal_for(work.work(method="full")) for rival in training.RIVALS} == {None}
    assert work.work("long", steps=3).compared == 3


def test_only_what_takes_minutes_is_left_out_of_other_shapes() -> None:
    trl = training.RIVALS[0]
    assert len(trl.tried(work.work(), compiled=False)) == 6
    assert trl.tried(work.work("long"), compiled=False) == ("bf16 adapter", "bf16 adapter, padding-free")
    assert trl.tried(work.work(), compiled=True)[-1] == "bf16 adapter, eager attention, compiled"


@pytest.fixture
def without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = tuple(rows.Pair(f"dish {n}", "cut, fry and serve it hot. " * 20) for n in range(60))
    monkeypatch.setattr(rows, "shared_data", lambda _name: None)
    monkeypatch.setattr(rows, "_recipes", lambda: pairs)


@pytest.mark.usefixtures("without_data")
def test_works_have_rows_where_no_data_are_at_hand(tmp_path: Path) -> None:
    long = rows.long_rows(5)
    sizes = [len(pair.prompt) + len(pair.completion) - len(rows.CONTINUE) for pair in long.train]
    assert (len(sizes), max(sizes) <= rows.LONG_CHARACTERS, min(sizes) > rows.LONG_CHARACTERS // 2) == (5, True, True)
    shares = [len(pair.completion) / size for pair, size in zip(long.train, sizes, strict=True)]
    assert all(0.28 < share < 0.35 for share in shares)
    shared = rows.shared_rows(4)
    assert {pair.system for pair in shared.train} == {rows.SYSTEM}
    name = training.write_rows(tmp_path / "pairs.jsonl", work.work(method="dpo"), 8)
    written = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert (name.endswith("each against the answer to another one"), len(written)) == (True, 2 * work.PAIRS)
    assert [written[0]["prompt"], written[2]["prompt"]] == [written[1]["prompt"], written[3]["prompt"]]
    training.write_rows(tmp_path / "shared.jsonl", work.work("shared"), 4)
    first = json.loads((tmp_path / "shared.jsonl").read_text().splitlines()[0])
    assert [message["role"] for message in first["messages"]] == ["system", "user", "assistant"]


def test_a_text_is_cut_where_lines_end() -> None:
    text = "\n".join(f"line {n} of it" for n in range(100))
    pieces = rows.cut(text, 200)
    assert all(len(piece) <= 200 for piece in pieces)
    assert all(piece.endswith("of it") for piece in pieces)
    assert text.startswith("\n".join(pieces))
    assert rows.cut("x" * 250, 100) == ["x" * 100, "x" * 100]


def _row(prompt: list[int], answer: list[int], end: list[int]) -> dict[str, list[int]]:
    return {"input_ids": prompt + answer + end, "labels": [-100] * len(prompt) + answer + [-100] * len(end)}


def test_preferences_reach_the_rival_as_prompt_and_two_answers() -> None:
    rows_ = [_row([1, 2], [3, 4], [9]), _row([1, 2], [5], [9]), _row([6], [7], []), _row([6], [8, 8], [9])]
    found = trl_trainers.pairs({"rows": rows_, "order": [[0, 2, 1, 3]]}, steps=2)
    assert found["prompt_ids"] == [[1, 2], [6]] * 2
    assert found["chosen_ids"] == [[3, 4], [7]] * 2
    assert found["rejected_ids"] == [[5], [8, 8]] * 2
    with pytest.raises(ValueError, match="must stand behind the same ids"):
        trl_trainers.pairs({"rows": rows_, "order": [[0, 3]]}, steps=1)


def test_a_setting_that_breaks_is_not_the_rival(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Bench(training._Bench):
        def __init__(self) -> None:
            self.settings, self.work, self._reference = settings.Settings(), work.work(method="full"), [2.0] * 5
            self.step_tokens = [100]

        def rival(self, _rival: object, _python: Path, setting: str, steps: int) -> dict[str, object]:
            if setting == "bf16 weights":
                raise settings.Unavailable("ended with 1: no kernel")
            return {"seconds": [1.0] * steps, "losses": [2.0] * steps, "usage": QUIET.as_dict()}

    trials = training._try(Bench(), training.RIVALS[0], tmp_path)
    assert training.fastest(trials) == "fp32 weights, autocast"
    assert "bf16 weights failed (ended with 1: no kernel)" in training._listed(trials)


def test_what_packs_into_4_bits_is_added_to_the_rival_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[list[str]] = []
    python = tmp_path / "trl" / "bin" / "python"
    python.parent.mkdir(parents=True)
    monkeypatch.setattr(rivals, "_environment", lambda *_arguments: python)
    monkeypatch.setattr(rivals, "run", lambda command, env: commands.append(command))
    for four_bit in (False, True, True):
        assert rivals.trl_python(four_bit=four_bit) == python
    assert [parts[-2:] for parts in commands] == [["--no-deps", rivals.FOUR_BIT]]


def _side(seconds: float, logprob: float, ids: list[list[int]], usage: Usage = QUIET) -> dict[str, object]:
    scores = {"seconds": seconds, "tokens": 100, "logprobs": [[logprob] * 50, [logprob] * 50]}
    answers = {"seconds": 2 * seconds, "tokens": 100, "ids": ids}
    return {"scores": scores, "answers": answers, "usage": usage.as_dict(), "peak_bytes": 2**30}


def test_evaluation_is_judged_by_speed_and_sameness() -> None:
    ours, theirs = _side(1.0, -1.0, [[1, 2], [3, 4]]), _side(2.0, -1.01, [[1, 2], [3, 5]])
    found = {
        result.what: result for result in evaluation.judge("rows", [ours], [theirs], {"sdpa": 50.0, "eager": 40.0})
    }
    assert found["scoring, ours / transformers"].value == pytest.approx(2.0)
    assert found["greedy answers, ours"].value == pytest.approx(50.0)
    assert found["peak memory, transformers"].note == "tried: sdpa 50, eager 40"
    difference = found["difference of the mean log-probabilities"]
    assert (difference.verdict, difference.note) == ("met", "1 of 2 greedy answers are the same tokens")
    assert evaluation.compare(ours, _side(2.0, -1.1, [[1, 2], [3, 4]])).verdict == "not met"


def test_a_row_that_hangs_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    assert table.run_row([sys.executable, "-c", code], 1.0, tmp_path) == "stopped at its limit of 1 s"
    assert table.run_row([sys.executable, "-c", ""], 60.0, tmp_path) == ""
    assert table.run_row([sys.executable, "-c", "import sys; sys.exit(1)"], 60.0, tmp_path) == "a goal is not met"
    assert table.run_row([sys.executable, "-c", "import sys; sys.exit(3)"], 60.0, tmp_path) == "ended with 3"


def test_the_table_runs_every_row_and_then_writes_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[list[str]] = []

    def run_row(row: list[str], limit: float) -> str:
        ran.append(row[3:])
        return f"stopped at its limit of {limit:g} s" if "long" in row else ""

    monkeypatch.setattr(table, "run_row", run_row)
    monkeypatch.setattr(table, "ROOT", tmp_path)
    monkeypatch.setattr(page, "RESULTS", tmp_path / "results")
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    (tmp_path / "README.md").write_text("a\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nb\n", encoding="utf-8")
    assert command.main(["table", "--rounds", "5"]) == 1
    assert [row[0] for row in ran] == [table.ROWS[name].arguments[0] for name in table.ROWS]
    assert all(row[-2:] == ["--rounds", "5"] for row in ran)
    [kept] = (tmp_path / "results").glob("*.json")
    assert kept.name.endswith("-training-long.json")
    assert "stopped at its limit of 600 s" in kept.read_text(encoding="utf-8")
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert (readme.startswith(f"a\n{page.BEGIN}"), readme.endswith(f"{page.END}\nb\n"), "old" in readme) == (
        True,
        True,
        False,
    )


def _training(speed: float, usage: Usage = QUIET) -> list[results.Result]:
    return [
        judged("speed, ours", speed, "tokens/s", usage=usage),
        judged("peak memory, ours", 1880.3, "MiB"),
        judged("speed, TRL", 200.0, "tokens/s", usage=usage, note="setting “bf16 adapter”; rounds 190 to 210"),
        judged("peak memory, TRL", 3110.0, "MiB"),
        judged("speed, ours / TRL", speed / 200.0, "", at_least=3.2, usage=usage),
        judged("largest difference of the first losses, ours and TRL's", 0.54, "%", at_most=2.0),
        not_measured("speed, ours / Unsloth", "no environment"),
    ]


def test_the_page_shows_what_was_measured_and_says_what_was_not(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    results.save(folder, "training", _training(900.0))
    results.save(folder, "training-long", _training(500.0, BUSY))
    documents = page.load(folder)
    line = page.training_row(documents["training"], "LoRA")
    assert "| LoRA | 900 | 200 (4.5 times) “bf16 adapter” | not measured | 1,880, 3,110, not measured MiB |" in line
    assert "0.54 %, not measured" in line
    assert page.figure(documents["training-long"], "speed, ours") is None, "others used the machine"
    text = page.whole(documents)
    assert "| QLoRA, short documents | not measured |" in text
    assert "Not measured on a GPU." in text
    short = page.summary(documents)
    assert "tokens a second | 900 | TRL 200 (4.5 times) |" in short
    assert "documents of about 1,000 tokens" not in short


def test_a_failed_attempt_does_not_hide_older_figures(tmp_path: Path) -> None:
    old = results.save(tmp_path, "training", _training(900.0))
    old.rename(tmp_path / "2020-01-01-training.json")
    results.save(tmp_path, "training", [not_measured("training", "stopped")])
    assert page.figure(page.load(tmp_path)["training"], "speed, ours") == 900.0


def test_the_documents_show_what_the_results_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["page", "--check"]) == 0, capsys.readouterr().out
