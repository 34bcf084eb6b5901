"""One attempt at a job, in a process of its own: ``python -m tunesmith.jobs.attempt PHASE ROOT JOB FENCE``.

It reads the job's folder, tells its progress into the log there, and leaves how it ended in a file; it knows nothing of
the queue. It ends at once, with every process that it started, when the process that started it ends: standard input
is a pipe that closes then.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from tunesmith.core import store
from tunesmith.core.errors import Interrupted, StorageError, TunesmithError
from tunesmith.core.events import AnyEvent, Step, Tick
from tunesmith.core.store import Workspace
from tunesmith.jobs.places import Place

Phase = Literal["validate", "train", "plan"]
DONE, BROKE, STOPPED, NO_ROOM, TAKEN = 0, 3, 130, 28, 75
"""Exit codes: done (a refusal too, which stands in the result), broke, stopped on request, disk full, taken already."""

LOCK_SECONDS = 10
"""How long an earlier attempt may take to be gone."""

SEEDS = 200
"""Splits that are tried where a few rows have to give one to each part."""


def end_with(parent_pipe: int) -> None:
    """Wait, in a thread, until the pipe from the parent closes; then kill this process group."""

    def wait() -> None:
        while os.read(parent_pipe, 1):
            pass
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True, name="parent").start()


def attempt(phase: Phase, root: Path, job: str, fence: int) -> int:
    """Do one phase of a job; returns the exit code.

    Whatever went wrong stands in the result, so that whoever reads it can tell the user.
    """
    place = Place(root, job)
    target = place.validated if phase == "validate" else place.result
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        with store.exclusive(place.lock) as mine:
            if mine:
                return _held(phase, place, target, fence)
        if time.monotonic() > deadline:
            return TAKEN
        time.sleep(0.1)


def _held(phase: Phase, place: Place, target: Path, fence: int) -> int:
    try:
        outcome: Mapping[str, Any] = PHASES[phase](place, lambda event: _tell(place, event))
        result, code = {"status": "done", **outcome}, DONE
    except Interrupted:
        result, code = {"status": "stopped"}, STOPPED
    except StorageError as error:
        result, code = {"status": "no room", "error": error.as_dict()}, NO_ROOM
    except TunesmithError as error:
        result, code = {"status": "refused", "error": error.as_dict()}, DONE
    except Exception as error:
        trace = "".join(traceback.format_exception(error))
        result, code = {"status": "broke", "error": {"what": repr(error)[:500], "trace": trace[-4000:]}}, BROKE
    try:
        store.write_text(target, json.dumps({"fence": fence, **result}, sort_keys=True) + "\n")
    except StorageError:
        return NO_ROOM  # the exit code says the same
    return code


def _tell(place: Place, event: AnyEvent) -> None:
    """Into the log; bars are for terminals."""
    if isinstance(event, Tick):
        return
    leave_out = {"row_losses", "example_ids"} if isinstance(event, Step) else None
    store.append_line(place.log, event.model_dump_json(exclude=leave_out))


def validate(place: Place, emit: Callable[[AnyEvent], None]) -> dict[str, Any]:
    """Read all rows with the model's own tokens; find a split that gives every part a row.

    Raises:
        TunesmithError: rows that cannot be trained on.
    """
    from tunesmith import curate, lifecycle

    settings = lifecycle.load_settings(place.config)
    data = settings.stage("data", curate.Config)
    examples = [example for spec in data.datasets for example in curate.read(spec)]
    seed = _seed(examples, data)
    settings = settings.resolve("split_seed", seed, "the first that gives every part a row")
    project = lifecycle.prepare(settings, Workspace.open(place.root), emit, judged=wants_verdict(data))
    tokens = {split: sum(len(row.tokens) for row in rows) for split, rows in project.dataset.tokens.items()}
    warnings = [finding.message for finding in project.dataset.card.findings if finding.severity == "warning"]
    longest = max((len(row.tokens) for rows in project.dataset.tokens.values() for row in rows), default=0)
    return {
        "split_seed": seed,
        "rows": dict(project.dataset.card.rows),
        "tokens": tokens,
        "longest": longest,
        "findings": warnings[:20],
    }


def wants_verdict(data: Any) -> bool:
    """Whether rows are held out that only a verdict sees."""
    return bool(data.test_size) or any(spec.split == "test" for spec in data.datasets)


def _seed(examples: Any, data: Any) -> int:
    """The first seed of the split with which each part that is wanted gets a row; 0 where none does."""
    from tunesmith import curate

    wanted = {"train", "validation", *(["test"] if wants_verdict(data) else [])}
    for seed in range(SEEDS):
        placed = curate.place_rows(examples, data.model_copy(update={"split_seed": seed}))
        if wanted <= set(placed):
            return seed
        if all(spec.split for spec in data.datasets):
            break
    return 0


def train(place: Place, emit: Callable[[AnyEvent], None]) -> dict[str, Any]:
    """Train, judge where rows are held out for it, and keep the weights in the workspace.

    A run that an earlier attempt finished is not trained again.
    """
    from tunesmith import curate, lifecycle
    from tunesmith.core.artifacts import Report, RunRecord

    seed = json.loads(place.validated.read_text(encoding="utf-8")).get("split_seed", 0)
    settings = lifecycle.load_settings(place.config, [f"split_seed={seed}"])
    workspace = Workspace.open(place.root)
    judged = wants_verdict(settings.stage("data", curate.Config))
    page = place.run / "report.json"
    if judged and page.is_file():  # written last: run, report and release stand in the workspace already
        report = Report.model_validate_json(page.read_bytes())
        run = RunRecord.model_validate_json((place.run / "run.json").read_bytes())
        released = workspace.released(place.job)
        if released is not None:
            return _document(run, released.adapter_digest, report)
    lifecycle.claim_output(settings)
    project = lifecycle.prepare(settings, workspace, emit, judged=judged)
    if judged:
        outcome = lifecycle.run_to_verdict(project)
        assert outcome is not None, "an attempt is one process"
        return _document(outcome.run, outcome.release.adapter_digest, outcome.report)
    run = lifecycle.train(project)
    return _document(run, lifecycle.keep_weights(project, run).digest, None)


def _document(run: Any, artifact: str, report: Any) -> dict[str, Any]:
    return {
        "adapter_digest": run.adapter_digest,
        "artifact": artifact,
        "base_fingerprint": run.base_fingerprint,
        "trained_tokens": run.tokens,
        "steps": run.steps,
        "seconds": run.seconds,
        "train_losses": list(run.train_losses),
        "validation_losses": [[step, loss] for step, loss in run.validation_losses.items()],
        "verdict": report.verdict if report else None,
        "sentence": report.sentence if report else "",
        "report_id": report.report_id if report else "",
        "estimate": run.estimate.model_dump(mode="json") if run.estimate else None,
        "checks": [check.model_dump(mode="json") for check in run.checks],
    }


def plan(place: Place, emit: Callable[[AnyEvent], None]) -> dict[str, Any]:
    """What training would take, from a few real steps."""
    from tunesmith import curate, lifecycle

    found = validate(place, emit)
    settings = lifecycle.load_settings(place.config, [f"split_seed={found['split_seed']}"])
    judged = wants_verdict(settings.stage("data", curate.Config))
    project = lifecycle.prepare(settings, Workspace.open(place.root), emit, judged=judged)
    return {**found, "plan": lifecycle.plan(project).model_dump(mode="json")}


PHASES: Mapping[Phase, Callable[[Place, Callable[[AnyEvent], None]], dict[str, Any]]] = {
    "validate": validate,
    "train": train,
    "plan": plan,
}


def main(arguments: list[str]) -> int:
    """The entry point of the process."""
    phase, root, job, fence = arguments
    pipe = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # no process of this one reads from the pipe
    end_with(pipe)
    assert phase in PHASES, phase
    return attempt(phase, Path(root), job, int(fence))  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
