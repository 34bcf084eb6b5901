"""What a model is told before the question: an instruction, worked examples, passages; and samplers that say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from tunesmith.core.protocols import Progress, Sampler
from tunesmith.core.records import (
    Completion,
    Example,
    Message,
    Prompt,
    Record,
    SamplingParams,
    Score,
    digest_of,
)
from tunesmith.text.retrieval import Index, Passage

Order = Literal["similar last", "similar first", "fixed"]

SOURCES = "Answer from these sources where they help:"


class Plan(Record):
    """How a question is put. ``shots`` training rows: the most similar to the question, or always the same ones."""

    instruction: str = ""
    shots: int = 0
    order: Order = "similar last"
    passages: int = 0

    def words(self) -> str:
        """For people."""
        parts = [f"instruction “{self.instruction}”" if self.instruction else "the rows' own prompt"]
        if self.shots:
            parts.append(f"{self.shots} worked examples ({self.order})")
        if self.passages:
            parts.append(f"{self.passages} passages")
        return ", ".join(parts)


class Shots:
    """Training rows to show, found by their words: an index over the questions of the training rows."""

    def __init__(self, rows: Sequence[Example]) -> None:
        from tunesmith.text.retrieval.lexical import Lexical

        self._rows = sorted(rows, key=lambda row: row.id)
        self._index = Lexical.build("tfidf", [question_of(row.prompt) for row in self._rows]) if rows else None
        self.digest = digest_of([row.id for row in self._rows])

    def choose(self, prompt: Prompt, count: int, order: Order) -> list[Example]:
        """The rows for one question, in the order of the conversation."""
        import numpy as np

        if not count or self._index is None:
            return []
        if order == "fixed":
            return self._rows[:count]
        ranked = np.argsort(-self._index.scores(question_of(prompt)), kind="stable")[:count]
        found = [self._rows[int(i)] for i in ranked]
        return found if order == "similar first" else found[::-1]


def question_of(prompt: Prompt) -> str:
    """The last thing that the user says."""
    return next((m.text for m in reversed(prompt.messages) if m.role == "user"), "")


@dataclass(frozen=True)
class Told:
    """A prompt as a model gets it, and the passages in it."""

    prompt: Prompt
    passages: tuple[Passage, ...] = field(default=())


def tell(prompt: Prompt, plan: Plan, shots: Shots, index: Index | None) -> Told:
    """Put a question by a plan: instruction in the system message, examples before it, sources in the question."""
    messages = list(prompt.messages)
    passages = tuple(index.search(question_of(prompt), plan.passages)) if index and plan.passages else ()
    system = [message.text for message in messages if message.role == "system"]
    told = "\n\n".join(text for text in [*system, plan.instruction] if text)
    talk = [message for message in messages if message.role != "system"]
    if passages:
        talk[-1] = _with_sources(talk[-1], passages)
    shown: list[Message] = []
    for row in shots.choose(prompt, plan.shots, plan.order):
        shown += [m for m in row.messages if m.role != "system"]
        shown.append(Message(role="assistant", content=row.target.text))
    start = [Message(role="system", content=told)] if told else []
    return Told(Prompt(messages=(*start, *shown, *talk), tools=prompt.tools), passages)


def _with_sources(message: Message, passages: Sequence[Passage]) -> Message:
    listed = "\n\n".join(
        f"[{number}] {passage.title + ': ' if passage.title else ''}{passage.text}"
        for number, passage in enumerate(passages, 1)
    )
    return message.model_copy(
        update={"content": Message(role="user", content=f"{SOURCES}\n\n{listed}\n\n{message.text}").content}
    )


@final
class Planned:
    """A sampler behind a plan: it looks like any other, and is another model as far as answers go."""

    def __init__(self, sampler: Sampler, plan: Plan, shots: Shots, index: Index | None, name: str) -> None:
        self.name = name
        plain = plan == Plan()
        context = [plan.model_dump(), shots.digest if plan.shots else "", index.digest if index else ""]
        self.digest = sampler.digest if plain else digest_of([sampler.digest, context])
        self.plan = plan
        self._sampler, self._shots, self._index = sampler, shots, index
        self._known: dict[str, Completion] = {}

    def tell(self, prompt: Prompt) -> Told:
        """What the model gets for a question."""
        return tell(prompt, self.plan, self._shots, self._index)

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """One completion per prompt, in order; the same is asked once."""
        told = [self.tell(prompt).prompt for prompt in prompts]
        keys = [digest_of([prompt.model_dump(mode="json"), params.model_dump(mode="json")]) for prompt in told]
        fresh = {key: prompt for key, prompt in zip(keys, told, strict=True) if key not in self._known}
        if fresh:
            answers = self._sampler.sample(list(fresh.values()), params, progress)
            self._known.update(zip(fresh, answers, strict=True))
        return [self._known[key] for key in keys]

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        """No log-probabilities: arms are compared by what they answer, and endpoints have none to give."""
        return [Score(example_id=example.id, logprobs=()) for example in examples]
