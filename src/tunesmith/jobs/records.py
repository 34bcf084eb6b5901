"""What a job is: its states, what was asked for, how far it has come, what came out.

    create → validating_files → queued → running → succeeded
                   │               │  ↑     │  └──→ failed
                   ↓               │  └─────┤ resume
                failed             └── paused ←── pause, or a full disk
    cancelled from every state that is not an end; a worker that stops gives a running job back to the queue

The names and the ends are those of OpenAI's ``fine_tuning.job``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tunesmith.core.records import Record

State = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
Wish = Literal["", "cancel", "pause"]
Level = Literal["info", "warn", "error"]

ENDS: tuple[State, ...] = ("succeeded", "failed", "cancelled")
"""States that nothing leaves."""

MOVES: Mapping[State, tuple[State, ...]] = {
    "validating_files": ("queued", "failed", "cancelled", "paused"),
    "queued": ("running", "paused", "cancelled"),
    "running": ("queued", "succeeded", "failed", "paused", "cancelled"),
    "paused": ("queued", "validating_files", "cancelled"),
    "succeeded": (),
    "failed": (),
    "cancelled": (),
}
"""State → the states that may follow."""


class Spec(Record):
    """What was asked for, with every automatic value worked out."""

    model: str
    """As the client wrote it: a base, or a finished ``ft:`` model to go on from."""
    base: str
    """The base's name for clients; part of the name of what comes out."""
    training_file: str
    validation_file: str | None = None
    test_file: str | None = None
    suffix: str | None = None
    seed: int
    metadata: Mapping[str, str] | None = None
    method: Literal["supervised"] = "supervised"
    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    base_learning_rate: float
    """Of this model and kind of adapter; times the multiplier it is the rate of the run."""
    extras: Mapping[str, Any] = {}
    """Fields of ours beside OpenAI's, as they were sent."""
    config: Mapping[str, Any]
    """The configuration of the run: keys of ``tunesmith.yaml``; ``model`` is a place on this machine."""
    rows: int = 0
    """Rows of the training file."""

    @property
    def judged(self) -> bool:
        """Whether the job ends with a verdict: rows are held out for one."""
        return self.test_file is not None or bool(self.config.get("test_size"))


class Problem(Record):
    """Why a job failed, as OpenAI has it."""

    code: str
    message: str
    param: str | None = None


class Owner(Record):
    """The process that has claimed a job."""

    worker: str
    host: str
    pid: int
    started: str
    """Start time of the process, so that a number that was given to another process is not taken for it."""


class Progress(Record):
    """How far a run has come."""

    step: int = 0
    total_steps: int = 0
    train_loss: float | None = None
    valid_loss: float | None = None
    validated_step: int = 0
    kept_step: int = 0
    estimated_finish: int | None = None
    longest_step: float = 0.0
    """Seconds."""


class Result(Record):
    """What a run left."""

    model: str
    adapter_digest: str
    """Identity of the trained weights (`tunesmith.model.adapters.adapter_digest`)."""
    artifact: str
    """The folder in the workspace."""
    trained_tokens: int
    steps: int
    seconds: float
    result_file: str = ""
    verdict: str | None = None
    sentence: str = ""
    """The verdict in words; "" without a test file."""
    report_id: str = ""
    estimate: Mapping[str, Any] | None = None


class Body(Record):
    """The part of a job that is kept as one JSON document."""

    spec: Spec
    validated: bool = False
    """The files were read with the model's own tokens, and nothing stands against training."""
    data: Mapping[str, Any] = {}
    """Rows and tokens of each part, once they are validated."""
    started_at: float | None = None
    finished_at: float | None = None
    reason: str = ""
    """Why it is paused."""
    waits_for_room: bool = False
    """Paused by a full disk: goes on by itself when there is room."""
    error: Problem | None = None
    progress: Progress = Progress()
    result: Result | None = None
    crashes: int = 0
    """Attempts that died by themselves since the last step forward."""
    crashed_at: int = -1
    """Step that the last of them had reached."""


class Job(Record):
    """A job as it stands in the store."""

    id: str
    seq: int
    tenant: str
    state: State
    wish: Wish = ""
    fence: int = 0
    """Number of the attempt; what an earlier attempt reports is not taken any more."""
    beat: int = 0
    owner: Owner | None = None
    created_at: float
    body: Body

    @property
    def spec(self) -> Spec:
        """What was asked for."""
        return self.body.spec

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDS


class NewEvent(Record):
    """Something to tell about a job."""

    message: str
    level: Level = "info"
    type: Literal["message", "metrics"] = "message"
    data: Mapping[str, Any] | None = None


class JobEvent(Record):
    """An event as it stands in the store. ``seq`` counts from 1 within its job, without gaps."""

    id: str
    job: str
    seq: int
    created_at: float
    level: Level
    type: Literal["message", "metrics"]
    message: str
    data: Mapping[str, Any] | None = None


class Checkpoint(Record):
    """The weights of a validation, callable under ``model``."""

    id: str
    job: str
    step: int
    created_at: float
    model: str
    metrics: Mapping[str, Any] = {}


class StoredFile(Record):
    """An uploaded file, or one that a job wrote."""

    id: str
    tenant: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    created_at: float
    expires_at: float | None = None
    report: Mapping[str, Any] | None = None
    """What the check of a training file found."""

    @property
    def usable(self) -> bool:
        """Whether every row of a training file can be read."""
        return self.report is None or bool(self.report.get("valid"))


class TunedModel(Record):
    """A callable name that a job made. ``step`` None: the job's best weights, its final model."""

    name: str
    tenant: str
    job: str
    artifact: str
    adapter_digest: str
    base: str
    base_fingerprint: str
    step: int | None = None
    created_at: float
