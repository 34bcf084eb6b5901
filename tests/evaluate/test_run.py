import json
import subprocess
import sys

import pytest

from tests.evaluate.fakes import Scripted, example, examples
from tunesmith.core.artifacts import Report
from tunesmith.core.errors import ConfigError, DataError, InputError, ModelError, TunesmithError
from tunesmith.core.events import Tick
from tunesmith.core.records import Example, Message, Reply, ToolCall
from tunesmith.evaluate import Config, Remembered, run, table, verdict_lines

QUICK = Config(bootstrap_samples=300)
TIME = "2026-01-02T03:04:05+00:00"

SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "amount"],
        "properties": {"name": {"type": "string"}, "amount": {"type": "number"}},
    },
}


def recipe(i, name="flour", amount=None):
    return json.dumps([{"name": name, "amount": i if amount is None else amount}, {"name": "salt", "amount": 1}])


RECIPES = [recipe(i) for i in range(1, 33)]
HALF_RIGHT = [recipe(i, amount=0) for i in range(1, 33)]
PROSE = ["You need flour and a pinch of salt."] * 32


def judge(answers, *, base=None, wanted=RECIPES, config=QUICK, **options):
    models = [Scripted("base", base, stopped=[False] * len(base), logprob=lambda row: -2.0)] if base else []
    return run(config, [*models, Scripted("tuned", answers)], examples(wanted), created_at=TIME, **options)


def score(report, model, metric):
    return next(s for s in report.summaries if (s.model, s.metric) == (model, metric))


def change(report, metric):
    return next(c for c in report.comparisons if c.metric == metric)


def test_json_from_nothing_to_half_right():
    report = judge(HALF_RIGHT, base=PROSE, config=Config(bootstrap_samples=300, json_schema=SCHEMA), dataset_digest="d")
    assert (report.primary_metric, report.verdict, report.dataset_digest) == ("field_f1", "better", "d")
    assert score(report, "base", "json_valid").value == 0.0
    assert score(report, "base", "json_valid").high == pytest.approx(0.109, abs=1e-3)
    assert score(report, "tuned", "schema_valid").value == 1.0
    assert score(report, "tuned", "field_f1:name").value == 1.0
    assert score(report, "tuned", "field_f1:amount").value == pytest.approx(0.5)
    assert score(report, "tuned", "all_fields_f1").value == pytest.approx(0.5)
    assert score(report, "tuned", "field_f1").value == pytest.approx(0.75)
    assert change(report, "perplexity").verdict == change(report, "stop_rate").verdict == "better"
    assert report.sentence.startswith(
        "tuned is better than base on field F1: 0.0 % → 75.0 %, +75.0 points (95 % interval"
    )
    assert "32 rows are enough to see a true difference of" in report.sentence


def test_per_field_verdicts_name_what_got_worse():
    swapped = [recipe(i, name="water") for i in range(1, 33)]
    report = judge(HALF_RIGHT, base=swapped)
    assert change(report, "field_f1:name").verdict == "better"
    assert change(report, "field_f1:amount").verdict == "worse"
    assert report.verdict == "cannot tell"
    lines = verdict_lines(report)
    assert any(line.startswith("tuned is worse than base on amount F1: 100.0 % → 50.0 %") for line in lines)


def test_free_text_is_judged_by_chrf_and_json_metrics_are_not_measured():
    wanted = [f"The Eagle number {i} is a French pub near the river." for i in range(20)]
    close = [f"The Eagle number {i} is a French pub." for i in range(20)]
    report = judge(close, base=["I do not know that place, sorry."] * 20, wanted=wanted)
    assert (report.primary_metric, report.verdict) == ("chrf", "better")
    assert score(report, "tuned", "bleu").note.startswith("nrefs:1|case:mixed")
    assert score(report, "tuned", "chrf").note.startswith("nrefs:1|case:mixed")
    missing = score(report, "tuned", "field_f1")
    assert (missing.value, missing.low, missing.note) == (None, None, "20 of 20 wanted answers are not JSON")
    assert "field_f1" not in report.items[0].scores["tuned"]
    assert "Not measured: valid JSON, field F1, all-fields F1: 20 of 20 wanted answers are not JSON." in verdict_lines(
        report
    )
    assert "follows the schema" not in [row[0] for row in table(report)]


