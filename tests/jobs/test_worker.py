"""Jobs from the queue to an end, with real training of a tiny model."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.conftest import BASE, TENANT, Desk, Forked, chat_rows
from tests.jobs.test_store import FAR
from tunesmith.core import disk
from tunesmith.core.store import Workspace
from tunesmith.jobs import Job, JobError, open_service
from tunesmith.jobs.measuring import measure
from tunesmith.jobs.places import Place
from tunesmith.jobs.store import LostClaimError

SHORT = {"hyperparameters": {"n_epochs": 1, "batch_size": 4}, "eval_steps": 3}


def step_of(desk: Desk, job: Job) -> int:
    return desk.job(job).body.progress.step


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, base: Path) -> dict[tuple[str, ...], str]:
    """What a job with the same request gives when nothing disturbs it; filled as it is asked for."""
    return {}


def digest_of_undisturbed(desk: Desk, known: dict[tuple[str, ...], str], **fields: Any) -> str:
    key = (json.dumps(fields, sort_keys=True),)
    if key not in known:
        home = open_service(Workspace.open(desk.folder / "undisturbed"), desk.service.bases)
        other = Desk(home, desk.folder)
        done = other.finish(other.create(other.upload(chat_rows(40)), **fields))
        assert done.body.result is not None, done.body.error
        known[key] = done.body.result.adapter_digest
    return known[key]


def test_a_job_trains_and_its_model_and_checkpoints_have_names(desk: Desk) -> None:
    file = desk.upload(chat_rows(40))
    job = desk.create(file, suffix="bot", hyperparameters={"n_epochs": 1, "batch_size": 4})
    assert job.state == "validating_files"
    done = desk.finish(job)
    assert done.state == "succeeded", done.body.error
    result = done.body.result
    assert result is not None
    assert result.model.startswith("ft:tiny:legal:bot:")
    messages = desk.messages(job)
    for text in (
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
        "Checkpoint created at step 5",
        f"New fine-tuned model created: {result.model}",
        "The job has successfully completed",
    ):
        assert messages.count(text) == 1, text
    assert [m for m in messages if str(desk.folder) in m] == [], "no path of the server in what a tenant reads"
    points, _ = desk.service.jobs.checkpoints(job.id)
    assert [point.step for point in points] == [9, 5]
    assert points[0].model == f"{result.model}:ckpt-step-9"
    assert points[1].metrics["valid_loss"] > points[0].metrics["valid_loss"]
    names = {model.name: model for model in desk.service.shelf.models(TENANT)}
    assert set(names) == {result.model, *(point.model for point in points)}
    for model in names.values():
        folder = desk.service.workspace.artifact(model.artifact).path
        assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == "LORA"
    table = desk.service.shelf.path(desk.service.shelf.file(result.result_file, TENANT)).read_text().splitlines()
    assert table[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert len(table) == 1 + result.steps
    assert result.verdict is None, "no rows were held out"
    assert done.body.data["rows"]["train"] == 36


def test_a_test_file_gives_the_job_a_verdict(desk: Desk) -> None:
    train, test = desk.upload(chat_rows(40)), desk.upload(chat_rows(12, first=50), "held_out.jsonl")
    done = desk.finish(desk.create(train, test_file=test, hyperparameters={"n_epochs": 4}))
    assert done.body.result is not None, done.body.error
    assert done.body.result.verdict == "better"
    assert f"Verdict: {done.body.result.sentence}" in desk.messages(done)


def test_bad_rows_of_a_held_out_file_fail_the_job_with_the_field(desk: Desk) -> None:
    rows = chat_rows(40)
    asked = chat_rows(1, first=90)[0]["messages"][:1]
    long = [{"messages": [*asked, {"role": "assistant", "content": "word " * 900}]}]
    validation = desk.upload(long, "too_long.jsonl")
    done = desk.finish(desk.create(desk.upload(rows), validation_file=validation))
    assert done.state == "failed"
    assert done.body.error is not None
    assert (done.body.error.code, done.body.error.param) == ("invalid_validation_file", "validation_file")
    assert "too_long.jsonl:1" in done.body.error.message
    assert str(desk.folder) not in done.body.error.message


def test_paused_at_a_checkpoint_and_resumed_it_ends_with_the_same_weights(
    desk: Desk, undisturbed: dict[tuple[str, ...], str]
) -> None:
    wanted = digest_of_undisturbed(desk, undisturbed, hyperparameters={"n_epochs": 3, "batch_size": 4})
    job = desk.create(desk.upload(chat_rows(40)), hyperparameters={"n_epochs": 3, "batch_size": 4})
    worker = desk.worker()
    desk.work(worker, lambda: step_of(desk, job) >= 3)
    desk.service.jobs.ask(job.id, "pause")
    desk.work(worker, lambda: desk.job(job).state == "paused")
    place = Place(desk.service.workspace.root, job.id)
    assert list((place.run / "checkpoints").glob("step-*")), "the checkpoint was written first"
    assert desk.service.jobs.resume(job.id).state == "queued"
    done = desk.finish(job)
    assert done.body.result is not None, done.body.error
    assert done.body.result.adapter_digest == wanted
    steps = [m.partition(":")[0] for m in desk.messages(job) if "training loss" in m and "validation" not in m]
    assert steps == [f"Step {n}/27" for n in range(1, 28)], "each step is told once"


def test_cancelled_while_it_trains_nothing_is_left_running(desk: Desk) -> None:
    job = desk.create(desk.upload(chat_rows(40)), hyperparameters={"n_epochs": 50, "batch_size": 1})
    started: list[Forked] = []

    def launch(*arguments: Any) -> Forked:
        started.append(Forked(*arguments))
        return started[-1]

    worker = desk.worker(launch)
    desk.work(worker, lambda: step_of(desk, job) >= 2)
    desk.service.jobs.ask(job.id, "cancel")
    desk.work(worker, lambda: desk.job(job).state == "cancelled", seconds=20)
    assert desk.messages(job)[-1] == "The job was cancelled"
    for attempt in started:
        with pytest.raises(ProcessLookupError):
            os.kill(attempt.pid, 0)
    assert desk.job(job).body.result is None


def test_a_worker_that_stops_gives_its_job_back_with_a_checkpoint(
    desk: Desk, undisturbed: dict[tuple[str, ...], str]
) -> None:
    fields = {"hyperparameters": {"n_epochs": 3, "batch_size": 4}}
    wanted = digest_of_undisturbed(desk, undisturbed, **fields)
    job = desk.create(desk.upload(chat_rows(40)), **fields)
    worker = desk.worker()
    desk.work(worker, lambda: step_of(desk, job) >= 2)
    worker.close()
    worker.run()
    assert desk.job(job).state == "queued"
    done = desk.finish(job)
    assert done.body.result is not None
    assert done.body.result.adapter_digest == wanted


def test_a_full_disk_pauses_the_job_and_it_goes_on_with_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.create(desk.upload(chat_rows(40)), **SHORT)
    full = desk.folder / "full"
    full.touch()
    sync_tree = disk.sync_tree

    def failing(folder: Path) -> None:
        if "step-" in folder.name and full.exists():
            raise OSError(28, os.strerror(28))
        sync_tree(folder)

    monkeypatch.setattr(disk, "sync_tree", failing)
    paused = desk.finish(job, desk.worker(room=1 << 60))
    assert (paused.state, paused.body.waits_for_room) == ("paused", True)
    assert paused.body.reason == "the disk is full; it goes on by itself when there is room"
    full.unlink()
    desk.worker(room=0).run(lambda: desk.job(job).ended)
    assert desk.job(job).state == "succeeded"


def far_away(desk: Desk) -> Job:
    """A job that a worker of another machine has claimed."""
    claimed = desk.service.jobs.claim(desk.create(desk.upload(chat_rows(40)), **SHORT), FAR)
    assert claimed is not None
    return claimed


def test_a_clock_that_jumps_takes_no_job_from_its_worker(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = far_away(desk)
    worker = desk.worker(Dies, lease=1e3)
    worker.look()
    now = time.time()
    for jump in (86_400, -86_400):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        worker.look()
        desk.service.jobs.beat(job)
    assert desk.job(job).owner == FAR


def test_a_heart_that_stands_still_gives_its_job_to_another_worker(desk: Desk) -> None:
    job = far_away(desk)
    worker = desk.worker(Silent, lease=0.2, grace=0.05)
    for _ in range(4):
        time.sleep(0.1)
        desk.service.jobs.beat(job)
        worker.look()
        assert desk.job(job).owner == FAR, "it beats"
    desk.work(worker, lambda: desk.job(job).owner != FAR)
    assert "another one goes on" in desk.messages(job)[-1]
    with pytest.raises(LostClaimError):
        desk.service.jobs.beat(job)
    worker.close()
    worker.run()


class Dies:
    """An attempt that dies as soon as it is started."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def poll(self) -> int:
        return -9

    def stop(self) -> None:
        raise AssertionError("it is dead")

    def kill(self) -> None:
        pass


