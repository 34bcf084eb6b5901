"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import build_model, build_tokenizer


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
