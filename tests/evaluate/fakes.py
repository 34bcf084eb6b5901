"""A model that answers from a script, and rows to ask it about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Completion, Example, Message, Prompt, Reply, SamplingParams, Score, Source


def example(question: str, answer: str, line: int = 1) -> Example:
    return Example(
        messages=(Message(role="user", content=question),),
        target=Reply(message=Message(role="assistant", content=answer)),
        source=Source(path="rows.jsonl", line=line),
    )


def examples(answers: Sequence[str]) -> list[Example]:
    return [example(f"question {i}", answer, i + 1) for i, answer in enumerate(answers)]


@dataclass
class Scripted:
    """Answers the i-th prompt with the i-th text. ``logprob`` gives the log-probability of each token of row i."""

    name: str
    answers: Sequence[str]
    digest: str = ""
    stopped: Sequence[bool] | None = None
    logprob: Callable[[int], float] | None = lambda row: -1.0
    tokens: int = 5
    asked: list[SamplingParams] = field(default_factory=list)

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        self.asked.append(params)
        if progress:
            progress(len(prompts), len(prompts))
        return [
            Completion(
                text=text,
                finish_reason="stop" if self.stopped is None or self.stopped[i] else "length",
                prompt_tokens=3,
                completion_tokens=len(text.split()),
            )
            for i, text in enumerate(self.answers)
        ]

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        if progress:
            progress(len(examples), len(examples))
        lengths = [self.tokens + i % 3 if self.logprob else 0 for i in range(len(examples))]
        return [
            Score(example_id=row.id, logprobs=tuple(self.logprob(i) for _ in range(n)) if self.logprob else ())
            for i, (row, n) in enumerate(zip(examples, lengths, strict=True))
        ]