def test_labels_are_judged_by_exact_match():
    report = judge(["yes"] * 10 + ["no"] * 10, base=["maybe"] * 20, wanted=["yes", "no"] * 10)
    assert (report.primary_metric, report.verdict) == ("exact_match", "better")
    assert change(report, "exact_match").test == "exact McNemar, 10 gained, 0 lost"


def test_perplexity_of_the_wanted_answers():
    report = judge(RECIPES)
    assert score(report, "tuned", "perplexity").value == pytest.approx(2.718281828)
    silent = run(QUICK, [Scripted("remote", RECIPES, logprob=None)], examples(RECIPES))
    assert score(silent, "remote", "perplexity").note == "the model gives no log-probabilities"
    assert score(silent, "remote", "perplexity").value is None


def test_a_metric_that_only_one_model_has_is_reported_for_it_and_not_compared():
    models = [Scripted("remote", PROSE, logprob=None), Scripted("tuned", HALF_RIGHT)]
    report = run(QUICK, models, examples(RECIPES))
    assert score(report, "tuned", "perplexity").value is not None
    assert "perplexity" not in [c.metric for c in report.comparisons]
    assert "Not measured: perplexity of remote, bits per byte of remote: the model gives no log-probabilities." in (
        verdict_lines(report)
    )
    decided = run(Config(bootstrap_samples=300, primary_metric="perplexity"), models, examples(RECIPES))
    assert decided.verdict == "cannot tell"
    assert decided.sentence == (
        "Cannot tell: perplexity decides and was not measured (remote: the model gives no log-probabilities)."
    )


def test_one_model_gets_scores_and_no_verdict():
    report = judge(HALF_RIGHT)
    assert report.verdict is None
    assert report.comparisons == ()
    assert report.sentence.startswith("No verdict without a model to compare with. tuned on field F1: 75.0 %")


def test_every_candidate_is_compared_with_the_first_model():
    models = [Scripted("base", PROSE), Scripted("one", HALF_RIGHT), Scripted("two", RECIPES)]
    report = run(QUICK, models, examples(RECIPES))
    decisive = [c for c in report.comparisons if c.metric == "field_f1"]
    assert [(c.baseline, c.candidate) for c in decisive] == [("base", "one"), ("base", "two")]
    assert report.sentence == f"{decisive[0].sentence} {decisive[1].sentence}"
    head, first, *_ = table(report)
    assert head[:4] == ["metric", "base", "one", "two"]
    assert first[-1] == "better\nbetter"


def test_a_model_against_itself_is_asked_once_and_differs_by_nothing():
    models = [Scripted("tuned", RECIPES, digest="d"), Scripted("tuned", RECIPES, digest="d")]
    report = run(QUICK, models, examples(RECIPES))
    assert [len(model.asked) for model in models] == [1, 0]
    assert [model.name for model in report.models] == ["tuned", "tuned #2"]
    assert report.verdict == "equivalent"
    assert report.sentence == "tuned #2 and tuned are the same model: the difference on field F1 is exactly 0."
    assert {c.difference for c in report.comparisons} == {0.0}


def test_items_hold_every_answer_and_score():
    report = judge(HALF_RIGHT, base=PROSE)
    item = report.items[2]
    assert (item.source, item.prompt, item.reference) == ("rows.jsonl:3", "question 2", RECIPES[2])
    assert item.answers == {"base": PROSE[2], "tuned": HALF_RIGHT[2]}
    assert item.finish_reasons == {"base": "length", "tuned": "stop"}
    assert item.scores["base"]["field_f1"] == 0.0
    assert item.scores["tuned"]["field_f1"] == pytest.approx(0.75)
    chat = Example(
        messages=(Message(role="system", content="Be brief."), Message(role="user", content="Hello?")),
        target=Reply(message=Message(role="assistant", content="Hello.")),
    )
    assert run(QUICK, [Scripted("m", ["x"])], [chat]).items[0].prompt == "system: Be brief.\n\nuser: Hello?"


