"""Plans to try: instructions that follow from the training answers, the user's own, and those that a model writes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tunesmith.assess.config import Config
from tunesmith.assess.plans import Plan, question_of
from tunesmith.assess.taxonomy import House
from tunesmith.core.protocols import Sampler
from tunesmith.core.records import Example, Message, Prompt, SamplingParams
from tunesmith.text import graders

_MOST_LABELS = 100
_SHOWN = 5
_LONGEST = 800

_WRITE = (
    "You write the instruction for an assistant. Read these questions and the answers that are wanted. Write one short "
    "instruction that makes an assistant answer other questions just so: form, length, tone. Answer with the "
    "instruction alone."
)


def instructions_of(training: Sequence[Example], house: House, own: Sequence[str]) -> list[str]:
    """Instructions to try: none, the user's own, and what the wanted answers have in common."""
    found = ["", *own]
    if house.kind == "json":
        keys = sorted({key for row in training for key in _keys(row.target.text)})
        found.append(f"Answer with one JSON object with the keys {', '.join(keys)}, and with nothing else.")
        found.append("Answer with JSON alone: no explanation, no code fence, no text before or after it.")
    elif house.kind == "label":
        labels = sorted(house.labels)
        if len(labels) <= _MOST_LABELS:
            found.append(f"Answer with exactly one of these labels, and with nothing else: {', '.join(labels)}.")
        found.append("Answer with the label alone, written exactly as in the examples.")
    else:
        lengths = sorted(len(graders.words(row.target.text)) for row in training) or [1]
        low, high = lengths[len(lengths) // 10], lengths[-1 - len(lengths) // 10]
        span = f"{low} to {high} words" if low < high else f"{low} words"
        found.append(f"Answer in {span}, without any introduction.")
        found.append(f"Answer in {span}. Use every fact of the question, and add nothing that is not given.")
    return list(dict.fromkeys(text.strip() for text in found))


def _keys(text: str) -> list[str]:
    try:
        value = graders.parse_json(text)
    except ValueError:
        return []
    return list(value) if isinstance(value, dict) else []


def grid(instructions: Sequence[str], most_shots: int, has_training: bool) -> list[Plan]:
    """Every instruction with every number of worked examples; the plain question comes first."""
    counts = [n for n in (1, 3, 5, 8, 16, 32) if n <= most_shots] if has_training else []
    plans = [Plan(instruction=text) for text in instructions]
    for text in instructions:
        plans += [Plan(instruction=text, shots=n) for n in counts]
        plans += [Plan(instruction=text, shots=n, order="similar first") for n in counts[-1:]]
        plans += [Plan(instruction=text, shots=n, order="fixed") for n in counts[-1:]]
    return plans


def with_passages(best: Plan | None, passages: int) -> list[Plan]:
    """Plans of the retrieval arm: with and without what helped the prompt, half as many passages or all."""
    counts = sorted({passages, max(1, passages // 2)}, reverse=True)
    before = [Plan(), *([] if best is None else [Plan(instruction=best.instruction), best])]
    return list(dict.fromkeys(plan.model_copy(update={"passages": n}) for plan in before for n in counts))


def rewritten(writer: Sampler, training: Sequence[Example], config: Config, seed: int) -> list[str]:
    """Instructions that a model writes from training rows; as many answers are asked as are wanted."""
    rows = sorted(training, key=lambda row: row.id)
    prompts = []
    for number in range(config.rewrites):
        start = number * _SHOWN % max(1, len(rows))
        shown = (rows[start:] + rows[:start])[:_SHOWN]
        listed = "\n\n".join(f"Question: {question_of(row.prompt)}\nAnswer: {row.target.text}" for row in shown)
        turns = (Message(role="system", content=_WRITE), Message(role="user", content=listed))
        prompts.append(Prompt(messages=turns))
    params = SamplingParams(max_tokens=160, temperature=0.9, seed=seed)
    texts = [re.split(r"\n\s*\n", answer.text.strip())[0].strip(' "“”') for answer in writer.sample(prompts, params)]
    return [text[:_LONGEST] for text in texts if text]
