"""What every generator of planted faults gives, and how a check is measured on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tunesmith.core.records import Example, Finding, Message, Reply, Source


@dataclass(frozen=True)
class Planted:
    """Rows, and which of them are faulty: number of the row → what was done to it."""

    rows: list[Example]
    truth: Mapping[int, str]


@dataclass(frozen=True)
class Measured:
    """How well the planted faults were found."""

    planted: int
    found: int
    false_alarms: int

    @property
    def recall(self) -> float:
        """Share of the planted faults that were found."""
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        """Share of the reported rows that are faulty."""
        reported = self.found + self.false_alarms
        return self.found / reported if reported else 1.0


def measured(planted: Planted, findings: Iterable[Finding]) -> Measured:
    """Planted faults against the rows that the findings stand at."""
    numbers = {row.source: number for number, row in enumerate(planted.rows)}
    reported = {numbers[found.source] for found in findings}
    return Measured(len(planted.truth), len(reported & set(planted.truth)), len(reported - set(planted.truth)))


def row(question: str, answer: str, number: int = 0) -> Example:
    """A question and its answer, as line ``number`` + 1 of a file of the lab."""
    return Example(
        messages=(Message(role="user", content=question),),
        target=Reply(message=Message(role="assistant", content=answer)),
        source=Source(path="lab.jsonl", line=number + 1),
    )


def numbered(rows: Iterable[Example]) -> list[Example]:
    """The rows in their order, each with its own line."""
    return [
        example.model_copy(update={"source": Source(path="lab.jsonl", line=i)}) for i, example in enumerate(rows, 1)
    ]


def answered(example: Example, answer: str) -> Example:
    """The same question with another answer."""
    return example.model_copy(update={"target": Reply(message=Message(role="assistant", content=answer))})
