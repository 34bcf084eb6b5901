"""Keys and values in memory: what is found again, what is given back, and what a step may do to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig

from tests.model.test_engine import prompt, request
from tests.model.test_kinds import disturbed, load, save
from tests.tiny import build_model
from tunesmith.core.errors import InputError, TunesmithError
from tunesmith.core.generation import GenerationRequest, TokenOut
from tunesmith.core.records import SamplingParams
from tunesmith.model.engine import Engine
from tunesmith.model.kv import row_length
from tunesmith.model.load import load_base
from tunesmith.model.pages import PAGE


def finish(engine: Engine) -> list[TokenOut]:
    outs: list[TokenOut] = []
    while not engine.idle:
        outs += engine.step()
    return outs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("sure") / "model", spread=0.2)


@pytest.fixture
def engine(model: Path) -> Engine:
    return Engine(load_base(model, torch.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "prefix", "prompt"])
def test_an_answer_alone_is_pefts_bit_by_bit(model: Path, tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    """Tokens and log-probabilities of prompt and decoding, against generate with PEFT's own modules."""
    folder = save(disturbed(load(model, kind), kind), tmp_path / kind)
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    theirs = PeftModel.from_pretrained(plain, folder, autocast_adapter_dtype=kind == "ia3").eval()
    tokens = prompt(4, 21)
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=12, output_logits=True, return_dict_in_generate=True, eos_token_id=2
    )
    made = theirs.generate(input_ids=torch.tensor([tokens]), generation_config=settings)
    engine = Engine(load_base(model, dtype))
    engine.add_adapter("x", folder)
    seen, advance = [], engine._advance
    engine._advance = lambda ready, logits: (seen.append(logits), advance(ready, logits))[1]  # type: ignore[method-assign]
    engine.submit(request("x", tokens, "x", max_tokens=12))
    outs = finish(engine)
    assert [o.token for o in outs] == made.sequences[0, -len(outs) :].tolist()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(seen, made.logits, strict=True))


def test_the_next_turn_of_a_chat_is_computed_from_its_answer_on(engine: Engine) -> None:
    tokens = prompt(1, 100)
    engine.submit(request("x", tokens, max_tokens=40))
    outs = finish(engine)
    assert [o.cached for o in outs] == [0] * 40
    longer = (*tokens, *(o.token for o in outs), *prompt(2, 10))
    engine.submit(request("y", longer, max_tokens=2))
    assert finish(engine)[0].cached == 139 // PAGE * PAGE == 128


def test_a_prompt_that_is_known_whole_is_computed_from_its_last_page_on(engine: Engine) -> None:
    tokens = prompt(1, 2 * PAGE)
    for wanted in (0, PAGE):
        engine.submit(request("x", tokens, max_tokens=1))
        assert finish(engine)[0].cached == wanted


def test_beginnings_are_shared_by_adapter_and_salt_only(engine: Engine, model: Path, tmp_path: Path) -> None:
    folder = save(disturbed(load(model, "lora"), "lora"), tmp_path / "a")
    engine.add_adapter("one", folder)
    engine.add_adapter("two", folder)
    found = []
    for adapter, salt in (("", ""), ("", "a"), ("", "b"), ("", "a"), ("one", "a"), ("two", "a"), ("two", "b")):
        params = SamplingParams(max_tokens=1)
        engine.submit(GenerationRequest("x", prompt(3, 40), params, frozenset(), adapter, salt))
        found.append(finish(engine)[0].cached)
    assert found == [0, 0, 0, 32, 0, 32, 0]


def test_nothing_is_remembered_of_weights_in_training(model: Path) -> None:
    base = load_base(model, torch.float32)
    engine = Engine(base)
    trainable = disturbed(base, "lora")
    trainable.publish()
    engine.adopt(trainable.adapter)
    for _ in range(2):
        engine.submit(request("x", prompt(1, 80), trainable.adapter, max_tokens=2))
        assert finish(engine)[0].cached == 0


def test_a_cancelled_request_holds_nothing(engine: Engine) -> None:
    for index in range(6):
        engine.submit(request(str(index), prompt(index, 50), max_tokens=30))
    engine.step()
    assert engine.cache_bytes[0] > 0
    for index in range(6):
        engine.cancel(str(index))
    assert engine.cache_bytes[0] == 0
    assert engine.idle
    assert engine.step() == []


def test_aborted_requests_leak_nothing(engine: Engine) -> None:
    engine.max_running = 16
    for index in range(10_000 if os.environ.get("TUNESMITH_TORTURE") else 1_008):
        engine.submit(request(str(index), prompt(index % 7, 40), max_tokens=30))
        if index % 16 == 15:
            engine.step()
            for number in range(index - 15, index + 1):
                engine.cancel(str(number))
    assert engine.cache_bytes[0] == 0
    assert engine.idle
    assert engine._rows.rows == 0
    assert sum(slab.slots for slab in engine._rows.slabs.values()) <= 16


