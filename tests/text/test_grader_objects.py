"""OpenAI's grader objects: documents load unchanged, and every way to fail has its name."""

from __future__ import annotations

import random

import pytest

from tunesmith.core.errors import ConfigError, TunesmithError
from tunesmith.core.foreign import Limits
from tunesmith.core.records import Completion
from tunesmith.text import graders
from tunesmith.text.graders import Sample, grade, grade_all, load_grader

ITEM = {"answer": "Paris", "facts": {"city": ["Paris", "Lyon"], "n": 3}}


def string_check(operation="eq", **changes):
    return {
        "type": "string_check", "name": "match", "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
        "operation": operation, **changes,
    }  # fmt: skip


def similarity(metric, **changes):
    return {
        "type": "text_similarity", "name": "like", "input": "{{ sample.output_text }}", "reference": "{{item.answer}}",
        "evaluation_metric": metric, **changes,
    }  # fmt: skip


SCORE = {
    "type": "score_model", "name": "judge", "model": "gpt-4o", "range": [0, 10],
    "input": [
        {"role": "developer", "content": "Grade the answer."},
        {"type": "message", "role": "user", "content": {"type": "input_text", "text": "{{sample.output_text}}"}},
    ],
    "sampling_params": {"seed": 1, "temperature": 0.5, "max_completions_tokens": 99},
}  # fmt: skip
LABEL = {
    "type": "label_model", "name": "tone", "model": "gpt-4o", "labels": ["Kind", "rude"], "passing_labels": ["Kind"],
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "{{sample.output_text}}"}]}],
}  # fmt: skip
PYTHON = {"type": "python", "name": "mine", "source": "def grade(sample, item):\n    return len(sample['output_text'])"}


def says(*texts):
    """A model that answers requests with these texts, and what it was asked."""
    asked = []

    def ask(requests):
        asked.extend(requests)
        given = iter(texts)
        return [
            text if isinstance(text, Exception) else Completion(
                text=text, finish_reason="stop", prompt_tokens=7, completion_tokens=2
            )
            for text, _ in zip(given, requests, strict=False)
        ]  # fmt: skip

    return ask, asked


@pytest.mark.parametrize(
    ("operation", "answer", "reward"),
    [
        ("eq", "Paris", 1.0),
        ("eq", "paris", 0.0),
        ("ne", "paris", 1.0),
        ("like", "It is Paris.", 1.0),
        ("like", "It is paris.", 0.0),
        ("ilike", "It is paris.", 1.0),
        ("ilike", "It is Lyon.", 0.0),
    ],
)
def test_string_check(operation, answer, reward):
    result = grade(load_grader(string_check(operation)), ITEM, answer)
    assert (result.reward, result.errors.any, result.name, result.type) == (reward, False, "match", "string_check")


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{{item.facts.city[1]}}", "Lyon"),
        ("{{ item.facts.n }}", "3"),
        ("{{item.facts}}", '{"city":["Paris","Lyon"],"n":3}'),
        ("<{{sample.output_json.a[0].b}}>", "<ü>"),
        ("{{sample.choices[0].message.content}}", '{"a": [{"b": "ü"}]}'),
        ("no variable { } {{}", "no variable { } {{}"),
    ],
)
def test_templates(template, filled):
    document = string_check(input=template, reference=filled)
    assert grade(load_grader(document), ITEM, '{"a": [{"b": "ü"}]}').reward == 1.0


def test_templates_run_no_code_and_fill_nothing_twice():
    item = {"answer": "{{item.secret}}", "secret": "s"}
    assert grade(load_grader(string_check(reference="{{item.answer}}")), item, "{{item.secret}}").reward == 1.0
    with pytest.raises(ConfigError, match=r"there is no variable \{\{item.a \| upper\}\}"):
        load_grader(string_check(input="{{item.a | upper}}"))


