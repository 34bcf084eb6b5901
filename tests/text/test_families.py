"""Every model family: same ids as transformers, prompts that begin their rows, answers and stop tokens trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.text.families import FAMILIES
from tests.text.talk import WEATHER, call, row, say, shown, trained
from tunesmith.core.errors import DataError, InputError
from tunesmith.core.records import Message
from tunesmith.text.template import TemplateRenderer, load_renderer

STOP = {
    "smollm2": ["<|im_end|>"],
    "llama3": ["<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"],
    "qwen25": ["<|endoftext|>", "<|im_end|>"],
    "qwen3": ["<|endoftext|>", "<|im_end|>"],
    "mistral": ["</s>"],
    "mistral_old": ["</s>"],
    "gemma": ["<eos>", "<end_of_turn>"],
    "phi": ["<|endoftext|>", "<|end|>"],
}
TURN_END = {name: stops[-1] for name, stops in STOP.items()} | {"llama3": "<|eot_id|>"}
# What the template itself puts at the beginning of an answer, and the model has to give.
LEAD = dict.fromkeys(FAMILIES, "") | {"qwen3": "<think>\n\n</think>\n\n", "mistral": " ", "mistral_old": " "}
BOS = {"llama3": "<|begin_of_text|>", "mistral": "<s>", "mistral_old": "<s>", "gemma": "<bos>"}
PINNED = {"llama3": {"date_string": "26 Jul 2024"}}

TALK = [
    say("user", "What is the capital of the Netherlands?"),
    say("assistant", "The capital is Amsterdam."),
    say("user", "Café straße 北京 👍?"),
    say("assistant", 'Return JSON:\n\n{"a": 20}'),
    say("user", "  Thanks.\n"),
    say("assistant", "Bye!"),
]

Folders = Callable[[str], Path]
Oracle = Callable[..., list[int]]

every_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture
def renderer(name: str, family_folder: Folders) -> TemplateRenderer:
    return load_renderer(family_folder(name), chat_template_kwargs=PINNED.get(name, {}))


@pytest.fixture
def oracle(name: str, family_folder: Folders) -> Oracle:
    """Ids as transformers makes them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(family_folder(name))

    def ids(messages: list[Any], **options: Any) -> list[int]:
        chat = [{"role": m.role, "content": m.text} if isinstance(m, Message) else m for m in messages]
        return list(tokenizer.apply_chat_template(chat, return_dict=False, **PINNED.get(name, {}), **options))

    return ids


@every_family
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_prompt_ids_equal_transformers(renderer: TemplateRenderer, oracle: Oracle, turns: int) -> None:
    question = TALK[: 2 * turns - 1]
    assert list(renderer.prompt(question)) == oracle(question, add_generation_prompt=True)


@every_family
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_row_ids_equal_transformers(renderer: TemplateRenderer, oracle: Oracle, turns: int) -> None:
    whole = TALK[: 2 * turns]
    assert list(renderer.example(row(*whole))[-1].tokens) == oracle(whole)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "gemma"])
def test_system_message(renderer: TemplateRenderer, oracle: Oracle) -> None:
    whole = [say("system", "You are a tiny assistant."), *TALK[:4]]
    assert list(renderer.prompt(whole[:-1])) == oracle(whole[:-1], add_generation_prompt=True)
    assert list(renderer.example(row(*whole))[-1].tokens) == oracle(whole)


@every_family
def test_every_prompt_begins_its_row(renderer: TemplateRenderer) -> None:
    rows = renderer.example(row(*TALK))
    for turn in (1, 2, 3):
        prompt = renderer.prompt(TALK[: 2 * turn - 1])
        its_row = rows[turn - 1] if len(rows) > 1 else rows[0]
        assert its_row.tokens[: len(prompt)] == prompt
        assert len(prompt) in [span.start for span in its_row.spans]