def test_same_inputs_give_the_same_bytes_and_survive_json():
    first, second = (judge(HALF_RIGHT, base=PROSE).model_dump_json() for _ in range(2))
    assert first == second
    assert Report.model_validate_json(first).model_dump_json() == first
    assert "NaN" not in first
    later = run(QUICK, [Scripted("tuned", HALF_RIGHT)], examples(RECIPES), created_at="later")
    assert later.report_id == judge(HALF_RIGHT).report_id != judge(RECIPES).report_id


def test_time_stamp_is_now_unless_given():
    assert run(QUICK, [Scripted("m", ["x"])], examples(["y"])).created_at.endswith("+00:00")


@pytest.mark.parametrize(
    ("options", "limit", "reason"),
    [
        ({}, 17, "1.25 times the longest wanted answer (7 tokens) plus 8"),
        ({"answer_tokens": [10] * 31 + [40]}, 58, "1.25 times the longest wanted answer (40 tokens) plus 8"),
        ({"config": Config(bootstrap_samples=300, max_new_tokens=33)}, 33, "set by max_new_tokens"),
    ],
)
def test_length_limit_says_where_it_comes_from(options, limit, reason):
    report = judge(RECIPES, **options)
    assert report.params.max_tokens == limit
    assert f"Answers end after {limit} tokens: {reason}." in report.notes


def test_length_limit_without_any_token_counts_goes_by_characters():
    report = run(QUICK, [Scripted("remote", ["x"], logprob=None)], examples(["a" * 99]))
    assert report.params.max_tokens == 71
    assert "(50 tokens, estimated from its characters)" in report.notes[1]


def test_models_are_asked_as_configured():
    model = Scripted("m", ["x"])
    run(Config(bootstrap_samples=300, temperature=0.7, top_p=0.9, evaluation_seed=4), [model], examples(["y"]))
    assert (model.asked[0].temperature, model.asked[0].top_p, model.asked[0].seed) == (0.7, 0.9, 4)


def test_progress_is_emitted_and_nothing_printed(capsys):
    events = []
    judge(HALF_RIGHT, base=PROSE, emit=events.append)
    assert Tick(task="answering with tuned", done=32, total=32) in events
    assert Tick(task="scoring with base", done=32, total=32) in events
    assert capsys.readouterr() == ("", "")


def test_schema_from_a_file_and_references_that_break_it(tmp_path):
    file = tmp_path / "schema.json"
    file.write_text(json.dumps({**SCHEMA, "maxItems": 1}))
    report = judge(RECIPES, config=Config(bootstrap_samples=300, json_schema=str(file)))
    assert score(report, "tuned", "schema_valid").value == 0.0
    assert any(
        "32 of 32 wanted answers break the JSON schema themselves (the first is row 1)" in n for n in report.notes
    )


def test_table_marks_the_primary_metric_and_leaves_length_unjudged():
    rows = table(judge(HALF_RIGHT, base=PROSE))
    assert rows[0] == ["metric", "base", "tuned", "difference", "95 % interval", "smallest visible", "verdict"]
    assert rows[1][:4] == ["field F1 *", "0.0 %", "75.0 %", "+75.0 points"]
    assert rows[1][-1] == "better"
    assert rows[-1][0] == "answer length"
    assert rows[-1][-1] == "not judged"
    assert {len(row) for row in rows} == {7}
    assert table(judge(HALF_RIGHT))[0] == ["metric", "tuned", "95 % interval"]


def fails(kind, config=QUICK, models=None, wanted=("a", "b"), **options):
    rows = examples(wanted) if isinstance(wanted, tuple) else wanted
    with pytest.raises(kind) as error:
        run(config, [Scripted("m", ["x"] * len(rows))] if models is None else models, rows, **options)
    assert error.value.rule
    assert error.value.fix
    return str(error.value)


def test_no_rows():
    assert "there are no rows to evaluate on" in fails(DataError, wanted=())


def test_no_model():
    assert "there is no model to evaluate" in fails(InputError, models=[])


def test_empty_reference():
    message = fails(DataError, wanted=("a", "  \n"))
    assert message.startswith("rows.jsonl:2: the wanted answer is empty")
    assert "fill in the answer or remove the row" in message


