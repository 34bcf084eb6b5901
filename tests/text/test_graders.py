import json
import random
import socket

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from tunesmith.core.errors import ConfigError
from tunesmith.text import graders
from tunesmith.text.graders import JsonSchema, Overlap

VOCABULARY = ["the", "eagle", "is", "a", "french", "pub", "near", "river,", "cheap.", "café", "O'Hara's", "5-star"]


def sentences(seed, longest=14, vocabulary=VOCABULARY):
    draw = random.Random(seed)
    return [" ".join(draw.choices(vocabulary, k=draw.randint(0, longest))) for _ in range(2)]


def test_exact_match():
    assert graders.exact_match(" yes\n", "yes")
    assert not graders.exact_match("Yes", "yes")


def test_words_are_lower_cased_and_not_stemmed():
    assert graders.words("De katten liepen; café_bar, Ärger 12x!") == [
        "de", "katten", "liepen", "café", "bar", "ärger", "12x",
    ]  # fmt: skip
    assert graders.words("cafe\u0301") == ["café"]
    assert graders.words("今日はTokyoへ") == ["今", "日", "は", "tokyo", "へ"]


def test_token_overlap_counts_repeated_words():
    overlap = graders.token_overlap("the the cat", "the cat cat sat")
    assert overlap == Overlap(2, 3, 4)
    assert overlap.f1 == pytest.approx(4 / 7)
    assert graders.token_overlap("", "").f1 is None


@pytest.mark.parametrize("seed", range(40))
def test_rouge_l_equals_rouge_score(seed):
    answer, reference = sentences(seed, 40, [w for w in VOCABULARY if w.isascii()])
    wanted = RougeScorer(["rougeL"]).score(reference, answer)["rougeL"].fmeasure
    assert (graders.rouge_l(answer, reference).f1 or 0.0) == pytest.approx(wanted, abs=1e-12)


def test_rouge_l_sees_words_outside_the_english_alphabet():
    assert graders.rouge_l("Привет мир", "Привет, мир!").f1 == 1.0
    assert graders.rouge_l("de fietsen", "de fiets").f1 == 0.5


@pytest.mark.parametrize("seed", range(30))
def test_corpus_counts_are_those_of_sacrebleu(seed):
    answer, reference = sentences(seed)
    assert list(graders.chrf_counts(answer, reference)) == CHRF()._extract_corpus_statistics([answer], [[reference]])[0]
    assert list(graders.bleu_counts(answer, reference)) == BLEU()._extract_corpus_statistics([answer], [[reference]])[0]


def test_signatures_name_version_and_tokeniser():
    signatures = graders.corpus_signatures()
    assert "tok:13a" in signatures["bleu"]
    assert "version:" in signatures["bleu"]
    assert "nc:6|nw:0" in signatures["chrf"]


@pytest.mark.parametrize("text", ['{"a": 1}', " [1, 2.5, null]\n", '"text"', "7", "[" * 200 + "]" * 200])
def test_strict_json_is_accepted(text):
    assert graders.parse_json(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("{'a': 1}", "property name"),
        ('```json\n{"a": 1}\n```', "Expecting value"),
        ('{"a": 1} and more', "Extra data"),
        ("[1,]", "Illegal trailing comma|Expecting value"),
        ("[NaN]", "NaN is not JSON"),
        ("[-Infinity]", "Infinity is not JSON"),
        ("[" * 201 + "]" * 201, "nested deeper than 200"),
        ("[" * 100_000, "nested deeper than 200"),
    ],
)
def test_what_is_not_strict_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        graders.parse_json(text)


def test_fields_compare_by_value_and_kind():
    counts = graders.field_counts({"n": 1.0, "s": " flour ", "t": True, "x": None, "l": [], "o": {"k": "e\u0301"}})
    assert dict(counts) == {
        ("n", "1"): 1,
        ("s", '"flour"'): 1,
        ("t", "true"): 1,
        ("x", "null"): 1,
        ("l[]", "[]"): 1,
        ("o.k", '"é"'): 1,
    }
    assert graders.field_counts({"n": "1"}) != graders.field_counts({"n": 1})
    assert graders.field_counts(1.5) == {("", "1.5"): 1}