def test_an_unknown_variable_of_the_answer_is_refused_when_the_grader_is_loaded():
    with pytest.raises(ConfigError, match=r"did you mean sample.output_text\?") as error:
        load_grader(string_check(input="{{sample.ouput_text}}"), "graders.0")
    assert error.value.where == "graders.0.input"
    assert error.value.code == "invalid_variable_error"
    with pytest.raises(ConfigError, match="there is no variable"):
        load_grader({**SCORE, "input": [{"role": "user", "content": "{{row.x}}"}]})


def test_an_unknown_variable_of_the_item_is_named_when_a_row_is_graded():
    result = grade(load_grader(string_check(reference="{{item.anwser}}")), ITEM, "Paris")
    assert result.reward == 0.0
    assert result.errors.invalid_variable_error
    assert result.explanation == "item.anwser: the item has no 'anwser'; did you mean answer?"


def test_an_answer_that_is_not_json_is_the_fault_of_the_answer():
    result = grade(load_grader(string_check(input="{{sample.output_json.x}}")), ITEM, "not json")
    assert result.errors.sample_parse_error
    assert result.errors.of_the_answer
    assert grade(load_grader(string_check(input="{{sample.output_json.x}}")), ITEM, "{}").errors.of_the_answer


@pytest.mark.parametrize(
    "metric", ["fuzzy_match", "bleu", "gleu", "meteor", *(f"rouge_{n}" for n in "12345"), "rouge_l"]
)
def test_similarities_are_shares(metric):
    grader, item = load_grader(similarity(metric)), {"answer": "the cat sat on the mat"}
    same, some, none = (
        grade(grader, item, text).reward for text in ("the cat sat on the mat", "the cat sat on the mat today", "zzz")
    )
    assert same == pytest.approx(1.0, abs=0.01)
    assert none == pytest.approx(0.0, abs=0.3 if metric == "fuzzy_match" else 1e-9)
    assert none < some < same


def test_bleu_is_that_of_sacrebleu_and_fuzzy_match_that_of_rapidfuzz():
    from rapidfuzz import fuzz
    from sacrebleu import sentence_bleu

    texts = ("the cat sat on a mat", "the cat is on the mat")
    item = {"answer": texts[1]}
    assert (
        grade(load_grader(similarity("bleu")), item, texts[0]).reward == sentence_bleu(texts[0], [texts[1]]).score / 100
    )
    assert grade(load_grader(similarity("fuzzy_match")), item, texts[0]).reward == fuzz.ratio(*texts) / 100


@pytest.mark.parametrize("seed", range(20))
def test_gleu_meteor_and_rouge_n_equal_their_reference_implementations(seed):
    from nltk.translate.gleu_score import sentence_gleu
    from nltk.translate.meteor_score import single_meteor_score
    from rouge_score.rouge_scorer import RougeScorer

    class Same:
        def stem(self, word):
            return word

    class NoSynonyms:
        def synsets(self, word):
            return []

    draw = random.Random(seed)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "Saw", "The", "dog"]
    answer, reference = (" ".join(draw.choices(words, k=draw.randint(1, 14))) for _ in range(2))
    assert graders.gleu(answer, reference) == pytest.approx(
        sentence_gleu([reference.split()], answer.split()), abs=1e-12
    )
    wanted = single_meteor_score(reference.split(), answer.split(), stemmer=Same(), wordnet=NoSynonyms())
    assert graders.meteor(answer, reference) == pytest.approx(wanted, abs=1e-12)
    for order in (1, 2, 3):
        rouge = RougeScorer([f"rouge{order}"]).score(reference, answer)[f"rouge{order}"].fmeasure
        assert (graders.rouge_n(answer, reference, order).f1 or 0.0) == pytest.approx(rouge, abs=1e-12)


