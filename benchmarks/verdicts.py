"""How long the statistics of a large evaluation take, and the memory that they need."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.load import Watch, peak_memory
from benchmarks.results import Result, judged
from benchmarks.settings import Settings

ITEMS, ARMS, RESAMPLES = 10_000, 5, 10_000
MIB = 2**20


def measure(_settings: Settings) -> list[Result]:
    """10,000 rows, five models, 10,000 resamples: a share, a mean, and the counts of chrF."""
    from tunesmith.evaluate.config import Config
    from tunesmith.evaluate.metrics import Metric, chrf
    from tunesmith.evaluate.verdict import Scored, judge

    random = np.random.default_rng(0)
    ones = np.ones(ITEMS)
    models = []
    for arm in range(ARMS):
        right = (random.random(ITEMS) < 0.6 + 0.01 * arm).astype(float)
        given = random.integers(20, 200, (ITEMS, 6)).astype(float)
        chrf_counts = np.stack([given, given + 5, np.floor(given * 0.7)], axis=2).reshape(ITEMS, 18)
        counts = {
            "exact_match": np.column_stack([right, ones]),
            "token_f1": np.column_stack([random.random(ITEMS), ones]),
            "chrf": chrf_counts,
        }
        models.append(Scored(f"model {arm}", f"digest {arm}", counts, {}, {}))
    metrics = [
        Metric("exact_match", lambda row: (0.0, 1.0), binary=True),
        Metric("token_f1", lambda row: (0.0, 1.0)),
        Metric("chrf", lambda row: (0.0,) * 18, chrf, scale=100.0),
    ]
    before, watch, begin = peak_memory(), Watch(), time.perf_counter()
    summaries, comparisons = judge(models, metrics, Config(bootstrap_samples=RESAMPLES), "exact_match")
    seconds = time.perf_counter() - begin
    assert len(summaries) == ARMS * len(metrics)
    assert len(comparisons) == (ARMS - 1) * len(metrics)
    note = f"{ITEMS:,} rows, {ARMS} models, {RESAMPLES:,} resamples, 3 metrics"
    added = (peak_memory() - before) / MIB
    return [
        judged("statistics of a large evaluation", seconds, "s", at_most=20.0, usage=watch.usage(), note=note),
        judged("memory added by them", added, "MiB", note=note),
    ]
