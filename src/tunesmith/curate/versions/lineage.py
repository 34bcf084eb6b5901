"""From a record, or the person whom it is about, to everything that was made of it: versions, runs, adapters, names.

A run that is registered keeps the ids of its rows in the workspace, as one artifact for each data set. Whom a row is
about is kept as a hash: enough to find it again, and no list of persons.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tunesmith.core import store
from tunesmith.core.artifacts import RunRecord
from tunesmith.core.errors import InputError
from tunesmith.core.records import SCHEMA_VERSION, Record, digest_of
from tunesmith.core.store import Artifact, Workspace
from tunesmith.curate.config import Dataset
from tunesmith.curate.versions.version import IDS, KIND, Found, read_version

KEPT = "dataset rows"
ROWS, NAME = "rows.jsonl", "dataset.json"

KeptRow = Mapping[str, Any]
"""id, split and source of a row; subject (hashed) and parents where it has them."""

SHORTEST = 6
"""Digits of a record's id that are taken for it."""


class VersionHit(Record):
    """A version of a data file that has, or had, the record."""

    digest: str
    origin: str
    state: Literal["in the data", "in quarantine", "edited"]


class RunHit(Record):
    """A run that had the record among its rows. ``through``: the run whose weights it went on from, if that is why."""

    run_id: str
    dataset: str
    split: str
    """train: it was learned; validation: it chose the checkpoint; test: it was judged on, and not learned."""
    source: str
    through: str = ""
    adapters: tuple[str, ...] = ()
    """Artifacts of the workspace with the weights of the run."""
    releases: tuple[str, ...] = ()
    """Names that answer with these weights now."""


