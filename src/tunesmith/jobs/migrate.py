"""A fine-tuning account, moved here: its finished jobs run again on this machine, and old and new answers compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from tunesmith import curate, evaluate
from tunesmith import serve as serving
from tunesmith.core import store
from tunesmith.core.artifacts import Report
from tunesmith.core.errors import TunesmithError
from tunesmith.core.events import Emit, Note, Stage, ignore
from tunesmith.core.protocols import Progress, Sampler
from tunesmith.core.records import Completion, Example, Prompt, Record, SamplingParams, Score
from tunesmith.jobs.names import check_suffix
from tunesmith.jobs.records import Job
from tunesmith.jobs.request import MOST_BATCH, MOST_EPOCHS
from tunesmith.jobs.service import FineTuning
from tunesmith.serve import Account, RemoteJob

RECORD = "migration.json"


class Moved(Record):
    """What became of a job of the account."""

    remote: RemoteJob
    files: Mapping[str, str] = {}
    """Id of a file there → where it lies here."""
    notes: tuple[str, ...] = ()
    """What could not be taken over as it was, and why."""
    job: str = ""
    """Its id here."""
    model: str = ""
    """What it made here."""
    state: str = "not run"
    verdict: str | None = None
    sentence: str = ""
    """The new model against the old one, in words; "" where they were not compared."""


class _Record(Record):
    jobs: tuple[Moved, ...] = ()


@final
class _Answers:
    """A sampler of which only the answers are compared: a hosted model does not score given ones."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler, self.name, self.digest = sampler, sampler.name, sampler.digest

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """The sampler's own answers."""
        return self._sampler.sample(prompts, params, progress)

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        """Not measured: no log-probabilities."""
        return [Score(example_id=example.id, logprobs=()) for example in examples]


