"""Which rows train, which choose the best checkpoint, and which only the verdict sees.

The side of a row is a function of its normalised question and the seed, of nothing else: the order of the rows, the
name of the file and rows that come later change nothing, and equal questions never stand on two sides.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tunesmith.core.errors import DataError
from tunesmith.core.records import Example, Split
from tunesmith.curate.config import Config, DatasetSpec
from tunesmith.curate.keys import prompt_key


def assign(examples: Sequence[Example], config: Config) -> list[Split | None]:
    """The split of every row, in order.

    Rows of a file with an explicit split stay there, and a split that a file provides is not carved from the others.
    """
    validation, test = _shares(config)
    return [example.split or side(prompt_key(example), config.split_seed, validation, test) for example in examples]


def _shares(config: Config) -> tuple[float, float]:
    """Shares of validation and test among the rows without a split of their own."""
    given = {spec.split for spec in config.datasets if spec.replay is None}
    if None not in given:
        return 0.0, 0.0
    return 0.0 if "validation" in given else config.val_size, 0.0 if "test" in given else config.test_size


def side(key: str, seed: int, validation: float, test: float) -> Split:
    """The split of a question: a point in [0, 1) from the hash of seed and key, test first, then validation."""
    point = int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8], "big") / 2**64
    if point < test:
        return "test"
    return "validation" if point < test + validation else "train"


def must_have_rows(examples: Sequence[Example], config: Config) -> None:
    """Refuse a split without rows: a run needs all three, the last for its verdict.

    Raises:
        DataError: training, validation or test gets no row; the message says what would help.
    """
    validation, test = _shares(config)
    wanted: tuple[Split, ...] = ("train", "validation", "test")
    replayed = [spec for spec in config.datasets if spec.replay is not None]
    rows = Counter(example.split for example in examples if not any(comes_from(example, spec) for spec in replayed))
    empty = [name for name in wanted if not rows[name]]
    if not empty:
        return
    questions = sorted({prompt_key(example) for example in examples})
    fix = f"add rows, or give a file of its own: datasets: [{{path: …, split: {empty[-1]}}}]"
    options = [name for name, share in (("val_size", validation), ("test_size", test)) if share]
    if options:
        fix += f", or change {' and '.join(options)}"
        pinned = any(spec.split or spec.replay for spec in config.datasets)
        seed = None if pinned else _working_seed(questions, validation, test, set(wanted))
        fix += f"; for a first try with so few rows: split_seed: {seed}" if seed is not None else ""
    raise DataError(
        f"too few rows: {' and '.join(empty)} {'get' if len(empty) > 1 else 'gets'} none of {len(examples)} "
        f"(different questions: {len(questions)})",
        where="datasets",
        rule=f"{', '.join(wanted)}: each needs at least one row; equal questions stay together "
        f"(val_size {config.val_size:g}, test_size {config.test_size:g})",
        fix=fix,
    )


def comes_from(example: Example, spec: DatasetSpec) -> bool:
    """Whether a row stands in this file, or in a file of this folder."""
    path = example.source.path
    return path == spec.path or Path(path).parent == Path(spec.path)


def _working_seed(questions: Sequence[str], validation: float, test: float, wanted: set[Split]) -> int | None:
    """The first seed that gives every split a row, if one of the first 200 does."""
    for seed in range(200):
        if {side(key, seed, validation, test) for key in questions} >= wanted:
            return seed
    return None
