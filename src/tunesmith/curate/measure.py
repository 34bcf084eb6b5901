"""Tokens of the examples: counted, and kept in the workspace where there is one, so that they are made only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.core.errors import InputError
from tunesmith.core.events import Emit, ignore
from tunesmith.core.protocols import Progress, Renderer
from tunesmith.core.records import Example
from tunesmith.core.rows import TokenRows
from tunesmith.core.store import Workspace

if TYPE_CHECKING:
    from tunesmith.text.shards import Shard

_TICK = 256


@dataclass(frozen=True)
class Measured:
    """For each example: its rows, tokens, trained tokens and longest row; 0 for one that cannot be rendered."""

    rows: Sequence[int]
    tokens: Sequence[int]
    trained: Sequence[int]
    longest: Sequence[int]
    problems: Mapping[int, InputError]
    """Number of an example → why it cannot be rendered."""


def measure(
    examples: Sequence[Example], renderer: Renderer, max_length: int | None, progress: Progress | None = None
) -> Measured:
    """Counts alone; nothing is kept."""
    from tunesmith.text.shards import pieces

    counts: list[tuple[int, int, int, int]] = []
    problems: dict[int, InputError] = {}
    for number, example in enumerate(examples):
        try:
            rows = pieces(example, renderer, max_length)
        except InputError as error:
            rows, problems[number] = [], error
        lengths = [len(row.tokens) for row in rows]
        trained = sum(row.trained_tokens for row in rows)
        counts.append((len(rows), sum(lengths), trained, max(lengths, default=0)))
        if progress and (number % _TICK == 0 or number + 1 == len(examples)):
            progress(number + 1, len(examples))
    columns = zip(*counts, strict=True) if counts else ([], [], [], [])
    return Measured(*map(list, columns), problems)


def kept_rows(
    files: Sequence[tuple[str, Sequence[Example]]],
    renderer: Renderer,
    max_length: int | None,
    workspace: Workspace,
    emit: Emit = ignore,
) -> list[Shard] | None:
    """The rows of each file (name and examples) as shards; None when an example cannot be rendered."""
    from tunesmith.text.shards import open_shard

    try:
        return [open_shard(workspace, group, renderer, max_length, emit, name) for name, group in files]
    except InputError:
        return None


def counted(shards: Sequence[Shard]) -> Measured:
    """What the shards hold, counted by example."""
    import numpy as np

    columns: list[list[int]] = [[], [], [], []]
    for shard in shards:
        owner, lengths = shard.rows["example"], shard.lengths
        longest = np.zeros(shard.examples, np.int64)
        np.maximum.at(longest, owner, lengths)
        sums = (np.bincount(owner, weights, shard.examples) for weights in (None, lengths, shard.rows["trained"]))
        for column, values in zip(columns, (*sums, longest), strict=True):
            column += values.astype(np.int64).tolist()
    return Measured(columns[0], columns[1], columns[2], columns[3], {})


def select(shards: Sequence[Shard], wanted: Sequence[bool]) -> tuple[TokenRows, list[int]]:
    """The rows of the wanted examples (one flag for each example of all shards), and how many are of each shard."""
    import numpy as np

    from tunesmith.text.shards import ShardRows

    flags, parts, start = np.array(wanted, bool), [], 0
    for shard in shards:
        mine = flags[start : start + shard.examples]
        parts.append((shard, np.flatnonzero(mine[shard.rows["example"]])))
        start += shard.examples
    return ShardRows(parts), [len(numbers) for _, numbers in parts]