def test_a_job_whose_attempts_die_at_the_same_step_fails_at_the_third(desk: Desk) -> None:
    job = desk.create(desk.upload(chat_rows(40)), **SHORT)
    done = desk.finish(job, desk.worker(Dies))
    assert done.state == "failed"
    assert done.body.error is not None
    assert done.body.error.code == "attempt_crashed"
    assert "3 attempts ended before they were done, the last one because it was ended by signal 9" in (
        done.body.error.message
    )


def test_whatever_breaks_with_one_job_the_worker_goes_on(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    def launch(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("no more processes")
        return Dies(*arguments)

    job = desk.create(desk.upload(chat_rows(40)), **SHORT)
    done = desk.finish(job, desk.worker(launch, lease=0.05))
    assert "a look at the jobs broke off" in caplog.text
    assert (done.state, calls) == ("failed", 4)


class Silent:
    """An attempt that never says anything and has to be killed."""

    def __init__(self, *_arguments: object) -> None:
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def stop(self) -> None:
        pass

    def kill(self) -> None:
        self.code = -9


def test_the_watchdog_ends_an_attempt_that_says_nothing(desk: Desk) -> None:
    done = desk.finish(desk.create(desk.upload(chat_rows(40)), **SHORT), desk.worker(Silent, quiet=0.02, grace=0.02))
    assert done.body.error is not None
    assert "it told nothing for too long, and was ended" in done.body.error.message


def test_training_goes_on_from_a_tuned_model_which_is_deleted_with_its_bytes(desk: Desk) -> None:
    first = desk.finish(desk.create(desk.upload(chat_rows(40)), **SHORT))
    assert first.body.result is not None
    again = desk.finish(desk.create(desk.upload(chat_rows(40)), **{**SHORT, "model": first.body.result.model}))
    assert again.body.result is not None, again.body.error
    card = json.loads((Place(desk.service.workspace.root, again.id).run / "run.json").read_text())
    assert card["parent_digest"] == first.body.result.adapter_digest
    models = [model for model in desk.service.shelf.models(TENANT) if model.job == first.id]
    folders = [desk.service.workspace.artifact(model.artifact).path for model in models]
    gone = desk.service.shelf.delete_model(first.body.result.model, TENANT)
    assert set(gone) == {model.name for model in models}
    assert len(gone) > 1, "its checkpoints go along"
    assert [folder for folder in folders if folder.exists()] == []
    assert not Place(desk.service.workspace.root, first.id).folder.exists()
    assert desk.service.shelf.model(first.body.result.model) is None
    assert desk.service.shelf.model(again.body.result.model) is not None


def test_two_workers_train_a_job_once(desk: Desk) -> None:
    job = desk.create(desk.upload(chat_rows(40)), **SHORT)
    starts: list[tuple[str, int]] = []

    def launch(phase: str, root: Path, id: str, fence: int) -> Forked:
        starts.append((phase, fence))
        return Forked(phase, root, id, fence)

    workers = [desk.worker(launch) for _ in range(2)]
    while not desk.job(job).ended:
        for worker in workers:
            worker.look()
    assert [phase for phase, _ in starts] == ["validate", "train"]
    assert desk.job(job).state == "succeeded"
    assert BASE in desk.service.bases


def test_an_estimate_is_measured_in_a_few_real_steps_and_leaves_nothing(desk: Desk) -> None:
    spec = desk.service.jobs.job(desk.create(desk.upload(chat_rows(40)), **SHORT).id).spec
    plan = measure(desk.service.jobs, desk.service.workspace, TENANT, spec, Forked)
    assert plan["steps"] == 9
    assert plan["tokens_per_second"] > 0
    assert list((desk.service.workspace.root / "jobs").iterdir()) == []


def test_an_estimate_of_what_cannot_be_trained_says_why(desk: Desk) -> None:
    asked = chat_rows(1, first=90)[0]["messages"][:1]
    long = [{"messages": [*asked, {"role": "assistant", "content": "word " * 900}]}]
    fields = {**SHORT, "validation_file": desk.upload(long, "long.jsonl")}
    spec = desk.create(desk.upload(chat_rows(40)), **fields).spec
    with pytest.raises(JobError, match=r"long\.jsonl:1") as caught:
        measure(desk.service.jobs, desk.service.workspace, TENANT, spec, Forked)
    assert caught.value.param == "validation_file"


def test_an_estimate_that_takes_too_long_is_broken_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.jobs.measuring.MOST_SECONDS", 0.05)
    spec = desk.create(desk.upload(chat_rows(40)), **SHORT).spec
    with pytest.raises(JobError, match="the measurement took longer than"):
        measure(desk.service.jobs, desk.service.workspace, TENANT, spec, Silent)
