"""Which attention is faster at which length: the padded block or the library's fused kernel, forward and backward.

``LONG_DOCUMENT`` in ``tunesmith.model.attention`` is chosen from this table.
``python -m benchmarks.attention OUT.json`` is the process that measures.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.load import Usage, Watch
from benchmarks.results import Result, judged
from benchmarks.settings import OFFLINE, Settings, environment, run

LENGTHS = (64, 128, 192, 256, 384, 512, 768, 1024, 2048)
TOKENS, DOCUMENTS = 4096, 8
HEADS, KV_HEADS, SIZE = 9, 3, 64
"""Heads of SmolLM2-135M."""

SECONDS, ROUNDS = 0.3, 5
LOSS_GOAL = 10.0
"""How much slower than the other way the chosen one may be at any length, in percent."""


def measure(_settings: Settings) -> list[Result]:
    """A figure per length, and whether the switch stands at the right place."""
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        out = Path(name) / "figures.json"
        run([sys.executable, "-m", "benchmarks.attention", str(out)], cwd=Path(name), env=environment(**OFFLINE))
        return judge(json.loads(out.read_text(encoding="utf-8")))


def judge(figures: Mapping[str, Any]) -> list[Result]:
    """The figures of `time_all` as results."""
    usage, switch = Usage(**figures["usage"]), figures["long_document"]
    results = []
    for row in figures["table"]:
        padded, fused = 1000 * row["padded"], 1000 * row["fused"]
        note = f"{row['documents']} documents; fused {fused:.2f} ms, so {'padded' if padded <= fused else 'fused'} wins"
        results.append(judged(f"padded block, {row['length']} tokens", padded, "ms", usage=usage, note=note))
    results.append(
        judged(
            f"LONG_DOCUMENT = {switch}: most time lost at any length",
            most_lost(figures["table"], switch),
            "%",
            at_most=LOSS_GOAL,
            usage=usage,
            note=f"the best switch by this table: {best_switch(figures['table'])}",
            details=figures,
        )
    )
    return results


def most_lost(table: list[dict[str, Any]], switch: int) -> float:
    """Percent by which the way that ``switch`` chooses is slower than the other one, at the worst length."""
    return max(100 * (_chosen(row, switch) / min(row["padded"], row["fused"]) - 1) for row in table)


def best_switch(table: list[dict[str, Any]]) -> int:
    """The length of the table from which on the fused kernel should be used, so that the total lost share is least."""
    candidates = [*(row["length"] for row in table), 2 * table[-1]["length"]]
    shares = {s: sum(_chosen(row, s) / min(row["padded"], row["fused"]) for row in table) for s in candidates}
    return min(candidates, key=lambda switch: shares[switch])


def _chosen(row: Mapping[str, Any], switch: int) -> float:
    return row["fused"] if row["length"] >= switch else row["padded"]


def time_all() -> dict[str, Any]:
    """Seconds of one forward and backward pass in both ways at every length; the two ways take turns."""
    from tunesmith.model import attention, device

    device.use_all_cores()
    chosen, table, watch = attention.LONG_DOCUMENT, [], Watch()
    for length in LENGTHS:
        documents = max(1, min(DOCUMENTS, TOKENS // length))
        seconds = {"padded": float("inf"), "fused": float("inf")}
        for _ in range(ROUNDS):
            for name, switch in (("padded", sys.maxsize), ("fused", 0)):
                attention.LONG_DOCUMENT = switch
                seconds[name] = min(seconds[name], _time_one(documents, length))
        table.append({"length": length, "documents": documents, **seconds})
    dtype = str(device.default_dtype()).removeprefix("torch.")
    return {"long_document": chosen, "dtype": dtype, "table": table, "usage": watch.usage().as_dict()}


def _time_one(documents: int, length: int) -> float:
    """Best of the passes that fit into the time."""
    import torch

    from tunesmith.model import attention, device

    tokens, dtype = documents * length, device.default_dtype()
    layout = attention.plan_layout([length] * documents)
    q, k, v = (torch.randn(tokens, heads, SIZE).to(dtype).requires_grad_() for heads in (HEADS, KV_HEADS, KV_HEADS))
    wanted = torch.randn(tokens, HEADS, SIZE).to(dtype)
    best, passes, start = float("inf"), 0, time.perf_counter()
    while passes < 2 or time.perf_counter() - start < SECONDS:  # the first pass fills caches
        begin = time.perf_counter()
        out = attention.packed_attention(layout, 0, q, k, v, SIZE**-0.5)
        torch.autograd.grad(out, (q, k, v), wanted)
        best, passes = min(best, time.perf_counter() - begin), passes + 1
    return best


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(time_all()), encoding="utf-8")
