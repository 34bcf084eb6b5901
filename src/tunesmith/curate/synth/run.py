"""Make rows until there are enough: ask in batches, filter in order, journal every answer.

A batch is asked once: its answers stand in the journal before they are judged, so a run that was stopped goes on where
it was and asks nothing twice. The rows follow from seeds, options and answers alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from tunesmith.core.errors import DataError, InputError
from tunesmith.core.events import Emit, Tick, ignore
from tunesmith.core.protocols import Sampler
from tunesmith.core.records import Completion, Example, Prompt, Record, SamplingParams, Synthetic, digest_of
from tunesmith.core.store import append_lines, remove
from tunesmith.curate.synth import filters
from tunesmith.curate.synth.methods import METHODS, Attempt, Method, answer_prompt, question_from, question_of, row_from

BATCH = 16


class SynthOptions(Record):
    """What is to be made."""

    method: str = Field(default="new-questions", description="new-questions, paraphrase or from-answers.")
    rows: int = Field(default=100, ge=1, description="Rows that are wanted.")
    attempts: int = Field(default=4, ge=1, description="Attempts for each wanted row before giving up.")
    shots: int = Field(default=4, ge=0, le=20, description="Rows that the generator is shown.")
    novelty: float = Field(default=0.7, gt=0.0, le=1.0, description="ROUGE-L to any row from which one is not new.")
    temperature: float = Field(default=0.9, ge=0.0, le=2.0, description="Of the generator.")
    max_tokens: int = Field(default=512, ge=1, description="Longest answer of the generator, in tokens.")
    seed: int = Field(default=0, ge=0, description="Another number gives other rows.")


@dataclass
class Synthesis:
    """The rows that were kept, why others were not, and what it took."""

    rows: list[Example] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    """Answers of the generator, in this run or an earlier one that was stopped."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


