"""The evidence: what a verb leaves behind, stored in the workspace and cited by documents.

All are frozen, carry ``schema_version`` and survive a round trip through JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tunesmith.core.gates import Gate
from tunesmith.core.records import SCHEMA_VERSION, Finding, Record, SamplingParams

Verdict = Literal["better", "worse", "equivalent", "cannot tell"]


class DatasetCard(Record):
    """A checked and split data set: where it came from, how much of it there is, what was found."""

    schema_version: int = SCHEMA_VERSION
    digest: str
    sources: Mapping[str, str]
    """Path → SHA-256 of each file that was read."""
    formats: Mapping[str, str]
    """Path → shape that was recognised."""
    rows: Mapping[str, int]
    """Split → number of rows."""
    findings: tuple[Finding, ...] = ()


class Check(Record):
    """One line of the verify table. ``passed`` is None when it was not measured; ``detail`` says why."""

    name: str
    passed: bool | None
    detail: str


class SetShare(Record):
    """What one data set gives to a run: its training rows, how often rows of it are shown, and their tokens."""

    path: str
    rows: int
    shown: int
    tokens: int
    target_tokens: int


class Estimate(Record):
    """What a run will take, from a few real steps on this machine. Ranges are (low, high).

    ``seconds`` are those of the steps and of the validation losses. ``flops`` are those of the matrix products, what
    is computed twice counted once; ``gemm_flops`` is the machine's measured speed of such products, per second.
    """

    steps: int
    tokens: int
    target_tokens: int
    flops: float
    seconds: tuple[float, float]
    peak_memory_bytes: tuple[int, int]
    tokens_per_second: float
    validations: int = 0
    micro_batch: int = 0
    """Rows of one forward pass: what the configuration says, or fewer where more do not fit."""
    layers: int = 0
    recomputed_layers: int = 0
    activation_offload: bool = False
    free_memory_bytes: int = 0
    earlier_peak_bytes: int = 0
    """Most memory held before training began, while the model was loaded."""
    reload_bytes: int = 0
    """Memory of the fresh process that loads the saved weights beside the run, for a moment."""
    gemm_flops: float = 0.0
    sets: tuple[SetShare, ...] = ()
    """The data sets that the run is to be trained on."""


class Outturn(Record):
    """A finished run beside its estimate. Shares are relative differences: 0.1 means a tenth more than estimated."""

    seconds: float
    seconds_share: float
    peak_memory_bytes: int
    peak_memory_share: float
    sentence: str


class RunRecord(Record):
    """One training run: everything that is needed to explain or repeat it."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    created_at: str
    config: Mapping[str, Any]
    origins: Mapping[str, str]
    dataset_digest: str
    base_fingerprint: str
    renderer_digest: str
    seed: int
    environment: Mapping[str, str]
    estimate: Estimate | None = None
    outturn: Outturn | None = None
    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    target_tokens: int = 0
    train_losses: tuple[float, ...] = ()
    validation_losses: Mapping[int, float] = {}
    """Optimiser step → mean loss over the target tokens of the validation rows, in nats."""
    task_metrics: Mapping[int, Mapping[str, float]] = {}
    """Optimiser step → metric → value, of answers to ``task_metric_rows`` validation rows."""
    task_metric_rows: int = 0
    best_step: int = 0
    peak_memory_bytes: int = 0
    utilisation: float = 0.0
    """Share of the machine's measured speed of matrix products that the steps reached; 0: not measured."""
    noticed: tuple[str, ...] = ()
    """Loss spikes, overfitting, memory that ran out: a sentence each."""
    adapter_digest: str = ""
    parent_digest: str = ""
    """Digest of the adapter that training went on from; "" when it began anew."""
    checks: tuple[Check, ...] = ()
    sets: tuple[SetShare, ...] = ()
    """What came from each data set, up to the last step."""
    stopped: str = ""
    """Why the run ended: "finished", "early stopping", …"""


