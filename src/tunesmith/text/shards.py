"""Tokenised rows in files: written once, mapped into memory, read row by row.

    tokens.bin   ids of all rows, one behind the other: uint16 where the vocabulary fits, else uint32
    rows.bin     a ROW for each row: where its tokens, runs and spans end, its example's number and id, its counts
    runs.bin     a RUN for each stretch of equal weight within a row (a chat row has two or three)
    spans.bin    a SPAN for each trained answer
    shard.json   version of this layout, type of the ids, number of examples

A shard is derived data: it lies in the workspace's cache under a key that holds everything it follows from, is checked
against its manifest at every start, and is made again when it is damaged. Memory holds the rows that are being used;
the system takes mapped pages back when it needs them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, final, overload

import numpy as np

from tunesmith.core import store
from tunesmith.core.errors import CorruptArtifactError
from tunesmith.core.events import Emit, Note, Tick, ignore
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Example, Span, TokenizedExample, digest_of
from tunesmith.core.rows import TokenRows
from tunesmith.core.store import Workspace

LAYOUT = 1
"""Version of the files. Another one gives another key, so an old shard is never misread."""

Array = np.ndarray[Any, Any]
ROW = np.dtype(
    [
        ("tokens", "<i8"),
        ("runs", "<i8"),
        ("spans", "<i8"),
        ("example", "<i8"),
        ("trained", "<i4"),
        ("id", "S16"),
    ]
)
"""``tokens``, ``runs`` and ``spans``: where those of this row end. ``example``: number of its example, from 0."""
RUN = np.dtype([("end", "<u4"), ("weight", "<f8")])
SPAN = np.dtype([("start", "<u4"), ("end", "<u4")])

_BUFFER = 512
"""Rows that are collected before they are written."""


class RowRenderer(Protocol):
    """What makes rows of examples, and all that the rows follow from."""

    @property
    def row_digest(self) -> str:
        """Equal digests give equal rows."""
        ...

    @property
    def vocab_size(self) -> int:
        """One more than the highest id."""
        ...

    def example(self, example: Example) -> list[TokenizedExample]:
        """Ids and weights of an example."""
        ...


def open_shard(
    workspace: Workspace,
    examples: Sequence[Example],
    renderer: RowRenderer,
    max_length: int | None,
    emit: Emit = ignore,
    name: str = "",
) -> Shard:
    """The rows of a file: from the workspace when they are there and whole, else tokenised and kept.

    Args:
        examples: all of a file. Their ids are hashes of their content, so the key follows from what is read and not
            from where it lies.
        max_length: longest piece of a plain text; conversations are never cut.
        name: of the file, for progress.

    Raises:
        InputError: an example cannot be rendered; nothing is kept then.
    """
    key = shard_key(examples, renderer, max_length)
    folder = workspace.root / "cache" / key
    if folder.is_dir():
        try:
            store.verify_folder(folder)
        except CorruptArtifactError as error:
            text = f"the tokenised rows of {name} are damaged and made again: {error.where}: {error.what}"
            emit(Note(text=text, level="warning"))
            store.remove(folder)
        else:
            emit(Note(text=f"{name}: tokenised at an earlier start, {len(examples):,} examples taken from there"))
            return Shard(folder)

    def progress(done: int, total: int) -> None:
        emit(Tick(task=f"tokenising {name}", done=done, total=total))

    return Shard(workspace.cached(key, lambda staged: write(staged, examples, renderer, max_length, progress)))


def shard_key(examples: Sequence[Example], renderer: RowRenderer, max_length: int | None) -> str:
    """Name of a shard: a hash of the content of the rows, tokenizer, chat template and options."""
    content = hashlib.sha256()
    for example in examples:
        content.update(example.id.encode())
    cut_at = max_length if any(example.is_document for example in examples) else None
    return "rows-" + digest_of([LAYOUT, len(examples), content.hexdigest(), renderer.row_digest, cut_at])[:32]


def pieces(example: Example, renderer: RowRenderer, max_length: int | None) -> list[TokenizedExample]:
    """The rows of an example; a plain text is cut into pieces of at most ``max_length`` tokens.

    Raises:
        InputError: it cannot be rendered.
    """
    rows = renderer.example(example)
    if example.is_document and max_length is not None:
        return [piece for row in rows for piece in row.cut(max_length)]
    return rows


def write(
    folder: Path,
    examples: Iterable[Example],
    renderer: RowRenderer,
    max_length: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Fill a folder with the rows of the examples, with a manifest. Memory does not grow with their number.

    Raises:
        InputError: an example cannot be rendered.
    """
    total = len(examples) if isinstance(examples, Sequence) else 0
    writer = _Writer(folder, "<u2" if renderer.vocab_size <= 1 << 16 else "<u4")
    count = 0
    for count, example in enumerate(examples, start=1):
        for row in pieces(example, renderer, max_length):
            writer.add(count - 1, row)
        if progress and (count % _BUFFER == 0 or count == total):
            progress(count, max(count, total))
    writer.flush()
    about = {"layout": LAYOUT, "ids": writer.ids, "examples": count}
    store.write_text(folder / "shard.json", json.dumps(about, sort_keys=True) + "\n")
    store.write_manifest(folder)


