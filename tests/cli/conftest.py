"""A desk to make mistakes on: a project that would train if nothing were wrong with it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command import Ran, files, inside, kept
from tests.core.conftest import small_disk
from tests.project import BASE, CONFIG, ROWS, Project, questions, write_config, write_rows

__all__ = ["small_disk"]


@dataclass(frozen=True)
class Refusal:
    """An error as people read it."""

    what: str
    where: str
    rule: str
    fix: str


def refusal(ran: Ran, code: int = 2) -> Refusal:
    """The error that a command ended with: its labelled lines, the last thing on standard error."""
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    text = ran.err[ran.err.index("error: ") :]
    parts = re.split(r"\n  (where|rule|fix): +", text.removeprefix("error: ").rstrip("\n"))
    labelled = dict(zip(parts[1::2], parts[2::2], strict=True))
    return Refusal(parts[0], labelled.get("where", ""), labelled.get("rule", ""), labelled.get("fix", ""))


@dataclass(frozen=True)
class Desk:
    """A folder with good rows, a config and a workspace of its own; ``run`` is where `train` would write."""

    folder: Path
    base: Path
    workspace: Path | None = None

    @property
    def home(self) -> Path:
        return self.workspace or self.folder / "home"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def config(self, **values: object) -> None:
        """Write the config anew, with these values over the good ones."""
        write_config(self.folder / CONFIG, **{"model": str(self.base), **values})

    def ask(self, *arguments: object, **environment: str) -> Ran:
        """Run a command line here."""
        return inside(*arguments, at=self.folder, **{"TUNESMITH_HOME": str(self.home), **environment})

    def train(self, *arguments: object, **environment: str) -> Ran:
        return self.ask("train", CONFIG, *arguments, **environment)

    def is_untouched(self) -> bool:
        """Neither the run's folder nor anything in the workspace was made."""
        return not self.run.exists() and kept(self.home) == []


@pytest.fixture
def desk(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    def serves(*_: object, **__: object) -> None:
        raise AssertionError("nothing was refused: it serves")

    monkeypatch.setattr("tunesmith.serve.run", serves)
    made = Desk(tmp_path, project.folder / BASE)
    write_rows(tmp_path / ROWS, questions(range(30)))
    made.config()
    return made


@pytest.fixture
def unchanged(project: Project) -> Iterator[Project]:
    """The shared project, whose finished run must be the same afterwards, byte for byte."""
    before = files(project.run)
    yield project
    assert files(project.run) == before


@pytest.fixture
def read_only_disk(small_disk: Path) -> Path:
    """A real file system that cannot be written."""
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    return small_disk