def test_cosine_takes_a_model_of_the_callers_and_fails_without_one():
    grader = load_grader(similarity("cosine"))
    failed = grade(grader, ITEM, "Paris")
    assert failed.errors.other_error
    assert "none was given" in failed.explanation
    vectors = {"Paris": [1.0, 0.0], "Lyon": [3.0, 4.0]}
    assert grade(grader, ITEM, "Lyon", embed=lambda texts: [vectors[t] for t in texts]).reward == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("reply", "reward"), [('{"result": 7.5}', 7.5), ("8", 8.0), ("Score: 3", 3.0), ('{"steps": [], "result": 0}', 0.0)]
)
def test_a_model_gives_a_score(reply, reward):
    ask, asked = says(reply)
    result = grade(load_grader(SCORE), ITEM, "Rome", ask)
    assert (result.reward, result.errors.any) == (reward, False)
    assert result.tokens_per_model == {"gpt-4o": 9}
    assert [m.role for m in asked[0].messages] == ["system", "user"]
    assert asked[0].messages[1].text.startswith("Rome\n\nAnswer with a JSON object")
    assert asked[0].params.max_tokens == 99
    assert asked[0].params.grammar.kind == "json_schema"


@pytest.mark.parametrize("reply", ["excellent!", "11", "3 of 10", '{"result": "high"}', "", '{"result": NaN}'])
def test_nonsense_of_a_model_is_named_and_not_guessed(reply):
    result = grade(load_grader(SCORE), ITEM, "Rome", says(reply)[0])
    assert (result.reward, result.errors.model_grader_parse_error) == (0.0, True)
    assert "not a number from 0 to 10" in result.explanation


def test_a_model_gives_a_label():
    ask, asked = says(" kind.", "RUDE", "both", "I'm sorry, but I can't judge that")
    results = grade_all(load_grader(LABEL), [(ITEM, "x")] * 4, ask)
    assert [r.reward for r in results] == [1.0, 0.0, 0.0, 0.0]
    assert [r.errors.model_grader_parse_error for r in results] == [False, False, True, False]
    assert results[3].errors.model_grader_refusal_error
    assert asked[0].params.grammar.choices == ("Kind", "rude")


def test_a_model_that_is_not_there_is_a_server_error():
    broken = TunesmithError("no answer: refused", where="there", fix="start it")
    for result in (grade(load_grader(SCORE), ITEM, "x"), grade(load_grader(SCORE), ITEM, "x", says(broken)[0])):
        assert result.errors.model_grader_server_error
        assert "no " in (result.errors.model_grader_server_error_details or "")


def test_python():
    assert grade(load_grader(PYTHON), ITEM, "four").reward == 4.0
    source = "def grade(sample, item):\n    return float(sample['output_json']['n'] == item['facts']['n'])"
    assert grade(load_grader({**PYTHON, "source": source}), ITEM, '{"n": 3}').reward == 1.0


@pytest.mark.parametrize(
    ("source", "details"),
    [
        ("def grade(sample, item):\n    return item['nothing']", "KeyError: 'nothing' (line 2)"),
        ("def grade(sample, item):\n    return 'high'", 'grade returned "high", not a finite number'),
        ("def grade(sample, item):\n    return float('nan')", "grade returned NaN, not a finite number"),
        ("x = 1", "mine defines no function grade"),
        (
            "import socket\ndef grade(sample, item): return 1",
            "ImportError: _socket is not there in this process (line 1)",
        ),
    ],
)
def test_python_that_fails_says_why(source, details):
    result = grade(load_grader({**PYTHON, "source": source}), ITEM, "x")
    assert result.reward == 0.0
    assert result.errors.python_grader_runtime_error
    assert result.errors.python_grader_runtime_error_details == details


def test_python_without_end_is_ended_and_the_other_rows_are_graded():
    source = "def grade(sample, item):\n    while sample['output_text'] == 'loop': pass\n    return 1"
    results = grade_all(
        load_grader({**PYTHON, "source": source}), [(ITEM, "loop"), (ITEM, "x")], limits=Limits(seconds=1.0)
    )
    assert results[0].errors.python_grader_server_error_type == "timeout"
    assert results[1].reward == 1.0


def multi(formula, parts=None):
    parts = parts or {"match": string_check("like"), "length": PYTHON}
    return {"type": "multi", "name": "all", "graders": parts, "calculate_output": formula}


