"""Fixtures of the journeys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.command import QUICK


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models are quicker so, above all beside other processes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        yield
