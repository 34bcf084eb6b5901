"""Planted faults of conversations: empty turns, turns in a wrong order, control tokens, calls that fit no tool."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence

from tunesmith.core.records import Example, Message, Reply, Synthetic, ToolCall
from tunesmith.curate.lab.planted import Planted, answered, numbered

TOKENS = (
    "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "[INST]", "[/INST]", "<</SYS>>", "<end_of_turn>", "</s>",
    "<｜Assistant｜>", "[TOOL_CALLS]", "<|end|>",
)  # fmt: skip
"""Control tokens of the chat templates of Qwen, Llama, Mistral, Gemma, DeepSeek and Phi."""

_PARAMETERS = {
    "type": "object",
    "properties": {"order": {"type": "integer"}, "express": {"type": "boolean"}},
    "required": ["order"],
}
TOOL = {"type": "function", "function": {"name": "find_order", "parameters": _PARAMETERS}}


def break_turns(rows: Sequence[Example], kind: str, count: int, rng: random.Random) -> Planted:
    """``count`` of the rows get a fault of this kind (see ``KINDS``)."""
    spoiled, chosen = list(rows), sorted(rng.sample(range(len(rows)), count))
    for number in chosen:
        spoiled[number] = KINDS[kind](rows[number], rng)
    return Planted(numbered(spoiled), dict.fromkeys(chosen, kind))


def with_calls(rows: Sequence[Example], rng: random.Random) -> list[Example]:
    """The rows, each answered by a call of one tool that fits its parameters."""
    return [
        example.model_copy(update={"tools": (TOOL,), "target": _call("find_order", {"order": rng.randint(1, 9999)})})
        for example in rows
    ]


def made_by_a_model(rows: Sequence[Example], share: float) -> list[Example]:
    """The rows, the first share of them with the mark of a synthetic row."""
    mark = Synthetic(method="paraphrase", generator="lab")
    marked = round(share * len(rows))
    return numbered(row.model_copy(update={"synthetic": mark} if i < marked else {}) for i, row in enumerate(rows))


def _call(name: str, arguments: object) -> Reply:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    call = ToolCall(id="call-1", name=name, arguments=text)
    return Reply(message=Message(role="assistant", tool_calls=(call,)))


def _empty_question(example: Example, rng: random.Random) -> Example:
    return example.model_copy(update={"messages": (Message(role="user", content=rng.choice(("", "  ", "\n\t"))),)})


def _disorder(example: Example, rng: random.Random) -> Example:
    answer, question = Message(role="assistant", content="Let me see."), example.messages[0]
    turns = rng.choice(
        (
            (answer, question),
            (question, answer),
            (question, Message(role="tool", content="{}", tool_call_id="call-9")),
            (question, question),
            (question, answer, question, Message(role="system", content="Be kind.")),
        )
    )
    return example.model_copy(update={"messages": turns})


def _with_token(example: Example, rng: random.Random) -> Example:
    words = example.target.text.split(" ")
    words.insert(rng.randint(0, len(words)), rng.choice(TOKENS))
    return answered(example, " ".join(words))


def _wrong_call(example: Example, rng: random.Random) -> Example:
    wrong = (
        ("find_orders", {"order": 7}),
        ("find_order", {}),
        ("find_order", {"order": "seven"}),
        ("find_order", {"order": 7, "express": "yes"}),
        ("find_order", '{"order": 7'),
        ("find_order", "[7]"),
    )
    return example.model_copy(update={"tools": (TOOL,), "target": _call(*rng.choice(wrong))})


KINDS: Mapping[str, Callable[[Example, random.Random], Example]] = {
    "empty answer": lambda example, rng: answered(example, rng.choice(("", "  ", "\n\n"))),
    "empty question": _empty_question,
    "wrong order": _disorder,
    "control token": _with_token,
    "wrong call": _wrong_call,
}
