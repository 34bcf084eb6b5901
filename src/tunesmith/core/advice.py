"""What an assessment leaves behind: every arm that was tried, what it cost, why it fell short, and what to do.

Arms are told apart by their role; names are for people and decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tunesmith.core.artifacts import Comparison
from tunesmith.core.costs import Range
from tunesmith.core.records import SCHEMA_VERSION, Record, SamplingParams

Role = Literal["zero-shot", "prompt", "retrieval", "bigger", "tuned", "tuned + retrieval"]

Recommendation = Literal[
    "prompt", "retrieval", "fine-tune", "fine-tune + retrieval", "collect more data", "cannot tell"
]

ErrorKind = Literal["format", "style", "terminology", "missing knowledge", "stale knowledge", "reasoning", "refusal"]

FORM: tuple[ErrorKind, ...] = ("format", "style", "terminology", "refusal")
"""How an answer is given: what examples teach."""

KNOWLEDGE: tuple[ErrorKind, ...] = ("missing knowledge", "stale knowledge")
"""What an answer would have to know: what documents tell."""


class Share(Record):
    """``count`` of ``n`` with the exact interval of the share."""

    count: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share; 0 of nothing is 0, with an interval from 0 to 1."""
        return self.count / self.n if self.n else 0.0


class Spent(Record):
    """What finding an arm took, on validation rows alone: answers that were allowed, answers that were asked."""

    allowed: int = 0
    asked: int = 0
    candidates: int = 0
    validation_rows: int = 0


class Arm(Record):
    """One way to answer, measured on the held-out rows. ``metric`` None and ``reason``: it was not measured."""

    role: Role
    name: str
    model: str = ""
    plan: str = ""
    """What the model is told before the question, in words."""
    reason: str = ""
    measured: bool = True
    metric: str = ""
    score: float | None = None
    low: float | None = None
    high: float | None = None
    right: Share | None = None
    errors: Mapping[ErrorKind, Share] = {}
    """Wrong answers by their one main error, as shares of all rows."""
    form_faults: Share | None = None
    """Rows with any fault of form, right ones included."""
    facts_found: Share | None = None
    """Retrieval: rows whose wanted facts stand in the passages that were given."""
    spent: Spent = Spent()
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    """Mean of an answer."""
    seconds: float | None = None
    """Of an answer when all rows are asked together, as measured the first time; None: not measured."""
    cost_per_1000: Range | None = None
    currency: str = ""
    fell_short: str = ""


class Probe(Record):
    """What the base can produce of facts that no question gives away."""

    rows: int
    samples: int
    sampled: Share | None
    """Rows whose facts stood in at least one of ``samples`` answers."""
    ranked: Share | None
    """Rows whose wanted answer was likelier than all of ``others`` wanted answers of other rows."""
    others: int
    note: str = ""


class Verdict(Record):
    """Two arms on the same rows by the share that is right: exact McNemar, with its interval."""

    baseline: Role
    candidate: Role
    gained: int
    lost: int
    n: int
    low: float
    high: float
    p_value: float
    word: Literal["better", "worse", "equivalent", "cannot tell"]


class AssessedItem(Record):
    """One held-out row: what was asked and wanted, and each arm's answer, error and sources."""

    example_id: str
    source: str
    prompt: str
    reference: str
    answers: Mapping[str, str]
    scores: Mapping[str, float | None]
    right: Mapping[str, bool]
    errors: Mapping[str, tuple[ErrorKind, ...]]
    """Arm → its errors, the main one first; a right answer may have faults of form."""
    sources: Mapping[str, tuple[str, ...]] = {}
    """Arm → the passages that it was given, as "id source"."""


class Advice(Record):
    """The answer to "is fine-tuning the right lever", with everything that it rests on."""

    schema_version: int = SCHEMA_VERSION
    advice_id: str
    created_at: str
    who: str
    dataset_digest: str
    rows: Mapping[str, int]
    metric: str
    target: float
    """Share of rows that have to be right."""
    pass_score: float
    """Score of a row, as a share of the metric's scale, from which its answer is right."""
    margin: float
    confidence: float
    params: SamplingParams
    arms: tuple[Arm, ...]
    verdicts: tuple[Verdict, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    """On the metric itself, every arm against the plain base."""
    probe: Probe | None = None
    corpus: str = ""
    recommendation: Recommendation
    rule: str
    sentence: str
    would_change: tuple[str, ...] = ()
    items: tuple[AssessedItem, ...] = ()
    notes: tuple[str, ...] = ()