RECIPE = [
    {"name": "flour", "amount": 200, "unit": "g"},
    {"name": "milk", "amount": 1, "unit": "l"},
    {"name": "salt", "amount": 1, "unit": "g"},
]


def test_fields_of_a_list_are_matched_as_a_multiset():
    answer = [
        {"unit": "l", "amount": 1.0, "name": "milk"},
        {"name": "flour", "amount": 250, "unit": "g"},
        {"name": "flour", "amount": 1, "unit": "g"},
        {"name": "water", "amount": 1, "unit": "g"},
    ]
    assert graders.field_overlaps(answer, RECIPE) == {
        "name": Overlap(2, 4, 3),
        "amount": Overlap(2, 4, 3),
        "unit": Overlap(3, 4, 3),
    }
    assert graders.record_overlap(answer, RECIPE, in_lists=True) == Overlap(1, 4, 3)


def test_an_invalid_answer_gives_nothing_and_a_new_field_counts_as_surplus():
    assert graders.field_overlaps(None, RECIPE)["name"] == Overlap(0, 0, 3)
    assert graders.record_overlap(None, RECIPE, in_lists=True) == Overlap(0, 0, 3)
    assert graders.field_overlaps({"a": 1, "b": 2}, {"a": 1}) == {"a": Overlap(1, 1, 1), "b": Overlap(0, 1, 0)}


def test_an_object_where_a_list_was_wanted_matches_nothing():
    assert graders.field_overlaps(RECIPE[0], RECIPE[:1])["name"] == Overlap(0, 1, 1)


def test_records_of_an_object_with_a_list_are_the_items():
    wanted = {"intent": "play", "slots": [{"slot": "artist", "value": "Abba"}, {"slot": "year", "value": "1976"}]}
    answer = {"intent": "stop", "slots": [{"slot": "artist", "value": "Abba"}, {"slot": "year", "value": "1975"}]}
    assert graders.has_lists_of_objects(wanted)
    assert graders.record_overlap(answer, wanted, in_lists=True) == Overlap(1, 2, 2)
    assert list(graders.field_overlaps(answer, wanted)) == ["intent", "slots[].slot", "slots[].value"]


def test_an_object_without_lists_is_one_record_whatever_the_order_of_its_keys():
    wanted = {"a": 1, "b": ["x", "y"]}
    assert not graders.has_lists_of_objects(wanted)
    assert graders.record_overlap({"b": ["x", "y"], "a": 1.0}, wanted, in_lists=False).f1 == 1.0
    assert graders.record_overlap({"b": ["y", "x"], "a": 1}, wanted, in_lists=False).f1 == 0.0


def test_list_of_scalars_has_one_field():
    assert graders.field_overlaps(["a", "c"], ["a", "b"]) == {"items": Overlap(1, 2, 2)}


SCHEMA = {
    "type": "array",
    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
}


def test_schema():
    schema = JsonSchema(SCHEMA)
    assert schema.accepts([{"name": "flour"}])
    assert not schema.accepts([{"name": 5}])
    assert not schema.accepts({"name": "flour"})


def test_schema_that_is_not_one():
    with pytest.raises(ConfigError) as error:
        JsonSchema({"type": "array", "items": {"type": "strin"}})
    assert "json_schema, at items/type: not a valid JSON schema: 'strin'" in str(error.value)
    assert "correct the schema at this place" in str(error.value)


def test_schema_never_downloads(monkeypatch):
    def refuse(*args):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "create_connection", refuse)
    schema = JsonSchema({"$ref": "http://example.com/other.json"})
    with pytest.raises(ConfigError) as error:
        schema.accepts([1])
    assert "refers to 'http://example.com/other.json', which it does not contain" in str(error.value)
    assert "#/$defs/NAME" in str(error.value)
