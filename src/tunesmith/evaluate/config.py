"""What can be set about an evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith.core.records import Record


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
