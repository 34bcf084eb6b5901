"""What it costs to import the package: the command line does it for every `--help`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_serve_is_light() -> None:
    code = (
        "import sys, tunesmith.serve; print({'torch', 'fastapi', 'starlette', 'uvicorn', 'openai'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    assert result.stdout == "set()\n"
