"""Four situations whose right lever is known, and what must not change the advice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.evaluate.fakes import example
from tunesmith import evaluate
from tunesmith.assess import Advice, Bench, Config, Rows, run, to_html, to_markdown
from tunesmith.core.artifacts import Report
from tunesmith.core.errors import DataError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Completion, Document, Example, Message, Prompt, SamplingParams, Score
from tunesmith.text.retrieval import Corpus, Index

Answer = Callable[[str, str, str], str]
"""(system message, last question, everything before it) → answer."""

EVALUATION = evaluate.Config(bootstrap_samples=300)


class Scripted:
    """Answers by a rule; counts what it is asked."""

    def __init__(self, name: str, answer: Answer) -> None:
        self.name, self.digest, self._answer, self.asked = name, f"digest of {name}", answer, 0

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        self.asked += len(prompts)
        return [self._one(prompt.messages) for prompt in prompts]

    def _one(self, messages: Sequence[Message]) -> Completion:
        system = next((m.text for m in messages if m.role == "system"), "")
        before = "\n".join(m.text for m in messages[:-1])
        text = self._answer(system, messages[-1].text, before)
        return Completion(text=text, finish_reason="stop", prompt_tokens=20, completion_tokens=5, seconds=0.1)

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        return [Score(example_id=row.id, logprobs=()) for row in examples]


def measure(samplers: Sequence, rows: Sequence[Example]) -> Report:
    return evaluate.run(EVALUATION, samplers, rows, created_at="2026-01-01")


def bench(base: Scripted, rows: Sequence[Example], **more) -> Bench:
    third = len(rows) // 3
    return Bench(
        base=base,
        rows=Rows(rows[:third], rows[third : 2 * third], rows[2 * third :]),
        measure=measure,
        look=measure,
        **more,
    )


def advise(base: Scripted, rows: Sequence[Example], config: Config | None = None, **more) -> Advice:
    config = config or Config(probe_rows=0, prompt_budget=400, who="A. Tester")
    return run(config, bench(base, rows, **more), created_at="2026-01-01T00:00:00+00:00")


def orders(count: int) -> list[Example]:
    draw = random.Random(0)
    rows = []
    for i in range(count):
        amount, dish = draw.randrange(2, 90), draw.choice(("soup", "stew", "salad", "pie"))
        rows.append(example(f"Order {i}: {amount} portions of {dish}", json.dumps({"dish": dish, "amount": amount}), i))
    return rows


def prose(system: str, question: str, before: str) -> str:
    """A base that has all the facts and never the form."""
    return "Sure! " + question.partition(": ")[2] + " are on their way."


def form(system: str, question: str, before: str) -> str:
    amount, _, dish = question.partition(": ")[2].partition(" portions of ")
    return json.dumps({"dish": dish, "amount": int(amount)})


def test_a_gap_of_form_is_for_tuning() -> None:
    advice = advise(Scripted("base", prose), orders(180))
    assert advice.recommendation == "fine-tune"
    assert "errors of form" in advice.rule
    assert "--add" in advice.sentence
    proven = advise(Scripted("base", prose), orders(180), tuned=[Scripted("tuned", form)])
    assert proven.recommendation == "fine-tune"
    assert "better than every arm without tuning" in proven.rule
    assert any(verdict.word == "better" for verdict in proven.verdicts)


def test_a_prompt_that_is_enough_is_enough() -> None:
    def told(system: str, question: str, before: str) -> str:
        return form(system, question, before) if "JSON" in system else prose(system, question, before)

    advice = advise(Scripted("base", told), orders(180))
    assert advice.recommendation == "prompt"
    best = next(arm for arm in advice.arms if arm.role == "prompt")
    assert best.right is not None
    assert best.right.count == best.right.n
    assert best.spent.asked <= best.spent.allowed == 400


def test_too_few_rows_are_too_few() -> None:
    advice = advise(Scripted("base", prose), orders(30))
    assert advice.recommendation == "collect more data"


LAMPS = {
    f"lamp {name}": f"{10 + i} weeks"
    for i, name in enumerate(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"])
}


def facts(count: int) -> list[Example]:
    names = list(LAMPS)
    return [
        example(f"Customer {i} asks: how long is the guarantee of {names[i % 7]}?", f"It is {LAMPS[names[i % 7]]}.", i)
        for i in range(count)
    ]


@pytest.fixture
def corpus(tmp_path: Path) -> Index:
    for name, weeks in LAMPS.items():
        text = f"The guarantee of {name} is {weeks}. Take good care of it."
        (tmp_path / f"{name.replace(' ', '-')}.txt").write_text(text, encoding="utf-8")
    return Corpus.build(tmp_path)


def reader(system: str, question: str, before: str) -> str:
    """A base that knows nothing by itself, and reads what it is given."""
    for name, weeks in LAMPS.items():
        asked = question.rpartition("guarantee of ")[2].rstrip("?")
        if asked == name and f"{name} is {weeks}" in question:
            return f"It is {weeks}."
    return "It is 99 weeks."


def test_a_gap_of_knowledge_is_for_retrieval(corpus: Index) -> None:
    config = Config(probe_rows=20, probe_samples=2, prompt_budget=200)
    advice = advise(Scripted("base", reader), facts(180), config, index=corpus)
    assert advice.recommendation == "retrieval"
    retrieval = next(arm for arm in advice.arms if arm.role == "retrieval")
    assert retrieval.right is not None
    assert retrieval.right.value > 0.9
    assert any(item.sources for item in advice.items)


def test_names_decide_nothing() -> None:
    one = advise(Scripted("base", prose), orders(180), tuned=[Scripted("tuned", form)])
    other = advise(Scripted("fine", prose), orders(180), tuned=[Scripted("plain", form)])
    assert (one.recommendation, one.rule) == (other.recommendation, other.rule)
    assert [arm.role for arm in one.arms] == [arm.role for arm in other.arms]


def test_the_first_sixty_rows_and_all_of_them_do_not_contradict_each_other() -> None:
    draw = random.Random(4)
    lucky = {row.messages[0].text for row in orders(600) if draw.random() < 0.4}

    def sometimes(system: str, question: str, before: str) -> str:
        return (form if question in lucky else prose)(system, question, before)

    few = advise(Scripted("base", sometimes), orders(600)[:180])
    many = advise(Scripted("base", sometimes), orders(600))
    assert "cannot tell" in (few.recommendation, many.recommendation) or few.recommendation == many.recommendation


def test_without_a_search_tuning_is_not_advised() -> None:
    advice = advise(Scripted("base", prose), orders(180), Config(prompt_budget=0, probe_rows=0))
    assert advice.recommendation == "cannot tell"
    assert "no prompt was searched for" in advice.rule
    absent = next(arm for arm in advice.arms if arm.role == "prompt")
    assert absent.reason == "prompt_budget is 0: no prompt was searched for"


def test_the_record_says_what_was_spent_and_who_signs() -> None:
    advice = advise(Scripted("base", prose), orders(180))
    text = to_markdown(advice)
    assert text.startswith("# Fine-tune\n")
    assert "A. Tester" in text
    assert "of 400 answers" in text
    assert "not measured: no corpus was given" in text
    assert "## What would change this" in text
    unsigned = to_markdown(advice.model_copy(update={"who": ""}))
    assert "[[MISSING: who answers for this" in unsigned
    page = to_html(advice)
    assert "Advice: fine-tune" in page
    assert "http" not in page.replace("http-equiv", "")
    assert to_html(advice) == page
    assert Advice.model_validate_json(advice.model_dump_json()) == advice


def test_rows_that_ask_nothing_are_refused() -> None:
    text = Example(messages=(), target=Document(text="once upon a time"))
    with pytest.raises(DataError, match="there are no held-out rows to assess on"):
        run(Config(), bench(Scripted("base", prose), []))
    with pytest.raises(DataError, match="plain text asks nothing, so no prompt can help it"):
        run(Config(), Bench(Scripted("b", prose), Rows([text]), measure, measure))
