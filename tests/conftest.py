"""Fixtures shared by all tests, and the two rules for all of them: no network, and no stray workspace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import network
from tests.command import Ran, tunesmith
from tests.project import Project, make_project
from tests.tiny import build_model, build_tokenizer

ROOT = Path(__file__).resolve().parent.parent

network.block()
# Child processes find the package, the tests and the network block, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in ("tests/children", "src", "."))
os.environ.pop("TUNESMITH_DEBUG", None)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # each worker has a core: two threads each would wait for each other


@pytest.fixture(autouse=True)
def _network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests marked ``registry`` may download packages; all others see loopback only."""
    if request.node.get_closest_marker("registry"):
        monkeypatch.setenv(network.OPEN, "1")
    else:
        monkeypatch.delenv(network.OPEN, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes into the workspace of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_HOME", str(tmp_path_factory.mktemp("workspace")))
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random tiny Llama with its tokenizer; built once a session, never written to."""
    return build_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with only the tiny tokenizer (no torch needed)."""
    folder = tmp_path_factory.mktemp("models") / "tiny-tokenizer"
    build_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A user's folder after `tunesmith init`: a tiny base, rows, held-out rows, a config. Runs go into ``runs/``."""
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def trained(project: Project) -> Ran:
    """What `tunesmith train` said when the project's LoRA run, ``runs/first``, was made in a process of its own."""
    return tunesmith("train", at=project.folder, TUNESMITH_HOME="")
