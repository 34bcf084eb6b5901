"""One check at work, without the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunesmith.core.records import Example, Finding
from tunesmith.curate.checks import CHECKS
from tunesmith.curate.corpus import Corpus
from tunesmith.curate.observe import Outcome, Setting
from tunesmith.curate.options import Checks


def look(name: str, rows: Sequence[Example], **options: Any) -> tuple[list[Finding], Outcome]:
    """Findings and outcome of one check alone."""
    (kind,) = (kind for kind in CHECKS if kind.name == name)
    observer, corpus = kind.begin(Setting(Checks(**options))), Corpus(rows)
    found = [each for row in corpus for each in observer.see(row)]
    outcome = observer.finish(corpus, None)
    return [*found, *outcome.findings], outcome