def test_memory_stays_within_its_budget(model: Path) -> None:
    room = 1_500_000
    engine = Engine(load_base(model, torch.float32), cache_bytes=room)
    for index in range(40):
        engine.submit(request(str(index), prompt(index, 20 + 11 * (index % 20)), max_tokens=5 + index % 30))
    ended = 0
    while not engine.idle:
        ended += sum(o.finished is not None for o in engine.step())
        assert engine._rows.size <= room
    assert ended == 40
    assert engine.cache_bytes[1] > room / 3
    with pytest.raises(InputError, match="need more memory for keys and values than there is"):
        Engine(load_base(model, torch.float32), cache_bytes=100_000).submit(
            request("x", prompt(1, 300), max_tokens=100)
        )


def test_rows_are_at_most_half_as_long_again_as_asked_for() -> None:
    for need in range(1, 5000):
        assert need <= row_length(need) <= max(64, 1.5 * need)


def test_answers_come_first_and_prompts_in_pieces(engine: Engine) -> None:
    engine.prefill_chunk = 16
    engine.submit(request("short", prompt(1, 8), max_tokens=30))
    assert [o.request_id for o in engine.step()] == ["short"]
    engine.submit(request("long", prompt(2, 100), max_tokens=2))
    steps = []
    while "long" not in [o.request_id for o in steps[-1:] and steps[-1]]:
        steps.append(engine.step())
        assert "short" in [o.request_id for o in steps[-1]]
    assert len(steps) == 7
    finish(engine)


def test_the_first_token_leaves_before_the_last_is_computed(engine: Engine) -> None:
    steps = []
    body = engine.base.body
    engine.base.body = lambda **options: (steps.append(options["position_ids"].shape[1]), body(**options))[1]
    engine.submit(request("x", prompt(1, 8), max_tokens=5))
    told = 0
    while not engine.idle:
        told += len(engine.step())
        assert len(steps) - 1 <= told  # one forward more, for the shapes of keys and values
    assert (told, len(steps)) == (5, 6)


def test_the_base_beside_an_adapter_answers_as_the_base(engine: Engine, model: Path, tmp_path: Path) -> None:
    """In one rival a request for the base is answered by whichever adapter came last."""
    engine.submit(request("alone", prompt(1, 12), max_tokens=10))
    alone = finish(engine)
    for seed in range(3):
        engine.add_adapter(str(seed), save(disturbed(load(model, "lora"), "lora", seed), tmp_path / str(seed)))
    for seed in range(3):
        engine.submit(request(str(seed), prompt(1, 12), str(seed), max_tokens=10))
        engine.submit(request(f"base{seed}", prompt(1, 12), max_tokens=10))
    outs = finish(engine)
    for seed in range(3):
        mine = [o for o in outs if o.request_id == f"base{seed}"]
        assert [o.token for o in mine] == [o.token for o in alone]
        assert [o.logprob for o in mine] == pytest.approx([o.logprob for o in alone], abs=1e-5)
        assert [o.token for o in outs if o.request_id == str(seed)] != [o.token for o in alone]


def test_numbers_that_are_none_do_not_stay_in_memory(model: Path) -> None:
    engine = Engine(load_base(model, torch.float32))
    engine.submit(request("x", prompt(1, 40), max_tokens=3))
    wanted = [o.token for o in finish(engine)]
    weight = engine.base.model.get_input_embeddings().weight.data  # type: ignore[operator]
    kept = weight.clone()
    weight.fill_(float("nan"))
    engine.submit(request("x", prompt(2, 40), max_tokens=3))
    with pytest.raises(TunesmithError, match="gave logits that are not numbers"):
        engine.step()
    engine.cancel("x")
    weight.copy_(kept)
    engine.submit(request("x", prompt(1, 40), max_tokens=3))
    assert [o.token for o in finish(engine)] == wanted


@pytest.mark.parametrize("name", ["mistral, windows", "gemma2", "gpt_oss"])
def test_sliding_windows_and_capped_scores_in_pieces(tmp_path: Path, name: str) -> None:
    """Prompts longer than the window, in pieces and from pages, against the same prompt whole."""
    from tests.model.test_exact import family

    base = family(tmp_path, name)
    base.config.max_position_embeddings = 128
    whole = Engine(base, prefix_cache=False)
    pieces = Engine(whole.base, max_prefill_tokens=13)
    assert whole.base.way.alone == ""
    tokens = tuple(token % 96 for token in prompt(3, 90))
    for _ in range(2):
        answers = []
        for engine in (whole, pieces):
            engine.submit(request("x", tokens, max_tokens=12))
            answers.append(finish(engine))
        assert [o.token for o in answers[0]] == [o.token for o in answers[1]]
        assert [o.logprob for o in answers[0]] == pytest.approx([o.logprob for o in answers[1]], abs=1e-5)
    assert answers[1][0].cached == 64
