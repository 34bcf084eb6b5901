import math
import random

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sklearn.metrics import f1_score

from tests.evaluate.fakes import examples
from tunesmith.core.records import Completion, Score
from tunesmith.evaluate import metrics, rows
from tunesmith.text import graders
from tunesmith.text.graders import JsonSchema

TEXT = "the eagle is a cheap french pub near the river , with good food . families welcome !"
WORDS = TEXT.split()
ALWAYS = {
    "perplexity", "bits_per_byte", "stop_rate", "empty_answers", "refusals", "length_ratio", "answer_tokens",
}  # fmt: skip


def corpus(seed, n=12):
    draw = random.Random(seed)
    return [[" ".join(draw.choices(WORDS, k=draw.randint(1, 15))) for _ in range(n)] for _ in range(2)]


@pytest.mark.parametrize("seed", range(10))
def test_corpus_scores_equal_sacrebleu(seed):
    answers, references = corpus(seed)
    for counts, value, metric in (
        (graders.bleu_counts, metrics.bleu, BLEU()),
        (graders.chrf_counts, metrics.chrf, CHRF()),
        (graders.ter_counts, metrics.ter, TER()),
    ):
        sums = np.array([counts(*pair) for pair in zip(answers, references, strict=True)], float).sum(axis=0)
        assert float(value(sums)) == pytest.approx(metric.corpus_score(answers, [references]).score, abs=1e-9)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("", "some text"),
        ("nothing shared", "Ωμέγα"),
        ("one word", "one word"),
        ("the eagle is a pub", "the eagle is a"),
    ],
)
def test_corpus_scores_of_odd_rows_equal_sacrebleu(answer, reference):
    bleu = metrics.bleu(np.array(graders.bleu_counts(answer, reference), float))
    chrf = metrics.chrf(np.array(graders.chrf_counts(answer, reference), float))
    assert float(bleu) == pytest.approx(BLEU().corpus_score([answer], [[reference]]).score, abs=1e-9)
    assert float(chrf) == pytest.approx(CHRF().corpus_score([answer], [[reference]]).score, abs=1e-9)
    for pair in ((answer, reference), (reference, answer)):
        ter = metrics.ter(np.array(graders.ter_counts(*pair), float))
        assert float(ter) == pytest.approx(TER().corpus_score([pair[0]], [[pair[1]]]).score, abs=1e-9)


def test_signatures_say_which_bleu_chrf_and_ter_these_are():
    signatures = graders.corpus_signatures()
    assert signatures["bleu"] == str(_signature(BLEU()))
    assert all("version:" in text for text in signatures.values())
    assert "tok:tercom" in signatures["ter"]


def _signature(metric):
    metric.corpus_score(["a"], [["a"]])
    return metric.get_signature()


@pytest.mark.parametrize("seed", range(10))
def test_macro_f1_equals_scikit_learn(seed):
    draw = random.Random(seed)
    labels = ["lost card", "top up", "fees", "other"]
    wanted = rows.survey(examples([draw.choice(labels[:3]) for _ in range(30)]), None)
    answers = [draw.choice([*labels, "", "I do not know"]) for _ in wanted.texts]
    [macro] = [m for m in metrics.metrics_for(wanted) if m.name == "macro_f1"]
    assert macro.unfit(wanted) == ""
    table = np.array([macro.counts(rows.Row(r, a, True, 1, ())) for r, a in zip(wanted.texts, answers, strict=True)])
    known = sorted(set(wanted.texts))
    score = f1_score(wanted.texts, answers, labels=known, average="macro", zero_division=0.0)
    assert float(macro.value(table.sum(axis=0))) == pytest.approx(score, abs=1e-12)


def test_macro_f1_counts_rare_labels_as_much_as_frequent_ones():
    wanted = rows.survey(examples(["a"] * 9 + ["b"]), None)
    [macro] = [m for m in metrics.metrics_for(wanted) if m.name == "macro_f1"]
    table = np.array([macro.counts(rows.Row(r, "a", True, 1, ())) for r in wanted.texts])
    assert float(macro.value(table.sum(axis=0))) == pytest.approx((18 / 19 + 0) / 2)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_quantiles_of_times_are_right_within_a_bucket(share):
    draw = random.Random(3)
    seconds = sorted(draw.lognormvariate(0, 1) for _ in range(999))
    table = np.array([metrics._bucket(rows.Row("", "", True, 1, (), seconds=s)) for s in seconds])
    found = float(metrics.quantile_of_buckets(share)(table.sum(axis=0)))
    assert found == pytest.approx(np.quantile(seconds, share), rel=0.05)
    for odd in (0.0, 1e9):
        assert sum(metrics._bucket(rows.Row("", "", True, 1, (), seconds=odd))) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.", "I cannot answer this.", "As an AI, I have no opinion.",
        "Sorry, I am unable to do so", "I won't write that.", "Het spijt me, maar ik kan dat niet doen.",
        "Helaas kan ik daar niet op antwoorden.", "Ik mag hier niets over zeggen.", "Als taalmodel heb ik geen mening.",
    ],
)  # fmt: skip
def test_refusals_are_noticed(answer):
    assert metrics.refuses(answer)


@pytest.mark.parametrize(
    "answer",
    ["The cat cannot swim.", "I can do that.", "De winkel is niet open.", "Ik stuur het morgen.", "", "Sorry Ann!"],
)
def test_other_answers_are_no_refusals(answer):
    assert not metrics.refuses(answer)


