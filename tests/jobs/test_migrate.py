"""Moving the jobs of an account: what is taken over, what is said, and that nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.conftest import BASE, Desk, chat_rows, write_jsonl
from tunesmith.jobs import Job, JobError, Migration
from tunesmith.serve import RemoteJob


class FakeAccount:
    """An account with some jobs, as `tunesmith.serve.Account` shows it."""

    url = "http://there"

    def __init__(self, *jobs: RemoteJob) -> None:
        self._jobs, self.fetched = jobs, 0

    def jobs(self) -> Iterator[RemoteJob]:
        yield from self._jobs

    def fetch(self, file: str, target: Path) -> str:
        self.fetched += 1
        target.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(target, chat_rows(12, first=0 if file == "file-a" else 60))
        return f"{file}.jsonl"


def remote(**changes: Any) -> RemoteJob:
    values = {"id": "ftjob-there", "model": "gpt-4o-mini", "tuned": "ft:gpt", "training_file": "file-a"}
    return RemoteJob(**{**values, "status": "succeeded", **changes})


def migration(desk: Desk, *jobs: RemoteJob) -> tuple[Migration, FakeAccount]:
    account = FakeAccount(*jobs)
    return Migration(account, desk.service, BASE, desk.folder / "moved"), account  # type: ignore[arg-type]


def test_only_jobs_that_ended_well_are_moved(desk: Desk) -> None:
    there = [remote(), remote(id="ftjob-lost", status="failed"), remote(id="ftjob-two")]
    moving, _ = migration(desk, *there)
    assert [moved.remote.id for moved in moving.survey()] == ["ftjob-there", "ftjob-two"]
    assert [moved.remote.id for moved in moving.survey(["ftjob-two"])] == ["ftjob-two"]


def test_hyperparameters_are_taken_over_and_what_cannot_be_is_said(desk: Desk) -> None:
    chosen = {"n_epochs": 80, "batch_size": 4, "learning_rate_multiplier": 1.8}
    moving, _ = migration(desk, remote(hyperparameters=chosen, seed=3, suffix="a b", method="dpo"))
    (moved,) = moving.survey()
    body, notes = moving.request(moved)
    assert body["hyperparameters"] == {"n_epochs": 50, "batch_size": 4, "learning_rate_multiplier": 1.8}
    assert (body["model"], body["seed"], "suffix" in body) == (BASE, 3, False)
    said = " ".join(notes)
    for words in ("the base gpt-4o-mini becomes tiny", "dpo is not served", "1.8 counts from", "'a b' cannot stand"):
        assert words in said


def test_a_job_is_fetched_and_trained_once_however_often_it_is_asked_for(desk: Desk) -> None:
    there = remote(validation_file="file-b", hyperparameters={"n_epochs": 1}, suffix="bot")
    moving, account = migration(desk, there)
    started: list[str] = []

    def work(job: Job) -> Job:
        started.append(job.id)
        return desk.finish(job)

    for _ in range(2):
        (moved,) = moving.survey()
        moved = moving.run(moving.fetch(moved), work)
    assert (moved.state, len(started), account.fetched) == ("succeeded", 1, 2)
    assert moved.model.startswith("ft:tiny:tunesmith:bot:")
    assert desk.service.jobs.job(moved.job).spec.validation_file is not None


def test_a_method_that_is_not_served_is_refused_before_anything_is_trained(desk: Desk) -> None:
    moving, _ = migration(desk, remote(method="dpo"))
    (moved,) = moving.survey()
    with pytest.raises(JobError, match="'dpo' is not served yet"):
        moving.run(moving.fetch(moved), desk.finish)
    assert desk.service.jobs.jobs()[0] == []
