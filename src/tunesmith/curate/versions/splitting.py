"""The splits of a data set as files, with the reason why each row stands where it stands."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.core import store
from tunesmith.core.errors import InputError
from tunesmith.core.events import Emit, ignore, ticking
from tunesmith.core.records import Example
from tunesmith.core.spool import Spool
from tunesmith.curate.config import Config, DatasetSpec
from tunesmith.curate.corpus import Placed
from tunesmith.curate.reading.read import labels_of, open_reading
from tunesmith.curate.reading.stored import stored_rows
from tunesmith.curate.reading.written import checked_row
from tunesmith.curate.split import assign, must_have_rows

ASSIGNMENT = "assignment.jsonl"

_PIECE = 5000
"""Lines that are held before they are written."""


@dataclass
class _Sheets:
    """Files of a folder that grow a line at a time."""

    folder: Path
    held: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, line: str) -> None:
        lines = self.held.setdefault(name, [])
        lines.append(line + "\n")
        if len(lines) >= _PIECE:
            self.flush()

    def flush(self) -> None:
        for name, lines in self.held.items():
            store.append_bytes(self.folder / name, "".join(lines).encode("utf-8"))
            lines.clear()


def write_splits(config: Config, out: Path, emit: Emit = ignore) -> Mapping[str, int]:
    """Write ``train.jsonl``, ``validation.jsonl``, ``test.jsonl`` and the assignment into a new folder.

    Returns:
        Split → rows. The folder appears whole or not at all.

    Raises:
        InputError: the folder is there already. DataError: a row cannot be read, or a split gets no row.
    """
    if out.exists():
        raise InputError(
            "the folder of the splits is already there",
            where=str(out),
            rule="splits are written once: rows that moved into a file of training would spoil an old test",
            fix="give another folder with --out",
        )
    examples: Spool[Example] = Spool(Example)
    shapes = set()
    for spec in config.datasets:
        reading = open_reading(
            spec, progress=ticking(emit, f"reading {Path(spec.path).name}"), labels=labels_of(config)
        )
        shapes.add(reading.format)
        for example in reading.examples:
            examples.append(example)
    splits = assign(examples, config)
    must_have_rows(Placed(examples, splits), config)
    with store.staged_folder(out) as folder:
        sheets = _Sheets(folder)
        rows = zip(_texts(config, len(shapes) == 1, emit), splits, strict=True)
        for (spec, example, text), split in rows:
            sheets.add(f"{split}.jsonl", text)
            sheets.add(ASSIGNMENT, json.dumps(_reason(spec, example, str(split)), ensure_ascii=False))
        sheets.flush()
    counts = Counter(map(str, splits))
    return {name: counts[name] for name in ("train", "validation", "test", "vault") if counts[name]}


def _texts(config: Config, one_shape: bool, emit: Emit) -> Iterator[tuple[DatasetSpec, Example, str]]:
    """Every row as it is written: as it stood, or as a chat row where the files have several shapes."""
    for spec in config.datasets:
        for row in stored_rows(spec, ticking(emit, f"writing {Path(spec.path).name}")):
            text = row.text
            if not one_shape:
                text = json.dumps(checked_row(row.example, "chat"), ensure_ascii=False)
            yield spec, row.example, text


def _reason(spec: DatasetSpec, example: Example, split: str) -> Mapping[str, object]:
    """Where a row came from and why it went where."""
    if spec.replay is not None:
        why = "its file is replayed, and such rows only train"
    elif spec.split:
        why = f"its file is given to {spec.split}"
    else:
        why = "by the hash of its question and of what hangs together with it"
    return {"row": str(example.source), "id": example.id, "split": split, "reason": why}
