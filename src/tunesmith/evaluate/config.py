"""What can be set about an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith.core.records import Record
from tunesmith.evaluate.options import JudgeOptions, Prices
from tunesmith.text.graders import Assertion


class Config(Record):
    """How the held-out rows are answered and when a difference counts."""

    json_schema: dict[str, Any] | str | None = Field(
        default=None,
        description="JSON schema that every answer must follow: the schema itself, or the path of a .json file",
    )
    primary_metric: str = Field(
        default="auto",
        description="metric that decides: auto = field_f1 for JSON answers, exact_match for short ones, else chrf",
    )
    max_new_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="most tokens of an answer; auto = a quarter more than the longest wanted answer"
    )
    temperature: float = Field(
        default=0.0, ge=0.0, le=2.0, description="0 = always the likeliest token, so that a repeat gives the same"
    )
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, description="share of probability that is sampled from")
    evaluation_seed: int = Field(default=0, ge=0, description="seed of sampled answers and of the resampling")
    bootstrap_samples: int = Field(
        default=10_000, ge=200, le=1_000_000, description="resamples behind each interval and each permutation test"
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1.0, description="confidence of every interval; tests use 1 - confidence"
    )
    equivalence_margin: float = Field(
        default=0.02,
        ge=0.0,
        lt=1.0,
        description="differences inside this count as equal: share of a metric's scale (0.02 = 2 points), "
        "of the baseline's value for perplexity",
    )
    minimum_difference: float = Field(
        default=0.05,
        gt=0.0,
        lt=1.0,
        description="smallest difference that matters, as a share of a metric's scale: a run whose rows are too few to "
        "see it says so before any model is asked",
    )
    seeds_together: bool = Field(
        default=False,
        description="the models after the first are one training under several seeds: judge their mean, with an "
        "interval over rows and seeds, and show the spread between them",
    )
    slices: tuple[Literal["group", "source", "length", "answer_length"], ...] = Field(
        default=(),
        description="parts of the rows that are compared on their own too, corrected for their number: group "
        "(group_by), source (file), length of the question, answer_length of the wanted answer (each in thirds)",
    )
    metrics: tuple[str, ...] = Field(
        default=(),
        description="measured beside those that always are: ter, rouge_1, rouge_2, latency_p50, latency_p95, "
        "label_choice, label_scores, or FILE.py:FUNCTION of your own, run confined; what does not fit is refused",
    )
    graders: tuple[dict[str, Any] | str, ...] = Field(
        default=(),
        description="OpenAI's grader objects (string_check, text_similarity, score_model, label_model, python, multi), "
        "or paths of JSON or YAML files with them",
    )
    grader_models: Mapping[str, str] = Field(
        default={}, description="name of a model in a grader → what stands for it: a model here or MODEL@http://host/v1"
    )
    assertions: tuple[Assertion, ...] = Field(
        default=(),
        description="demands that every answer is held to: {type: contains, value: …}; also regex, is-json, json-path, "
        "max-length, similar, latency, cost and more",
    )
    slot_lexicon: str | None = Field(
        default=None,
        description="measure the slot error rate against the facts in the question, by the phrases of this YAML file; "
        "verbatim = the values as they stand",
    )
    labels: tuple[str, ...] = Field(
        default=(), description="all labels, for label_choice and label_scores; empty = those of the held-out rows"
    )
    token_prices: Prices | None = Field(
        default=None, description="what tokens cost, for the metric cost: {prompt, completion, currency, source, date}"
    )
    judge: JudgeOptions | None = Field(
        default=None,
        description="a model that compares answers in both orders: {model, criteria, calibration, max_tokens}",
    )

    @property
    def asked_models(self) -> tuple[str, ...]:
        """Models that grade or judge, each once."""
        names = [*self.grader_models.values(), *([self.judge.model] if self.judge else [])]
        return tuple(dict.fromkeys(names))

    def counted_from(self, here: Path) -> Config:
        """The same with its paths counted from a folder."""

        def whole(path: str) -> str:
            return str((here / Path(path).expanduser()).absolute())

        parts = [spec.rpartition(":") for spec in self.metrics]
        own = [f"{whole(path)}:{name}" if mark else name for path, mark, name in parts]
        lexicon = self.slot_lexicon
        judge = self.judge
        if judge is not None and judge.calibration is not None:
            judge = judge.model_copy(update={"calibration": whole(judge.calibration)})
        return self.model_copy(
            update={
                "json_schema": whole(self.json_schema) if isinstance(self.json_schema, str) else self.json_schema,
                "metrics": tuple(own),
                "graders": tuple(whole(g) if isinstance(g, str) else g for g in self.graders),
                "slot_lexicon": lexicon if lexicon in (None, "verbatim") else whole(str(lexicon)),
                "judge": judge,
            }
        )
