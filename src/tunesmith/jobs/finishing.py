"""How an attempt ended, and what that means for its job: the part of a worker that decides and writes down.

What is published (a checkpoint, the final model, the result file) lies whole in the workspace before the transaction
that names it; so it is seen whole or not at all, whenever a process ends.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from tunesmith.core import store
from tunesmith.core.artifacts import AdapterCard
from tunesmith.core.disk import MANIFEST
from tunesmith.core.errors import CorruptArtifactError
from tunesmith.core.store import Workspace
from tunesmith.jobs.attempt import NO_ROOM, STOPPED, TAKEN
from tunesmith.jobs.names import checkpoint_name, model_name
from tunesmith.jobs.places import Place
from tunesmith.jobs.records import Body, Checkpoint, Job, NewEvent, Problem, Result, StoredFile, TunedModel
from tunesmith.jobs.shelf import Shelf
from tunesmith.jobs.store import Change, JobStore
from tunesmith.jobs.telling import step_metrics, tell
from tunesmith.model.resolve import CARD

log = logging.getLogger(__name__)

Kind = Literal["done", "refused", "cancel", "pause", "no room", "give back", "crash"]


@dataclass(frozen=True)
class Ending:
    """How an attempt ended; ``detail`` is its result, or why, in words."""

    kind: Kind
    text: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@final
class Finisher:
    """Reads what attempts leave, and writes what follows into the store.

    Args:
        jobs: the queue.
        workspace: where the attempts' folders and the weights are.
        crashes: attempts in a row that may die without a step forward.
    """

    def __init__(self, jobs: JobStore, workspace: Workspace, crashes: int) -> None:
        self._jobs, self._workspace, self._crashes = jobs, workspace, crashes
        self.shelf = Shelf(jobs.database, workspace)

    def write_config(self, job: Job) -> None:
        """What the attempt reads. It follows from the job alone, so every attempt reads the same."""
        place, spec = Place(self._workspace.root, job.id), job.spec
        datasets = [
            {"path": str(self.shelf.path(file)), **({"split": split} if split else {})}
            for _, split, file in self._files(job)
        ]
        config = {**spec.config, "datasets": datasets, "output_dir": str(place.run), "seed": spec.seed}
        store.write_text(place.config, json.dumps(config, indent=1, sort_keys=True) + "\n")

    def _files(self, job: Job) -> list[tuple[str, str, StoredFile]]:
        """Field of the request, split that it pins ("" leaves the rows to be split), file."""
        spec = job.spec
        named = (
            ("training_file", "train" if spec.validation_file and not spec.config.get("test_size") else ""),
            ("validation_file", "validation"),
            ("test_file", "test"),
        )
        found = []
        for field_, split in named:
            id = spec.model_dump()[field_]
            if id:
                found.append((field_, split, self.shelf.file(id, job.tenant, field_, any_age=True)))
        return found

    # --- the log -----------------------------------------------------------------------------------------------------

    def take_over(self, job: Job, most: int) -> bool:
        """Take over the next part of the log; whether there was any."""
        place = Place(self._workspace.root, job.id)
        offset = self._jobs.log_offset(job)
        try:
            with place.log.open("rb") as file:
                size = file.seek(0, 2)
                if size < offset:  # the machine lost its last bytes; what is told from now on comes behind the rest
                    offset = size
                file.seek(offset)
                part = file.read(most)
        except FileNotFoundError:
            return False
        whole = part[: part.rfind(b"\n") + 1]
        if not whole:
            return False
        told = tell(whole.splitlines(), self._jobs.job(job.id).body.progress, self._cleaner(job))
        made = [pair for pair in (self._kept(job, *kept) for kept in told.kept) if pair is not None]
        change: Change = lambda body: body.model_copy(update={"progress": told.progress})  # noqa: E731
        self._jobs.record(job, told.events, offset + len(whole), change, made)
        return True

    def _cleaner(self, job: Job) -> Callable[[str], str]:
        """Takes the server's own paths out of what a tenant reads."""
        names = {}
        for _, _, file in self._files(job):
            path = self.shelf.path(file)
            names |= {str(path): file.filename, path.name: file.filename}
        names |= {str(job.spec.config["model"]): job.spec.base, f"{self._workspace.root}/": ""}

        def clean(text: str) -> str:
            for path, name in names.items():
                text = text.replace(path, name)
            return text

        return clean

    def _kept(self, job: Job, step: int, path: str, figures: Mapping[str, Any]) -> tuple[Checkpoint, TunedModel] | None:
        """Weights of a validation, made callable."""
        folder, now = Path(path), time.time()
        try:
            store.verify_folder(folder)
            model = self._publish(job, folder, checkpoint_name(self.name(job), step), step, now)
        except (CorruptArtifactError, FileNotFoundError) as error:
            log.warning("the weights of step %d of %s are not kept: %s", step, job.id, error)
            return None
        number = f"{job.id.removeprefix('ftjob-')}-{step}"
        point = Checkpoint(
            id=f"ftckpt_{number}", job=job.id, step=step, created_at=now, model=model.name, metrics=figures
        )
        return point, model

    def _publish(self, job: Job, folder: Path, name: str, step: int, now: float) -> TunedModel:
        from tunesmith.model.adapters import adapter_digest

        def fill(target: Path) -> None:
            for path in sorted(folder.iterdir()):
                if path.name != MANIFEST:
                    store.copy_file(path, target / path.name)

        card = AdapterCard.model_validate_json((folder / CARD).read_bytes())
        artifact = self._workspace.publish("adapter", fill, {"job": job.id, "step": step})
        return TunedModel(
            name=name,
            tenant=job.tenant,
            job=job.id,
            artifact=artifact.digest,
            adapter_digest=adapter_digest(folder),
            base=job.spec.base,
            base_fingerprint=card.base_fingerprint,
            step=step,
            created_at=now,
        )

    def name(self, job: Job) -> str:
        """What the job's final model is called."""
        return model_name(job.spec.base, job.tenant, job.spec.suffix, job.id)

    # --- the end -----------------------------------------------------------------------------------------------------

    def left_over(self, job: Job, phase: str) -> Ending | None:
        """What an earlier attempt left that nobody wrote down: the rest of its log, and maybe its result."""
        while self.take_over(job, 1 << 20):
            pass
        found = self._read(job, phase)
        return Ending("done", detail=found) if found.get("status") == "done" else None

    def ending(self, job: Job, phase: str, code: int, why: str) -> Ending:
        """How the attempt of this very fence ended.

        Args:
            code: its exit code, negative for a signal.
            why: what it was asked to end for; "" where it was not asked.
        """
        found = self._read(job, phase)
        found = found if found.get("fence") == job.fence else {}
        status = found.get("status")
        if status == "done":
            return Ending("done", detail=found)
        if why in ("cancel", "pause"):
            return Ending("cancel" if why == "cancel" else "pause")
        if status == "refused":
            return Ending("refused", detail=found["error"])
        if status == "no room" or code == NO_ROOM:
            return Ending("no room", found.get("error", {}).get("what", "the disk is full"))
        if why == "close" or code in (STOPPED, TAKEN):
            return Ending("give back")
        if why == "quiet":
            return Ending("crash", "it told nothing for too long, and was ended")
        said = found.get("error", {})
        how = f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
        return Ending("crash", str(said.get("what") or how), said)

    def _read(self, job: Job, phase: str) -> Mapping[str, Any]:
        place = Place(self._workspace.root, job.id)
        try:
            found = json.loads((place.validated if phase == "validate" else place.result).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def finish(self, job: Job, phase: str, ending: Ending) -> Job:
        """Write down how an attempt ended; the job as it stands then.

        Raises:
            LostClaimError: another attempt has the job. StorageError: there is no room to write it.
        """
        job = self._jobs.job(job.id).model_copy(update={"fence": job.fence})
        if ending.kind == "done":
            return self._validated(job, ending.detail) if phase == "validate" else self._succeeded(job, ending.detail)
        if ending.kind == "refused":
            return self._failed(job, self.problem(job, phase, ending.detail))
        if ending.kind == "cancel":
            return self._jobs.finish(job, "cancelled", [NewEvent(message="The job was cancelled")])
        if ending.kind in ("pause", "no room"):
            return self._paused(job, ending)
        if ending.kind == "crash":
            return self._crashed(job, ending)
        self._jobs.give_back(job)
        return self._jobs.job(job.id)

    def _paused(self, job: Job, ending: Ending) -> Job:
        waits = ending.kind == "no room"
        reason = f"{ending.text}; it goes on by itself when there is room" if waits else "asked"
        text = f"The job was paused: {reason}" if waits else f"The job was paused at step {job.body.progress.step}"
        change = {"reason": reason, "waits_for_room": waits}
        event = NewEvent(message=text, level="warn" if waits else "info")
        return self._jobs.finish(job, "paused", [event], lambda body: body.model_copy(update=change))

    def _validated(self, job: Job, found: Mapping[str, Any]) -> Job:
        data = {key: found[key] for key in ("split_seed", "rows", "tokens", "longest")}
        events = [NewEvent(message=text, level="warn") for text in found.get("findings", ())]
        events.append(NewEvent(message="Files validated, moving job to queued state", data={"data": data}))
        change = {"validated": True, "data": data}
        return self._jobs.finish(job, "queued", events, lambda body: body.model_copy(update=change))

    def _succeeded(self, job: Job, found: Mapping[str, Any]) -> Job:
        name = self.name(job)
        table = step_metrics(found["train_losses"], found["validation_losses"])
        with self.shelf.receiving() as path:
            store.write_text(path, table)
            number = job.id.removeprefix("ftjob-")
            file = self.shelf.add(job.tenant, "step_metrics.csv", "fine-tune-results", path, id=f"file-result-{number}")
        keys = ("adapter_digest", "artifact", "trained_tokens", "steps", "seconds", "verdict", "sentence", "report_id")
        result = Result(
            model=name, result_file=file.id, estimate=found.get("estimate"), **{key: found[key] for key in keys}
        )
        events = [NewEvent(message=f"New fine-tuned model created: {name}")]
        if result.sentence:
            data = {"verdict": result.verdict, "report_id": result.report_id}
            events.append(NewEvent(message=f"Verdict: {result.sentence}", data=data))
        events.append(NewEvent(message="The job has successfully completed"))
        model = TunedModel(
            name=name,
            tenant=job.tenant,
            job=job.id,
            artifact=result.artifact,
            adapter_digest=result.adapter_digest,
            base=job.spec.base,
            base_fingerprint=found["base_fingerprint"],
            created_at=time.time(),
        )

        def change(body: Body) -> Body:
            progress = body.progress.model_copy(update={"estimated_finish": None})
            return body.model_copy(update={"result": result, "progress": progress})

        return self._jobs.finish(job, "succeeded", events, change, model)

    def _failed(self, job: Job, problem: Problem) -> Job:
        event = NewEvent(message=f"The job failed: {problem.message}", level="error")
        return self._jobs.finish(job, "failed", [event], lambda body: body.model_copy(update={"error": problem}))

    def _crashed(self, job: Job, ending: Ending) -> Job:
        """Begin again from the checkpoint; give up where several attempts died at the same step."""
        at = job.body.progress.step
        count = job.body.crashes + 1 if at <= job.body.crashed_at else 1
        if count >= self._crashes:
            text = f"{count} attempts ended before they were done, the last one because {ending.text}"
            return self._failed(job, Problem(code="attempt_crashed", message=text))
        event = NewEvent(message=f"An attempt broke: {ending.text}; the next one goes on", level="warn")
        log.warning("an attempt at %s broke: %s\n%s", job.id, ending.text, ending.detail.get("trace", ""))
        change = {"crashes": count, "crashed_at": at}
        self._jobs.give_back(job, [event], lambda body: body.model_copy(update=change))
        return self._jobs.job(job.id)

    def problem(self, job: Job, phase: str, error: Mapping[str, Any]) -> Problem:
        """An error of a run as OpenAI has it: which file of the request, which line, what to do."""
        parts = [str(error.get(key) or "") for key in ("where", "what", "rule", "fix")]
        named = [field_ for field_, _, file in self._files(job) if str(self.shelf.path(file)) in parts[0]]
        param = named[0] if named else None
        parts = list(map(self._cleaner(job), parts))
        is_data = error.get("type") == "DataError"
        param = param or ("training_file" if is_data else None)
        code = f"invalid_{param}" if param else "invalid_configuration" if phase == "validate" else "training_failed"
        where, *rest = parts
        text = ". ".join(part.rstrip(".") for part in (f"{where}: {rest[0]}" if where else rest[0], *rest[1:]) if part)
        return Problem(code=code, message=f"{text}.", param=param)
