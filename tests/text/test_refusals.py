"""Messages about tokenizers and template variables that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import build_tokenizer
from tunesmith.core.errors import ConfigError, ModelError
from tunesmith.text.template import load_renderer


def test_a_broken_tokenizer_file(tmp_path: Path) -> None:
    build_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="not a tokenizer: ") as error:
        load_renderer(tmp_path)
    assert error.value.where.endswith("tokenizer.json")


def test_template_variables_are_plain_values(tiny_tokenizer: Path) -> None:
    with pytest.raises(ConfigError, match="chat_template_kwargs: style is a list"):
        load_renderer(tiny_tokenizer, chat_template_kwargs={"style": ["a"]})