@pytest.mark.parametrize(
    ("formula", "reward"),
    [
        ("0.5 * match + 0.5 * min(length / 10, 1)", 0.75),
        ("match ^ 2 - -length", 6.0),
        ("max(match, 0.2) * sqrt(4) + floor(length / 2) + log(exp(1))", 5.0),
    ],
)
def test_a_formula_over_graders(formula, reward):
    result = grade(load_grader(multi(formula)), ITEM, "Paris")
    assert result.reward == pytest.approx(reward)
    assert result.sub_rewards == {"match": 1.0, "length": 5.0}


def test_graders_of_a_formula_in_a_list_or_alone_go_by_their_names():
    assert grade(load_grader(multi("match", [string_check(), PYTHON])), ITEM, "Paris").reward == 1.0
    assert grade(load_grader(multi("2 * match", string_check())), ITEM, "Paris").reward == 2.0


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("match + lenght", "calculate_output uses 'lenght', which is no grader here; did you mean length?"),
        ("match +", "is not a formula"),
        ("__import__('os').system('true')", "is neither a number, a grader"),
        ("match.__class__", "is neither a number, a grader"),
        ("[match for _ in (1, 2)]", "is neither a number"),
        ("match and length", "is neither a number"),
    ],
)
def test_formulas_that_cannot_be(formula, message):
    with pytest.raises(ConfigError) as error:
        load_grader(multi(formula))
    assert message in str(error.value)


def test_a_formula_without_a_value_is_named():
    for formula in ("1 / (match - 1)", "2 ^ (length * 1000)", "log(match - 1)", "9 ^ 60 ^ length"):
        result = grade(load_grader(multi(formula)), ITEM, "Paris")
        assert result.errors.formula_parse_error, formula
        assert result.reward == 0.0


def test_a_part_that_fails_fails_the_whole():
    result = grade(load_grader(multi("match + judge", {"match": string_check(), "judge": SCORE})), ITEM, "Paris")
    assert result.errors.model_grader_server_error
    assert (result.reward, result.sub_rewards["match"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"type": "string_chek"}, "'string_chek' is no type of grader; did you mean 'string_check'?"),
        ({}, "None is no type of grader"),
        (string_check("equals"), "not a string_check grader: input should be 'eq', 'ne', 'like' or 'ilike'"),
        (string_check(inputs="x"), "there is no field 'inputs'"),
        ({k: v for k, v in string_check().items() if k != "reference"}, "reference is missing"),
        ({**SCORE, "range": [1, 1]}, "has to rise"),
        ({**LABEL, "passing_labels": ["polite"]}, "passing_labels has 'polite', which labels does not have"),
        (multi("a", [string_check(), string_check()]), "graders in a list need names, each another one"),
        ({**SCORE, "input": [{"role": "user", "content": {"type": "input_image", "image_url": "x"}}]}, "valid string"),
    ],
)
def test_documents_that_are_no_graders(document, message):
    with pytest.raises(ConfigError) as error:
        load_grader(document)
    assert message in str(error.value)
    assert error.value.rule
    assert error.value.fix


def test_the_response_is_the_one_that_the_openai_client_reads():
    from openai.types.fine_tuning.alpha.grader_run_response import GraderRunResponse

    ask, _ = says("5")
    result = grade(
        load_grader(multi("match + judge / 10", {"match": string_check(), "judge": SCORE})), ITEM, "Paris", ask
    )
    read = GraderRunResponse.model_validate(result.as_openai())
    assert read.reward == 1.5
    assert read.metadata.token_usage == 9
    wanted = {field.alias or name for name, field in type(read.metadata.errors).model_fields.items()}
    assert wanted <= set(result.as_openai()["metadata"]["errors"])


def test_a_sample_as_python_sees_it():
    assert Sample(output_text="[1]").as_dict()["output_json"] == [1]
    assert Sample(output_text="x").as_dict()["output_json"] is None
