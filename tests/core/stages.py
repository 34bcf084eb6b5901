"""Two small stages of a configuration, with a key of every kind, and how tests read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tunesmith.core.config import Settings, load
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record


class Source(Record):
    path: str = Field(description="File or folder of rows.")
    columns: Mapping[str, str] = Field(default={}, description="Column → role.")
    limit: int | None = Field(default=None, ge=1, description="Rows to read at most.")


class Curate(Record):
    datasets: tuple[Source, ...] = Field(min_length=1, description="The files to train on.")
    val_size: float = Field(default=0.1, ge=0.0, lt=1.0, description="Share of rows for validation.")
    seed: int = Field(default=42, description="Start of every random choice.")


class Train(Record):
    model: str = Field(default="tiny", min_length=1, description="Model to start from.")
    lora_r: int = Field(default=16, ge=1, le=1024, description="Rank of the adapter.")
    learning_rate: Annotated[float, Field(gt=0.0)] | Literal["auto"] = Field(default="auto", description="Peak.")
    lr_scheduler_type: Literal["cosine", "linear"] = Field(default="cosine", description="How the rate falls.")
    bf16: bool = Field(default=True, description="Compute in bfloat16.")
    output_dir: Path = Field(default=Path("output"), description="Where the result goes.")
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="Decay of the two averages.")
    tags: tuple[str, ...] = Field(default=(), max_length=2, description="Words to find the run by.")
    batch: int = Field(default=8, multiple_of=8, description="Rows a step.")
    alias: str = Field(default="a", pattern="^[a-z]+$", max_length=5, description="Name of the release.")
    grammar: dict[str, Any] | str | None = Field(default=None, description="Shape of the answer.")
    early: float = Field(default=0.5, description="Odd one out.")
    seed: int = Field(default=42, description="Start of every random choice.")

    @field_validator("early")
    @classmethod
    def _not_a_third(cls, value: float) -> float:
        if value == 0.3:
            raise ValueError("0.3 is not a good choice")
        return value

    @model_validator(mode="after")
    def _together(self) -> Train:
        if self.bf16 and self.lora_r == 13:
            raise ConfigError("rank 13 does not go with bf16", rule="13 is unlucky", fix="set bf16: false")
        return self


STAGES = {"curate": Curate, "train": Train}
MINIMAL = "datasets:\n  - path: rows.jsonl\n"


def read(text: str, *overrides: str, folder: Path) -> Settings:
    path = folder / "tunesmith.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, STAGES, overrides)