@final
class Migration:
    """Moves jobs one by one; what is done is written down, and not done again.

    Args:
        account: where they are.
        service: where they go.
        base: name of the base that takes the place of the account's.
        folder: for files and records.
        tenant: whose the jobs are here.
    """

    def __init__(self, account: Account, service: FineTuning, base: str, folder: Path, tenant: str = "") -> None:
        self._account, self._service, self._base, self._folder, self._tenant = account, service, base, folder, tenant

    def survey(self, wanted: Sequence[str] = ()) -> list[Moved]:
        """The jobs of the account that ended well, and what is known of them here.

        Raises:
            EndpointError: the account cannot be read.
        """
        known = {moved.remote.id: moved for moved in self._read().jobs}
        jobs = [job for job in self._account.jobs() if job.status == "succeeded" and job.id in (wanted or [job.id])]
        return [known.get(job.id, Moved(remote=job)) for job in jobs]

    def fetch(self, moved: Moved, emit: Emit = ignore) -> Moved:
        """The files of a job on this disk.

        Raises:
            EndpointError: a file is gone or may not be read.
        """
        files = dict(moved.files)
        for id in filter(None, (moved.remote.training_file, moved.remote.validation_file)):
            target = self._folder / "files" / f"{id}.jsonl"
            if id not in files or not target.is_file():
                name = self._account.fetch(id, target)
                emit(Note(text=f"fetched {id} ({name}), {target.stat().st_size:,} bytes"))
            files[id] = str(target)
        return self._keep(moved.model_copy(update={"files": files}))

    def request(self, moved: Moved) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The request for the same job here, and what had to be changed."""
        remote, notes = moved.remote, [f"the base {moved.remote.model} becomes {self._base}"]
        if remote.method != "supervised":
            notes.append(f"the method {remote.method} is not served here yet")
        chosen: dict[str, Any] = {}
        for key, most in (("n_epochs", MOST_EPOCHS), ("batch_size", MOST_BATCH)):
            value = remote.hyperparameters.get(key)
            if isinstance(value, int):
                chosen[key] = min(value, most)
        multiplier = remote.hyperparameters.get("learning_rate_multiplier")
        if isinstance(multiplier, int | float):
            chosen["learning_rate_multiplier"] = multiplier
            notes.append(f"learning_rate_multiplier {multiplier:g} counts from this base's own rate")
        body: dict[str, Any] = {"model": self._base, "hyperparameters": chosen}
        if remote.seed is not None:
            body["seed"] = remote.seed
        try:
            body["suffix"] = check_suffix(remote.suffix)
        except TunesmithError:
            notes.append(f"the suffix {remote.suffix!r} cannot stand in a name here")
        return body, tuple(notes)

    def run(self, moved: Moved, work: Callable[[Job], Job], emit: Emit = ignore) -> Moved:
        """Train the job again here, unless that was done.

        Args:
            moved: with its files fetched.
            work: takes a job of the queue to its end.

        Raises:
            JobError: its rows or its method cannot be trained here.
        """
        body, notes = self.request(moved)
        if moved.job:
            job = self._service.jobs.job(moved.job)
        else:
            body["training_file"] = self._upload(moved, moved.remote.training_file)
            if moved.remote.validation_file:
                body["validation_file"] = self._upload(moved, moved.remote.validation_file)
            if moved.remote.method != "supervised":
                body["method"] = {"type": moved.remote.method}
            job = self._service.create(self._tenant, body)
            moved = self._keep(moved.model_copy(update={"job": job.id, "notes": notes, "state": job.state}))
        emit(Stage(title="training again", detail=f"{moved.remote.id} as {job.id}"))
        job = job if job.ended else work(job)
        result, error = job.body.result, job.body.error
        change = {"state": job.state, "model": result.model if result else ""}
        notes = moved.notes + ((error.message,) if error else ())
        return self._keep(moved.model_copy(update={**change, "notes": notes}))

    def _upload(self, moved: Moved, file: str) -> str:
        source = Path(moved.files[file])
        with self._service.shelf.receiving() as path:
            store.copy_file(source, path)
            return self._service.upload(self._tenant, source.name, "fine-tune", path).id

    def compare(self, moved: Moved, data: Path | None, rows: int, emit: Emit = ignore) -> tuple[Moved, Report]:
        """Ask the old model and the new one the same questions.

        Args:
            data: held-out rows; None: those of the job's validation file, else of its training file.
            rows: at most so many.
        """
        examples, note = self._questions(moved, data)
        tuned = self._service.shelf.model(moved.model, self._tenant)
        assert tuned is not None, "a job that succeeded has a model"
        folder = self._service.workspace.artifact(tuned.artifact).path
        [(_, new)] = serving.open_samplers([str(folder)], self._service.workspace, emit)
        both = [_Answers(self._account.sampler(moved.remote.tuned)), _Answers(new)]
        chosen = examples[:rows]
        report = evaluate.run(evaluate.Config(), both, chosen, emit=emit, dataset_digest=moved.remote.id)
        store.write_text(self._folder / f"{moved.remote.id}.report.json", report.model_dump_json(indent=2) + "\n")
        change = {"verdict": report.verdict, "sentence": report.sentence, "notes": (*moved.notes, *note)}
        return self._keep(moved.model_copy(update=change)), report

    def _questions(self, moved: Moved, data: Path | None) -> tuple[list[Example], tuple[str, ...]]:
        if data is not None:
            return list(curate.read(curate.DatasetSpec(path=str(data)))), ()
        remote = moved.remote
        file = remote.validation_file or remote.training_file
        note = () if remote.validation_file else ("compared on rows that both were trained on: there are no others",)
        return list(curate.read(curate.DatasetSpec(path=moved.files[file]))), note

    def _read(self) -> _Record:
        path = self._folder / RECORD
        return _Record.model_validate_json(path.read_bytes()) if path.is_file() else _Record()

    def _keep(self, moved: Moved) -> Moved:
        others = [other for other in self._read().jobs if other.remote.id != moved.remote.id]
        kept = _Record(jobs=(*others, moved)).model_dump(mode="json")
        store.write_text(self._folder / RECORD, json.dumps(kept, indent=2) + "\n")
        return moved
