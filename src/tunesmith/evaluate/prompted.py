"""A model behind a prompt of its own: the same question, asked with instructions and examples before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

from pydantic import ValidationError

from tunesmith.core import yamlfile
from tunesmith.core.errors import ConfigError
from tunesmith.core.protocols import Progress, Sampler
from tunesmith.core.records import Completion, Example, Message, Prompt, Record, SamplingParams, Score, digest_of

MARK = "::"
"""Between a model and the file of its prompt: ``MODEL::prompt.yaml``."""


class Shot(Record):
    """A question and the answer that the model is shown for it."""

    prompt: str
    completion: str


class PromptFile(Record):
    """What stands before every question: a system message, and examples as earlier turns.

    A row's own system message follows ``system``, so a task that the rows describe stays described.
    """

    system: str = ""
    shots: tuple[Shot, ...] = ()

    def apply(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The conversation as the model gets it."""
        own = [message.text for message in messages if message.role == "system"]
        system = "\n\n".join(text for text in (self.system, *own) if text)
        head = [Message(role="system", content=system)] if system else []
        turns = [
            Message(role=role, content=text)
            for shot in self.shots
            for role, text in (("user", shot.prompt), ("assistant", shot.completion))
        ]
        return (*head, *turns, *(message for message in messages if message.role != "system"))


def read_prompt(path: Path) -> PromptFile:
    """A prompt from a ``.txt`` file (the system message) or a YAML file with ``system`` and ``shots``.

    Raises:
        ConfigError: no such file, unknown keys, or an empty prompt.
    """
    rule = "a prompt is a .txt file (the system message) or a YAML file with system and shots (prompt, completion)"
    if not path.is_file():
        raise ConfigError(f"no such file: {path}", where=str(path), rule=rule, fix="check the path")
    if path.suffix not in (".yaml", ".yml"):
        found = PromptFile(system=path.read_text(encoding="utf-8").strip())
    else:
        try:
            found = PromptFile.model_validate(yamlfile.parse(path.read_text(encoding="utf-8"), str(path)).value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            fix = 'for example: {system: "Answer in JSON.", shots: [{prompt: …, completion: …}]}'
            raise ConfigError(f"{place}: {first['msg']}", where=str(path), rule=rule, fix=fix) from error
    if not found.system and not found.shots:
        raise ConfigError("the prompt is empty", where=str(path), rule=rule, fix="write a system message or shots")
    return found


@final
class Prompted:
    """Implements `Sampler`: another sampler, asked with a prompt before every question.

    Args:
        sampler: what answers.
        prompt: what stands before the questions.
        name: name for reports.
    """

    def __init__(self, sampler: Sampler, prompt: PromptFile, name: str) -> None:
        self._sampler, self._prompt = sampler, prompt
        self.name = name
        self.digest = digest_of([sampler.digest, prompt.model_dump(mode="json")]) if sampler.digest else ""

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """One completion per prompt, in order."""
        asked = [prompt.model_copy(update={"messages": self._prompt.apply(prompt.messages)}) for prompt in prompts]
        return self._sampler.sample(asked, params, progress)

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of the wanted answers after the prompt; a plain text is scored as it stands."""
        asked = [self._with(example) for example in examples]
        scores = self._sampler.score(asked, progress)
        return [
            score.model_copy(update={"example_id": example.id}) for score, example in zip(scores, examples, strict=True)
        ]

    def _with(self, example: Example) -> Example:
        if example.is_document:
            return example
        return example.model_copy(update={"messages": self._prompt.apply(example.messages)})