@every_family
def test_trained_tokens_are_the_answer_and_its_stop_token(renderer: TemplateRenderer, name: str) -> None:
    (tokens,) = renderer.example(row(*TALK[:2]))
    assert trained(renderer, tokens) == LEAD[name] + "The capital is Amsterdam." + TURN_END[name]
    (span,) = tokens.spans
    assert tokens.tokens[span.end - 1] in renderer.stop_ids
    assert [w > 0 for w in tokens.weights] == [span.start <= i < span.end for i in range(len(tokens.tokens))]
    assert not any(token in renderer.stop_ids for token in tokens.tokens[span.start : span.end - 1])


@every_family
def test_every_answer_of_a_conversation_is_trained_once(renderer: TemplateRenderer, name: str) -> None:
    texts = [trained(renderer, tokens) for tokens in renderer.example(row(*TALK))]
    answers = [LEAD[name] + m.text + TURN_END[name] for m in TALK if m.role == "assistant"]
    assert "".join(texts) == "".join(answers)


@every_family
def test_the_row_decodes_to_what_stands_in_it(renderer: TemplateRenderer) -> None:
    (tokens,) = renderer.example(row(*TALK[2:4]))
    text = renderer.decode(tokens.tokens)
    assert "Café straße 北京 👍?" in text
    assert 'Return JSON:\n\n{"a": 20}' in text
    assert "".join(piece.text for piece in renderer.pieces(tokens)) == shown(renderer, tokens.tokens)


@every_family
def test_stop_ids(renderer: TemplateRenderer, name: str) -> None:
    assert renderer.stop_ids == {renderer.tokenizer.id_of(token) for token in STOP[name]}


@every_family
def test_bos_stands_once_at_the_beginning(renderer: TemplateRenderer, name: str) -> None:
    for tokens in (
        *(r.tokens for r in renderer.example(row(*TALK))),
        renderer.prompt(TALK[:5]),
        renderer.text("Hello"),
    ):
        bos = renderer.tokenizer.id_of(BOS[name]) if name in BOS else -1
        assert [i for i, token in enumerate(tokens) if token == bos] == ([0] if name in BOS else [])


@every_family
@pytest.mark.parametrize("answer", ["\n\nHello", "\n", "  two", "\tx", "é", "…", " 北", "👍🏽", "\u00a0x", "ass", "1"])
def test_an_answer_does_not_merge_with_its_prompt(renderer: TemplateRenderer, answer: str) -> None:
    example = row(TALK[0], say("assistant", answer + "Hello"), TALK[2], say("assistant", answer + "y"))
    for index, tokens in enumerate(renderer.example(example)):
        prompt = renderer.prompt(example.conversation[: 2 * index + 1])
        assert tokens.tokens[: len(prompt)] == prompt
        assert tokens.spans[0].start == len(prompt)


@pytest.mark.parametrize("name", ["smollm2", "qwen25", "mistral", "mistral_old"])
@pytest.mark.parametrize("answer", ["\n\nHello", "  two ", "\t x\n", " 北京\n\n", "👍🏽"])
def test_space_at_the_ends_of_an_answer_is_kept(renderer: TemplateRenderer, name: str, answer: str) -> None:
    (tokens,) = renderer.example(row(TALK[0], say("assistant", answer)))
    assert trained(renderer, tokens) == LEAD[name] + answer + TURN_END[name]


def test_a_merging_tokenizer_is_what_the_trap_needs(family_folder: Folders) -> None:
    renderer = load_renderer(family_folder("smollm2"))
    whole = renderer.tokenizer.ids("assistant\n\n\nHello")
    parts = renderer.tokenizer.ids("assistant\n") + renderer.tokenizer.ids("\n\nHello")
    assert whole != parts


@every_family
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=3))
def test_any_prompt_begins_any_row(renderer: TemplateRenderer, answers: list[str]) -> None:
    talk = [m for answer in answers for m in (say("user", "Hello" + answer), say("assistant", answer + "x"))]
    rows = renderer.example(row(*talk))
    for turn in range(len(answers)):
        prompt = renderer.prompt(talk[: 2 * turn + 1])
        tokens = rows[turn if len(rows) > 1 else 0].tokens
        assert tokens[: len(prompt)] == prompt
    for tokens in rows:
        for span in tokens.spans:
            assert tokens.tokens[span.end - 1] in renderer.stop_ids