def test_tool_call_as_reference():
    call = Message(role="assistant", tool_calls=(ToolCall(name="find"),))
    row = Example(messages=(Message(role="user", content="?"),), target=Reply(message=call))
    assert "the wanted answer is a tool call" in fails(DataError, wanted=[row])


def test_row_twice():
    rows = [example("q", "a", 1), example("q", "b", 2), example("q", "a", 3), example("q", "a", 4)]
    message = fails(DataError, wanted=rows)
    assert message.startswith("rows.jsonl:3: the same row as rows.jsonl:1 (2 such rows in all)")
    assert "a copy would count as new evidence" in message


def test_too_few_answers():
    message = fails(TunesmithError, models=[Scripted("m", ["only one"])])
    assert "m gave 1 answers for 2 rows" in message


def test_scores_in_another_order():
    class Turned(Scripted):
        def score(self, examples, progress=None):
            return list(reversed(Scripted.score(self, examples, progress)))

    assert "scores come back in the order of the rows" in fails(TunesmithError, models=[Turned("m", ["x", "y"])])


def test_nan_scores():
    message = fails(ModelError, models=[Scripted("m", ["x", "y"], logprob=lambda row: [-1.0, float("nan")][row])])
    assert message.startswith("rows.jsonl:2: m gave a log-probability that is not a number")
    assert "try float32, or an earlier checkpoint" in message


def test_answer_tokens_of_another_length():
    assert "answer_tokens has 1 numbers for 2 rows" in fails(InputError, answer_tokens=[5])


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("exact_mach", "there is no metric 'exact_mach'; did you mean 'exact_match'?"),
        ("field_f1", "'field_f1' cannot decide: 2 of 2 wanted answers are not JSON"),
        ("answer_tokens", "'answer_tokens' cannot decide: neither more nor less of it is better"),
    ],
)
def test_primary_metric_that_does_not_fit(name, what):
    message = fails(ConfigError, Config(bootstrap_samples=300, primary_metric=name))
    assert message.startswith(f"primary_metric: {what}")
    assert "use auto or one of: exact_match, macro_f1, perplexity, bits_per_byte, stop_rate" in message


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot read"),
        ("{not json", "is not JSON"),
        ("[1]", "holds a list, not an object"),
        ('{"type": 5}', "not a valid JSON schema"),
    ],
)
def test_schema_file_that_cannot_be_used(tmp_path, content, what):
    file = tmp_path / "schema.json"
    if content is not None:
        file.write_text(content)
    message = fails(ConfigError, Config(bootstrap_samples=300, json_schema=str(file)))
    assert message.startswith("json_schema")
    assert what in message


def test_importing_the_verb_is_light():
    code = (
        "import sys, tunesmith.evaluate; "
        "sys.exit(', '.join({'torch', 'numpy', 'scipy', 'sacrebleu', 'jsonschema', 'jinja2'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": "src"})
    assert result.stderr.strip() == ""


def test_an_evaluation_needs_no_torch():
    code = (
        "import sys; from tests.evaluate.test_run import *; judge(HALF_RIGHT, base=PROSE); "
        "sys.exit('torch' if 'torch' in sys.modules else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": "src:."})
    assert result.stderr.strip() == ""


def test_scores_of_other_rows_are_refused():
    class Mixed(Scripted):
        def score(self, rows, progress=None):
            return list(reversed(super().score(rows, progress)))

    with pytest.raises(TunesmithError, match=r"m scored row \w+ where row \w+ was asked"):
        run(Config(bootstrap_samples=300), [Mixed("m", ["x", "y"])], examples(["a", "b"]))


def test_remembered_models_are_asked_once():
    model = Scripted("m", ["x", "y"])
    remembered = Remembered(model)
    rows = examples(["x", "y"])
    first = run(Config(bootstrap_samples=300), [remembered], rows, created_at="now")
    asked = len(model.asked)
    assert run(Config(bootstrap_samples=300), [remembered], rows, created_at="now") == first
    assert len(model.asked) == asked
    assert (remembered.name, remembered.digest) == (model.name, model.digest)
