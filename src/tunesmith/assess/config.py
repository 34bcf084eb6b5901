"""What can be set about an assessment: the block ``assess`` of the configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunesmith.core.records import Record
from tunesmith.text.retrieval import RetrievalOptions


class Config(Record):
    """Which arms are tried, with what budget, and when an answer is good enough."""

    model: str = Field(
        default="", description="The base that is asked: name, folder or MODEL@http://host/v1; empty: the key model."
    )
    bigger: tuple[str, ...] = Field(default=(), description="Bigger models to try with the best prompt.")
    tuned: tuple[str, ...] = Field(default=(), description="Runs or adapters to put beside the other arms.")
    corpus: str = Field(
        default="", description="Folder of .txt, .md, .html and .pdf files for retrieval; empty: it is not measured."
    )
    retrieval: RetrievalOptions = Field(
        default=RetrievalOptions(), description="How the corpus is cut and searched: {method, embedder, …}."
    )
    passages: int = Field(default=4, ge=1, le=20, description="Most passages that a question is given.")
    instructions: tuple[str, ...] = Field(
        default=(), description="Your own instructions to try, beside those that follow from the training rows."
    )
    most_shots: int = Field(default=5, ge=0, le=32, description="Most worked examples in a prompt.")
    prompt_budget: int = Field(
        default=400,
        ge=0,
        description="Answers on validation rows that the search for the best prompt may ask for; as many again for "
        "retrieval. 0: no search, and then fine-tuning is never recommended.",
    )
    rewrites: int = Field(default=0, ge=0, le=20, description="Instructions that a model writes, part of the budget.")
    rewriter: str = Field(default="", description="Model that writes them: as model; empty: the base itself.")
    rows: int = Field(default=0, ge=0, description="Held-out rows to use, chosen by content; 0: all.")
    target: float = Field(
        default=0.9, gt=0.0, le=1.0, description="Share of the held-out rows that have to be right to be enough."
    )
    pass_score: float | Literal["auto"] = Field(
        default="auto",
        description="Score from which one answer is right, as a share of the metric's scale; auto = 1 for labels and "
        "JSON, 0.5 for free text.",
    )
    glossary: dict[str, tuple[str, ...]] = Field(
        default={}, description="House term: the words that must not stand for it, e.g. {client: [customer, user]}."
    )
    outdated: dict[str, str] = Field(
        default={}, description="What used to be true: what is true now, e.g. {30 days: 41 days}."
    )
    probe_rows: int = Field(default=50, ge=0, description="Rows of the knowledge probe; 0: no probe.")
    probe_samples: int = Field(default=4, ge=1, le=32, description="Sampled answers for each row of the probe.")
    fewest_rows: int = Field(
        default=50, ge=8, description="Rows, held-out ones included, below which the advice is to collect more."
    )
    prices: str = Field(default="", description="Price file for the cost of 1,000 answers; empty: not priced.")
    who: str = Field(default="", description="Who answers for this assessment; stands on the decision record.")


class Block(Record):
    """The key of the configuration."""

    assess: Config = Field(default=Config(), description="Whether to tune at all: the arms, budgets and target.")
