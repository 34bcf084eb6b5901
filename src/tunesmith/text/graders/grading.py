"""Grading answers with grader objects.

    load_grader(document) → Grader        grade(grader, item, sample, ask) → GradeResult

`grade_all` does the same for many answers at once: a model is asked for all of them together, a Python source runs in
one process. A grade that failed has reward 0 and says why in ``errors``, whose fields are OpenAI's; whether a failure
counts against the answer (`GradeErrors.of_the_answer`) or leaves it ungraded is for the caller to say.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tunesmith.core.errors import TunesmithError
from tunesmith.core.foreign import Foreign, Limits
from tunesmith.core.records import Completion, Grammar, Message, Record, SamplingParams
from tunesmith.text.graders import formula
from tunesmith.text.graders.objects import (
    Grader,
    LabelModel,
    Multi,
    PythonGrader,
    ScoreModel,
    StringCheck,
    TextSimilarity,
)
from tunesmith.text.graders.similarity import MEASURES, Embedder, cosine
from tunesmith.text.graders.templates import Sample, TemplateError, fill

__all__ = ["Embedder", "GradeErrors", "GradeResult", "ModelCaller", "ModelRequest", "grade", "grade_all"]

SCORE_TOKENS = 256
LABEL_TOKENS = 32

_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?")
_REFUSAL = re.compile(r"\b(?:I cannot|I can't|I can’t|I'm unable|I’m unable|I am unable|I'm sorry|I’m sorry)\b", re.I)


class ModelRequest(Record):
    """What a grader asks a model: the name that the grader gives it, the conversation, and how to answer."""

    model: str
    messages: tuple[Message, ...]
    params: SamplingParams


ModelCaller = Callable[[Sequence[ModelRequest]], Sequence[Completion | TunesmithError]]
"""Answers requests in order; an error stands in the place of an answer that could not be got."""


class GradeErrors(Record):
    """What went wrong, under OpenAI's names (``metadata.errors`` of a grader's run)."""

    formula_parse_error: bool = False
    sample_parse_error: bool = False
    truncated_observation_error: bool = False
    unresponsive_reward_error: bool = False
    invalid_variable_error: bool = False
    other_error: bool = False
    python_grader_server_error: bool = False
    python_grader_server_error_type: str | None = None
    python_grader_runtime_error: bool = False
    python_grader_runtime_error_details: str | None = None
    model_grader_server_error: bool = False
    model_grader_server_error_details: str | None = None
    model_grader_refusal_error: bool = False
    model_grader_parse_error: bool = False

    @property
    def any(self) -> bool:
        """Whether anything went wrong."""
        return any(value is True for value in self.model_dump().values())

    @property
    def of_the_answer(self) -> bool:
        """Whether the only fault is that the answer was not the JSON that the grader looks into."""
        return self.sample_parse_error and sum(value is True for value in self.model_dump().values()) == 1


class GradeResult(Record):
    """One grade. ``scores`` holds every number behind ``reward``; ``explanation`` a fault in words, or nothing."""

    name: str
    type: str
    reward: float
    sub_rewards: Mapping[str, float] = {}
    scores: Mapping[str, Any] = {}
    errors: GradeErrors = GradeErrors()
    explanation: str = ""
    seconds: float = 0.0
    sampled_model_name: str | None = None
    tokens_per_model: Mapping[str, int] = {}

    def as_openai(self) -> dict[str, Any]:
        """The body of ``POST /fine_tuning/alpha/graders/run``."""
        return {
            "reward": self.reward,
            "sub_rewards": dict(self.sub_rewards),
            "metadata": {
                "name": self.name,
                "type": self.type,
                "execution_time": self.seconds,
                "scores": dict(self.scores),
                "token_usage": sum(self.tokens_per_model.values()) or None,
                "sampled_model_name": self.sampled_model_name,
                "errors": self.errors.model_dump(),
            },
            "model_grader_token_usage_per_model": dict(self.tokens_per_model),
        }


@dataclass(frozen=True)
class _Means:
    """What graders need beside themselves."""

    ask: ModelCaller | None
    embed: Embedder | None
    limits: Limits


@dataclass(frozen=True)
class _Grade:
    """A grade in the making."""

    reward: float = 0.0
    errors: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)


Pair = tuple[Mapping[str, Any], Sample]


def grade(
    grader: Grader,
    item: Mapping[str, Any],
    sample: Sample | str,
    ask: ModelCaller | None = None,
    *,
    embed: Embedder | None = None,
    limits: Limits | None = None,
) -> GradeResult:
    """Grade one answer.

    Args:
        item: the row that was asked, as its author named the fields.
        sample: the answer.
        ask: answers what model graders ask; without it they fail with ``model_grader_server_error``.
        embed: turns texts into vectors, for the similarity ``cosine``; without it that one fails with ``other_error``.
        limits: time and memory of Python graders.
    """
    return grade_all(grader, [(item, sample)], ask, embed=embed, limits=limits)[0]


def grade_all(
    grader: Grader,
    pairs: Sequence[tuple[Mapping[str, Any], Sample | str]],
    ask: ModelCaller | None = None,
    *,
    embed: Embedder | None = None,
    limits: Limits | None = None,
) -> list[GradeResult]:
    """Grade many answers, in order; ``seconds`` of each is its share of the time. Arguments as of `grade`."""
    whole = [(item, Sample(output_text=s) if isinstance(s, str) else s) for item, s in pairs]
    began = time.perf_counter()
    grades = _grades(grader, whole, _Means(ask, embed, limits or Limits()))
    share = (time.perf_counter() - began) / max(1, len(whole))
    return [
        GradeResult(
            name=grader.name,
            type=grader.type,
            reward=g.reward,
            sub_rewards=g.parts,
            scores={**g.parts, grader.name: g.reward},
            errors=GradeErrors.model_validate(dict(g.errors)),
            explanation=g.why,
            seconds=share,
            sampled_model_name=grader.model if isinstance(grader, ScoreModel | LabelModel) else None,
            tokens_per_model=g.tokens,
        )
        for g in grades
    ]


def _grades(grader: Grader, pairs: Sequence[Pair], means: _Means) -> list[_Grade]:
    if isinstance(grader, Multi):
        return _multi(grader, pairs, means)
    if isinstance(grader, PythonGrader):
        return _python(grader, pairs, means.limits)
    if isinstance(grader, ScoreModel | LabelModel):
        return _model(grader, pairs, means.ask)
    return _texts(grader, pairs, means.embed)


def _texts(grader: StringCheck | TextSimilarity, pairs: Sequence[Pair], embed: Embedder | None) -> list[_Grade]:
    filled = [_filled([grader.input, grader.reference], *pair) for pair in pairs]
    if isinstance(grader, StringCheck) or grader.evaluation_metric != "cosine":
        return [texts if isinstance(texts, _Grade) else _Grade(_compare(grader, *texts)) for texts in filled]
    if embed is None:
        why = "cosine needs a model that turns texts into vectors, and none was given"
        return [_Grade(errors={"other_error": True}, why=why) for _ in pairs]
    good = [texts for texts in filled if not isinstance(texts, _Grade)]
    values = iter(cosine(embed, [a for a, _ in good], [b for _, b in good]) if good else [])
    return [texts if isinstance(texts, _Grade) else _Grade(next(values)) for texts in filled]


def _compare(grader: StringCheck | TextSimilarity, given: str, wanted: str) -> float:
    if isinstance(grader, TextSimilarity):
        return MEASURES[grader.evaluation_metric](given, wanted)
    if grader.operation == "eq":
        return float(given == wanted)
    if grader.operation == "ne":
        return float(given != wanted)
    if grader.operation == "ilike":
        given, wanted = given.casefold(), wanted.casefold()
    return float(wanted in given)


def _filled(templates: Sequence[str], item: Mapping[str, Any], sample: Sample) -> list[str] | _Grade:
    try:
        return [fill(template, item, sample) for template in templates]
    except TemplateError as error:
        return _Grade(errors={error.kind: True}, why=str(error))


def _python(grader: PythonGrader, pairs: Sequence[Pair], limits: Limits) -> list[_Grade]:
    with Foreign(grader.source, "grade", where=grader.name, limits=limits) as function:
        return [_run(function, sample, item) for item, sample in pairs]


def _run(function: Foreign, sample: Sample, item: Mapping[str, Any]) -> _Grade:
    outcome = function.call(sample.as_dict(), dict(item))
    if outcome.fault in ("raised", "missing"):
        errors = {"python_grader_runtime_error": True, "python_grader_runtime_error_details": outcome.detail}
        return _Grade(errors=errors, why=outcome.detail)
    if outcome.fault:
        errors = {"python_grader_server_error": True, "python_grader_server_error_type": outcome.fault}
        return _Grade(errors=errors, why=outcome.detail)
    value = outcome.value
    if isinstance(value, int | float) and math.isfinite(value):
        return _Grade(float(value))
    why = f"grade returned {json.dumps(value)[:80]}, not a finite number"
    return _Grade(errors={"python_grader_runtime_error": True, "python_grader_runtime_error_details": why}, why=why)


def _model(grader: ScoreModel | LabelModel, pairs: Sequence[Pair], ask: ModelCaller | None) -> list[_Grade]:
    filled = [_filled([turn.content for turn in grader.input], *pair) for pair in pairs]
    if ask is None:
        why = f"no model answers for {grader.model!r}"
        return [texts if isinstance(texts, _Grade) else _unserved(why) for texts in filled]
    requests = [_request(grader, texts) for texts in filled if not isinstance(texts, _Grade)]
    replies = iter(ask(requests) if requests else [])
    return [texts if isinstance(texts, _Grade) else _judged(grader, next(replies)) for texts in filled]


def _unserved(why: str) -> _Grade:
    return _Grade(errors={"model_grader_server_error": True, "model_grader_server_error_details": why}, why=why)


def _request(grader: ScoreModel | LabelModel, texts: Sequence[str]) -> ModelRequest:
    """The question with the form of the answer behind it, and a grammar that holds a model of ours to that form."""
    options = grader.sampling_params
    if isinstance(grader, LabelModel):
        form = f"Answer with one of these labels and nothing else: {', '.join(grader.labels)}."
        grammar = Grammar(kind="choice", choices=grader.labels)
        limit = options.limit or LABEL_TOKENS
    else:
        low, high = grader.range
        form = f'Answer with a JSON object {{"result": NUMBER}}, where NUMBER is from {low:g} to {high:g}.'
        grammar = Grammar(kind="json_schema", source=json.dumps(_result_schema(low, high)))
        limit = options.limit or SCORE_TOKENS
    roles = ["system" if turn.role == "developer" else turn.role for turn in grader.input]
    last = len(texts) - 1
    return ModelRequest(
        model=grader.model,
        messages=tuple(
            Message.model_validate({"role": role, "content": f"{text}\n\n{form}" if i == last else text})
            for i, (role, text) in enumerate(zip(roles, texts, strict=True))
        ),
        params=SamplingParams(
            max_tokens=limit,
            temperature=options.temperature or 0.0,
            top_p=options.top_p or 1.0,
            seed=options.seed,
            grammar=grammar,
        ),
    )


def _result_schema(low: float, high: float) -> dict[str, Any]:
    number = {"type": "number", "minimum": low, "maximum": high}
    return {
        "type": "object",
        "properties": {"result": number},
        "required": ["result"],
        "additionalProperties": False,
    }


def _judged(grader: ScoreModel | LabelModel, reply: Completion | TunesmithError) -> _Grade:
    if isinstance(reply, TunesmithError):
        return _unserved(reply.what)
    tokens = {grader.model: reply.prompt_tokens + reply.completion_tokens}
    text = reply.text.strip()
    if isinstance(grader, LabelModel):
        labels = {label.casefold(): label for label in grader.labels}
        label = labels.get(text.strip("\"'`.").casefold())
        if label is not None:
            return _Grade(float(label in grader.passing_labels), tokens=tokens)
        rule = f"one of the labels {', '.join(grader.labels)}"
    else:
        value = read_number(text)
        if value is not None and grader.range[0] <= value <= grader.range[1]:
            return _Grade(value, tokens=tokens)
        rule = f"a number from {grader.range[0]:g} to {grader.range[1]:g}"
    refused = bool(_REFUSAL.search(text))
    kind = "model_grader_refusal_error" if refused else "model_grader_parse_error"
    shown = text if len(text) <= 80 else f"{text[:80]}…"
    return _Grade(errors={kind: True}, why=f"{grader.model} answered {shown!r}, not {rule}", tokens=tokens)


def read_number(text: str) -> float | None:
    """The number that a model gave: the result of a JSON object, or the only number in its text. None: neither."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        value = next((value[key] for key in ("result", "score", "rating") if key in value), None)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    found = set(_NUMBER.findall(text))
    return float(found.pop().replace(",", ".")) if len(found) == 1 and value is None else None


