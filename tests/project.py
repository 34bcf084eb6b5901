"""A user's project in small: a base that knows nothing, and rows that it can learn in seconds."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.command import Ran, tunesmith
from tests.tiny import build_model

BASE, ROWS, HELD_OUT, CONFIG, RUN = "base", "rows.jsonl", "held_out.jsonl", "tunesmith.yaml", "runs/first"

Row = tuple[str, str]


def questions(numbers: Sequence[int]) -> list[Row]:
    """Two kinds of questions, told apart by their words, each with its one answer."""
    return [
        row
        for number in numbers
        for row in (
            (f"The restaurant number {number} is near the riverside", "The Eagle"),
            (f"Return the unit of amount number {number}", "200 flour"),
        )
    ]


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """A JSONL file of prompts and completions."""
    lines = (json.dumps({"prompt": prompt, "completion": completion}) + "\n" for prompt, completion in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return path


def build_base(folder: Path, seed: int = 0) -> Path:
    """A base that answers nonsense, wide enough for an adapter to steer."""
    return build_model(folder, seed=seed, hidden=64, tied=False, spread=0.2)


def write_config(path: Path, **values: object) -> Path:
    """A config file (JSON is YAML) that trains in seconds; ``values`` are laid over it."""
    common = {"datasets": [{"path": ROWS}], "model": BASE, "num_train_epochs": 3, "output_dir": "run"}
    path.write_text(json.dumps({**common, **values}, indent=1) + "\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Project:
    """The folder of a user, with what `tunesmith init` said there. Its workspace is the default one."""

    folder: Path
    init: Ran

    @property
    def run(self) -> Path:
        """Folder of the LoRA run."""
        return self.folder / RUN


def make_project(folder: Path) -> Project:
    """Base, rows, held-out rows and a config that was made by `init` and edited by hand."""
    build_base(folder / BASE)
    write_rows(folder / ROWS, questions(range(60)))
    write_rows(folder / HELD_OUT, questions(range(100, 112)))
    init = tunesmith("init", "--data", ROWS, at=folder, TUNESMITH_HOME="")
    config = folder / CONFIG
    text = config.read_text(encoding="utf-8")
    for key, value in (("model", BASE), ("num_train_epochs", 3), ("output_dir", RUN)):
        text = re.sub(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE)
    config.write_text(text, encoding="utf-8")
    return Project(folder, init)
