"""Ways to make a row: what the generator is asked, and what row its answer makes.

An attempt is a pure function of the seeds and its number, so that attempts can run together and again.
``new-questions`` follows Self-Instruct (Wang et al. 2023, arXiv:2212.10560) with examples as chat turns.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tunesmith.core.records import Example, Message, Prompt, Reply

_NEW = (
    "You write new requests for a data set. Read the examples: each is a request that a user sent. Write one more "
    "request of the same kind, about something else. Answer with the request alone."
)
_OTHER_WORDS = (
    "You rewrite requests in other words. Keep the language, every fact, every name and every number. Answer with the "
    "rewritten request alone."
)
_BACK = (
    "You see the answer that was given to a request. Write the request that it answers. Mention every fact and value "
    "of the answer. Write as the examples do. Answer with the request alone."
)


@dataclass(frozen=True)
class Attempt:
    """One question to the generator: the row that it comes from, the rows that it shows, and the prompt."""

    parent: Example
    shots: tuple[Example, ...]
    prompt: Prompt


@dataclass(frozen=True)
class Method:
    """A way to make rows. ``keeps_answer``: the new question gets its parent's answer; else the answer is asked for."""

    name: str
    about: str
    ask: Callable[[Sequence[Example], int, int, int], Attempt]
    keeps_answer: bool


def question_of(example: Example) -> str:
    """The last user turn of a row."""
    return next((message.text for message in reversed(example.messages) if message.role == "user"), "")


def _drawn(seeds: Sequence[Example], number: int, seed: int, shots: int) -> tuple[Example, tuple[Example, ...]]:
    """The parent of an attempt, each seed in turn, and other rows that it is shown."""
    parent = seeds[number % len(seeds)]
    others = [row for row in seeds if row is not parent]
    rng = random.Random(f"{seed}:{number}")
    return parent, tuple(rng.sample(others, min(shots, len(others))))


def _turns(system: str, pairs: Sequence[tuple[str, str]], last: str) -> Prompt:
    turns = [("system", system)]
    for asked, answered in pairs:
        turns += [("user", asked), ("assistant", answered)]
    return Prompt(messages=tuple(Message(role=r, content=t) for r, t in (*turns, ("user", last))))  # type: ignore[arg-type]


def _new_question(seeds: Sequence[Example], number: int, seed: int, shots: int) -> Attempt:
    parent, others = _drawn(seeds, number, seed, shots)
    examples = [question_of(row) for row in (*others, parent)]
    listed = "\n\n".join(f"Request {i}: {text}" for i, text in enumerate(examples, start=1))
    return Attempt(parent, others, _turns(_NEW, [], f"{listed}\n\nRequest {len(examples) + 1}:"))


def _paraphrase(seeds: Sequence[Example], number: int, seed: int, shots: int) -> Attempt:
    parent, _ = _drawn(seeds, number, seed, 0)
    return Attempt(parent, (), _turns(_OTHER_WORDS, [], question_of(parent)))


def _from_answer(seeds: Sequence[Example], number: int, seed: int, shots: int) -> Attempt:
    parent, others = _drawn(seeds, number, seed, shots)
    pairs = [(row.target.text, question_of(row)) for row in others]
    return Attempt(parent, others, _turns(_BACK, pairs, parent.target.text))


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("new-questions", "new requests of the same kind, answered by the generator", _new_question, False),
        Method("paraphrase", "the same request in other words, with the answer that it has", _paraphrase, True),
        Method("from-answers", "a new request for an answer that is there", _from_answer, True),
    )
}
"""Name → way to make rows."""

_LABEL = re.compile(r"^(?:(?:new |rewritten )?(?:request|question|instruction)(?: \d+)?\s*:\s*)", re.IGNORECASE)


def question_from(text: str) -> str:
    """The request in a generator's answer: without the label, the quotes and what follows a blank line."""
    text = _LABEL.sub("", text.strip()).split("\n\n")[0].strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip()
    return text


def answer_prompt(attempt: Attempt, question: str) -> Prompt:
    """What the generator is asked for the answer to a new question: the shown rows as turns, then the question."""
    system = [message for message in attempt.parent.messages if message.role == "system"]
    turns = [*system]
    for row in (*attempt.shots, attempt.parent):
        turns += [Message(role="user", content=question_of(row)), Message(role="assistant", content=row.target.text)]
    return Prompt(messages=(*turns, Message(role="user", content=question)))


def row_from(attempt: Attempt, question: str, answer: str) -> Example:
    """The new row: the turns of its parent, with another last question and this answer."""
    before = [message for message in attempt.parent.messages if message.role == "system"]
    return Example(
        messages=(*before, Message(role="user", content=question)),
        target=Reply(message=Message(role="assistant", content=answer)),
        licence=attempt.parent.licence,
        subject=attempt.parent.subject,
        split="train",
    )


def values_of(text: str) -> list[str]:
    """What a text states: the values of a JSON answer, else its numbers and quoted words."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return [*re.findall(r"\d+(?:[.,]\d+)*", text), *re.findall(r"[\"“„']([^\"”“']{2,60})[\"”']", text)]
    return [str(value) for value in _leaves(parsed) if not isinstance(value, bool | None)]


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    if isinstance(value, list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]
