"""What a check is: an observer of the rows, and what it says in the end.

Every row passes every check once, in order (`Observer.see`); then each check looks at the rows together
(`Observer.finish`). Observers keep numbers and small arrays, never rows: the rows may lie in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tunesmith.core.protocols import Progress, Renderer, Tagger
from tunesmith.core.records import Action, Example, Finding, Severity, Source
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.measure import Measured

if TYPE_CHECKING:
    from tunesmith.curate.checks.options import Checks

EVIDENCE = 200
"""Longest evidence, in characters."""


@dataclass(frozen=True)
class Outcome:
    """What a check says about the rows together.

    ``remark`` follows the counted findings in the table; ``figures`` (plain JSON) go to the report; ``not_checked``
    says why the check could not run: it then did not pass either; ``rows`` are the numbers of the rows with values that
    no other check may quote.
    """

    findings: Iterable[Finding] = ()
    remark: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    not_checked: str = ""
    rows: Sequence[int] = ()


class Observer(Protocol):
    """A check at work on one data set."""

    def see(self, row: Row) -> Iterable[Finding]:
        """Findings about this row alone."""
        ...

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """Findings about rows together, after the last row."""
        ...


@dataclass(frozen=True)
class Setting:
    """What the checks may use: their options, and the model's view of the rows if there is one."""

    options: Checks
    renderer: Renderer | None = None
    max_length: int | None = None
    on_too_long: Literal["error", "drop"] = "error"
    context: int | None = None
    """Longest row that the model could take, in tokens."""
    measured: Measured | None = None
    has_splits: bool = False
    """Whether files say which split their rows belong to."""
    apart: bool = False
    """Whether it is known that no question has a near duplicate in another split."""
    tagger: Tagger | None = None
    """Finds names of persons, where a model for that is configured."""


def finding(check: str, severity: Severity, message: str, example: Example, fix: str, **more: Any) -> Finding:
    """A finding about a row; ``more``: evidence, others, action."""
    return Finding(
        check=check,
        severity=severity,
        message=message,
        source=example.source,
        example_id=example.id,
        fix=fix,
        **more,
    )


def put_aside(*rows: Source) -> Action:
    """The action that takes rows out of the data, into quarantine."""
    return Action(kind="quarantine", rows=rows)


def places(sources: Sequence[Source], limit: int = 5) -> str:
    """Where rows stand: "lines 1, 3, 9" within a file, else file and line of each."""
    same_file = len({source.path for source in sources}) == 1
    names = [str(source.line if same_file else source) for source in sources[:limit]]
    more = f" and {len(sources) - limit} more" if len(sources) > limit else ""
    return ("lines " if same_file else "") + ", ".join(names) + more
