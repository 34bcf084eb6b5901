"""Fixtures of the journeys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import network
from tests.command import QUICK, tunesmith
from tests.project import ROWS, questions, write_rows

ROOT = Path(__file__).resolve().parents[2]
REAL_MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models are quicker so, above all beside other processes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def real_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that holds the real model, got by its name as a user gets it; made once for all slow journeys."""
    folder = tmp_path_factory.mktemp("real")
    write_rows(folder / ROWS, questions(range(10)))
    arguments = ("data", "check", ROWS, "--model", REAL_MODEL, "--json")
    ran = tunesmith(*arguments, at=folder, TUNESMITH_HOME="home", **{network.OPEN: "1"})
    if ran.code == 2 and ran.error["type"] == "OfflineError":
        pytest.skip(f"{REAL_MODEL} is out of reach: {ran.error['what']}")
    assert ran.code == 0, ran.err
    return folder / "home"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside this repository."""
    found = next((p / "shared" / "data" for p in ROOT.parents if (p / "shared" / "data").is_dir()), None)
    if found is None:
        pytest.skip("there is no shared/data folder beside or above this repository")
    return found
