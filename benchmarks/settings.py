"""What every benchmark is told, where things lie, and how programs are started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}


class Unavailable(Exception):
    """Something that a benchmark needs cannot be had; the message is the reason."""


@dataclass(frozen=True)
class Settings:
    """The options of the command line."""

    model: str = "smollm2-135m-instruct"
    steps: int | None = None
    rounds: int = 3
    compiled: bool = False
    shape: str = "short"
    method: str = "lora"

    def model_folder(self) -> Path:
        """The model's folder; it is downloaded and converted once where that is needed.

        Raises:
            Unavailable: it cannot be had.
        """
        from tunesmith.core.errors import TunesmithError
        from tunesmith.core.store import Workspace
        from tunesmith.model.resolve import resolve_model

        try:
            return resolve_model(self.model, Workspace.open()).resolve()
        except TunesmithError as error:
            raise Unavailable(f"the model {self.model}: {error.what}") from error


def environment(**changes: str) -> dict[str, str]:
    """The environment of a measured program: package and benchmarks importable, all cores, nothing phones home."""
    paths = [str(ROOT / "src"), str(ROOT)]
    cores = str(len(os.sched_getaffinity(0)))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": cores, **changes}


def tunesmith(*arguments: str) -> list[str]:
    """The command line of ``tunesmith``: the installed script where there is one, else the module."""
    script = Path(sys.executable).parent / "tunesmith"
    return [str(script), *arguments] if script.is_file() else [sys.executable, "-m", "tunesmith", *arguments]


def run(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end; gives its standard output.

    Raises:
        Unavailable: it failed; the message has its last words.
    """
    done = subprocess.run(command, cwd=cwd, env=env or environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{Path(command[0]).name} ended with {done.returncode}: {last_words(done.stderr)}")
    return done.stdout


def say(text: str) -> None:
    """Tell whoever waits what is going on."""
    print(f"  {text}", file=sys.stderr, flush=True)


def last_words(text: str, lines: int = 4) -> str:
    """The end of a program's complaints, in one line."""
    kept = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return " | ".join(kept[-lines:]) or "no message"
