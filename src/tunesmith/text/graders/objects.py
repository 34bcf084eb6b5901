"""OpenAI's grader objects as records: what a JSON or YAML document has to say, checked before anything is graded.

Source: the types of the ``openai`` package, ``openai/types/graders``. A document that works there loads here unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record
from tunesmith.core.registry import nearest
from tunesmith.text.graders import formula
from tunesmith.text.graders.templates import check_template

Similarity = Literal[
    "cosine", "fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"
]
TYPES = ("string_check", "text_similarity", "score_model", "label_model", "python", "multi")


class StringCheck(Record):
    """1 when ``input`` equals (eq, ne) or contains (like, ilike: whatever the case) ``reference``, else 0."""

    type: Literal["string_check"]
    name: str
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(Record):
    """Likeness of ``input`` and ``reference``, 0 to 1."""

    type: Literal["text_similarity"]
    name: str
    input: str
    reference: str
    evaluation_metric: Similarity
    pass_threshold: float | None = None


class SamplingOptions(Record):
    """How a model grader samples. ``reasoning_effort`` is accepted for the sake of unchanged documents and not used."""

    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    seed: int | None = None
    max_completions_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    reasoning_effort: str | None = None

    @property
    def limit(self) -> int | None:
        """Most tokens of an answer, under any of its three names."""
        return self.max_completions_tokens or self.max_completion_tokens or self.max_tokens


def _as_text(content: object) -> object:
    """Text of a message's content: a string, a part, or a list of them. Anything but text is left to be refused."""
    if isinstance(content, Mapping) and content.get("type") in ("input_text", "output_text", "text"):
        return content.get("text")
    if isinstance(content, Sequence) and not isinstance(content, str):
        parts = [_as_text(part) for part in content]
        return "".join(map(str, parts)) if all(isinstance(part, str) for part in parts) else content
    return content


class Turn(Record):
    """A message to the grading model; its text is a template."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_as_text)]
    type: Literal["message"] = "message"


class ScoreModel(Record):
    """A model gives a number in ``range``."""

    type: Literal["score_model"]
    name: str
    model: str
    input: tuple[Turn, ...] = Field(min_length=1)
    range: tuple[float, float] = (0.0, 1.0)
    sampling_params: SamplingOptions = SamplingOptions()
    pass_threshold: float | None = None

    @model_validator(mode="after")
    def _rising(self) -> ScoreModel:
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range {list(self.range)} has to rise")
        return self


class LabelModel(Record):
    """A model chooses a label; 1 when it is one of ``passing_labels``, else 0."""

    type: Literal["label_model"]
    name: str
    model: str
    input: tuple[Turn, ...] = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=1)
    passing_labels: tuple[str, ...] = Field(min_length=1)
    sampling_params: SamplingOptions = SamplingOptions()

    @model_validator(mode="after")
    def _subset(self) -> LabelModel:
        unknown = [label for label in self.passing_labels if label not in self.labels]
        if unknown:
            raise ValueError(f"passing_labels has {unknown[0]!r}, which labels does not have")
        return self


class PythonGrader(Record):
    """A Python source with ``def grade(sample, item) -> float``, run in a confined process."""

    type: Literal["python"]
    name: str
    source: str = Field(min_length=1, max_length=256 * 1024)
    image_tag: str | None = None
    pass_threshold: float | None = None


Simple = Annotated[StringCheck | TextSimilarity | ScoreModel | LabelModel | PythonGrader, Field(discriminator="type")]


def _by_name(graders: object) -> object:
    """Graders by the names that the formula uses: a mapping as it is; a list, or one grader, by its own names."""
    if isinstance(graders, Mapping) and "type" in graders and not isinstance(graders["type"], Mapping):
        graders = [graders]
    if isinstance(graders, list | tuple):
        named = [g.get("name") for g in graders if isinstance(g, Mapping)]
        if len(set(named)) < len(graders):
            raise ValueError("graders in a list need names, each another one")
        return dict(zip(named, graders, strict=True))
    return graders


class Multi(Record):
    """Several graders and a formula over their scores."""

    type: Literal["multi"]
    name: str
    graders: Annotated[Mapping[str, Simple], BeforeValidator(_by_name)] = Field(min_length=1)
    calculate_output: str
    pass_threshold: float | None = None

    @model_validator(mode="after")
    def _formula(self) -> Multi:
        unknown = sorted(formula.names(self.calculate_output) - self.graders.keys())
        if unknown:
            near = nearest(unknown[0], self.graders)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"calculate_output uses {unknown[0]!r}, which is no grader here{hint}")
        return self


Grader = StringCheck | TextSimilarity | ScoreModel | LabelModel | PythonGrader | Multi

_GRADER: TypeAdapter[Grader] = TypeAdapter(Annotated[Grader, Field(discriminator="type")])


def load_grader(document: Mapping[str, Any], where: str = "grader") -> Grader:
    """A grader from its JSON or YAML document.

    Raises:
        ConfigError: an unknown type, a missing or impossible field, a formula or a variable that cannot be. Its code
        is ``invalid_variable_error`` or ``formula_parse_error`` where one of those is the reason.
    """
    kind = document.get("type")
    if kind not in TYPES:
        near = nearest(str(kind), TYPES)
        raise ConfigError(
            f"{kind!r} is no type of grader" + (f"; did you mean {near[0]!r}?" if near else ""),
            where=f"{where}.type",
            rule=f"type is one of {', '.join(TYPES)}",
            fix="correct the type",
        )
    try:
        grader = _GRADER.validate_python(dict(document))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"] if step not in TYPES)
        about_formula = "formula" in first["msg"] or "calculate_output" in first["msg"]
        raise ConfigError(
            f"not a {kind} grader: {_plain(first)}",
            where=f"{where}.{place}" if place else where,
            rule=f"fields of {kind}: {', '.join(_fields(str(kind)))}",
            fix="correct this field",
            code="formula_parse_error" if about_formula else "",
        ) from error
    for place, template in templates(grader):
        check_template(template, f"{where}.{place}")
    return grader


def templates(grader: Grader) -> Iterator[tuple[str, str]]:
    """(place, text) of every template of a grader."""
    if isinstance(grader, StringCheck | TextSimilarity):
        yield from (("input", grader.input), ("reference", grader.reference))
    elif isinstance(grader, ScoreModel | LabelModel):
        yield from ((f"input.{i}.content", turn.content) for i, turn in enumerate(grader.input))
    elif isinstance(grader, Multi):
        for name, part in grader.graders.items():
            yield from ((f"graders.{name}.{place}", text) for place, text in templates(part))


def models_of(grader: Grader) -> set[str]:
    """Names of the models that a grader asks."""
    if isinstance(grader, Multi):
        return {name for part in grader.graders.values() for name in models_of(part)}
    return {grader.model} if isinstance(grader, ScoreModel | LabelModel) else set()


def _fields(kind: str) -> list[str]:
    record = next(r for r in get_args(Grader) if get_args(r.model_fields["type"].annotation) == (kind,))
    return list(record.model_fields)


def _plain(problem: Mapping[str, Any]) -> str:
    name = str(problem["loc"][-1]) if problem["loc"] else ""
    if problem["type"] == "missing":
        return f"{name} is missing"
    if problem["type"] == "extra_forbidden":
        return f"there is no field {name!r}"
    text = str(problem["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:] if problem["type"] != "value_error" else text