def test_dutch_words_are_not_stemmed():
    scores = {n: graders.rouge_n("de fietsen stonden", "de fiets stond", n).f1 for n in (1, 2)}
    assert scores == {1: pytest.approx(1 / 3), 2: 0.0}


def test_scores_of_many_sums_at_once():
    answers, references = corpus(1)
    for counts, value in ((graders.bleu_counts, metrics.bleu), (graders.chrf_counts, metrics.chrf)):
        table = np.array([counts(*pair) for pair in zip(answers, references, strict=True)], float)
        together = value(np.stack([table, 2 * table]))
        assert together.shape == (2, len(answers))
        assert together[0].tolist() == [float(value(row)) for row in table]


def test_perplexity_is_exp_of_the_mean_loss_per_token():
    logprobs = [(-0.5, -1.5), (-3.0,)]
    sums = np.array([(-sum(row), len(row)) for row in logprobs]).sum(axis=0)
    assert float(metrics.perplexity(sums)) == pytest.approx(math.exp(5 / 3))
    assert math.isfinite(metrics.perplexity(np.array([1e9, 1.0])))


def graded(reference, answer, schema=None, stopped=True):
    wanted = rows.survey(examples([reference]), schema)
    completion = Completion(
        text=answer, finish_reason="stop" if stopped else "length", prompt_tokens=1, completion_tokens=7
    )
    row = rows.grade(wanted, 0, completion, Score(example_id="", logprobs=(-1.0, -3.0)))
    return {
        m.name: float(m.value(np.array(m.counts(row), float)))
        for m in metrics.metrics_for(wanted)
        if not m.unfit(wanted)
    }


def test_json_row():
    schema = JsonSchema({"type": "array", "items": {"required": ["name", "amount"]}})
    scores = graded('[{"name": "a", "amount": 1}, {"name": "b", "amount": 2}]', '[{"name": "a", "amount": 3}]', schema)
    assert scores == pytest.approx(
        {
            "json_valid": 1.0,
            "schema_valid": 1.0,
            "field_f1": 1 / 3,
            "all_fields_f1": 0.0,
            "field_f1:name": 2 / 3,
            "field_f1:amount": 0.0,
            "exact_match": 0.0,
            "perplexity": math.exp(2),
            "bits_per_byte": 4 / math.log(2) / 56,
            "stop_rate": 1.0,
            "empty_answers": 0.0,
            "refusals": 0.0,
            "length_ratio": 28 / 56,
            "answer_tokens": 7.0,
        }
    )


def test_json_row_with_an_invalid_answer():
    scores = graded('{"name": "a"}', "name: a", stopped=False)
    assert [scores[name] for name in ("json_valid", "field_f1", "all_fields_f1", "stop_rate")] == [0, 0, 0, 0]
    assert "schema_valid" not in scores


def test_text_row():
    scores = graded("The Eagle is a cheap French pub", "The Eagle is a French pub")
    assert set(scores) == {
        "exact_match", "chrf", "bleu", "rouge_l", "token_f1", *ALWAYS,
    }  # fmt: skip
    assert scores["rouge_l"] == scores["token_f1"] == pytest.approx(12 / 13)


def test_label_row_is_judged_by_exact_match_alone():
    assert set(graded("card lost", "card lost")) == {"exact_match", "macro_f1", *ALWAYS}


def test_a_schema_is_checked_even_where_references_are_text():
    scores = graded("any text that is longer than a label", '{"a": 1}', JsonSchema({"type": "object"}))
    assert scores["json_valid"] == scores["schema_valid"] == 1.0
    assert "field_f1" not in scores


@pytest.mark.parametrize(
    ("references", "kind", "primary"),
    [
        (['{"a": 1}', "[]"], "json", "field_f1"),
        (["yes", "no"], "label", "exact_match"),
        (["5", '"x"'], "label", "exact_match"),
        (["a long sentence of more words", "yes"], "text", "chrf"),
        (["这是一个很长的句子", "短"], "text", "chrf"),
        (['{"a": 1}', "a sentence, for once, not JSON"], "text", "chrf"),
    ],
)
def test_kind_of_the_wanted_answers_decides_the_metric(references, kind, primary):
    wanted = rows.survey(examples(references), None)
    assert wanted.kind == kind
    assert metrics.primary_for(wanted)[0] == primary


def test_reasons_for_what_does_not_fit():
    wanted = rows.survey(examples(['{"a": 1}', "a sentence, for once, not JSON"]), None)
    reasons = {m.name: m.unfit(wanted) for m in metrics.metrics_for(wanted)}
    assert reasons["field_f1"] == "1 of 2 wanted answers are not JSON"
    assert reasons["schema_valid"] == "no json_schema is set"
    labels = rows.survey(examples(["yes", "no"]), None)
    assert {m.name: m.unfit(labels) for m in metrics.metrics_for(labels)}["bleu"].startswith(
        "the wanted answers are short"
    )


def test_only_the_most_frequent_fields_get_a_line():
    many = [f'{{"always": 1, {", ".join(f"{chr(34)}rare{i}{k}{chr(34)}: 1" for k in range(5))}}}' for i in range(4)]
    wanted = rows.survey(examples(many), None)
    assert len(wanted.fields) == rows.MOST_FIELDS
    assert wanted.fields[0] == "always"
    assert wanted.fields_left_out == 21 - rows.MOST_FIELDS
