"""Answers within a grammar: what ends by itself always parses; what cannot be compiled is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import torch
from tokenizers import Tokenizer

from tests.model.test_engine import prompt
from tests.tiny import build_model
from tunesmith.core.errors import InputError, ModelError, TunesmithError
from tunesmith.core.generation import GenerationRequest, TokenOut
from tunesmith.core.records import Grammar, SamplingParams
from tunesmith.model.engine import Engine
from tunesmith.model.grammar import Grammars, Matcher
from tunesmith.model.load import load_base

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "amount": {"type": "integer", "minimum": 0, "maximum": 999},
        "unit": {"enum": ["g", "ml", "piece"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    },
    "required": ["name", "amount", "unit", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("sure") / "model", spread=0.2)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return Engine(load_base(folder, torch.float32))


def ask(engine: Engine, grammar: Grammar, seed: int = 0, **params: object) -> tuple[str, str]:
    """Text and finish reason of a sampled answer."""
    settings = SamplingParams(**{"max_tokens": 150, "temperature": 1.0, "seed": seed, "grammar": grammar, **params})
    engine.submit(GenerationRequest("x", prompt(seed, 8), settings, frozenset({2})))
    outs = run(engine)
    tokenizer = Tokenizer.from_file(str(engine.base.folder / "tokenizer.json"))
    assert outs[-1].finished is not None
    return tokenizer.decode([o.token for o in outs if o.finished != "stop"]), outs[-1].finished


def run(engine: Engine) -> list[TokenOut]:
    outs: list[TokenOut] = []
    while not engine.idle:
        outs += engine.step()
        for _, error in engine.take_failures():
            raise error
    return outs


def test_an_answer_that_ends_by_itself_fits_its_schema(engine: Engine) -> None:
    ended = 0
    for seed in range(12):
        text, finished = ask(engine, Grammar(kind="json_schema", source=json.dumps(SCHEMA)), seed)
        if finished == "stop":
            jsonschema.validate(json.loads(text), SCHEMA)
            ended += 1
    assert ended >= 6


def test_any_object_parses(engine: Engine) -> None:
    ended = 0
    for seed in range(10):
        text, finished = ask(engine, Grammar(kind="json_object"), seed, max_tokens=250)
        assert finished in ("stop", "length")
        if finished == "stop":
            assert isinstance(json.loads(text), dict)
            ended += 1
    assert ended > 0


def test_a_choice_is_one_of_the_choices(engine: Engine) -> None:
    choices = ("yes", "no", 'né "so"\\ or so\n', "yes, but")
    answers = {ask(engine, Grammar(kind="choice", choices=choices), seed) for seed in range(25)}
    assert {text for text, _ in answers} <= set(choices)
    assert len(answers) > 1
    assert {finished for _, finished in answers} == {"stop"}


def test_expressions_and_lark_grammars(engine: Engine) -> None:
    text, finished = ask(engine, Grammar(kind="regex", source=r"[a-z]{3}-[0-9]{2,4}"))
    assert (re.fullmatch(r"[a-z]{3}-[0-9]{2,4}", text) is not None, finished) == (True, "stop")
    lark = 'start: "<" word ("," word)* ">"\nword: /[a-c]{1,3}/\n'
    text, finished = ask(engine, Grammar(kind="lark", source=lark), max_tokens=100)
    assert finished == "length" or re.fullmatch(r"<[a-c]{1,3}(,[a-c]{1,3})*>", text)


def test_what_is_cut_says_so(engine: Engine) -> None:
    text, finished = ask(engine, Grammar(kind="json_schema", source=json.dumps(SCHEMA)), max_tokens=3)
    assert finished == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


def test_requests_without_a_grammar_beside_it_answer_as_alone(engine: Engine) -> None:
    plain = GenerationRequest("plain", prompt(5, 12), SamplingParams(max_tokens=12), frozenset({2}))
    engine.submit(plain)
    alone = [out.token for out in run(engine)]
    engine.submit(plain)
    bound = SamplingParams(max_tokens=12, grammar=Grammar(kind="json_object"))
    engine.submit(GenerationRequest("bound", prompt(6, 12), bound, frozenset({2})))
    assert [out.token for out in run(engine) if out.request_id == "plain"] == alone


@pytest.mark.parametrize(
    ("grammar", "problem"),
    [
        (Grammar(kind="json_schema", source='{"type": "objec"}'), "Invalid type: objec"),
        (Grammar(kind="json_schema", source='{"type":'), "EOF while parsing"),
        (Grammar(kind="json_schema", source='{"not": {"type": "string"}}'), "not"),
        (Grammar(kind="regex", source="(a"), "unclosed group"),
        (Grammar(kind="lark", source="start: foo"), 'unknown name: "foo"'),
        (Grammar(kind="choice"), "there is no choice"),
        (Grammar(kind="regex", source="a" * 70_000), "at most 65536 are taken"),
    ],
)
def test_what_cannot_be_compiled_is_named(engine: Engine, grammar: Grammar, problem: str) -> None:
    one = GenerationRequest("x", prompt(1, 4), SamplingParams(grammar=grammar), frozenset({2}))
    with pytest.raises(InputError, match=f"the {grammar.kind} cannot be compiled: .*{re.escape(problem)}"):
        engine.prepare(one)
    engine.submit(one)  # compiled beside the steps: the failure comes with one of them
    failures: list[tuple[str, TunesmithError]] = []
    while not engine.idle:
        assert engine.step() == []
        failures += engine.take_failures()
    assert [(name, type(error)) for name, error in failures] == [("x", InputError)]


def test_a_grammar_is_compiled_once(folder: Path) -> None:
    grammars = Grammars(folder, 384)
    grammar = Grammar(kind="json_object")
    assert grammar not in grammars
    first, second = grammars.matcher(grammar), grammars.matcher(grammar)
    assert grammar in grammars
    braces = first.allowed(frozenset({2})).nonzero().flatten().tolist()
    assert braces == second.allowed(frozenset({2})).nonzero().flatten().tolist()
    first.took(braces[0])
    assert braces == second.allowed(frozenset({2})).nonzero().flatten().tolist()


def test_what_a_grammar_needs_is_said(engine: Engine, tmp_path: Path) -> None:
    params = SamplingParams(grammar=Grammar(kind="json_object"))
    with pytest.raises(InputError, match="a grammar without a token that ends the answer"):
        engine.submit(GenerationRequest("x", prompt(1, 4), params, frozenset()))
    with pytest.raises(ModelError, match=r"no tokenizer\.json, which a grammar needs"):
        Grammars(tmp_path, 384).matcher(Grammar(kind="json_object"))


def test_a_token_that_does_not_fit_is_an_error(folder: Path) -> None:
    matcher: Matcher = Grammars(folder, 384).matcher(Grammar(kind="choice", choices=("yes",)))
    with pytest.raises(TunesmithError, match="the answer cannot go on within its grammar"):
        matcher.took(3)
