"""A run without its fresh processes, for tests that are about something else."""

from __future__ import annotations

import pytest

from tests.train import job
from tunesmith.train import verify


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "Reload", job.InstantReload)
