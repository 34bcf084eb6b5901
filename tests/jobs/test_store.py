"""The queue by itself: transitions, fences, events, pages. No training."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.postgres import server
from tunesmith.core.database import Database, parse_url
from tunesmith.core.errors import ConfigError, InputError
from tunesmith.jobs import JobError, JobStore, Spec, open_store
from tunesmith.jobs.alive import this_process
from tunesmith.jobs.records import ENDS, MOVES, NewEvent, Owner
from tunesmith.jobs.schema import MIGRATIONS, migrate, version
from tunesmith.jobs.store import LostClaimError

ME = this_process("me")
DEAD = ME.model_copy(update={"worker": "dead", "started": "an earlier time"})
FAR = Owner(worker="far", host="another-machine", pid=1, started="")


def spec(**changes: Any) -> Spec:
    values: dict[str, Any] = {
        "model": "tiny",
        "base": "tiny",
        "training_file": "file-1",
        "seed": 1,
        "n_epochs": 3,
        "batch_size": 4,
        "learning_rate_multiplier": 1.0,
        "base_learning_rate": 1e-4,
        "config": {},
    }
    return Spec(**{**values, **changes})


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> JobStore:
    return open_store(tmp_path, "" if request.param == "sqlite" else server())


def request_of(number: int = 0) -> Mapping[str, Any]:
    return {"training_file": "file-1", "number": number}


def queued(store: JobStore, **changes: Any) -> Any:
    job = store.create("legal", spec(**changes), request_of())
    claimed = store.claim(job, ME)
    assert claimed is not None
    return store.finish(claimed, "queued", [], lambda body: body.model_copy(update={"validated": True}))


def test_a_job_goes_from_creation_to_success_with_numbered_events(store: JobStore) -> None:
    job = queued(store)
    running = store.claim(job, ME)
    assert running is not None
    assert (running.state, running.owner) == ("running", ME)
    done = store.finish(running, "succeeded", [NewEvent(message="The job has successfully completed")])
    assert (done.state, done.owner) == ("succeeded", None)
    assert done.body.finished_at is not None
    events, more = store.events(job.id)
    assert not more
    assert [event.seq for event in events] == [4, 3, 2, 1], "the newest stands first"
    assert events[0].message == "The job has successfully completed"
    assert events[-1].message == f"Created fine-tuning job: {job.id}"


def test_only_one_of_two_gets_a_job_and_a_late_one_changes_nothing(store: JobStore) -> None:
    job = queued(store)
    first = store.claim(job, FAR)
    assert first is not None
    assert store.claim(job, ME) is None, "it is no longer as it was seen"
    second = store.claim(first, ME)
    assert second is not None
    assert second.fence > first.fence
    for late in (
        lambda: store.beat(first),
        lambda: store.wish_of(first),
        lambda: store.record(first, [NewEvent(message="late")], 10),
        lambda: store.finish(first, "failed", []),
        lambda: store.give_back(first),
    ):
        with pytest.raises(LostClaimError, match="has lost it"):
            late()
    store.finish(second, "succeeded", [])
    with pytest.raises(LostClaimError):
        store.finish(second, "failed", [])
    assert store.job(job.id).state == "succeeded"


def test_threads_that_claim_at_once_share_the_jobs_without_overlap(store: JobStore) -> None:
    made = {store.create("legal", spec(), request_of(n)).id for n in range(12)}
    got: list[str] = []

    def work() -> None:
        for job in store.open_jobs():
            if job.owner is None and (claimed := store.claim(job, ME)) is not None:
                got.append(claimed.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(made)


def test_the_table_of_moves_is_closed() -> None:
    assert all(MOVES[state] == () for state in ENDS)
    assert {state for states in MOVES.values() for state in states} == set(MOVES)


def test_cancel_and_pause_are_done_at_once_where_nobody_works(store: JobStore) -> None:
    assert store.ask(store.create("legal", spec(), request_of()).id, "cancel").state == "cancelled"
    job = queued(store)
    assert store.ask(job.id, "pause").state == "paused"
    assert store.resume(job.id).state == "queued"
    claimed = store.claim(store.job(job.id), DEAD)
    assert claimed is not None
    assert store.ask(job.id, "cancel").state == "cancelled", "its worker is gone"


def test_a_worker_hears_what_is_wished(store: JobStore) -> None:
    running = store.claim(queued(store), ME)
    assert running is not None
    assert store.ask(running.id, "pause").state == "running"
    assert store.wish_of(running) == "pause"
    store.ask(running.id, "cancel")
    store.ask(running.id, "pause")
    assert store.beat(running) == "cancel", "nobody takes a cancel back"


def test_what_cannot_be_asked_of_a_job_is_refused(store: JobStore) -> None:
    running = store.claim(queued(store), ME)
    assert running is not None
    store.finish(running, "succeeded", [])
    with pytest.raises(JobError, match="is succeeded and cannot be cancelled") as caught:
        store.ask(running.id, "cancel")
    assert (caught.value.status, caught.value.param) == (400, "fine_tuning_job_id"), "never 409: clients repeat it"
    with pytest.raises(JobError, match="is succeeded, not paused"):
        store.resume(running.id)
    with pytest.raises(JobError, match="there is no fine-tuning job 'ftjob-none'") as missing:
        store.job("ftjob-none")
    assert missing.value.status == 404
    with pytest.raises(JobError, match="there is no fine-tuning job"):
        store.job(running.id, "another tenant")


def test_a_request_that_is_sent_again_makes_no_second_job(store: JobStore) -> None:
    first = store.create("legal", spec(), request_of())
    assert store.create("legal", spec(), request_of(), retried=True).id == first.id
    assert store.create("legal", spec(), request_of(1), retried=True).id != first.id, "another body"
    assert store.create("shop", spec(), request_of(), retried=True).id != first.id, "another tenant"
    assert store.create("legal", spec(), request_of()).id != first.id, "asked for twice on purpose"


def test_jobs_come_in_pages_and_by_metadata(store: JobStore) -> None:
    made = [store.create("legal", spec(metadata={"n": str(n % 2)}), request_of(n)).id for n in range(5)]
    store.create("shop", spec(), request_of())
    first, more = store.jobs("legal", limit=2)
    assert ([job.id for job in first], more) == ([made[4], made[3]], True)
    rest, more = store.jobs("legal", after=first[-1].id, limit=3)
    assert ([job.id for job in rest], more) == ([made[2], made[1], made[0]], False)
    odd, _ = store.jobs("legal", keep=lambda job: (job.spec.metadata or {}).get("n") == "1")
    assert [job.id for job in odd] == [made[3], made[1]]


def test_events_come_in_pages_without_gap_or_double(store: JobStore) -> None:
    running = store.claim(queued(store), ME)
    assert running is not None
    for batch in range(10):
        store.record(running, [NewEvent(message=f"{batch}-{n}") for n in range(7)], batch)
    whole, _ = store.events(running.id, limit=1000)
    paged, after, more = [], "", True
    while more:
        page, more = store.events(running.id, after=after, limit=9)
        paged += page
        after = page[-1].id
    assert paged == whole
    assert [event.seq for event in whole] == list(range(len(whole), 0, -1))
    forward, _ = store.events(running.id, since=40, limit=1000)
    assert [event.seq for event in forward] == list(range(41, len(whole) + 1))
    with pytest.raises(JobError, match="is no event of this job"):
        store.events(running.id, after="ftevent-none")
    with pytest.raises(JobError, match="is no checkpoint of this job"):
        store.checkpoints(running.id, after="ftckpt-none")


def test_a_newer_queue_is_refused_and_an_old_one_migrated_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    migrate(store.database)
    with store.database.transaction(write=True) as connection:
        connection.execute(version.update().values(version=len(MIGRATIONS) + 1))
    with pytest.raises(InputError, match="the queue of jobs has version 2"):
        open_store(tmp_path)


@pytest.mark.parametrize("url", ["mysql://host/x", "no url at all"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not the URL of a database that is supported"):
        parse_url(url)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match="is not installed") as caught:
        Database(parse_url("postgresql://someone@127.0.0.1/jobs"))
    assert caught.value.fix == "pip install 'tunesmith[postgres]'"
