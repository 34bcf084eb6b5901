"""What gives held-out rows away, and what does not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.curate.helpers import error_of, example, jsonl, pair
from tunesmith.core.events import ignore
from tunesmith.core.records import Document, Example, Finding, Message, Reply, Source
from tunesmith.curate import Config, DatasetSpec, compared_with
from tunesmith.curate.checks.choices import choice_key
from tunesmith.curate.checks.observe import Setting
from tunesmith.curate.checks.options import Checks
from tunesmith.curate.checks.overlap import OverlapOptions
from tunesmith.curate.checks.runs import longest_run, longest_runs
from tunesmith.curate.checks.table import Inspection, inspect

CHECK = "training rows that give away held-out rows"


def prose(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 8))) for _ in range(count))


def looked(rows: Sequence[Example], *against: str) -> Inspection:
    return inspect(rows, Setting(Checks(overlap=OverlapOptions(against=against)), has_splits=True), ignore)


def found(rows: Sequence[Example], *against: str) -> list[Finding]:
    return [finding for finding in looked(rows, *against).findings if finding.check == CHECK]


def trained(count: int = 20) -> list[Example]:
    return [example(prose(i, 40), prose(1000 + i, 30), i + 1, split="train") for i in range(count)]


def held(question: str, answer: str) -> Example:
    return example(question, answer, 99, split="test")


def test_the_same_question_under_another_system_message() -> None:
    row = Example(
        messages=(Message(role="system", content="Be brief."), Message(role="user", content=prose(3, 40).upper())),
        target=Reply(message=Message(role="assistant", content="ok")),
        source=Source(path="test.jsonl", line=1),
        split="test",
    )
    (finding,) = found([*trained(), row])
    assert finding.message == "test row: its question stands word for word in training (lines 4)"
    assert finding.severity == "error"
    assert finding.action is not None
    assert finding.action.rows == (Source(path="data.jsonl", line=4),)
    assert str(finding.source) == "test.jsonl:1"


def test_options_in_another_order() -> None:
    asked = "Which planet is the largest?\nA) Mars\nB) Jupiter\nC) Venus\nAnswer with one letter."
    other = "Which planet is the largest?\nA) Venus\nB) Mars\nC) Jupiter\nAnswer with one letter."
    (finding,) = found([*trained(), example(asked, "B", 50, split="train"), held(other, "C")])
    assert finding.message.startswith("test row: its question stands with the options in another order in training")
    assert finding.severity == "error"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Best? A. red B. green C. blue", "best?  (a) green (b) blue (c) red"),
        ("Best?\n1) red\n2) green", "Best?\n1) green\n2) red"),
        ("Best?\n- red\n- green\n- blue\nChoose.", "Best?\n* blue\n* red\n* green\nChoose."),
    ],
)
def test_options_are_read_in_many_forms(one: str, other: str) -> None:
    assert choice_key(one) == choice_key(other) != None  # noqa: E711 (one chain of comparisons)


@pytest.mark.parametrize("text", ["", "no options", "A) only one", "A) same B) same", "I. Introduction. Then a) one"])
def test_what_has_no_options(text: str) -> None:
    assert choice_key(text) is None


def test_other_options_or_another_stem_are_another_question() -> None:
    base = choice_key("Best? A) red B) green C) blue")
    assert base != choice_key("Best? A) red B) green C) grey")
    assert base != choice_key("Worst? A) red B) green C) blue")


def test_nearly_the_same_question() -> None:
    rows = trained()
    words = prose(5, 40).split()
    words[0] = "changed"
    (finding,) = found([*rows, held(" ".join(words), "other")])
    assert finding.message == "test row: its question stands nearly the same (Jaccard 0.95) in training (lines 6)"
    assert finding.severity == "warning"


def test_an_answer_under_another_question() -> None:
    (finding,) = found([*trained(), held("Something quite different?", prose(1007, 30))])
    assert finding.message == "test row: its answer stands under another question in training (lines 8)"
    inside = example(prose(60, 50) + " " + prose(61, 9) + " " + prose(62, 50), "short", 70, split="train")
    (finding,) = found([*trained(), inside, held("Something quite different?", prose(61, 9))])
    assert finding.message == "test row: its answer stands under another question in training (lines 70)"


def test_labels_are_no_answers_that_give_anything_away() -> None:
    rows = [example(prose(i, 40), "refund not showing up", i, split="train") for i in range(5)]
    assert found([*rows, held("Where is my money?", "refund not showing up")]) == []
    rows = [
        example(prose(i, 40), "a long label of many words that stands everywhere", i, split="train") for i in range(20)
    ]
    assert found([*rows, held("Where?", "a long label of many words that stands everywhere")]) == []


def test_long_and_short_runs_of_words() -> None:
    taken = prose(9, 40).split()
    (finding,) = found([*trained(), held(f"{prose(70, 20)} {' '.join(taken[10:30])} {prose(71, 20)}", "no")])
    assert finding.message == "test row: 20 words in a row of its question (33% of it) stand in training (lines 10)"
    assert (finding.severity, finding.action is not None) == ("warning", True)
    (finding,) = found([*trained(), held(f"{prose(70, 20)} {' '.join(taken[10:18])} {prose(71, 20)}", "no")])
    assert finding.message.startswith("test row: 8 words in a row of its question")
    assert (finding.severity, finding.action) == ("info", None)
    assert found([*trained(), held(f"{prose(70, 20)} {' '.join(taken[10:17])} {prose(71, 20)}", "no")]) == []


def test_runs_are_as_long_as_they_are() -> None:
    rng = random.Random(0)
    others = [prose(i, 80) for i in range(60)]
    texts, expected = [], {}
    for number in range(40):
        count, at, start = rng.randint(5, 40), rng.randrange(60), rng.randrange(40)
        taken = " ".join(others[at].split()[start : start + count])
        texts.append(f"{prose(500 + number, 10)} {taken} {prose(700 + number, 10)}")
        if count >= 8:
            expected[number] = (at, count)
    assert {run.held: (run.other, run.words) for run in longest_runs(texts, others)} == expected
    assert longest_run("a b c", "a b c") == 0


def test_a_phrase_that_many_rows_have_is_the_mould() -> None:
    task = prose(80, 20)
    rows = [example(f"{task} {prose(i, 20)}", "x", i, split="train") for i in range(30)]
    assert found([*rows, held(f"{task} {prose(900, 20)}", "y")]) == []


def test_what_is_as_frequent_among_training_rows_is_the_task() -> None:
    answers = [prose(1000 + i, 30) for i in range(30)]
    tests = [example(f"other {i} {prose(300 + i, 4)}", answers[i], 100 + i, split="test") for i in range(12)]
    rows = [example(prose(i, 40), answers[i % 30], i + 1, split="train") for i in range(700)]
    findings = found([*rows[:30], *tests])
    assert {finding.severity for finding in findings} == {"warning"}
    assert len(findings) == 12
    answers = [prose(1000 + i, 30) for i in range(200)]
    rows = [example(prose(i, 40), answers[i % 200], i + 1, split="train") for i in range(700)]
    findings = found([*rows, *tests])
    assert {(finding.severity, finding.action) for finding in findings} == {("info", None)}
    assert "% of the training rows" in findings[0].message
    assert len(findings) == 12


def test_plain_texts_and_the_vault() -> None:
    texts = [Example(messages=(), target=Document(text=prose(i, 60)), split="train") for i in range(5)]
    secret = Example(messages=(), target=Document(text=f"{prose(90, 5)} {prose(2, 60)}"), split="vault")
    (finding,) = found([*texts, secret])
    assert finding.message.startswith("vault row: its question stands nearly the same")


def test_files_of_other_evaluations(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "exam.jsonl", pair(prose(3, 40), "x"), pair("free?", "no"), pair(prose(400, 40), "y"))
    rows = [*trained(), held(prose(400, 40), "z")]
    leak, same = found(rows, path)
    assert leak.message == f"{path} row: its question stands word for word in training (lines 4)"
    assert (leak.severity, str(leak.source)) == ("error", f"{path}:1")
    assert same.message == f"{path} row: its question stands word for word in what is held out (lines 99)"
    assert (same.severity, same.action) == ("info", None)
    config = Config(datasets=(DatasetSpec(path="a.jsonl"),))
    assert compared_with(compared_with(config, ["a"]), ["b"]).checks.overlap.against == ("a", "b")


def test_an_evaluation_file_that_cannot_be_read() -> None:
    assert "no such file" in error_of(lambda: found(trained(), "missing.jsonl")).what


def test_nothing_held_out_is_not_checked() -> None:
    check = next(check for check in looked(trained()).checks if check.name == CHECK)
    assert check.passed is None
    assert check.detail == "not checked: nothing is held out, and no file was given with --against"


def test_figures_count_the_kinds() -> None:
    figures = looked([*trained(), held(prose(3, 40), "x"), held("harmless", "y")]).figures[CHECK]
    assert figures["test"] == {"rows": 2, "verbatim": 1}


def test_the_closest_training_rows_are_listed() -> None:
    words = prose(4, 40).split()
    random.Random(0).shuffle(words)
    closest = looked([*trained(), held("harmless", "y"), held(" ".join(words), "x")]).figures[CHECK]["closest"]
    assert (closest["by"], closest["asked"], closest["not_asked"]) == ("TF-IDF", 2, 0)
    first, second = closest["rows"]
    assert first["closest"][0]["row"] == "data.jsonl:5"
    assert first["closest"][0]["cosine"] == 1.0
    assert len(first["closest"]) == len(second["closest"]) == 5
    assert second["closest"][0]["cosine"] < 0.5


def test_paths_of_the_checks_count_from_the_folder_of_the_config(tmp_path: Path) -> None:
    checks = Checks.model_validate(
        {"overlap": {"against": ["exam.jsonl", "/else/where.jsonl"]}, "semantic_duplicates": {"embedder": "minilm"}}
    )
    moved = checks.counted_from(tmp_path)
    assert moved.overlap.against == (f"{tmp_path}/exam.jsonl", "/else/where.jsonl")
    assert moved.semantic_duplicates.embedder == f"{tmp_path}/minilm"
    assert moved.overlap.threshold == checks.overlap.threshold
    assert Checks().counted_from(tmp_path) == Checks()
