"""What an item of the general suite is: a question with answers to choose from, or a checkable instruction."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from tunesmith.core.records import Example, Message, Prompt, Record, Reply

Language = Literal["en", "nl"]
LANGUAGES: tuple[Language, ...] = ("en", "nl")

SUITES = ("instructions", "arithmetic", "reading", "knowledge", "safety")
"""The parts of the suite whose answers are chosen by their likelihood."""

WRITTEN = "written instructions"
"""The part whose answers are generated and checked by rules."""


class Item(Record):
    """A question whose answers are scored, not written: so that a small model gives a signal too.

    ``right`` are the places of the right answers among ``choices``.
    """

    id: str
    suite: str
    language: Language
    question: str
    choices: tuple[str, ...]
    right: tuple[int, ...]

    @property
    def chance(self) -> float:
        """Probability of a right answer by guessing."""
        return len(self.right) / len(self.choices)

    def rows(self) -> list[Example]:
        """The question with each answer, to be scored."""
        return [asked(self.question, choice) for choice in self.choices]


class Task(Record):
    """An instruction whose answer is generated and checked by a rule of `written.RULES`, given ``wanted``."""

    id: str
    language: Language
    question: str
    rule: str
    wanted: tuple[str, ...] = ()

    @property
    def prompt(self) -> Prompt:
        """The instruction as a model is asked it."""
        return Prompt(messages=(Message(role="user", content=self.question),))


def asked(question: str, answer: str) -> Example:
    """A question of a user with an answer."""
    return Example(
        messages=(Message(role="user", content=question),),
        target=Reply(message=Message(role="assistant", content=answer)),
    )


def chosen(
    suite: str, language: Language, number: int, question: str, answer: str, others: Sequence[str], draw: random.Random
) -> Item:
    """An item with one right answer at a random place among up to three others.

    Raises:
        AssertionError: the right answer stands among the wrong ones, or two answers are equal.
    """
    choices = [answer, *others[:3]]
    assert len(set(choices)) == len(choices) > 1, (question, choices)
    draw.shuffle(choices)
    right = (choices.index(answer),)
    return Item(
        id=f"{suite}-{language}-{number:02d}",
        suite=suite,
        language=language,
        question=question,
        choices=tuple(choices),
        right=right,
    )


def drawing(*what: object) -> random.Random:
    """A generator of its own for each part of the suite, so that a change to one part leaves the others alone."""
    return random.Random("/".join(map(str, ("general suite 1", *what))))
