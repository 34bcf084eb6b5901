"""A workspace with a queue, a tiny base, and attempts that are forked off instead of started: torch loads once."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.project import build_base, questions
from tunesmith.core.store import Workspace
from tunesmith.jobs import FineTuning, Job, Worker, WorkerConfig, open_service
from tunesmith.jobs.attempt import attempt, end_with

QUICK = {"look": 0.01, "lease": 5.0, "grace": 5.0}
BASE = "tiny"
TENANT = "legal"


def chat_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Rows as OpenAI's users have them."""
    asked = questions(range(first, first + count))[:count]
    return [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in asked]


def write_jsonl(path: Path, rows: Sequence[object]) -> Path:
    """One JSON document a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Forked:
    """An attempt in a fork of this process, as `tunesmith.jobs.launcher.Running` has it."""

    def __init__(self, phase: str, root: Path, job: str, fence: int) -> None:
        read, self._write = os.pipe()
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self._write)
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                os.environ["TUNESMITH_HOME"] = str(root)
                end_with(read)
                code = attempt(phase, root, job, fence)  # type: ignore[arg-type]
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(read)
        os.set_inheritable(self._write, False)

    def poll(self) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                os.close(self._write)
        return self.code

    def stop(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Desk:
    """A workspace with its service."""

    service: FineTuning
    folder: Path

    def upload(self, rows: Sequence[object], name: str = "rows.jsonl", purpose: str = "fine-tune") -> str:
        with self.service.shelf.receiving() as path:
            path.parent.mkdir(exist_ok=True, parents=True)
            write_jsonl(path, rows)
            return self.service.upload(TENANT, name, purpose, path).id

    def create(self, file: str, **fields: object) -> Job:
        body = {"model": BASE, "training_file": file, "seed": 1, **fields}
        return self.service.create(TENANT, body)

    def worker(self, launch: Callable[..., Any] = Forked, **config: Any) -> Worker:
        settings = WorkerConfig(**{**QUICK, **config})
        return Worker(self.service.jobs, self.service.workspace, launch, settings)

    def work(self, worker: Worker, until: Callable[[], bool], seconds: float = 60) -> None:
        """Let a worker look until something is so. In this thread: attempts are forks of it."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end
            worker.look()
            time.sleep(0.01)

    def finish(self, job: Job, worker: Worker | None = None) -> Job:
        """Work until the job has ended or is paused."""
        (worker or self.worker()).run(lambda: self.job(job).ended or self.job(job).state == "paused")
        return self.job(job)

    def job(self, job: Job) -> Job:
        return self.service.jobs.job(job.id)

    def messages(self, job: Job) -> list[str]:
        events, more = self.service.jobs.events(job.id, since=0, limit=100_000)
        assert not more
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        return [event.message for event in events]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_base(tmp_path_factory.mktemp("job-models") / BASE)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, and no fresh process for the reload check: that is the business of the tests of training."""
    import torch

    from tests.train.job import InstantReload
    from tunesmith.model import device
    from tunesmith.train import verify

    monkeypatch.setenv("TUNESMITH_THREADS", "1")
    # Threads that read weights in a fork of a process that has computed before find torch's pool broken now and then.
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")
    monkeypatch.setattr(verify, "Reload", InstantReload)
    torch.set_num_threads(1)
    monkeypatch.setattr(device, "gemm_speed", lambda *_: 1e9)


@pytest.fixture
def desk(tmp_path: Path, base: Path) -> Desk:
    return Desk(open_service(Workspace.open(tmp_path / "home"), {BASE: str(base)}), tmp_path)
