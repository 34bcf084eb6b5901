"""One check at work, without the others; and real data, where they are."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core.records import Example, Finding
from tunesmith.curate.checks.observe import Outcome, Setting
from tunesmith.curate.checks.options import Checks
from tunesmith.curate.checks.table import CHECKS
from tunesmith.curate.corpus import Corpus


def look(name: str, rows: Sequence[Example], **options: Any) -> tuple[list[Finding], Outcome]:
    """Findings and outcome of one check alone."""
    (kind,) = (kind for kind in CHECKS if kind.name == name)
    observer, corpus = kind.begin(Setting(Checks(**options))), Corpus(rows)
    found = [each for row in corpus for each in observer.see(row)]
    outcome = observer.finish(corpus, None)
    return [*found, *outcome.findings], outcome


def real(path: str) -> list[dict[str, Any]]:
    """Rows of a file of the folder shared/data beside or above this repository; without it the test is skipped."""
    folders = (parent / "shared" / "data" for parent in Path(__file__).parents)
    file = next((folder / path for folder in folders if (folder / path).is_file()), None)
    if file is None:
        pytest.skip(f"there is no shared/data/{path} beside or above this repository")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
