"""kill -9 of workers and attempts at random moments: no job is lost, none ends twice, nothing half-made is seen.

``TUNESMITH_KILLS`` says how many; 6 in the everyday suite, 1,000 in ``make torture``.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from tests.jobs.conftest import TENANT, Desk, chat_rows
from tests.jobs.test_store import ME, request_of, spec
from tunesmith.jobs import Job, open_store
from tunesmith.jobs.records import ENDS, NewEvent

KILLS = int(os.environ.get("TUNESMITH_KILLS", "6"))
EACH = 3
"""Kills of one job."""

FIELDS = {"hyperparameters": {"n_epochs": 2, "batch_size": 4}, "eval_steps": 4}


def begin(desk: Desk, job: Job) -> int:
    """A worker in a process of its own, until the job has ended."""
    pid = os.fork()
    if pid == 0:
        try:
            desk.worker().run(lambda: desk.job(job).ended)
        finally:
            os._exit(0)
    return pid


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def all_that_is_seen_is_whole(desk: Desk) -> None:
    for model in desk.service.shelf.models(TENANT):
        desk.service.workspace.artifact(model.artifact, verify=True)


def test_killed_at_random_a_job_ends_once_with_the_weights_of_an_undisturbed_one(desk: Desk) -> None:
    seed = int(os.environ.get("TUNESMITH_KILL_SEED", "7"))
    chance = random.Random(seed)
    file = desk.upload(chat_rows(24))
    began = time.monotonic()
    whole = desk.finish(desk.create(file, **FIELDS))
    lasts = time.monotonic() - began
    assert whole.body.result is not None, whole.body.error
    left = KILLS
    while left > 0:
        job = desk.create(file, **FIELDS)
        for _ in range(min(EACH, left)):
            left -= 1
            supervisor = begin(desk, job)
            time.sleep(chance.uniform(0.05, lasts))
            attempts = children_of(supervisor)
            only_attempt = bool(attempts) and chance.random() < 0.4
            with contextlib.suppress(ProcessLookupError):
                os.kill(attempts[0] if only_attempt else supervisor, signal.SIGKILL)
            if only_attempt:
                time.sleep(chance.uniform(0, 0.3))
                os.kill(supervisor, signal.SIGKILL)
            os.waitpid(supervisor, 0)
            end = time.monotonic() + 5
            while any(map(is_running, attempts)):
                assert time.monotonic() < end, "an attempt outlived its worker"
                time.sleep(0.01)
            all_that_is_seen_is_whole(desk)
        done = desk.finish(job)
        assert done.state == "succeeded", (seed, left, done.body.error)
        assert done.body.result is not None
        assert done.body.result.adapter_digest == whole.body.result.adapter_digest, (seed, left)
        messages = desk.messages(job)  # also: numbered without gap or double
        assert messages.count("The job has successfully completed") == 1
        told = [m for m in messages if m.startswith("Step") and "validation" not in m]
        assert told == sorted(set(told), key=told.index), "each step is told once"
        assert len(told) == done.body.result.steps
    jobs, _ = desk.service.jobs.jobs(TENANT, limit=10_000)
    assert all(job.state == "succeeded" for job in jobs), "no job is lost"


def test_copies_of_the_queue_taken_while_it_is_written_are_whole(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            claimed = store.claim(store.create("legal", spec(), request_of(number)), ME)
            assert claimed is not None
            store.record(claimed, [NewEvent(message=f"{n}") for n in range(5)], number)
            store.finish(claimed, "cancelled" if number % 2 else "queued", [NewEvent(message="moved")])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(25):
            time.sleep(random.Random(number).uniform(0, 0.02))
            copy = tmp_path / f"copy-{number}" / "jobs.sqlite3"
            store.database.backup(copy)
            with contextlib.closing(sqlite3.connect(copy)) as raw:
                assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            restored = open_store(copy.parent)
            for job in restored.jobs(limit=1000)[0]:
                events, _ = restored.events(job.id, since=0, limit=1000)
                assert [event.seq for event in events] == list(range(1, len(events) + 1))
                assert (job.state in ENDS) == (job.body.finished_at is not None)
    finally:
        over.set()
        writer.join()


def test_postgresql_is_copied_by_its_own_tools(tmp_path: Path) -> None:
    from tests.jobs.postgres import server
    from tunesmith.core.errors import InputError

    with pytest.raises(InputError, match="this copies SQLite databases only"):
        open_store(tmp_path, server()).database.backup(tmp_path / "copy")
