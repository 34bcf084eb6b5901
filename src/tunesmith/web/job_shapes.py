"""Files, jobs, events and checkpoints in OpenAI's shapes. What is ours stands under keys that its clients pass over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tunesmith.jobs import Checkpoint, Job, JobEvent, StoredFile

Json = dict[str, Any]
T = TypeVar("T")


def page(items: Sequence[T], more: bool, shape: Callable[[T], Json]) -> Json:
    """A page of a list. ``has_more`` is always said: without it clients ask on."""
    data = [shape(item) for item in items]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": more}


def file_object(file: StoredFile) -> Json:
    """``file``; ``validation_report`` is ours."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "expires_at": None if file.expires_at is None else int(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed" if file.usable else "error",
        "status_details": None if file.usable else (file.report or {}).get("error"),
        "sha256": file.sha256,
        "validation_report": file.report,
    }


def job_object(job: Job, organization: str) -> Json:
    """``fine_tuning.job``; ``tunesmith`` is ours."""
    body, spec, result = job.body, job.spec, job.body.result
    hyperparameters = {
        "n_epochs": spec.n_epochs,
        "batch_size": spec.batch_size,
        "learning_rate_multiplier": spec.learning_rate_multiplier,
    }
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created_at),
        "finished_at": None if body.finished_at is None else int(body.finished_at),
        "estimated_finish": body.progress.estimated_finish,
        "model": spec.model,
        "fine_tuned_model": result.model if result else None,
        "organization_id": organization,
        "status": job.state,
        "training_file": spec.training_file,
        "validation_file": spec.validation_file,
        "result_files": [result.result_file] if result else [],
        "trained_tokens": result.trained_tokens if result else None,
        "seed": spec.seed,
        "hyperparameters": hyperparameters,
        "method": {"type": spec.method, spec.method: {"hyperparameters": hyperparameters}},
        "integrations": [],
        "metadata": spec.metadata,
        "user_provided_suffix": spec.suffix,
        "error": body.error.model_dump() if body.error else None,
        "tunesmith": _ours(job),
    }


def _ours(job: Job) -> Json:
    body, spec, result = job.body, job.spec, job.body.result
    hidden = ("model", "init_adapter")  # places on the server
    return {
        "base_model": spec.base,
        "base_learning_rate": spec.base_learning_rate,
        "learning_rate": spec.config["learning_rate"],
        "test_file": spec.test_file,
        "extras": dict(spec.extras),
        "config": {key: value for key, value in spec.config.items() if key not in hidden},
        "data": dict(body.data),
        "step": body.progress.step,
        "total_steps": body.progress.total_steps,
        "attempt": job.fence,
        "paused_reason": body.reason or None,
        "requested": job.wish or None,
        "verdict": result.verdict if result else None,
        "verdict_sentence": (result.sentence or None) if result else None,
        "report_id": (result.report_id or None) if result else None,
        "adapter_digest": result.adapter_digest if result else None,
        "seconds": result.seconds if result else None,
        "estimate": result.estimate if result else None,
    }


def event_object(event: JobEvent) -> Json:
    """``fine_tuning.job.event``."""
    return {
        "id": event.id,
        "object": "fine_tuning.job.event",
        "created_at": int(event.created_at),
        "level": event.level,
        "message": event.message,
        "type": event.type,
        "data": event.data,
    }


def checkpoint_object(point: Checkpoint) -> Json:
    """``fine_tuning.job.checkpoint``."""
    return {
        "id": point.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(point.created_at),
        "fine_tuned_model_checkpoint": point.model,
        "fine_tuning_job_id": point.job,
        "step_number": point.step,
        "metrics": {key: value for key, value in point.metrics.items() if value is not None},
    }
