"""What to read, and what comes out: the configuration of the verb and its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, field_validator, model_validator

from tunesmith.core.artifacts import DatasetCard
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Example, Record, Split
from tunesmith.core.registry import nearest
from tunesmith.core.rows import TokenRows
from tunesmith.curate.checks.options import Checks
from tunesmith.curate.provenance import Provenance

Format = Literal["auto", "chat", "sharegpt", "alpaca", "prompt-completion", "text"]
FIELD_NAMES = (
    "text",
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
        min_length=1,
        description="File with the examples: .jsonl, .json, .csv, .tsv, .txt (also .gz) or .parquet; or a folder of "
        ".txt files.",
    )
    format: Format = Field(default="auto", description="Shape of the rows; auto recognises it from the first row.")
    columns: Mapping[str, str] = Field(
        default={},
        description="Our field name: column name in the file, e.g. {prompt: question, completion: answer}. "
        "Only the named columns are read; a value that is not text is written as compact JSON.",
    )
    split: Split | None = Field(
        default=None,
        description="Put all rows of this file into train, validation, test or vault; empty: split by content. A vault "
        "is kept for a last judgement: no run reads it, and the checks see to it that nothing of it is trained on.",
    )
    system: str = Field(default="", description="System message for the rows that have none of their own.")
    sample_by: Literal["document", "paragraph", "line"] = Field(
        default="document",
        description="What a row of a .txt file is: the whole file, each paragraph (empty lines between), or each line.",
    )
    weight: float = Field(
        default=1.0,
        gt=0.0,
        le=100.0,
        description="How often an epoch shows the training rows of this file: 2 shows them twice, 0.5 a different half "
        "in each epoch.",
    )
    replay: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="Old or general data against forgetting: this share of each epoch's rows comes from this file. Its "
        "rows only train; none is held out.",
    )
    provenance: Provenance | None = Field(
        default=None,
        description="Where the rows come from: {owner, licence, basis, collected, collection_method, retention, "
        "tdm_opt_out, subject_column}.",
    )

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

    @model_validator(mode="after")
    def _weigh_training_rows_only(self) -> DatasetSpec:
        if self.replay is not None and self.weight != 1:
            raise ConfigError(
                f"{self.path} has both weight {self.weight:g} and replay {self.replay:g}",
                where="datasets",
                rule="replay states the share of an epoch; a weight would state it a second time",
                fix="remove one of them",
            )
        if self.split not in (None, "train") and (self.replay is not None or self.weight != 1):
            what = "weight" if self.replay is None else "replay share"
            raise ConfigError(
                f"{self.path} is held out for {self.split}, and has a {what}",
                where="datasets",
                rule="weight and replay say how often rows are trained; held-out rows are never trained",
                fix="remove it, or remove split",
            )
        return self


class Config(Record):
    """Options of curation."""

    datasets: tuple[DatasetSpec, ...] = Field(min_length=1, description="The data files, in order.")
    val_size: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="Share of the rows that choose the best checkpoint."
    )
    test_size: float = Field(default=0.1, ge=0.0, lt=1.0, description="Share of the rows that only the verdict sees.")
    split_seed: int = Field(default=0, ge=0, description="Another number gives another split of the same rows.")
    group_by: str = Field(
        default="",
        description="Column of the data files whose equal values stay in one split: customer, conversation, document.",
    )
    split_by_time: str = Field(
        default="",
        description="Column with a date or a number: the latest rows become test, those before them validation.",
    )
    on_too_long: Literal["error", "drop"] = Field(
        default="error",
        description="Rows longer than max_length: stop with an error, or leave them out and record it. Never cut.",
    )
    require_provenance: bool | None = Field(
        default=False,
        description="Refuse to train on a data set that does not say where its rows come from; false only warns, null "
        "does not ask.",
    )
    checks: Checks = Field(default=Checks(), description="What the checks of the rows look for, check by check.")

    @model_validator(mode="after")
    def _leave_room_beside_replay(self) -> Config:
        shares = [spec.replay for spec in self.datasets if spec.replay is not None]
        if shares and (len(shares) == len(self.datasets) or sum(shares) >= 1):
            raise ConfigError(
                f"replay takes the whole epoch: {len(shares)} of {len(self.datasets)} data sets, {sum(shares):.0%}",
                where="datasets",
                rule="replay is a share beside the rows that are to be learned",
                fix="add a data set without replay, or lower the shares so that they stay below 1 together",
            )
        return self

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


def compared_with(config: Config, paths: Sequence[str]) -> Config:
    """The configuration with more evaluation files that no row may give away."""
    overlap = config.checks.overlap
    overlap = overlap.model_copy(update={"against": (*overlap.against, *paths)})
    checks = config.checks.model_copy(update={"overlap": overlap})
    return config.model_copy(update={"checks": checks})


@dataclass(frozen=True)
class DataSet:
    """One file of a data set: how many of its tokenised rows train, and how often an epoch shows them."""

    path: str
    rows: int
    weight: float = 1.0
    replay: float | None = None


@dataclass(frozen=True)
class Dataset:
    """Checked rows, each with its split filled in, and the card that describes them.

    ``tokens``: split → its tokenised rows, file after file, read from the workspace when they are asked for; empty
    when there was no renderer or no workspace. ``sets``: the files, in the order of ``tokens["train"]``.
    """

    card: DatasetCard
    examples: tuple[Example, ...]
    tokens: Mapping[str, TokenRows] = field(default_factory=dict)
    sets: tuple[DataSet, ...] = ()

    def of(self, split: Split) -> tuple[Example, ...]:
        """The rows of one split, in file order."""
        return tuple(example for example in self.examples if example.split == split)
