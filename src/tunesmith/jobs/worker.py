"""Whoever works at jobs: claims them, starts attempts, takes over what they tell, and ends them.

One thread looks a few times a second. Training jobs run one (or ``slots``) at a time; reading the files of new jobs
does not wait for them. A job whose owner has ended, or whose heart has not beaten for ``lease`` seconds on this
worker's own steady clock, is claimed by the next one that looks; so clocks that jump or differ decide nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from tunesmith.core.errors import StorageError
from tunesmith.core.records import Record
from tunesmith.core.store import Workspace
from tunesmith.jobs.alive import end_attempts, is_gone, this_process
from tunesmith.jobs.finishing import Ending, Finisher
from tunesmith.jobs.launcher import Launch, Running, launch_here
from tunesmith.jobs.records import Job
from tunesmith.jobs.store import JobStore, LostClaimError

log = logging.getLogger(__name__)

MOST_READ = 1 << 20
"""Bytes of a log that are taken over at once."""


CLEAN_SECONDS = 60.0
"""Pause between two looks for files whose time is over."""


class WorkerConfig(Record):
    """How a worker looks after jobs. Seconds, where nothing else is said."""

    slots: int = 1
    """Jobs that train at the same time."""
    lease: float = 30.0
    """How long a heart may stand still before its job is somebody else's."""
    look: float = 0.2
    """Pause between two looks."""
    grace: float = 10.0
    """How long a cancelled attempt may take to end by itself."""
    quiet: float = 3600.0
    """How long an attempt may tell nothing before it is ended and begun again from its checkpoint."""
    crashes: int = 3
    """Attempts in a row that may die without a step forward."""
    room: int = 256 << 20
    """Free bytes with which a job goes on that waited for room."""


@dataclass
class _Attempt:
    """An attempt that this worker has started."""

    job: Job
    phase: str
    running: Running
    beaten: float
    heard: float
    """When its log last grew."""
    stopping: float = 0.0
    """Since when it has been asked to end; 0: not."""
    why: str = ""
    """cancel, pause, quiet or close."""