class Canary(Record):
    """A token sequence with the log-probabilities that the trained model gave it, replayed after every load."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


class AdapterCard(Record):
    """What an adapter (or a fully tuned model) is, which base it belongs to, and how to prove that it loaded."""

    schema_version: int = SCHEMA_VERSION
    method: str
    task: str = "sft"
    base: str
    base_fingerprint: str
    renderer_digest: str
    chat_template: str
    stop_ids: tuple[int, ...]
    run_id: str
    dtype: str
    canaries: tuple[Canary, ...] = ()
    files: Mapping[str, str] = {}
    """File name → SHA-256 of every file of the artifact."""
    merged_from: str = ""
    """Digest of the adapter that became part of these weights."""


class Summary(Record):
    """A score of one model on one metric, with its confidence interval. ``value`` None: not measured."""

    model: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""


class Comparison(Record):
    """Candidate against baseline on the same rows. ``difference`` = candidate − baseline."""

    metric: str
    baseline: str
    candidate: str
    baseline_value: float | None
    candidate_value: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    """Of metrics that do not decide and of slices it is Holm's, corrected for how many of them were looked at."""
    test: str
    smallest_visible: float | None
    """The smallest true difference that this many rows show with 80 % power."""
    higher_is_better: bool
    n: int
    verdict: Verdict
    sentence: str


class ItemResult(Record):
    """One held-out row: the question, the wanted answer, each model's answer and its scores."""

    example_id: str
    source: str
    prompt: str
    reference: str
    answers: Mapping[str, str]
    finish_reasons: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float | None]]
    """Model → metric → value of this row."""


class ModelIdentity(Record):
    """Name for people and digest of what answered."""

    name: str
    digest: str


class Opening(Record):
    """One look at a set of held-out rows: which models were asked about them, by which spec ("": none), and when.

    ``limit``: how many looks the rows allow in all, where they are a vault; else 0.
    """

    schema_version: int = SCHEMA_VERSION
    rows: str
    spec: str = ""
    models: tuple[str, ...]
    """Digests of what was asked, in order; its name where something has none."""
    at: str
    limit: int = 0


class Standing(Record):
    """What a verdict may claim: *confirmatory* when its question was fixed before the first look at the rows."""

    kind: Literal["confirmatory", "exploratory"]
    reason: str
    opening: int
    """The how many-th look at these rows it was."""
    spec: str = ""
    """Digest of the spec; "" when there was none."""


class Slice(Record):
    """A part of the rows, and the primary metric compared on it alone. ``name`` is ``key=value``."""

    name: str
    comparisons: tuple[Comparison, ...]


class JudgeAudit(Record):
    """What a judging model said about a candidate beside the first model, and how far it may be believed.

    ``wins`` and ``losses`` are those of the candidate, in both orders; ``nonsense`` pairs got no readable judgement.
    """

    judge: ModelIdentity
    prompt_digest: str
    candidate: str
    rows: int
    wins: int
    losses: int
    ties: int
    nonsense: int
    consistency: float | None
    """Share of readable pairs with the same judgement in both orders."""
    first_position: float | None
    """Share of decisions for the answer that was shown first; a half when position does not count."""
    alike_wins: int
    """Wins among pairs of about equal length."""
    alike_losses: int
    kappa: float | None
    """Agreement with people beyond chance; None when it was not measured."""
    kappa_low: float | None
    kappa_high: float | None
    labels: int
    faults: tuple[str, ...] = ()
    """Why it is advisory only; () when it passed."""
    flags: tuple[str, ...] = ()


