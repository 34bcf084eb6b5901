"""``tunesmith data lineage``: what became of a record, or of all records about a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import JsonOption, session

if TYPE_CHECKING:
    from tunesmith.curate import Lineage

QueryArgument = Annotated[str, typer.Argument(help="Id of a record (6 digits or more), or of a person as in the data.")]


def lineage(query: QueryArgument, json: JsonOption = False) -> None:
    """Say which versions, runs, adapters and names a record went into. Exit code 1 when none is known."""
    with session(json) as console:
        from tunesmith import curate
        from tunesmith.core.store import Workspace

        workspace = Workspace.open()
        found = curate.trace(query, workspace)
        console.print(*_lines(found, str(workspace.root)))
        console.result({"found": not found.is_empty, **found.model_dump(mode="json")})
        if found.is_empty:
            raise typer.Exit(1)


def _lines(found: Lineage, root: str) -> Iterator[str]:
    if found.is_empty:
        yield f"nothing in {root} was made of {found.query}"
        yield "known are versions of data repair, and runs that were registered with their verdict"
        return
    what = "a person" if found.is_subject else "a record"
    yield f"{what}: {len(found.records)} record{'s' * (len(found.records) != 1)}: {', '.join(found.records[:8])}"
    for version in found.versions:
        yield f"  version {version.digest[:12]} of {version.origin}: {version.state}"
    verbs = {"train": "learned", "validation": "chose its checkpoint", "test": "was judged on, not learned"}
    for run in found.runs:
        how = f"learned through {run.through}" if run.through else f"{verbs.get(run.split, run.split)} ({run.source})"
        yield f"  run {run.run_id}: {how}"
        for adapter in run.adapters:
            names = f", answers as {', '.join(run.releases)}" if run.releases else ""
            yield f"    adapter {adapter[:12]}{names}"