@final
class Worker:
    """Works at the jobs of a store until it is closed.

    Args:
        jobs: the queue.
        workspace: where files and weights are.
        launch: starts an attempt.
        config: how it looks after them.
        on_end: hears of every job that ended, was paused or given back, on the worker's thread.
        on_look: called with every look, on the worker's thread.
    """

    def __init__(
        self,
        jobs: JobStore,
        workspace: Workspace,
        launch: Launch = launch_here,
        config: WorkerConfig | None = None,
        on_end: Callable[[Job], None] = lambda _job: None,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config or WorkerConfig()
        self._jobs, self._workspace, self._launch, self._on_end = jobs, workspace, launch, on_end
        self._on_look, self._cleaned = on_look, 0.0
        self._owner = this_process(f"worker-{secrets.token_hex(4)}")
        self._finisher = Finisher(jobs, workspace, self.config.crashes)
        self._attempts: dict[str, _Attempt] = {}
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Work in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="tunesmith-jobs", daemon=True)
        self._thread.start()

    def request_stop(self) -> None:
        """Let `run` end; from any thread, and from the handler of a signal."""
        self._closing = True  # no Event: a signal's handler may run while this thread holds the Event's own lock

    def close(self) -> None:
        """End running attempts with a checkpoint, give their jobs back, and stop."""
        self.request_stop()
        if self._thread is not None:
            self._thread.join()

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Look again and again until `close`, or until ``until`` says so and no attempt runs."""
        while not self._closing and not (until() and not self._attempts):
            self.look()
            time.sleep(self.config.look)
        for attempt in self._attempts.values():
            self._stop(attempt, "close")
        while self._attempts:
            self._look_after_all()
            time.sleep(min(self.config.look, 0.05))

    def look(self) -> None:
        """One look: at what runs, at what could go on, and at what could begin."""
        try:
            self._look_after_all()
            self._look_for_room()
            self._claim()
            self._on_look()
            self._clean()
        except StorageError as error:  # a full disk is not the end: the next look may succeed
            log.error("jobs wait: %s", error)
        except Exception:  # whatever is wrong with one job, the others and the server go on
            log.exception("a look at the jobs broke off")

    def _clean(self) -> None:
        """Delete files whose time is over, now and then."""
        now = time.monotonic()
        if now - self._cleaned > CLEAN_SECONDS:
            self._cleaned = now
            self._finisher.shelf.remove_expired()

    # --- beginning ---------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        training = sum(attempt.phase == "train" for attempt in self._attempts.values())
        reading = len(self._attempts) - training
        for job in self._jobs.open_jobs():
            if job.state == "paused" or job.id in self._attempts or (job.owner and not self._is_dead(job)):
                continue
            validates = job.state == "validating_files"
            if (reading if validates else training) >= (1 if validates else self.config.slots):
                continue
            claimed = self._jobs.claim(job, self._owner)
            if claimed is not None and self._begin(claimed, "validate" if validates else "train"):
                reading, training = reading + validates, training + (not validates)

    def _is_dead(self, job: Job) -> bool:
        """Whether nobody works at a claimed job any more."""
        assert job.owner is not None
        if is_gone(job.owner):
            return True
        now, mark = time.monotonic(), (job.fence, job.beat)
        seen, since = self._seen.get(job.id, ((-1, -1), now))
        if seen != mark:
            self._seen[job.id] = (mark, now)
            return False
        return now - since > self.config.lease

    def _begin(self, job: Job, phase: str) -> bool:
        """Start an attempt, unless an earlier one left everything that is needed."""
        killed = end_attempts(job.id)
        if killed:
            log.warning("ended %d processes of an earlier attempt at %s", killed, job.id)
        try:
            ending = self._finisher.left_over(job, phase)
            if ending is None and job.wish:
                ending = Ending(job.wish)
            if ending is not None:
                self._end(job, phase, ending)
                return False
            self._finisher.write_config(job)
            running = self._launch(phase, self._workspace.root, job.id, job.fence)
        except LostClaimError:
            return False
        except StorageError as error:
            self._pause_for_room(job, str(error.what))
            return False
        now = time.monotonic()
        self._attempts[job.id] = _Attempt(job, phase, running, beaten=now, heard=now)
        return True

    # --- looking after -----------------------------------------------------------------------------------------------

    def _look_after_all(self) -> None:
        for attempt in list(self._attempts.values()):
            try:
                self._look_after(attempt)
            except LostClaimError as lost:
                log.warning("%s", lost)
                attempt.running.kill()
                del self._attempts[attempt.job.id]

    def _look_after(self, attempt: _Attempt) -> None:
        code = attempt.running.poll()  # before the log is read: after the end nothing is added to it
        while self._finisher.take_over(attempt.job, MOST_READ):
            attempt.heard = time.monotonic()
        now = time.monotonic()
        if code is not None:
            attempt.job = self._jobs.job(attempt.job.id)
            ending = self._finisher.ending(attempt.job, attempt.phase, code, attempt.why)
            self._end(attempt.job, attempt.phase, ending)
            del self._attempts[attempt.job.id]
            return
        if now - attempt.beaten > self.config.lease / 4:
            self._jobs.beat(attempt.job)
            attempt.beaten = now
        if not attempt.stopping:
            wish = self._jobs.wish_of(attempt.job)
            if wish:
                self._stop(attempt, wish)
            elif now - attempt.heard > self.config.quiet:
                self._stop(attempt, "quiet")
        elif now - attempt.stopping > self._patience(attempt):
            attempt.running.kill()
        elif attempt.why != "cancel" and self._jobs.wish_of(attempt.job) == "cancel":
            attempt.why = "cancel"

    def _stop(self, attempt: _Attempt, why: str) -> None:
        if not attempt.stopping:
            attempt.stopping, attempt.why = time.monotonic(), why
            attempt.running.stop()

    def _patience(self, attempt: _Attempt) -> float:
        """Seconds from being asked to being killed. Only a pause is worth waiting for: it saves what was done."""
        if attempt.why in ("cancel", "quiet"):
            return self.config.grace
        longest = self._jobs.job(attempt.job.id).body.progress.longest_step
        return self.config.grace + 3 * longest + (self.config.grace if longest else 0)

    def _end(self, job: Job, phase: str, ending: Ending) -> None:
        """Carry out how an attempt ended."""
        try:
            self._on_end(self._finisher.finish(job, phase, ending))
        except StorageError as error:
            self._pause_for_room(job, str(error.what))

    def _pause_for_room(self, job: Job, reason: str) -> None:
        """Without room not even that may be written; the claim then stays, and the next look tries again."""
        with contextlib.suppress(LostClaimError):
            self._on_end(self._finisher.finish(job, "", Ending("no room", reason)))

    def _look_for_room(self) -> None:
        waiting = [job for job in self._jobs.open_jobs() if job.state == "paused" and job.body.waits_for_room]
        if waiting:
            disk = os.statvfs(self._workspace.root)
            if disk.f_bavail * disk.f_frsize >= self.config.room:
                for job in waiting:
                    self._jobs.go_on_with_room(job)
