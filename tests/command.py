"""The command line as users meet it: in a process of its own, or in this one where starting torch would cost more."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from unittest import mock

from tunesmith.cli import main

SECONDS = 800
"""Longest any of these commands may last before the test gives up."""

QUICK = {"TUNESMITH_THREADS": "1"}
"""Tiny models are slower on two threads than on one."""


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error in the document: type, what, where, rule, fix, exit_code."""
        return self.document["error"]


def tunesmith(*arguments: object, at: Path, **environment: str) -> Ran:
    """Run a command line in a process of its own, in the folder ``at``."""
    done = subprocess.run(
        [sys.executable, "-m", "tunesmith", *map(str, arguments)],
        cwd=at,
        env=os.environ | QUICK | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def inside(*arguments: object, at: Path, typed: str = "", **environment: str) -> Ran:
    """The same in this process; ``typed`` is its standard input."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "stdin", io.StringIO(typed)),
        contextlib.chdir(at),
        mock.patch.dict(os.environ, QUICK | environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main.run([str(argument) for argument in arguments])
    return Ran(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def started(*arguments: object, at: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs while the block does, in a process group of its own; killed at its end if it still does."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "tunesmith", *map(str, arguments)],
        cwd=at,
        env=os.environ | QUICK | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heed_ctrl_c,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _heed_ctrl_c() -> None:
    """Whoever starts the tests in the background of a shell hands down that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ctrl_c(process: subprocess.Popen[str]) -> Ran:
    """Send SIGINT and wait for the end."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    return Ran(process.returncode, out, err)


def read_until(stream: IO[str] | None, words: str) -> str:
    """What a process writes, up to and including the line that holds ``words``."""
    assert stream is not None
    text = ""
    for line in stream:
        text += line
        if words in line:
            return text
    raise AssertionError(f"it ended before {words!r}:\n{text}")


def files(folder: Path) -> Mapping[str, bytes]:
    """Every file below a folder with its content; nothing when there is no folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def kept(workspace: Path) -> list[str]:
    """What a workspace holds: artifacts, derived data, work in progress. An empty one holds nothing of these.

    Tokenised rows are left out: they follow from the data alone, and stay for the next start when a run is refused.
    """
    found = [path for part in ("artifacts", "cache", "tmp") for path in (workspace / part).glob("*")]
    return [str(path) for path in found if not path.name.startswith("rows-")]


def plain(text: str) -> str:
    """The text with every run of white space as one blank, so that wrapped lines read as one."""
    return re.sub(r"\s+", " ", text)