class Lineage(Record):
    """What became of a record."""

    schema_version: int = SCHEMA_VERSION
    query: str
    is_subject: bool
    records: tuple[str, ...]
    """Ids: those asked for, what they were before an edit or became by one, and what a model made of them."""
    versions: tuple[VersionHit, ...]
    runs: tuple[RunHit, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the workspace knows nothing of it."""
        return not self.versions and not self.runs


def subject_key(subject: str) -> str:
    """What is kept instead of a person's id; 32 hex digits."""
    return digest_of(["subject", subject])[:32]


def keep_rows(dataset: Dataset, workspace: Workspace) -> Artifact:
    """Keep which rows a data set has, and whom they are about: what `trace` looks at."""

    def fill(folder: Path) -> None:
        store.write_text(folder / NAME, json.dumps({"dataset": dataset.card.digest}) + "\n")
        store.write_lines(folder / ROWS, map(json.dumps, _kept(dataset)))

    return workspace.publish(KEPT, fill)


def _kept(dataset: Dataset) -> Iterator[KeptRow]:
    for example in dataset.examples:
        subject = {"subject": subject_key(example.subject)} if example.subject else {}
        made_of = {"parents": list(example.synthetic.parents)} if example.synthetic else {}
        yield {"id": example.id, "split": str(example.split), "source": str(example.source), **subject, **made_of}


def trace(query: str, workspace: Workspace) -> Lineage:
    """Everything that was made of a record (its id, or the first digits of it) or of a person's records.

    Raises:
        InputError: the digits stand for several records.
    """
    versions = [(artifact, read_version(artifact)) for artifact in workspace.artifacts(KIND)]
    rows = {artifact.digest: _rows(artifact) for artifact in workspace.artifacts(KEPT)}
    subject = subject_key(query)
    wanted = {row["id"] for _, listed in rows.values() for row in listed if row.get("subject") == subject}
    is_subject = bool(wanted)
    if not is_subject:
        wanted = _by_digits(query, versions, rows)
    wanted = _relatives(wanted, [found for _, found in versions], rows)
    return Lineage(
        query=query,
        is_subject=is_subject,
        records=tuple(sorted(wanted)),
        versions=tuple(hit for artifact, found in versions for hit in _version_hits(artifact, found, wanted)),
        runs=tuple(_runs(wanted, rows, workspace)),
    )


Rows = Mapping[str, tuple[str, Sequence[KeptRow]]]
"""Artifact → digest of the data set, and its rows."""


def _rows(artifact: Artifact) -> tuple[str, list[KeptRow]]:
    name = json.loads((artifact.path / NAME).read_bytes())["dataset"]
    with (artifact.path / ROWS).open(encoding="utf-8") as file:
        return name, [json.loads(line) for line in file]


def _by_digits(query: str, versions: Sequence[tuple[Artifact, Found]], rows: Rows) -> set[str]:
    """The one record whose id begins so; none where the query is no id."""
    if len(query) < SHORTEST or set(query) - set("0123456789abcdef"):
        return set()
    known = {id for _, listed in rows.values() for row in listed for id in (row["id"], *row.get("parents", ()))}
    for artifact, found in versions:
        known |= {*_ids(artifact), *(entry.id for entry in found.aside)}
    hits = sorted(id for id in known if id.startswith(query))
    if len(hits) > 1:
        raise InputError(
            f"{len(hits)} records begin with {query}",
            where=query,
            rule="a record is named by its id, or by enough of its first digits",
            fix=f"give more digits: {', '.join(hits[:5])}",
        )
    return set(hits)


def _ids(artifact: Artifact) -> list[str]:
    return (artifact.path / IDS).read_text(encoding="utf-8").split()


def _relatives(wanted: set[str], versions: Sequence[Found], rows: Rows) -> set[str]:
    """The records with what they were before an edit, what they became by one, and what a model made of them."""
    pairs = {(entry.id, entry.became) for found in versions for entry in found.aside if entry.became}
    made = {(parent, row["id"]) for _, listed in rows.values() for row in listed for parent in row.get("parents", ())}
    steps = {*pairs, *((new, old) for old, new in pairs), *made}
    while more := {to for start, to in steps if start in wanted} - wanted:
        wanted = wanted | more
    return wanted


def _version_hits(artifact: Artifact, found: Found, wanted: set[str]) -> Iterator[VersionHit]:
    states = {entry.action for entry in found.aside if entry.id in wanted}
    present = bool(wanted.intersection(_ids(artifact)))
    for state, holds in (
        ("in the data", present and "edit" not in states),
        ("edited", "edit" in states),
        ("in quarantine", "quarantine" in states),
    ):
        if holds:
            yield VersionHit.model_validate({"digest": artifact.digest, "origin": found.version.origin, "state": state})


def _runs(wanted: set[str], rows: Rows, workspace: Workspace) -> Iterator[RunHit]:
    """The runs whose data have the records, and those that went on from their weights."""
    held = {name: [row for row in listed if row["id"] in wanted] for name, listed in rows.values()}
    records = sorted(workspace.list("run", RunRecord), key=lambda run: (run.created_at, run.run_id))
    adapters = workspace.artifacts("adapter")
    learned: dict[str, str] = {}
    """Digest of weights → run that learned the records, so far as known."""
    for run in records:
        own = tuple(artifact.digest for artifact in adapters if artifact.meta.get("run_id") == run.run_id)
        names = tuple(release.alias for release in workspace.releases() if release.adapter_digest in own)
        hits = held.get(run.dataset_digest, [])
        # an adapter that training went on from, or a base that a run has trained as a whole
        through = learned.get(run.parent_digest) or learned.get(run.base_fingerprint) or ""
        if any(row["split"] != "test" for row in hits) or through:
            learned |= dict.fromkeys((run.adapter_digest, *own), run.run_id)
        for row in hits or ([{"split": "train", "source": ""}] if through else []):
            yield RunHit(
                run_id=run.run_id,
                dataset=run.dataset_digest,
                split=row["split"],
                source=row["source"],
                through="" if hits else through,
                adapters=own,
                releases=names,
            )