@pytest.mark.parametrize("name", ["llama3", "qwen25", "qwen3"])
def test_tools(renderer: TemplateRenderer, oracle: Oracle, name: str) -> None:
    talk = [
        say("user", "Weather in Delft?"),
        say("assistant", tool_calls=(call("get_weather", city="Delft", note="fenêtre"),)),
        say("tool", '{"temperature": 20}'),
        say("assistant", "20 °C."),
    ]
    function = {"name": "get_weather", "arguments": {"city": "Delft", "note": "fenêtre"}}
    plain: list[Any] = [
        talk[0],
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]},
        talk[2],
        talk[3],
    ]
    rows = renderer.example(row(*talk, tools=[WEATHER]))
    assert list(rows[-1].tokens) == oracle(plain, tools=[WEATHER])
    assert list(renderer.prompt(talk[:3], [WEATHER])) == oracle(plain[:3], tools=[WEATHER], add_generation_prompt=True)
    texts = "".join(trained(renderer, tokens) for tokens in rows)
    assert '"city": "Delft", "note": "fenêtre"' in texts
    assert "20 °C." in texts
    assert "temperature" not in texts


def test_gemma_refuses_a_system_message(family_folder: Folders) -> None:
    renderer = load_renderer(family_folder("gemma"))
    with pytest.raises(DataError, match="System role not supported") as caught:
        renderer.example(row(say("system", "Be kind."), *TALK[:2]))
    assert caught.value.where == "rows.jsonl:17"
    with pytest.raises(InputError, match="System role not supported"):
        renderer.prompt([say("system", "Be kind."), TALK[0]])


def test_mistral_refuses_roles_that_do_not_alternate(family_folder: Folders) -> None:
    with pytest.raises(DataError, match="roles must alternate"):
        load_renderer(family_folder("mistral")).example(row(TALK[0], TALK[0], TALK[1]))


def test_qwen3_drops_earlier_reasoning_and_gets_a_row_for_each_answer(family_folder: Folders) -> None:
    renderer = load_renderer(family_folder("qwen3"))
    talk = [
        TALK[0],
        say("assistant", "<think>\nA city.\n</think>\n\nAmsterdam."),
        TALK[2],
        say("assistant", "<think>\nNo.\n</think>\n\nYes."),
    ]
    first, second = renderer.example(row(*talk))
    assert trained(renderer, first) == "<think>\nA city.\n</think>\n\nAmsterdam.<|im_end|>"
    assert trained(renderer, second) == "<think>\nNo.\n</think>\n\nYes.<|im_end|>"
    assert "A city." not in shown(renderer, second.tokens)
    assert first.example_id == second.example_id
    last = load_renderer(family_folder("qwen3"), train_on="last")
    assert last.example(row(*talk)) == [second]


def test_qwen3_without_thinking_has_the_empty_block_in_the_prompt(family_folder: Folders) -> None:
    renderer = load_renderer(family_folder("qwen3"), chat_template_kwargs={"enable_thinking": False})
    (tokens,) = renderer.example(row(*TALK[:2]))
    assert trained(renderer, tokens) == "The capital is Amsterdam.<|im_end|>"
    assert shown(renderer, renderer.prompt(TALK[:1])).endswith("assistant\n<think>\n\n</think>\n\n")


def test_midnight_does_not_come_between_the_parts_of_a_row(
    family_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import datetime, timedelta

    import tunesmith.text.template as module

    class Clock:
        time = datetime(2026, 12, 31)

        @classmethod
        def now(cls) -> datetime:
            cls.time += timedelta(days=1)
            return cls.time

    renderer = load_renderer(family_folder("llama3"))
    monkeypatch.setattr(module, "datetime", Clock)
    (tokens,) = renderer.example(row(*TALK[:4]))  # dates that differ would look like rewritten history
    assert "Today: 01 Jan 2027" in shown(renderer, tokens.tokens)
    assert "Today: 02 Jan 2027" in shown(renderer, renderer.prompt(TALK[:1]))
