"""Penalties, biases, likeliest tokens and seeds, each held against the formula written out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.model.test_engine import finish, prompt, request
from tunesmith.core.errors import InputError
from tunesmith.core.records import SamplingParams
from tunesmith.model.engine import Engine
from tunesmith.model.load import Base, load_base
from tunesmith.model.sampling import Chooser, likeliest


def chooser(**params: object) -> Chooser:
    return Chooser.of(SamplingParams(**params), frozenset({0}), 4)  # type: ignore[arg-type]


def test_presence_counts_once_and_frequency_every_time() -> None:
    logits = torch.tensor([0.0, 3.0, 2.5, 1.0])
    once = chooser(presence_penalty=1.0)
    assert [taken(once, logits) for _ in range(4)] == [1, 2, 1, 1]  # 3 → 2, below 2.5 → 1.5, and no further
    often = chooser(frequency_penalty=1.0)
    assert [taken(often, logits) for _ in range(5)] == [1, 2, 1, 2, 1]
    reward = chooser(presence_penalty=-2.0)
    reward.took(3)
    assert taken(reward, torch.tensor([0.0, 2.0, 1.0, 1.0])) == 3


def taken(one: Chooser, logits: torch.Tensor) -> int:
    before = logits.clone()
    token = one.choose(logits)
    one.took(token)
    assert torch.equal(logits, before)
    return token


def test_biases_are_added_to_logits() -> None:
    logits = torch.tensor([0.0, 3.0, 2.5, 1.0])
    assert chooser(logit_bias={1: -100}).choose(logits) == 2
    assert chooser(logit_bias={3: 100}).choose(logits) == 3
    with pytest.raises(InputError, match="logit_bias names token 4, which the model does not have"):
        chooser(logit_bias={4: 1.0})


def test_likeliest_tokens_come_with_the_models_own_log_probabilities() -> None:
    logits = torch.tensor([0.5, 3.0, 2.0, 1.0])
    wanted = torch.log_softmax(logits, dim=-1)
    top = likeliest(logits, float(torch.logsumexp(logits, -1)), 3)
    assert [token for token, _ in top] == [1, 2, 3]
    assert [value for _, value in top] == pytest.approx(wanted[[1, 2, 3]].tolist(), abs=1e-6)
    assert likeliest(logits, 0.0, 0) == ()


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return Engine(load_base(tiny_model, torch.float32))


def test_log_probabilities_are_the_models_whatever_is_asked_for(engine: Engine, base: Base) -> None:
    tokens = prompt(1, 9)
    first = base.logits([list(tokens)])[0][-1]
    banned = int(first.argmax())
    engine.submit(request("x", tokens, max_tokens=1, logit_bias={banned: -100.0}, top_logprobs=5))
    [out] = engine.step()
    wanted = torch.log_softmax(first, dim=-1)
    assert out.token != banned
    assert out.logprob == pytest.approx(float(wanted[out.token]), abs=1e-5)
    assert [token for token, _ in out.top] == wanted.topk(5).indices.tolist()
    assert out.top[0][0] == banned


def test_a_presence_penalty_makes_an_answer_of_many_tokens(engine: Engine) -> None:
    engine.submit(request("plain", prompt(2, 9), max_tokens=40))
    engine.submit(request("varied", prompt(2, 9), max_tokens=40, presence_penalty=2.0, frequency_penalty=2.0))
    answers = finish(engine)
    assert len(set(answers["varied"])) > len(set(answers["plain"]))


def test_sampled_answers_are_the_same_in_company(engine: Engine) -> None:
    one = request("one", prompt(3, 12), max_tokens=15, temperature=1.2, top_p=0.9, seed=11)
    engine.submit(one)
    alone = finish(engine)["one"]
    for index in range(4):
        engine.submit(request(str(index), prompt(index, 20), max_tokens=20, temperature=1.0, seed=index))
    engine.submit(one)
    assert finish(engine)["one"] == alone


def test_an_id_can_run_once_at_a_time(engine: Engine) -> None:
    engine.submit(request("twice", prompt(3, 12), max_tokens=2))
    with pytest.raises(InputError, match="a request with the id 'twice' is running"):
        engine.submit(request("twice", prompt(3, 12), max_tokens=2))
    finish(engine)
