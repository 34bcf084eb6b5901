"""Seconds and memory on the way from rows to batches, for 1,000 to 100,000 rows, each in a process of its own.

    rows     rows are made one by one, tokenised into a shard, and an epoch is packed from it: what grows is the shard
    first    a file is read, checked, split, tokenised and kept (`curate.run`): what a first `tunesmith train` does
    second   the same once more: the tokens are at hand

``python -m benchmarks.data MODE MODEL COUNT FOLDER`` is one measurement, as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.load import Usage, Watch, peak_memory
from benchmarks.results import Result, busiest, judged, not_measured
from benchmarks.rows import made_rows, write_pairs
from benchmarks.settings import OFFLINE, Settings, Unavailable, environment, run, say

COUNTS = (1_000, 10_000, 100_000)
PER_STEP = 8
LINEAR_GOAL, FLAT_GOAL = 1.25, 1.25
MIB = 1024**2


def measure(settings: Settings) -> list[Result]:
    """Every mode at every count, then how time and memory grow."""
    try:
        model = str(settings.model_folder())
        return _measured(model)
    except Unavailable as error:
        return [not_measured("rows to batches", str(error))]


def _measured(model: str) -> list[Result]:
    results: list[Result] = []
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for count in COUNTS:
        with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
            for mode in ("rows", "first", "second"):
                say(f"{mode}, {count:,} rows")
                command = [sys.executable, "-m", "benchmarks.data", mode, model, str(count), name]
                figures = json.loads(run(command, env=environment(**OFFLINE)).splitlines()[-1])
                found[mode, count] = figures
                results += _shown(mode, count, figures)
    return [*results, *growth(found)]


def _shown(mode: str, count: int, figures: dict[str, Any]) -> list[Result]:
    usage = Usage(**figures["usage"])
    note = ", ".join(f"{name} {value:.2f} s" for name, value in figures["parts"].items())
    return [
        judged(f"{mode}, {count:,} rows", figures["seconds"], "s", usage=usage, note=note, details=figures),
        judged(f"{mode}, {count:,} rows: peak memory", figures["peak"] / MIB, "MiB"),
    ]


def growth(found: dict[tuple[str, int], dict[str, Any]]) -> list[Result]:
    """Time of a row and peak memory of the largest count, against a smaller one."""
    small, middle, large = COUNTS
    one, ten, hundred = (found["rows", count] for count in COUNTS)
    seconds = (hundred["seconds"] / large) / (ten["seconds"] / middle)
    usage = busiest([Usage(**ten["usage"]), Usage(**hundred["usage"])])
    memory = hundred["peak"] / one["peak"]
    note = "the shard's mapped pages count, though the system may take them back"
    results = [
        judged(f"time of a row, {large:,} against {middle:,}", seconds, "times", at_most=LINEAR_GOAL, usage=usage),
        judged(f"peak memory, {large:,} against {small:,}", memory, "times", at_most=FLAT_GOAL, note=note),
    ]
    per_row = (found["first", large]["peak"] - found["first", small]["peak"]) / (large - small)
    saved = 1.0 - found["second", large]["seconds"] / found["first", large]["seconds"]
    return [
        *results,
        judged("first start: memory of a further row", per_row / 1024, "KiB", note="the checks hold all rows"),
        judged(f"second start: time saved at {large:,} rows", 100 * saved, "%", usage=usage),
    ]


# ---------------------------------------------------------------- one measurement


def rows_to_batches(model: Path, count: int, folder: Path) -> dict[str, float]:
    """Seconds of tokenising, of opening and of packing an epoch."""
    import numpy as np

    from tunesmith.core import store
    from tunesmith.core.records import Example, Message, Reply
    from tunesmith.model.batch import pack
    from tunesmith.text.shards import Shard, ShardRows, write
    from tunesmith.text.template import load_renderer
    from tunesmith.train.order import Order

    def examples() -> Iterator[Example]:
        for pair in made_rows(count):
            reply = Reply(message=Message(role="assistant", content=pair.completion))  # type: ignore[arg-type]
            yield Example(messages=(Message(role="user", content=pair.prompt),), target=reply)  # type: ignore[arg-type]

    shard = folder / "shard"
    shard.mkdir()
    marks = [time.perf_counter()]
    write(shard, examples(), load_renderer(model))
    marks.append(time.perf_counter())
    store.verify_folder(shard)
    rows = ShardRows([(opened := Shard(shard), np.arange(len(opened)))])
    marks.append(time.perf_counter())
    order = Order(len(rows), PER_STEP, 0)
    tokens = 0
    for step in range(order.steps_per_epoch):
        tokens += pack([rows[i] for i in order.step(step)]).token_count
    marks.append(time.perf_counter())
    assert tokens == sum(rows.lengths)
    seconds = (after - before for before, after in pairwise(marks))
    return dict(zip(("tokenising", "opening", "packing"), seconds, strict=True))


def start(model: Path, count: int, folder: Path) -> dict[str, float]:
    """Seconds of `curate.run` on a file."""
    from tunesmith import curate
    from tunesmith.core.store import Workspace
    from tunesmith.text.template import load_renderer

    file = folder / "rows.jsonl"
    if not file.exists():
        write_pairs(file, made_rows(count))
    config = curate.Config.model_validate({"datasets": [{"path": str(file)}]})
    renderer, workspace = load_renderer(model), Workspace.open(folder / "workspace")
    begin = time.perf_counter()
    data = curate.run(config, renderer, 2048, workspace=workspace)
    assert len(data.tokens["train"]) > count / 2
    return {"curate.run": time.perf_counter() - begin}


def main(arguments: list[str]) -> None:
    """Print one measurement."""
    mode, model, count, folder = arguments
    watch = Watch()
    parts = (rows_to_batches if mode == "rows" else start)(Path(model), int(count), Path(folder))
    figures = {"parts": parts, "seconds": sum(parts.values()), "peak": peak_memory(), "usage": watch.usage().as_dict()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
