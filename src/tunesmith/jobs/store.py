"""The queue: jobs, their events and their checkpoints. Every method is one transaction.

A change of state and the event that tells of it are committed together, and only by the attempt whose fence stands in
the row; so whoever was thought dead and comes back changes nothing. Nothing here reads a clock to decide whether an
attempt is alive: whoever watches counts on its own steady clock how long a heart has not beaten (see `worker`).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import sqlalchemy as sa

from tunesmith.core.database import Database, parse_url
from tunesmith.core.errors import TunesmithError
from tunesmith.core.records import digest_of
from tunesmith.core.registry import nearest
from tunesmith.jobs import schema
from tunesmith.jobs.alive import is_gone
from tunesmith.jobs.errors import JobError
from tunesmith.jobs.records import (
    ENDS,
    MOVES,
    Body,
    Checkpoint,
    Job,
    JobEvent,
    NewEvent,
    Owner,
    Spec,
    State,
    TunedModel,
    Wish,
)

DUPLICATE_SECONDS = 600
"""How long a repeated request counts as the retry of the first one."""

Change = Callable[[Body], Body]


class LostClaimError(TunesmithError):
    """Another attempt has the job by now; what this one has to say is not taken."""


def same(body: Body) -> Body:
    """A ``Change`` that changes nothing."""
    return body


@final
class JobStore:
    """Jobs in a database; see the module. Safe for several processes and threads."""

    def __init__(self, database: Database) -> None:
        self.database = database
        schema.migrate(database)

    # --- whoever asks for jobs ---------------------------------------------------------------------------------------

    def create(self, tenant: str, spec: Spec, request: Mapping[str, Any], retried: bool = False) -> Job:
        """Put a job into the queue.

        Args:
            tenant: whose it is.
            spec: what is wanted, automatic values worked out.
            request: the request as it was sent.
            retried: the client says that it sends this request again; then the job of the first one is given back,
                where that was made in the last ten minutes. Clients send no key that would say so better.
        """
        digest = digest_of([tenant, dict(request)])
        with self._writing() as connection:
            now = time.time()
            if retried:
                recent = sa.and_(schema.jobs.c.request == digest, schema.jobs.c.created_at > now - DUPLICATE_SECONDS)
                query = sa.select(schema.jobs).where(recent).order_by(schema.jobs.c.seq.desc()).limit(1)
                if found := connection.execute(query).first():
                    return _job(found)
            row: dict[str, Any] = {
                "id": f"ftjob-{secrets.token_hex(12)}",
                "tenant": tenant,
                "state": "validating_files",
                "wish": "",
                "fence": 0,
                "beat": 0,
                "owner": None,
                "request": digest,
                "created_at": now,
                "event_seq": 0,
                "log_offset": 0,
                "body": Body(spec=spec).model_dump_json(),
            }
            connection.execute(schema.jobs.insert().values(row))
            said = [f"Created fine-tuning job: {row['id']}", f"Validating training file: {spec.training_file}"]
            if spec.validation_file:
                said.append(f"Validating validation file: {spec.validation_file}")
            self._tell(connection, row["id"], [NewEvent(message=text) for text in said])
            return self._locked(connection, row["id"])

    def job(self, id: str, tenant: str | None = None) -> Job:
        """A job; ``tenant`` None sees all.

        Raises:
            JobError: there is none with this id, or it is somebody else's (which is not told apart).
        """
        with self.database.transaction() as connection:
            row = connection.execute(sa.select(schema.jobs).where(schema.jobs.c.id == id)).first()
            if row is None or tenant not in (None, row.tenant):
                mine = sa.select(schema.jobs.c.id).order_by(schema.jobs.c.seq.desc()).limit(100)
                if tenant is not None:
                    mine = mine.where(schema.jobs.c.tenant == tenant)
                near = nearest(id, [str(known) for known in connection.scalars(mine)])
                raise JobError(
                    f"there is no fine-tuning job {id[:80]!r}",
                    param="fine_tuning_job_id",
                    rule="a job is named by the id that its creation answered with",
                    fix=f"did you mean {near[0]}?" if near else "list the jobs, and take an id from there",
                    code="job_not_found",
                    status=404,
                )
            return _job(row)

    def jobs(
        self,
        tenant: str | None = None,
        after: str = "",
        limit: int = 20,
        keep: Callable[[Job], bool] = lambda _job: True,
    ) -> tuple[list[Job], bool]:
        """The newest jobs first, and whether more follow; ``after`` is the id of the last one of the page before.

        Raises:
            JobError: there is no job with the id ``after``.
        """
        query = sa.select(schema.jobs).order_by(schema.jobs.c.seq.desc())
        if tenant is not None:
            query = query.where(schema.jobs.c.tenant == tenant)
        if after:
            query = query.where(schema.jobs.c.seq < self.job(after, tenant).seq)
        found: list[Job] = []
        with self.database.transaction() as connection:
            for row in connection.execute(query):
                if keep(job := _job(row)):
                    found.append(job)
                if len(found) > limit:
                    break
        return found[:limit], len(found) > limit

    def ask(self, id: str, wish: Wish, tenant: str | None = None) -> Job:
        """Ask for a cancel or a pause. Where nobody works at the job it is done at once, else its worker does it.

        Raises:
            JobError: the job has ended, or cannot be paused where it stands.
        """
        self.job(id, tenant)
        with self._writing() as connection:
            job = self._locked(connection, id)
            verb = "cancelled" if wish == "cancel" else "paused"
            if job.ended or (wish == "pause" and job.state == "paused"):
                raise JobError(
                    f"the job {id} is {job.state} and cannot be {verb}",
                    param="fine_tuning_job_id",
                    rule=f"only a job that has not ended can be {verb}"
                    if job.ended
                    else "a job is paused once, and resumed before it is paused again",
                    fix="nothing needs to be done" if job.ended else "resume it, or leave it as it is",
                    code="invalid_job_state",
                )
            if job.owner is not None and not is_gone(job.owner):
                if job.wish != "cancel":  # nobody takes a cancel back
                    self._update(connection, job, wish=wish)
            elif wish == "cancel":
                self._move(connection, job, "cancelled", [NewEvent(message="The job was cancelled")], same)
            else:
                event = NewEvent(message="The job was paused")
                self._move(connection, job, "paused", [event], lambda body: body.model_copy(update={"reason": "asked"}))
            return self._locked(connection, id)

    def resume(self, id: str, tenant: str | None = None) -> Job:
        """Put a paused job back into the queue; it goes on from its checkpoint.

        Raises:
            JobError: it is not paused.
        """
        self.job(id, tenant)
        with self._writing() as connection:
            job = self._locked(connection, id)
            if job.state != "paused":
                raise JobError(
                    f"the job {id} is {job.state}, not paused",
                    param="fine_tuning_job_id",
                    rule="only a paused job can be resumed",
                    fix="create a new job to train again" if job.ended else "nothing needs to be done",
                    code="invalid_job_state",
                )
            self._requeue(connection, job)
            return self._locked(connection, id)

    def _requeue(self, connection: sa.Connection, job: Job) -> None:
        state: State = "queued" if job.body.validated else "validating_files"
        change = {"reason": "", "waits_for_room": False}
        event = NewEvent(message="The job was resumed and is queued")
        self._move(connection, job, state, [event], lambda body: body.model_copy(update=change))

    def events(
        self, job: str, *, after: str = "", since: int | None = None, limit: int = 20
    ) -> tuple[list[JobEvent], bool]:
        """Events of a job and whether more follow.

        Args:
            after: newest first, those older than this event; "" begins with the newest.
            since: oldest first instead, those with a number above this one.

        Raises:
            JobError: ``after`` is no event of this job.
        """
        table = schema.events
        query = sa.select(table).where(table.c.job == job).limit(limit + 1)
        query = query.order_by(table.c.seq.desc() if since is None else table.c.seq)
        with self.database.transaction() as connection:
            if since is not None:
                query = query.where(table.c.seq > since)
            elif after:
                last = connection.scalar(sa.select(table.c.seq).where(table.c.id == after, table.c.job == job))
                if last is None:
                    raise JobError(
                        f"{after[:80]!r} is no event of this job",
                        param="after",
                        rule="after is the id of the last event of the page before",
                        fix="leave it out to begin with the newest event",
                    )
                query = query.where(table.c.seq < last)
            found = [_event(row) for row in connection.execute(query)]
        return found[:limit], len(found) > limit

    def checkpoints(self, job: str, after: str = "", limit: int = 10) -> tuple[list[Checkpoint], bool]:
        """Checkpoints of a job, newest first, and whether more follow.

        Raises:
            JobError: ``after`` is no checkpoint of this job.
        """
        table = schema.checkpoints
        query = sa.select(table).where(table.c.job == job).order_by(table.c.step.desc()).limit(limit + 1)
        with self.database.transaction() as connection:
            if after:
                last = connection.scalar(sa.select(table.c.step).where(table.c.id == after, table.c.job == job))
                if last is None:
                    raise JobError(
                        f"{after[:80]!r} is no checkpoint of this job",
                        param="after",
                        rule="after is the id of the last checkpoint of the page before",
                        fix="leave it out to begin with the newest checkpoint",
                    )
                query = query.where(table.c.step < last)
            rows = connection.execute(query).all()
        found = [
            Checkpoint(
                id=row.id,
                job=row.job,
                step=row.step,
                created_at=row.created_at,
                model=row.model,
                metrics=json.loads(row.metrics),
            )
            for row in rows
        ]
        return found[:limit], len(found) > limit

    # --- whoever works at them ---------------------------------------------------------------------------------------

    def open_jobs(self) -> list[Job]:
        """Every job that has not ended, oldest first."""
        query = sa.select(schema.jobs).where(schema.jobs.c.state.not_in(ENDS)).order_by(schema.jobs.c.seq)
        with self.database.transaction() as connection:
            return [_job(row) for row in connection.execute(query)]

    def claim(self, job: Job, owner: Owner) -> Job | None:
        """Begin the next attempt at a job as it was seen; None when it has changed since, or is claimed already."""
        with self._writing() as connection:
            seen = self._locked(connection, job.id)
            if (seen.fence, seen.beat, seen.state) != (job.fence, job.beat, job.state) or seen.state == "paused":
                return None
            state: State = "running" if seen.state == "queued" else seen.state
            body, events = seen.body, []
            if seen.owner is not None:
                text = "The process that worked at this job ended before it was done; another one goes on"
                events = [NewEvent(message=text, level="warn")]
            elif state == "running":
                events = [NewEvent(message="Fine-tuning job started")]
                body = body.model_copy(update={"started_at": body.started_at or time.time()})
            self._tell(connection, seen.id, events)
            values = {"state": state, "fence": seen.fence + 1, "beat": seen.beat + 1, "body": body}
            self._update(connection, seen, **values, owner=owner.model_dump_json())
            return self._locked(connection, seen.id)

    def beat(self, job: Job) -> Wish:
        """Say that an attempt is alive, and hear what is wished of it.

        Raises:
            LostClaimError: it is no longer its attempt.
        """
        with self._writing() as connection:
            seen = self._claimed(connection, job)
            self._update(connection, seen, beat=seen.beat + 1)
            return seen.wish

    def wish_of(self, job: Job) -> Wish:
        """What is wished of an attempt; cheap.

        Raises:
            LostClaimError: it is no longer its attempt.
        """
        query = sa.select(schema.jobs.c.wish, schema.jobs.c.fence).where(schema.jobs.c.id == job.id)
        with self.database.transaction() as connection:
            row = connection.execute(query).first()
        if row is None or row.fence != job.fence:
            raise _lost(job)
        return row.wish  # type: ignore[no-any-return]

    def log_offset(self, job: Job) -> int:
        """Up to which byte the log of a job has been taken over."""
        query = sa.select(schema.jobs.c.log_offset).where(schema.jobs.c.id == job.id)
        with self.database.transaction() as connection:
            return int(connection.scalar(query) or 0)

    def record(
        self,
        job: Job,
        events: Sequence[NewEvent],
        offset: int,
        change: Change = same,
        made: Sequence[tuple[Checkpoint, TunedModel]] = (),
    ) -> Job:
        """Take over a part of the log: its events, what it says of the progress, and how far that goes, all at once.

        ``made``: checkpoints and the names that they can be called by.

        Raises:
            LostClaimError: it is no longer its attempt.
        """
        with self._writing() as connection:
            seen = self._claimed(connection, job)
            for point, model in made:
                row = {**point.model_dump(), "metrics": json.dumps(dict(point.metrics))}
                connection.execute(schema.checkpoints.insert().values(row))
                connection.execute(schema.models.insert().values(model.model_dump()))
            self._tell(connection, job.id, events)
            self._update(connection, seen, log_offset=offset, body=change(seen.body))
            return self._locked(connection, job.id)

    def finish(
        self,
        job: Job,
        state: State,
        events: Sequence[NewEvent],
        change: Change = same,
        model: TunedModel | None = None,
    ) -> Job:
        """End an attempt: the new state, what is told of it, and the model that can be called from now on.

        Raises:
            LostClaimError: it is no longer its attempt.
        """
        with self._writing() as connection:
            seen = self._claimed(connection, job)
            if model is not None:
                connection.execute(schema.models.insert().values(model.model_dump()))
            self._move(connection, seen, state, events, change)
            return self._locked(connection, job.id)

    def give_back(self, job: Job, events: Sequence[NewEvent] = (), change: Change = same) -> None:
        """Leave a job to whoever claims it next; it keeps its place in the queue.

        Raises:
            LostClaimError: it is no longer its attempt.
        """
        with self._writing() as connection:
            seen = self._claimed(connection, job)
            self._tell(connection, job.id, events)
            state = "queued" if seen.state == "running" else seen.state
            self._update(connection, seen, state=state, owner=None, fence=seen.fence + 1, body=change(seen.body))

    def go_on_with_room(self, job: Job) -> bool:
        """Put a job back into the queue that waited for room on the disk; False when it has changed meanwhile."""
        with self._writing() as connection:
            seen = self._locked(connection, job.id)
            if seen.state != "paused" or not seen.body.waits_for_room:
                return False
            self._requeue(connection, seen)
            return True

    # --- inside a transaction ----------------------------------------------------------------------------------------

    def _writing(self) -> Any:
        return self.database.transaction(write=True)

    def _locked(self, connection: sa.Connection, id: str) -> Job:
        row = connection.execute(sa.select(schema.jobs).where(schema.jobs.c.id == id).with_for_update()).one()
        return _job(row)

    def _claimed(self, connection: sa.Connection, job: Job) -> Job:
        seen = self._locked(connection, job.id)
        if seen.fence != job.fence or seen.owner is None or seen.ended:
            raise _lost(job)
        return seen

    def _move(
        self, connection: sa.Connection, job: Job, state: State, events: Sequence[NewEvent], change: Change
    ) -> None:
        assert state in MOVES[job.state], f"{job.state} → {state}"
        body = change(job.body)
        if state in ENDS:
            body = body.model_copy(update={"finished_at": time.time()})
        self._tell(connection, job.id, events)
        self._update(connection, job, state=state, owner=None, wish="", fence=job.fence + 1, body=body)

    def _update(self, connection: sa.Connection, job: Job, **values: Any) -> None:
        if "body" in values:
            values["body"] = values["body"].model_dump_json()
        table = schema.jobs
        as_seen = sa.and_(table.c.id == job.id, table.c.state == job.state, table.c.fence == job.fence)
        if connection.execute(table.update().where(as_seen).values(**values)).rowcount != 1:
            raise _lost(job)

    def _tell(self, connection: sa.Connection, job: str, events: Sequence[NewEvent]) -> None:
        if not events:
            return
        number = int(connection.scalar(sa.select(schema.jobs.c.event_seq).where(schema.jobs.c.id == job)) or 0)
        now = time.time()
        rows = [
            {
                "id": f"ftevent-{job.removeprefix('ftjob-')}-{number + place}",
                "job": job,
                "seq": number + place,
                "created_at": now,
                "level": event.level,
                "type": event.type,
                "message": event.message,
                "data": None if event.data is None else json.dumps(dict(event.data)),
            }
            for place, event in enumerate(events, 1)
        ]
        connection.execute(schema.events.insert(), rows)
        counted = schema.jobs.update().where(schema.jobs.c.id == job).values(event_seq=number + len(rows))
        connection.execute(counted)


def open_store(root: Path, url: str = "") -> JobStore:
    """The queue of a workspace: the database that ``url`` names, else ``jobs.sqlite3`` in it.

    Raises:
        ConfigError: the URL names no database that is supported. StorageError: it cannot be opened.
    """
    place = parse_url(url) if url else sa.URL.create("sqlite", database=str(root / "jobs.sqlite3"))
    return JobStore(Database(place))


def _lost(job: Job) -> LostClaimError:
    return LostClaimError(
        f"attempt {job.fence} at the job {job.id} has lost it",
        where=job.id,
        rule="one attempt at a time works at a job",
        fix="nothing needs to be done: another process goes on with it",
    )


def _job(row: Any) -> Job:
    return Job(
        id=row.id,
        seq=row.seq,
        tenant=row.tenant,
        state=row.state,
        wish=row.wish,
        fence=row.fence,
        beat=row.beat,
        owner=Owner.model_validate_json(row.owner) if row.owner else None,
        created_at=row.created_at,
        body=Body.model_validate_json(row.body),
    )


def _event(row: Any) -> JobEvent:
    return JobEvent(
        id=row.id,
        job=row.job,
        seq=row.seq,
        created_at=row.created_at,
        level=row.level,
        type=row.type,
        message=row.message,
        data=None if row.data is None else json.loads(row.data),
    )
