"""`tunesmith jobs` and what `tunesmith migrate` refuses, on a queue whose work is played."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import refusal
from tests.command import Ran, inside, plain
from tests.jobs.test_store import ME, request_of, spec
from tunesmith.jobs import Job, JobStore, open_store
from tunesmith.jobs.records import NewEvent, Problem

Ask = Callable[..., Ran]


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    (tmp_path / "home").mkdir()
    return open_store(tmp_path / "home")


@pytest.fixture
def ask(tmp_path: Path, store: JobStore) -> Ask:
    return lambda *arguments, **env: inside(*arguments, at=tmp_path, TUNESMITH_HOME=str(tmp_path / "home"), **env)


def queued(store: JobStore) -> Job:
    made = store.create("", spec(config={"learning_rate": 1e-4}, rows=40), request_of())
    claimed = store.claim(made, ME)
    assert claimed is not None
    return store.finish(claimed, "queued", [NewEvent(message="Files validated, moving job to queued state")])


def test_jobs_are_listed_and_shown(ask: Ask, store: JobStore) -> None:
    assert "no jobs yet" in ask("jobs", "list").out
    job = queued(store)
    assert job.id in ask("jobs", "list").out
    shown = ask("jobs", "show", job.id)
    assert "queued" in shown.out
    assert "3 epochs, 4 rows a step, learning rate 0.0001 (1 × 0.0001)" in shown.out
    document = ask("jobs", "list", "--json").document
    assert [(j["id"], j["status"]) for j in document["jobs"]] == [(job.id, "queued")]


def test_events_are_shown_oldest_first_and_followed_to_the_end(ask: Ask, store: JobStore) -> None:
    running = store.claim(queued(store), ME)
    assert running is not None
    problem = Problem(code="training_failed", message="The loss is no number.")
    text = NewEvent(message="The job failed: The loss is no number.", level="error")
    store.finish(running, "failed", [text], lambda body: body.model_copy(update={"error": problem}))
    ran = ask("jobs", "events", running.id, "--follow", "--limit", "2")
    lines = ran.out.splitlines()
    assert "Fine-tuning job started" in lines[0]
    assert lines[1].endswith("error: The job failed: The loss is no number.")
    assert "training_failed: The loss is no number." in ask("jobs", "show", running.id).out
    assert len(ask("jobs", "events", running.id, "--json").document["events"]) == 5


def test_pause_resume_and_cancel(ask: Ask, store: JobStore) -> None:
    job = queued(store)
    assert ask("jobs", "pause", job.id).out.strip() == f"{job.id} is paused"
    assert ask("jobs", "resume", job.id, "--json").document["status"] == "validating_files"
    assert ask("jobs", "cancel", job.id).out.strip() == f"{job.id} is cancelled"
    again = refusal(ask("jobs", "cancel", job.id))
    assert again.what == f"the job {job.id} is cancelled and cannot be cancelled"
    assert again.fix == "nothing needs to be done"
    assert refusal(ask("jobs", "show", job.id[:-1])).fix == f"did you mean {job.id}?"


def test_a_backup_is_a_queue(ask: Ask, store: JobStore, tmp_path: Path) -> None:
    job = queued(store)
    copy = tmp_path / "copy.sqlite3"
    assert ask("jobs", "backup", "copy.sqlite3").code == 0
    there = ask("jobs", "show", job.id, "--json", "--database", f"sqlite:///{copy}")
    assert there.document["id"] == job.id


def test_a_worker_with_nothing_to_do_ends(ask: Ask) -> None:
    assert ask("jobs", "worker", "--once", "--json").document == {"jobs": []}


def test_a_database_that_is_not_supported_is_refused(ask: Ask) -> None:
    error = refusal(ask("jobs", "list", "--database", "mysql://host/x"))
    assert "is not the URL of a database that is supported" in error.what


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ((), {"OPENAI_API_KEY": ""}, "no key of the account is given"),
        (("--key", "k", "--base-url", "ftp://x"), {}, "'ftp://x' is no address of a service"),
        (("--key", "k"), {"TUNESMITH_OFFLINE": "1"}, "https://api.openai.com/v1 is outside this network"),
    ],
)
def test_an_account_that_cannot_be_read_is_refused(
    ask: Ask, arguments: tuple[str, ...], environment: dict[str, str], words: str
) -> None:
    assert refusal(ask("migrate", "openai", *arguments, **environment)).what == words


def test_an_account_that_does_not_answer_is_named(ask: Ask) -> None:
    ran = ask("migrate", "openai", "--key", "k", "--base-url", "http://127.0.0.1:9/v1")
    assert "the account does not answer" in plain(ran.err)
    assert ran.code == 3
