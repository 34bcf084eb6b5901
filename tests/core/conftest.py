"""Fixtures of the tests of ``core``."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.core.stages import STAGES
from tunesmith.core.config import load
from tunesmith.core.errors import ConfigError


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 kB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def refused(tmp_path: Path) -> Any:
    """The error of a file and overrides; checks that it names the file or the option, the rule and the way out."""

    def error(text: str | bytes, *overrides: str) -> ConfigError:
        path = tmp_path / "tunesmith.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError) as caught:
            load(path, STAGES, overrides)
        found = caught.value
        assert found.exit_code == 2
        assert "tunesmith.yaml" in found.where or "--set" in found.where
        assert found.rule
        assert found.fix
        return found

    return error
