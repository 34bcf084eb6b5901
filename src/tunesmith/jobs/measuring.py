"""What a job would take, measured: a few real steps in a process of its own, before anything is queued."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from tunesmith.core import store
from tunesmith.core.store import Workspace
from tunesmith.jobs.errors import JobError
from tunesmith.jobs.finishing import Finisher
from tunesmith.jobs.launcher import Launch, launch_here
from tunesmith.jobs.places import Place
from tunesmith.jobs.records import Body, Job, Spec
from tunesmith.jobs.store import JobStore

MOST_SECONDS = 300.0
"""Longest measurement."""


def measure(
    jobs: JobStore, workspace: Workspace, tenant: str, spec: Spec, launch: Launch = launch_here
) -> Mapping[str, Any]:
    """The plan of a job that is not in the queue: the figures of `tunesmith plan`.

    Raises:
        JobError: what would end the job while its files are read, or a measurement that takes too long.
    """
    job = Job(
        id=f"estimate-{secrets.token_hex(8)}",
        seq=0,
        tenant=tenant,
        state="queued",
        created_at=0.0,
        body=Body(spec=spec),
    )
    place, finisher = Place(workspace.root, job.id), Finisher(jobs, workspace, 1)
    try:
        finisher.write_config(job)
        running = launch("plan", workspace.root, job.id, 0)
        end = time.monotonic() + MOST_SECONDS
        while running.poll() is None:
            if time.monotonic() > end:
                running.kill()
                raise JobError(
                    f"the measurement took longer than {MOST_SECONDS:.0f} seconds",
                    rule="an estimate runs a few real steps",
                    fix="leave measure out: earlier jobs on this base say how fast it is",
                    param="measure",
                    code="measurement_too_long",
                )
            time.sleep(0.05)
        return _read(finisher, job, place)
    finally:
        store.remove(place.folder)


def _read(finisher: Finisher, job: Job, place: Place) -> Mapping[str, Any]:
    found = json.loads(place.result.read_bytes()) if place.result.is_file() else {}
    if found.get("status") == "done":
        return dict(found["plan"])
    error = found.get("error") or {"what": "the measurement broke off"}
    problem = finisher.problem(job, "validate", error)
    raise JobError(
        problem.message, fix="correct it, or leave measure out", param=problem.param or "", code=problem.code
    )
