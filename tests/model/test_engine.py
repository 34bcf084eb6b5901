"""The engine against transformers' generate, and answers in company equal answers alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.model.test_lora import randomise, save
from tunesmith.core.errors import AdapterError, InputError, TunesmithError
from tunesmith.core.generation import GenerationRequest
from tunesmith.core.records import SamplingParams
from tunesmith.model.engine import Engine, choose_token
from tunesmith.model.load import Base, load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.trainable import Options, make_trainable


def prompt(seed: int, length: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(3, 384), k=length))


def request(name: str, tokens: tuple[int, ...], adapter: str = "", **params: object) -> GenerationRequest:
    return GenerationRequest(name, tokens, SamplingParams(**params), frozenset({2}), adapter)  # type: ignore[arg-type]


def finish(engine: Engine) -> dict[str, list[int]]:
    answers: dict[str, list[int]] = {}
    while not engine.idle:
        for out in engine.step():
            answers.setdefault(out.request_id, []).append(out.token)
    return answers


@pytest.fixture(scope="module")
def engine(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("adapters")
    for index in range(3):
        trainable = make_trainable(
            "lora", load_base(tiny_model, torch.float32), Options(LoRASpec(2 + index, 16), index, "tiny")
        )
        randomise(trainable)
        trainable.master.mul_(index + 1)
        save(trainable, folder / f"a{index}")
    engine = Engine(load_base(tiny_model, torch.float32), max_running=5)
    for index in range(3):
        engine.add_adapter(f"a{index}", folder / f"a{index}")
    return engine


def test_greedy_equals_transformers_generate(base: Base) -> None:
    tokens = prompt(1, 12)
    engine = Engine(base)
    engine.submit(request("x", tokens, max_tokens=20))
    ours = finish(engine)["x"]
    base.model.set_attn_implementation("eager")
    theirs = base.model.generate(torch.tensor([tokens]), do_sample=False, max_new_tokens=20, eos_token_id=2)
    assert ours == theirs[0, 12:].tolist()


CASE = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 30), st.sampled_from(["", "a0", "a1", "a2"]), st.integers(1, 12)),
    min_size=1,
    max_size=9,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=CASE, arrivals=st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_answers_in_company_equal_answers_alone(engine: Engine, case: list, arrivals: list[int]) -> None:
    requests = [
        request(str(i), prompt(seed, length), adapter, max_tokens=count)
        for i, (seed, length, adapter, count) in enumerate(case)
    ]
    alone: dict[str, list[int]] = {}
    for one in requests:
        engine.submit(one)
        alone |= finish(engine)
    together: dict[str, list[int]] = {}
    waiting = list(zip(requests, arrivals, strict=False))
    while waiting or not engine.idle:
        for pair in [p for p in waiting if p[1] == 0 or engine.idle]:
            engine.submit(pair[0])
            waiting.remove(pair)
        for out in engine.step():
            together.setdefault(out.request_id, []).append(out.token)
        waiting = [(r, max(0, n - 1)) for r, n in waiting]
    assert together == alone


def test_adapters_and_base_answer_differently(engine: Engine) -> None:
    for adapter in ("", "a0", "a1", "a2"):
        engine.submit(request(adapter or "base", prompt(3, 20), adapter, max_tokens=12))
    answers = finish(engine)
    assert len({tuple(a) for a in answers.values()}) == 4


def test_finish_reasons_and_logprobs(engine: Engine) -> None:
    engine.submit(request("x", prompt(4, 5), max_tokens=3))
    outs = []
    while not engine.idle:
        outs += engine.step()
    assert [o.finished for o in outs] == [None, None, "length"]
    assert all(o.logprob < 0 for o in outs)
    stop = outs[0].token
    engine.submit(GenerationRequest("y", prompt(4, 5), SamplingParams(max_tokens=9), frozenset({stop})))
    assert [o.finished for o in engine.step()] == ["stop"]
    assert engine.idle


def test_cancel_frees_the_slot(engine: Engine) -> None:
    for index in range(7):
        engine.submit(request(str(index), prompt(index, 6), max_tokens=30))
    engine.step()
    for index in range(7):
        engine.cancel(str(index))
    assert engine.idle
    engine.cancel("unknown")


def test_seed_makes_sampling_repeatable(engine: Engine) -> None:
    answers = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        engine.submit(request(name, prompt(9, 8), max_tokens=15, temperature=1.5, seed=seed))
        answers.append(finish(engine)[name])
    assert answers[0] == answers[1] != answers[2]


def test_top_p_keeps_the_smallest_sufficient_set() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    generator = torch.Generator().manual_seed(0)
    drawn = {choose_token(logits, SamplingParams(temperature=1.0, top_p=0.75), generator) for _ in range(300)}
    assert drawn == {0, 1}
    drawn = {choose_token(logits, SamplingParams(temperature=1.0, top_p=1.0), generator) for _ in range(500)}
    assert drawn == {0, 1, 2, 3}


def test_refuses_what_cannot_fit_and_unknown_adapters(engine: Engine) -> None:
    with pytest.raises(InputError, match="600 answer tokens do not fit"):
        engine.submit(request("x", prompt(1, 4), max_tokens=600))
    with pytest.raises(InputError, match="no adapter called 'nobody' is loaded"):
        engine.submit(request("x", prompt(1, 4), adapter="nobody"))


def test_missing_adapter_folder(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="is not an adapter folder"):
        engine.add_adapter("x", tmp_path)
    assert "x" not in engine.adapters


def test_broken_weights_are_an_error_and_no_answer(tiny_model: Path) -> None:
    broken = load_base(tiny_model, torch.float32)
    engine = Engine(broken)
    broken.head.weight.data.fill_(float("nan"))
    engine.submit(request("x", prompt(1, 4), max_tokens=3))
    with pytest.raises(TunesmithError, match="gave logits that are not numbers"):
        engine.step()
