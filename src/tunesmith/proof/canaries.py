"""Planting canaries for a twin run, so that a test of leakage can show what it would have found.

A twin is the same run with planted rows beside its own. It is measured and thrown away; the adapter that is served has
never seen them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tunesmith import curate, lifecycle
from tunesmith.core.errors import InputError
from tunesmith.core.events import Emit, Note, ignore
from tunesmith.core.records import Example, Record
from tunesmith.core.store import Workspace
from tunesmith.evaluate import Planting, plant

CANDIDATES = 2_000
"""Unseen rows that canaries are ranked among: exposure reaches log2(2,001) = 11 bits, and rates at 1 % can be told."""


class PlantedRows(Record):
    """What was planted, with every canary and candidate; kept in the workspace. The rows mean nothing to anybody."""

    planting: Planting
    rows: Mapping[str, Example]


def write_canaries(
    config: Path, out: Path, workspace: Workspace, candidates: int = CANDIDATES, seed: int = 0, emit: Emit = ignore
) -> PlantedRows:
    """Write rows to plant into a twin of a configured run, each as often as an epoch is to show it.

    Raises:
        DataError: there is no row with a question to copy the form of.
    """
    project = lifecycle.prepare(lifecycle.load_settings(config), workspace, emit)
    groups, unseen = plant(project.dataset.of("train"), candidates, seed)
    repeated = [row for times, rows in groups.items() for row in rows for _ in range(times)]
    curate.write_examples(repeated, out, "chat")
    found = PlantedRows(
        planting=Planting(
            seed=seed,
            groups={times: tuple(row.id for row in rows) for times, rows in groups.items()},
            candidates=tuple(row.id for row in unseen),
        ),
        rows={row.id: row for row in (*(row for rows in groups.values() for row in rows), *unseen)},
    )
    workspace.put("canaries", found.planting.digest, found)
    emit(Note(text=f"{len(repeated)} rows, planting {found.planting.digest}, {len(unseen)} candidates kept back"))
    return found


def planted_rows(twin: Path, workspace: Workspace) -> PlantedRows:
    """The canaries that a twin run was trained on.

    Raises:
        InputError: the run saw none of any planting of this workspace.
    """
    listed = twin / "trained_rows.txt"
    trained = set(listed.read_text(encoding="utf-8").split()) if listed.is_file() else set()
    for kept in workspace.list("canaries", PlantedRows):
        planted = {row for rows in kept.planting.groups.values() for row in rows}
        if planted and planted <= trained:
            return kept
    raise InputError(
        f"{twin} was not trained on canaries of this workspace",
        where="--twin",
        rule="a twin is a run with the rows of tunesmith data canaries beside its own, all of them trained",
        fix="add {path: canaries.jsonl, split: train} to datasets, train into another output_dir, and give that",
    )
