"""Rendering needs neither torch nor transformers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
from tunesmith.core.records import Message
from tunesmith.text.template import load_renderer
assert load_renderer(Path(sys.argv[1])).prompt([Message(role="user", content="Hello")])
print(sorted({"torch", "transformers", "numpy", "huggingface_hub"} & sys.modules.keys()))
"""


def test_rendering_needs_neither_torch_nor_transformers(family_folder: Callable[[str], Path]) -> None:
    source = Path(__file__).parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(family_folder("qwen3"))],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(source)},
    )
    assert done.stdout.strip() == "[]"
