from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.text.families import FAMILIES


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of a model family → folder of its tokenizer; made once a session."""
    root = tmp_path_factory.mktemp("families")

    def folder(name: str) -> Path:
        return root / name if (root / name).is_dir() else FAMILIES[name](root / name)

    return folder
