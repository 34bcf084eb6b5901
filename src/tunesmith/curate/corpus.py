"""All rows of a data set as the checks see them: in order, or looked up by number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

from tunesmith.core.records import Example, Message, Split
from tunesmith.curate.keys import normalise, prompt_key, row_key


@dataclass(frozen=True)
class Row:
    """A row with what the checks ask of it. Made when it is looked up: keep its ``number``, not the row."""

    number: int
    example: Example
    split: Split | None = None
    """Where the row was put, or what its file says."""

    @cached_property
    def question(self) -> str:
        """Texts of the turns before the answer, a line each; nothing for a plain text."""
        return "\n".join(map(said, self.example.messages))

    @cached_property
    def answer(self) -> str:
        """The last answer as text, its tool calls included; of a plain text, the text."""
        target = self.example.target
        return target.text if target.kind == "document" else said(target.message)

    @cached_property
    def asked(self) -> str:
        """What the row asks, normalised: the turns before the answer without system messages; nothing for a text."""
        return normalise("\n".join(said(turn) for turn in self.example.messages if turn.role != "system"))

    @cached_property
    def answered(self) -> str:
        """The answer, normalised; of a plain text, the text."""
        return normalise(self.answer)

    @property
    def whole(self) -> str:
        """Question and answer, normalised, without system messages; of a plain text, the text."""
        return f"{self.asked} {self.answered}".strip()

    @cached_property
    def prompt_key(self) -> str:
        """Hash of the normalised question; equal questions have equal keys."""
        return prompt_key(self.example)

    @cached_property
    def row_key(self) -> str:
        """Hash of the normalised question and answer."""
        return row_key(self.example)


def said(message: Message) -> str:
    """Text and tool calls of a turn."""
    calls = [f"{call.name}({call.arguments})" for call in message.tool_calls]
    return "\n".join(filter(None, (message.text, *calls)))


class Corpus(Sequence[Row]):
    """Rows over any sequence of examples; those in a file are read when they are asked for."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples
        # a row knows its split, so that its example need not be copied to say it
        placed = isinstance(examples, Placed)
        self._examples = examples.examples if placed else examples
        self._splits = examples.splits if placed else None

    def __len__(self) -> int:
        return len(self.examples)

    @overload
    def __getitem__(self, number: int) -> Row: ...
    @overload
    def __getitem__(self, number: slice) -> list[Row]: ...
    def __getitem__(self, number: int | slice) -> Row | list[Row]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        example = self._examples[number]
        return Row(number, example, self._splits[number] if self._splits else example.split)

    def __iter__(self) -> Iterator[Row]:
        splits = self._splits
        for number, example in enumerate(self._examples):
            yield Row(number, example, splits[number] if splits else example.split)


class Placed(Sequence[Example]):
    """The same examples, each with the split that it was given."""

    def __init__(self, examples: Sequence[Example], splits: Sequence[Split | None]) -> None:
        self.examples, self.splits = examples, splits

    def __len__(self) -> int:
        return len(self.examples)

    @overload
    def __getitem__(self, number: int) -> Example: ...
    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...
    def __getitem__(self, number: int | slice) -> Example | list[Example]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        return _with_split(self.examples[number], self.splits[number])

    def __iter__(self) -> Iterator[Example]:
        return map(_with_split, self.examples, self.splits)


class Chosen(Sequence[Example]):
    """The examples that a test keeps, in order."""

    def __init__(self, examples: Sequence[Example], keep: Callable[[Example], bool]) -> None:
        self._examples = examples
        self._numbers = [number for number, example in enumerate(examples) if keep(example)]

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, number: int) -> Example: ...
    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...
    def __getitem__(self, number: int | slice) -> Example | list[Example]:
        if isinstance(number, slice):
            return [self._examples[i] for i in self._numbers[number]]
        return self._examples[self._numbers[number]]


def _with_split(example: Example, split: Split | None) -> Example:
    return example if example.split == split else example.model_copy(update={"split": split})