def synthesise(
    seeds: Sequence[Example],
    generator: Sampler,
    options: SynthOptions,
    journal: Path,
    *,
    schema: Mapping[str, Any] | None = None,
    is_personal: Callable[[str], bool] = filters.has_personal,
    same_language: Callable[[str, str], bool] = filters.same_language,
    emit: Emit = ignore,
) -> Synthesis:
    """Rows made from seeds.

    Args:
        seeds: rows with a question and an answer; held-out rows are refused.
        generator: answers the prompts.
        options: how many, how.
        journal: file with every answer so far; made when it is missing, removed by nobody.
        schema: JSON Schema that answers follow.
        is_personal: whether a text holds personal data or a secret.
        same_language: whether two texts are in one language.
        emit: receives progress.

    Raises:
        DataError: a seed is held out, or is plain text; there are no seeds.
        InputError: the journal is that of another synthesis.
    """
    method = METHODS[options.method]
    _check_seeds(seeds)
    asked_for = options.model_dump(exclude={"rows", "attempts", "novelty"})
    answers = _Journal(journal, digest_of([[row.id for row in seeds], asked_for, generator.digest]))
    novelty = filters.Novelty([question_of(row) for row in seeds], options.novelty)
    tests = _Tests(filters.schema_filter(schema), is_personal, same_language, novelty)
    made = Synthesis()
    for number in range(-(-options.rows * options.attempts // BATCH)):
        if len(made.rows) >= options.rows:
            break
        first = number * BATCH
        attempts = [method.ask(seeds, i, options.seed, options.shots) for i in range(first, first + BATCH)]
        for attempt, question, answer in _batch(attempts, method, generator, options, number, answers, made):
            reason = tests.reason(attempt, method, question, answer)
            if reason:
                made.rejected[reason] += 1
            elif len(made.rows) < options.rows:
                made.rows.append(_marked(attempt, method, question, answer, generator, options))
                novelty.add(question)
        emit(Tick(task="making rows", done=min(len(made.rows), options.rows), total=options.rows))
    return made


def _check_seeds(seeds: Sequence[Example]) -> None:
    if not seeds:
        raise DataError(
            "there are no seeds",
            where="seeds",
            rule="rows are made from rows that are there",
            fix="give a file with a few good rows",
        )
    for row in seeds:
        if row.split not in (None, "train"):
            raise DataError(
                f"a seed is held out for {row.split}",
                where=str(row.source),
                rule="what is made from held-out rows would carry them into training",
                fix="take the seeds from training rows",
            )
        if row.is_document:
            raise DataError(
                "a seed is plain text",
                where=str(row.source),
                rule="rows are made from questions with answers",
                fix="give conversations, or prompt and completion",
            )


@dataclass(frozen=True)
class _Tests:
    follows: Callable[[str], bool]
    is_personal: Callable[[str], bool]
    same_language: Callable[[str, str], bool]
    novelty: filters.Novelty

    def reason(self, attempt: Attempt, method: Method, question: str, answer: Completion | None) -> str:
        """Why the row is not kept; "" when it is."""
        if answer is None:
            return question  # the question itself failed; its reason stands in its place
        wrong = filters.of_answer(answer)
        if wrong:
            return wrong
        if method.name == "new-questions" and filters.is_copy(question, (attempt.parent, *attempt.shots)):
            return "copy"
        if method.keeps_answer and not filters.keeps_facts(attempt, question, method.name):
            return "facts lost"
        if not self.novelty.is_new(question):
            return "not new"
        if not self.follows(answer.text):
            return "schema"
        new = [question] if method.keeps_answer else [question, answer.text]
        if any(map(self.is_personal, new)):
            return "personal data"
        if not self.same_language(question_of(attempt.parent), question):
            return "language"
        return ""


def _batch(
    attempts: Sequence[Attempt],
    method: Method,
    generator: Sampler,
    options: SynthOptions,
    number: int,
    answers: _Journal,
    made: Synthesis,
) -> Iterator[tuple[Attempt, str, Completion | None]]:
    """Each attempt with its question and answer; without an answer the reason stands for the question."""
    params = SamplingParams(
        max_tokens=options.max_tokens, temperature=options.temperature, seed=options.seed + 2 * number
    )

    def ask(step: str, prompts: Sequence[Prompt], params: SamplingParams) -> list[Completion]:
        found = answers.get(f"{number}:{step}", lambda: generator.sample(prompts, params))
        made.asked += len(found)
        made.prompt_tokens += sum(answer.prompt_tokens for answer in found)
        made.completion_tokens += sum(answer.completion_tokens for answer in found)
        made.seconds += sum(answer.seconds for answer in found)
        return found

    asked = ask("questions", [attempt.prompt for attempt in attempts], params)
    questions = [question_from(answer.text) for answer in asked]
    wrong = [filters.of_answer(a) or ("" if q else "empty") for a, q in zip(asked, questions, strict=True)]
    good = [i for i, reason in enumerate(wrong) if not reason]
    given: dict[int, Completion] = {}
    if method.keeps_answer:
        given = {i: _as_completion(attempts[i].parent) for i in good}
    elif good:
        prompts = [answer_prompt(attempts[i], questions[i]) for i in good]
        later = params.model_copy(update={"seed": options.seed + 2 * number + 1})
        given = dict(zip(good, ask("answers", prompts, later), strict=True))
    for i, attempt in enumerate(attempts):
        yield (attempt, questions[i], given[i]) if i in given else (attempt, wrong[i], None)


def _as_completion(parent: Example) -> Completion:
    return Completion(text=parent.target.text, finish_reason="stop", prompt_tokens=0, completion_tokens=0)


def _marked(
    attempt: Attempt, method: Method, question: str, answer: Completion, generator: Sampler, options: SynthOptions
) -> Example:
    """The row with its mark: who made it, of what, how."""
    prompt = [message.model_dump() for message in attempt.prompt.messages]
    mark = Synthetic(
        method=method.name,
        generator=generator.name,
        generator_digest=generator.digest,
        prompt_digest=digest_of([prompt, options.temperature, options.seed]),
        parents=tuple(row.id for row in (attempt.parent, *attempt.shots)),
    )
    return row_from(attempt, question, answer.text.strip()).model_copy(update={"synthetic": mark})


class _Journal:
    """Answers by the name of their batch, on disk before they are used."""

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._known: dict[str, list[Completion]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if lines and json.loads(lines[0]).get("synthesis") != identity:
            raise InputError(
                "the journal is that of another synthesis",
                where=str(path),
                rule="a journal holds the answers to one set of seeds, options and generator",
                fix="name another output file, or remove the journal",
            )
        if not lines:
            append_lines(path, [json.dumps({"synthesis": identity})])
        for line in lines[1:]:
            self._read(line)

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            return  # the line that was being written when the process died: its batch is asked again
        self._known[entry["batch"]] = [Completion.model_validate(each) for each in entry["answers"]]

    def get(self, batch: str, ask: Callable[[], list[Completion]]) -> list[Completion]:
        """The answers of a batch; asked for only when they are not known."""
        if batch not in self._known:
            answers = ask()
            entry = {"batch": batch, "answers": [answer.model_dump() for answer in answers]}
            append_lines(self._path, [json.dumps(entry, ensure_ascii=False)])
            self._known[batch] = answers
        return self._known[batch]


def forget(journal: Path) -> None:
    """Remove the journal of a finished synthesis."""
    if journal.exists():
        remove(journal)