class Report(Record):
    """An evaluation: per-row results, scores with intervals, paired differences, and a verdict in words."""

    schema_version: int = SCHEMA_VERSION
    report_id: str
    created_at: str
    dataset_digest: str
    models: tuple[ModelIdentity, ...]
    params: SamplingParams
    primary_metric: str
    confidence: float
    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    items: tuple[ItemResult, ...]
    verdict: Verdict | None
    """Verdict on the primary metric; None when there was no baseline to compare with."""
    sentence: str
    notes: tuple[str, ...] = ()
    """What was chosen automatically and why, and what to know when reading the numbers."""
    slices: tuple[Slice, ...] = ()
    gates: tuple[Gate, ...] = ()
    judges: tuple[JudgeAudit, ...] = ()
    standing: Standing | None = None
    """Whether the question was written down before; None where nobody counts looks."""


class Difference(Record):
    """How far apart the logits of two forms of one model are, on the same tokens."""

    positions: int
    largest: float
    """Largest absolute difference of a logit."""
    spread: float
    """Standard deviation of the logits."""
    relative: float
    """``largest`` / ``spread``: the number that a threshold is about."""
    agreement: float
    """Share of positions at which both would choose the same token."""
    kept: float | None = None
    """1 − error / effect of the adapter, both as root mean squares; None where the adapter does nothing."""


class Delivery(Record):
    """A model made ready to leave: what was written, and how far it is from what was judged."""

    schema_version: int = SCHEMA_VERSION
    source: str
    format: str
    """safetensors, peft or gguf."""
    number_format: str
    path: str
    size: int
    """Bytes of all that was written."""
    difference: Difference | None
    """None where the very bytes were copied."""
    max_difference: float
    report: Report | None = None
    """The delivered model against the judged one on the user's rows."""
    refused: str = ""
    """Why nothing was written; "" when it was."""
    notes: tuple[str, ...] = ()


class Release(Record):
    """A name that people call → the adapter that answers, why it may, and what to go back to."""

    schema_version: int = SCHEMA_VERSION
    alias: str
    adapter_digest: str
    report_id: str = ""
    verdict: Verdict | None = None
    created_at: str
    previous_digest: str = ""


class SweepTrial(Record):
    """One configuration that a hyper-parameter search tried. ``losses`` and ``loss`` are of the validation rows."""

    number: int
    values: Mapping[str, Any]
    """Key → value of every searched key."""
    eval_steps: int
    state: Literal["complete", "pruned", "failed", "cut"]
    """pruned: stopped because it was behind; failed: it broke; cut: the budget ended first."""
    loss: float | None = None
    """Lowest validation loss, in nats per target token; only complete trials compare by it."""
    losses: Mapping[int, float] = {}
    """Eighths of the trial's own steps that were done → validation loss then."""
    steps: int = 0
    seconds: float = 0.0
    planned_seconds: float = 0.0
    reason: str = ""
    """Why it ended before its time; empty for a complete one."""


class SweepRecord(Record):
    """A hyper-parameter search: what was searched, what each trial gave, how sure one may be."""

    schema_version: int = SCHEMA_VERSION
    sweep_id: str
    created_at: str
    identity: Mapping[str, str]
    """What all trials have in common: configuration, data, base, template, search space."""
    space: Mapping[str, str]
    """Searched key → its candidates, in words."""
    has_own: bool = False
    """Whether trial 0 is the configuration as it stood in the file."""
    trials: tuple[SweepTrial, ...] = ()
    seconds: float = 0.0
    """All time that was used, that of trials which were stopped by the user included."""
    stopped: str = ""
    sentence: str = ""

    @property
    def ranking(self) -> tuple[SweepTrial, ...]:
        """The complete trials, best first."""
        done = [trial for trial in self.trials if trial.state == "complete" and trial.loss is not None]
        return tuple(sorted(done, key=lambda trial: (trial.loss, trial.number)))


class Machine(Record):
    """What the hardware offers, for `tunesmith doctor`."""

    facts: Mapping[str, str]
    """Name → description in words: processor, cores, memory, number format, GPU."""
    threads: int
    threads_reason: str
    fast_bf16: bool
    available_memory_bytes: int
    gflops: Mapping[str, float]
    """Number of threads in words → speed of a matrix product in GFLOP/s; one thread first, all threads last."""
