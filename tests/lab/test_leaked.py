"""Every planted leak between training and test is found, with the training row that does it; and nothing else is."""

from __future__ import annotations

import random

import pytest

from tests.lab.look import look, real
from tunesmith.core.records import Example
from tunesmith.curate.checks.overlap import CONTAMINATION
from tunesmith.curate.lab.leaked import Leaked, answer_leaks, option_leaks, passage_leaks, question_leaks
from tunesmith.curate.lab.manual import manual_rows
from tunesmith.curate.lab.planted import row

SAID = {
    "verbatim": "word for word",
    "answer": "its answer stands under another question",
    "options": "with the options in another order",
    "run": "words in a row of its question",
}


def recall(planted: Leaked) -> tuple[float, int]:
    """Share of the leaks that are found for what they are, with their training row; and rows that leak nothing."""
    findings = {found.source: found for found in look(CONTAMINATION, planted.rows)[0]}
    hits = 0
    for number, by in planted.by.items():
        found = findings.pop(planted.rows[number].source, None)
        culprit = planted.rows[by].source
        hits += bool(
            found
            and SAID[planted.kind] in found.message
            and culprit in found.others
            and found.action
            and culprit in found.action.rows
        )
    return hits / len(planted.by), len(findings)


@pytest.mark.parametrize("plant", [question_leaks, answer_leaks, passage_leaks])
def test_planted_leaks_of_prose(plant) -> None:  # type: ignore[no-untyped-def]
    assert recall(plant(manual_rows(600, random.Random(1)), 30, random.Random(2))) == (1.0, 0)


def test_planted_options_in_another_order() -> None:
    assert recall(option_leaks(1000, 30, random.Random(3))) == (1.0, 0)


def exam() -> list[Example]:
    """Questions of an exam with four options each."""
    rows = []
    for number, item in enumerate(real("mmlu/test-20-per-subject.jsonl.gz")):
        options = "\n".join(f"{letter}) {text}" for letter, text in zip("ABCD", item["choices"], strict=True))
        rows.append(row(f"{item['question']}\n{options}", "ABCD"[item["answer"]], number))
    return rows


def test_options_of_a_real_exam_in_another_order() -> None:
    rng = random.Random(4)
    rows = exam()
    train, held = rows[:600], rows[600:900]
    leaks = {}
    for number in rng.sample(range(300), 40):
        stem, *options = held[number].messages[0].text.rsplit("\n", 4)
        texts = [option[3:] for option in options]
        if len(set(texts)) < 4:
            continue
        moved = [*texts[1:], texts[0]]
        leaks[number] = row("\n".join([stem, *(f"{c}) {t}" for c, t in zip("ABCD", moved, strict=True))]), "A")
    both = [*(x.model_copy(update={"split": "train"}) for x in (*train, *leaks.values()))]
    both += [x.model_copy(update={"split": "test"}) for x in held]
    both = [x.model_copy(update={"source": x.source.model_copy(update={"line": i})}) for i, x in enumerate(both)]
    findings = {found.source.line: found for found in look(CONTAMINATION, both)[0]}
    start = len(train) + len(leaks)
    for number in leaks:
        assert findings[start + number].message.startswith("test row: its question stands with the options in another")
    assert len(leaks) > 30


def test_an_original_split_of_sums_in_words_gives_little_away() -> None:
    train = [
        row(item["question"], item["answer"], i) for i, item in enumerate(real("gsm8k/train-3000.jsonl.gz")[:1000])
    ]
    held = [row(item["question"], item["answer"], i) for i, item in enumerate(real("gsm8k/test-300.jsonl.gz"))]
    rows = [x.model_copy(update={"split": "train"}) for x in train]
    rows += [x.model_copy(update={"split": "test"}) for x in held]
    rows = [x.model_copy(update={"source": x.source.model_copy(update={"line": i})}) for i, x in enumerate(rows)]
    findings = look(CONTAMINATION, rows)[0]
    assert [found.message for found in findings if found.severity == "error"] == []
    assert sum(found.severity == "warning" for found in findings) <= 6
