"""Thread: fine-tuning jobs. A queue that survives every crash, and whoever works at it.

    open_service → FineTuning     files, jobs and tuned models, for the doors
    Worker                        claims jobs and carries them out, each attempt in a process of its own

Light to import: no torch, no web framework.
"""

from tunesmith.jobs.errors import JobError
from tunesmith.jobs.launcher import Launch, Running, launch_here
from tunesmith.jobs.migrate import Migration, Moved
from tunesmith.jobs.records import Checkpoint, Job, JobEvent, Spec, StoredFile, TunedModel
from tunesmith.jobs.service import FineTuning, check_upload, open_service, service_beside
from tunesmith.jobs.serving import Registry
from tunesmith.jobs.store import JobStore, open_store
from tunesmith.jobs.worker import Worker, WorkerConfig

__all__ = [
    "Checkpoint",
    "FineTuning",
    "Job",
    "JobError",
    "JobEvent",
    "JobStore",
    "Launch",
    "Migration",
    "Moved",
    "Registry",
    "Running",
    "Spec",
    "StoredFile",
    "TunedModel",
    "Worker",
    "WorkerConfig",
    "check_upload",
    "launch_here",
    "open_service",
    "open_store",
    "service_beside",
]