@final
class _Writer:
    """Collects rows and appends them to the files of a shard."""

    def __init__(self, folder: Path, ids: str) -> None:
        self.folder, self.ids = folder, ids
        self._ends = [0, 0, 0]
        self._tokens: list[int] = []
        self._rows: list[tuple[int, int, int, int, int, bytes]] = []
        self._runs: list[tuple[int, float]] = []
        self._spans: list[tuple[int, int]] = []
        for name in ("tokens", "rows", "runs", "spans"):
            store.append_bytes(folder / f"{name}.bin", b"")

    def add(self, example: int, row: TokenizedExample) -> None:
        assert not row.extras, "extras belong to a loss, not to rows that are kept"
        runs: list[tuple[int, float]] = []
        end = 0
        for weight, run in groupby(row.weights):
            end += sum(1 for _ in run)
            runs.append((end, weight))
        self._tokens += row.tokens
        self._runs += runs
        self._spans += [(span.start, span.end) for span in row.spans]
        added = (len(row.tokens), len(runs), len(row.spans))
        self._ends = [end + more for end, more in zip(self._ends, added, strict=True)]
        self._rows.append((*self._ends, example, row.trained_tokens, row.example_id.encode()))  # type: ignore[arg-type]
        if len(self._rows) >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        arrays = {
            "tokens": np.array(self._tokens, self.ids),
            "rows": np.array(self._rows, ROW),
            "runs": np.array(self._runs, RUN),
            "spans": np.array(self._spans, SPAN),
        }
        for name, array in arrays.items():
            store.append_bytes(self.folder / f"{name}.bin", array.tobytes())
        self._tokens, self._rows, self._runs, self._spans = [], [], [], []


@final
class Shard:
    """The tokenised rows of a file, in the order of its examples. Open one with ``open_shard``.

    Attributes:
        examples: number of examples; each has one row or more.
        rows: (R,) records of type ROW.
    """

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "shard.json").read_text(encoding="utf-8"))
        self.folder, self.examples = folder, int(about["examples"])
        self.rows = _mapped(folder / "rows.bin", ROW)
        self._tokens = _mapped(folder / "tokens.bin", np.dtype(about["ids"]))
        self._runs = _mapped(folder / "runs.bin", RUN)
        self._spans = _mapped(folder / "spans.bin", SPAN)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Array:
        """(R,) tokens of each row."""
        return np.diff(self.rows["tokens"], prepend=0)

    def row(self, number: int) -> TokenizedExample:
        """A row by its number, from 0."""
        here = self.rows[number]
        tokens, runs, spans = (self._part(kind, number) for kind in ("tokens", "runs", "spans"))
        weights: list[float] = []
        for end, weight in self._runs[runs].tolist():
            weights += [weight] * (end - len(weights))
        return TokenizedExample.model_construct(  # written by us from a checked record, and checked by its manifest
            example_id=here["id"].decode(),
            tokens=tuple(self._tokens[tokens].tolist()),
            weights=tuple(weights),
            spans=tuple(Span.model_construct(start=start, end=end) for start, end in self._spans[spans].tolist()),
            extras={},
        )

    def endings(self, numbers: Array) -> Iterator[tuple[int, float]]:
        """Last token and its weight of each trained answer, and of each plain text, among the rows with ``numbers``."""
        starts, ends = self.rows["tokens"] - self.lengths, self.rows["tokens"]
        owner = _owners(self.rows["spans"])
        answers = (starts[owner] + self._spans["end"])[np.isin(owner, numbers)]
        examples = self.rows["example"][numbers]
        is_last = np.append(examples[1:] != examples[:-1], True)[: len(numbers)]
        has_answers = np.diff(self.rows["spans"], prepend=0)[numbers] > 0
        at = np.concatenate([answers, ends[numbers[is_last & ~has_answers]]])
        run_ends = starts[_owners(self.rows["runs"])] + self._runs["end"]
        weights = self._runs["weight"][np.searchsorted(run_ends, at)]
        return zip(self._tokens[at - 1].tolist(), weights.tolist(), strict=True)

    def _part(self, kind: str, number: int) -> slice:
        column = self.rows[kind]
        return slice(int(column[number - 1]) if number else 0, int(column[number]))


def _owners(ends: Array) -> Array:
    """Row number of each run or span, from where those of each row end."""
    return np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))


def _mapped(path: Path, kind: np.dtype[Any]) -> Array:
    """An array that lies in a file; an empty file cannot be mapped."""
    return np.memmap(path, kind, mode="r") if path.stat().st_size else np.empty(0, kind)


@final
class ShardRows(TokenRows):
    """Chosen rows of one or more shards, as one sequence; a row is made when it is asked for.

    Args:
        parts: shards with the numbers (int64) of the rows that are taken from each, in order.
    """

    def __init__(self, parts: Sequence[tuple[Shard, Array]]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(numbers) for _, numbers in self._parts], dtype=np.int64)

    @cached_property
    def lengths(self) -> Sequence[int]:
        """Tokens of each row."""
        return _joined([shard.lengths[numbers] for shard, numbers in self._parts])

    @cached_property
    def trained(self) -> Sequence[int]:
        """Trained tokens of each row."""
        return _joined([shard.rows["trained"][numbers] for shard, numbers in self._parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, index: int) -> TokenizedExample: ...

    @overload
    def __getitem__(self, index: slice) -> list[TokenizedExample]: ...

    def __getitem__(self, index: int | slice) -> TokenizedExample | list[TokenizedExample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        part = int(np.searchsorted(self._ends, at, side="right"))
        shard, numbers = self._parts[part]
        return shard.row(int(numbers[at - (int(self._ends[part - 1]) if part else 0)]))

    def endings(self) -> Iterator[tuple[int, float]]:
        """Last token and its weight of each trained answer, and of each plain text (not of each piece of it)."""
        for shard, numbers in self._parts:
            yield from shard.endings(numbers)


def _joined(columns: Sequence[Array]) -> Sequence[int]:
    return np.concatenate(columns).tolist() if columns else []
