"""Where the files of jobs stand in a workspace.

<root>/jobs/<job id>/config.yaml     what the attempt reads
<root>/jobs/<job id>/log.jsonl       what all attempts tell, line after line
<root>/jobs/<job id>/validated.json  what reading the files found
<root>/jobs/<job id>/result.json     how the last attempt ended
<root>/jobs/<job id>/output.txt      what its processes wrote to their consoles
<root>/jobs/<job id>/<job id>/       the run's folder: adapter/, steps/, checkpoints/, …
<root>/files/<sha256>.<ending>       what was uploaded
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """The folder of a job."""

    root: Path
    job: str

    @property
    def folder(self) -> Path:
        """All of it."""
        return self.root / "jobs" / self.job

    @property
    def config(self) -> Path:
        """The configuration of the run."""
        return self.folder / "config.yaml"

    @property
    def log(self) -> Path:
        """Events of all attempts, a line each."""
        return self.folder / "log.jsonl"

    @property
    def validated(self) -> Path:
        """What reading the files found."""
        return self.folder / "validated.json"

    @property
    def result(self) -> Path:
        """How an attempt at training ended."""
        return self.folder / "result.json"

    @property
    def output(self) -> Path:
        """What the processes of the attempts wrote to their consoles."""
        return self.folder / "output.txt"

    @property
    def lock(self) -> Path:
        """Held by the process that works at the job."""
        return self.folder / "lock"

    @property
    def run(self) -> Path:
        """The run's folder. It has the job's id as its name, which becomes the name of the release."""
        return self.folder / self.job
