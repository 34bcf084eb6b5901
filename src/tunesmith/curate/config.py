"""What to read, and what comes out: the configuration of the verb and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator, model_validator

from tunesmith.core.artifacts import DatasetCard
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Example, Record, Split
from tunesmith.core.registry import nearest

Format = Literal["auto", "chat", "sharegpt", "alpaca", "prompt-completion"]
FIELD_NAMES = (
    "messages",
    "conversations",
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
    "history",
    "system",
    "tools",
)
"""The fields that a row may have under our names."""


class DatasetSpec(Record):
    """One data file and how to read it."""

    path: str = Field(
        min_length=1, description="File with the examples: .jsonl, .json, .csv, .tsv (also .gz) or .parquet."
    )
    format: Format = Field(default="auto", description="Shape of the rows; auto recognises it from the first row.")
    columns: Mapping[str, str] = Field(
        default={},
        description="Our field name: column name in the file, e.g. {prompt: question, completion: answer}. "
        "Only the named columns are read; a value that is not text is written as compact JSON.",
    )
    split: Split | None = Field(
        default=None, description="Put all rows of this file into train, validation or test; empty: split by content."
    )
    system: str = Field(default="", description="System message for the rows that have none of their own.")

    @field_validator("columns")
    @classmethod
    def _know_our_fields(cls, columns: Mapping[str, str]) -> Mapping[str, str]:
        for name in columns:
            if name not in FIELD_NAMES:
                near = nearest(name, FIELD_NAMES)
                raise ConfigError(
                    f"columns names the unknown field {name!r}",
                    where="columns",
                    rule=f"columns maps our fields to yours; ours are {', '.join(FIELD_NAMES)}",
                    fix=f"did you mean {near[0]!r}?" if near else "for example {prompt: question, completion: answer}",
                )
        return columns


class Config(Record):
    """Options of curation."""

    datasets: tuple[DatasetSpec, ...] = Field(min_length=1, description="The data files, in order.")
    val_size: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="Share of the rows that choose the best checkpoint."
    )
    test_size: float = Field(default=0.1, ge=0.0, lt=1.0, description="Share of the rows that only the verdict sees.")
    split_seed: int = Field(default=0, ge=0, description="Another number gives another split of the same rows.")
    on_too_long: Literal["error", "drop"] = Field(
        default="error",
        description="Rows longer than max_length: stop with an error, or leave them out and record it. Never cut.",
    )

    @model_validator(mode="after")
    def _leave_rows_for_training(self) -> Config:
        if self.val_size + self.test_size >= 1:
            raise ConfigError(
                f"val_size is {self.val_size:g}, test_size is {self.test_size:g}",
                where="val_size, test_size",
                rule="val_size and test_size together must be below 1: no row would be left for training",
                fix="lower one of them",
            )
        return self


@dataclass(frozen=True)
class Dataset:
    """Checked rows, each with its split filled in, and the card that describes them."""

    card: DatasetCard
    examples: tuple[Example, ...]

    def of(self, split: Split) -> tuple[Example, ...]:
        """The rows of one split, in file order."""
        return tuple(example for example in self.examples if example.split == split)