def _multi(grader: Multi, pairs: Sequence[Pair], means: _Means) -> list[_Grade]:
    columns = {name: _grades(part, pairs, means) for name, part in grader.graders.items()}
    return [_combined(grader, {name: column[i] for name, column in columns.items()}) for i in range(len(pairs))]


def _combined(grader: Multi, parts: Mapping[str, _Grade]) -> _Grade:
    """The formula over the parts; with a part that failed there is no result."""
    rewards = {name: part.reward for name, part in parts.items()}
    tokens: dict[str, int] = {}
    for part in parts.values():
        for model, count in part.tokens.items():
            tokens[model] = tokens.get(model, 0) + count
    failed = {name: part for name, part in parts.items() if part.errors}
    errors = {key: value for part in failed.values() for key, value in part.errors.items()}
    found = _Grade(
        errors=errors, why="; ".join(f"{n}: {p.why}" for n, p in failed.items()), parts=rewards, tokens=tokens
    )
    if failed and any(not GradeErrors.model_validate(dict(part.errors)).of_the_answer for part in failed.values()):
        return found
    try:
        return replace(found, reward=formula.evaluate(grader.calculate_output, rewards))
    except formula.FormulaError as error:
        return replace(found, errors={**errors, "formula_parse_error": True}, why=str(error))
