"""What a configuration asks for beyond the table: own functions, graders, assertions, facts, labels, cost."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from tests.evaluate.fakes import Scripted, example, examples
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Completion, Document, Example, Score
from tunesmith.evaluate import Config, require_primary, run, table

PROSE = ["a sentence that is long enough to be text", "another sentence that is not a label at all"] * 6
QUICK = {"bootstrap_samples": 300}


def asked(answers, references=PROSE, base=None, rows=None, judges=None, **keys):
    rows = rows or [example(f"question {i}", text, i + 1) for i, text in enumerate(references)]
    samplers = [Scripted("tuned", answers, digest="t")]
    if base is not None:
        samplers.insert(0, Scripted("base", base, digest="b"))
    return run(Config(**QUICK, **keys), samplers, rows, judges=judges)


def scores(report, model="tuned"):
    return {s.metric: s.value for s in report.summaries if s.model == model}


def metric_file(folder, body, arguments="answer, reference"):
    path = folder / "mine.py"
    path.write_text(f"def score({arguments}):\n    {body}\n", encoding="utf-8")
    return f"{path}:score"


def test_an_own_function_is_a_metric_with_interval_verdict_and_values_of_rows(tmp_path):
    spec = metric_file(tmp_path, "return float(answer == reference)")
    report = asked(PROSE, base=["wrong"] * 12, metrics=(spec,), primary_metric="own:score")
    assert scores(report)["own:score"] == 1.0
    assert report.verdict == "better"
    assert [item.scores["base"]["own:score"] for item in report.items] == [0.0] * 12
    assert "score *" in [row[0] for row in table(report)]


def test_an_own_function_may_say_that_less_is_better_and_see_the_row(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def score(item, question):\n    return len(item['reference']) + len(question)\n"
                    "score.higher_is_better = False\nscore.scale = None\n")  # fmt: skip
    report = asked(PROSE, base=PROSE[::-1], metrics=(f"{path}:score",))
    [found] = [c for c in report.comparisons if c.metric == "own:score"]
    assert not found.higher_is_better


def test_rows_that_an_own_function_cannot_grade_are_left_out_for_every_model(tmp_path):
    spec = metric_file(tmp_path, "return 1 / len(answer)")
    report = asked(["x", "", *["xx"] * 10], base=["x"] * 12, metrics=(spec,))
    assert scores(report)["own:score"] == pytest.approx((1 + 10 / 2) / 11)
    assert scores(report, "base")["own:score"] == 1.0
    assert "1 of 12 rows are left out of own:score: ZeroDivisionError: division by zero (line 2)" in report.notes


def test_with_too_many_failures_nothing_was_measured(tmp_path):
    report = asked(["x", "", "", *["xx"] * 9], metrics=(metric_file(tmp_path, "return 1 / len(answer)"),))
    [found] = [s for s in report.summaries if s.metric == "own:score"]
    assert found.value is None
    assert found.note.startswith("2 of 12 rows could not be graded; the first: ZeroDivisionError")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{file}:other", "the metric cannot be called: mine.py defines no function other"),
        ("{folder}/none.py:score", "cannot read the metric: No such file"),
        ("{file}:score", "the metric asks for 'row'"),
    ],
)
def test_an_own_function_that_cannot_be_used(tmp_path, spec, message):
    metric_file(tmp_path, "return 1", "answer, row")
    with pytest.raises(ConfigError) as error:
        asked(PROSE, metrics=(spec.format(file=tmp_path / "mine.py", folder=tmp_path),))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "references", "message"),
    [
        (
            "bleu",
            ["yes", "no"],
            "'bleu' does not fit these rows: the wanted answers are short",
        ),
        ("tre", PROSE, "there is no metric 'tre'; did you mean 'ter'?"),
        ("macro_f1", PROSE, "'macro_f1' does not fit these rows: the wanted answers are no labels"),
        ("label_choice", PROSE, "'label_choice' does not fit these rows: the wanted answers are text, not labels"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(name, references, message):
    with pytest.raises(ConfigError) as error:
        asked(references, references, metrics=(name,))
    assert message in str(error.value)
    if name != "label_choice":
        with pytest.raises(ConfigError, match=r"does not fit these rows|there is no metric"):
            require_primary(Config(metrics=(name,)), examples(references))


def test_metrics_of_the_table_that_are_asked_for():
    report = asked(PROSE, metrics=("ter", "rouge_1", "rouge_2", "latency_p50"))
    found = scores(report)
    assert (found["ter"], found["rouge_1"], found["rouge_2"]) == (0.0, 1.0, 1.0)
    assert found["latency_p50"] <= 0.002
    assert next(s.note for s in report.summaries if s.metric == "ter").startswith("nrefs:1|case:lc|tok:tercom")
    assert "ter" not in scores(asked(PROSE))


MATCH = {"type": "string_check", "name": "match", "input": "{{sample.output_text}}", "operation": "eq",
         "reference": "{{item.reference}}"}  # fmt: skip
SCORE = {"type": "score_model", "name": "quality", "model": "gpt-4o", "range": [0, 5],
         "input": [{"role": "user", "content": "{{item.question}} {{sample.output_text}}"}]}  # fmt: skip


def test_grader_objects_in_the_file_and_beside_it(tmp_path):
    other = {**MATCH, "name": "like", "type": "text_similarity", "evaluation_metric": "fuzzy_match"}
    del other["operation"]
    (tmp_path / "graders.json").write_text(json.dumps([other]))
    report = asked(
        PROSE[:6] + ["x"] * 6, graders=(MATCH, str(tmp_path / "graders.json")), primary_metric="grader:match"
    )
    assert scores(report)["grader:match"] == 0.5
    assert 0.5 < scores(report)["grader:like"] < 0.7


def test_a_model_grades_and_what_it_cannot_say_is_left_out():
    judge = Scripted("judge", ['{"result": 4}', "five stars", *['{"result": 2}'] * 10])
    report = asked(PROSE, graders=(SCORE,), grader_models={"gpt-4o": "judge"}, judges={"judge": judge})
    assert scores(report)["grader:quality"] == pytest.approx(24 / 11)
    assert any("1 of 12 rows are left out of grader:quality: gpt-4o answered 'five stars'" in n for n in report.notes)
    assert judge.asked[0].grammar.kind == "json_schema"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({**MATCH, "reference": "{{item.anser}}"}, "the rows have no field 'anser'"),
        (SCORE, "no model answers for 'gpt-4o'"),
        ({**MATCH, "type": "x"}, "'x' is no type of grader"),
        ("none.yaml", "cannot read the grader: No such file"),
    ],
)
def test_graders_that_cannot_be_used(document, message):
    with pytest.raises(ConfigError) as error:
        asked(PROSE, graders=(document,), judges={})
    assert message in str(error.value)


def test_a_file_without_graders(tmp_path):
    (tmp_path / "g.yaml").write_text("- 5")
    with pytest.raises(ConfigError, match="holds no grader, but int"):
        asked(PROSE, graders=(str(tmp_path / "g.yaml"),))
    with pytest.raises(ConfigError, match="two metrics are called grader:match"):
        asked(PROSE, graders=(MATCH, MATCH))


def test_assertions_count_each_and_all():
    demands = ({"type": "contains", "value": "sentence"}, {"type": "max-length", "value": 42, "name": "short"})
    report = asked(PROSE, assertions=demands)
    assert scores(report)["assert:contains sentence"] == 1.0
    assert scores(report)["assert:short"] == scores(report)["assertions"] == 0.5
    [missing] = [s for s in asked(PROSE, assertions=({"type": "cost", "value": 1},)).summaries if s.value is None and "assert" in s.metric]  # fmt: skip # noqa: E501
    assert "cost needs token_prices" in missing.note


def test_cost_needs_a_price_with_currency_source_and_date():
    prices = {"prompt": 1.0, "completion": 10.0, "currency": "EUR", "source": "our invoice", "date": "2026-11-01"}
    report = asked(["one two"] * 12, token_prices=prices)
    assert scores(report)["cost"] == pytest.approx(1000 * (3 * 1.0 + 2 * 10.0) / 1e6)
    assert "Costs are in EUR, from our invoice of 2026-11-01." in report.notes


FACTS = ["name[Cocum], food[Chinese]", 'Describe: {"name": "Zizzi", "food": "French"}']


def test_facts_of_the_question_against_the_answer():
    rows = [example(FACTS[i % 2], "a text that people wrote about it", i + 1) for i in range(2)]
    report = asked(["Cocum is Chinese.", "Zizzi and Cocum"], rows=rows, slot_lexicon="verbatim")
    found = scores(report)
    assert (found["slot_error_rate"], found["slots_missing"], found["slots_invented"]) == (0.5, 0.25, 0.25)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (["What is this?"], "1 of 1 questions state no facts"),
        (["name[A], open[yes]"], "nobody says the values of open verbatim"),
    ],
)
def test_facts_that_cannot_be_checked(questions, message):
    rows = [example(q, "some text that people wrote about it", i + 1) for i, q in enumerate(questions)]
    with pytest.raises(ConfigError, match=message):
        asked(["x"] * len(rows), rows=rows, slot_lexicon="verbatim")


@dataclass
class Chooser:
    """Says "fees" when it may only choose, nonsense when not, and finds the label of the question likeliest."""

    name: str = "chooser"
    digest: str = "c"

    def sample(self, prompts, params, progress=None):
        text = "fees" if params.grammar else "well, perhaps fees"
        return [Completion(text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1) for _ in prompts]

    def score(self, rows, progress=None):
        return [
            Score(example_id=row.id, logprobs=(-1.0 if row.target.text in row.messages[0].text else -2.0,))
            for row in rows
        ]


def test_labels_by_choice_and_by_their_scores():
    rows = [example(f"about {label} {i}", label, i + 1) for i, label in enumerate(["fees", "top up"] * 5)]
    config = Config(**QUICK, metrics=("label_choice", "label_scores"), primary_metric="label_scores")
    found = scores(run(config, [Chooser()], rows), "chooser")
    assert (found["exact_match"], found["label_choice"], found["label_scores"]) == (0.0, 0.5, 1.0)


def test_labels_that_lack_one_or_are_too_many():
    rows = examples(["fees", "top up"])
    with pytest.raises(ConfigError, match="the wanted answer 'top up' is none of the labels"):
        run(Config(**QUICK, metrics=("label_choice",), labels=("fees",)), [Chooser()], rows)
    labels = ("fees", "top up", *(f"label {i}" for i in range(30_000)))
    with pytest.raises(ConfigError, match="2 rows times 30002 labels"):
        run(Config(**QUICK, metrics=("label_scores",), labels=labels), [Chooser()], rows)


def test_plain_texts_are_not_graded():
    document = lambda text: Example(messages=(), target=Document(text=text))  # noqa: E731
    with pytest.raises(ConfigError, match="plain texts ask nothing"):
        run(Config(**QUICK, graders=(MATCH,)), [Scripted("a", [])], [document("one"), document("two")])


def test_paths_count_from_a_folder(tmp_path):
    keys = {
        "metrics": ("ter", "m.py:f"),
        "slot_lexicon": "l.yaml",
        "graders": ("g.json", MATCH),
        "json_schema": "s.json",
    }
    moved = Config(**keys).counted_from(tmp_path)
    assert moved.metrics == ("ter", f"{tmp_path}/m.py:f")
    assert (moved.slot_lexicon, moved.graders[0]) == (f"{tmp_path}/l.yaml", f"{tmp_path}/g.json")
    assert Config(slot_lexicon="verbatim").counted_from(tmp_path).slot_lexicon == "verbatim"


@pytest.mark.parametrize(
    "keys",
    [
        {"metrics": ("none.py:f",)},
        {"graders": ({**MATCH, "input": "{{sample.x}}"},)},
        {"slot_lexicon": "none.yaml"},
        {"assertions": ({"type": "contains", "value": "{{row.x}}"},)},
    ],
)
def test_documents_are_refused_before_a_model_is_opened(keys):
    with pytest.raises(ConfigError, match=r"cannot read the metric|there is no variable|cannot read the lexicon"):
        require_primary(Config(**keys))
