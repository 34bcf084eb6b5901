"""A learning curve of the configured run, and what it says about more data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tunesmith import curate
from tunesmith import train as training
from tunesmith.core import store
from tunesmith.core.config import Settings
from tunesmith.core.errors import ConfigError
from tunesmith.core.events import Emit, ignore
from tunesmith.core.store import Workspace
from tunesmith.experiments.bench import Bench, Wanted, folder_of, open_bench, require_seeds
from tunesmith.experiments.page import curve_page

SHARES = (0.25, 0.5, 1.0)
SEEDS = 3


@dataclass(frozen=True)
class Curve:
    """The decision, the rows and seeds' losses of each share, and the page."""

    growth: curate.Growth
    rows: tuple[int, ...]
    losses: tuple[tuple[float, ...], ...]
    """Share → seed → mean loss over the validation rows."""
    page: Path

    def document(self) -> dict[str, object]:
        """Plain JSON."""
        return {**self.growth.document(), "rows": self.rows, "losses": self.losses, "page": str(self.page)}


def enough(
    settings: Settings,
    workspace: Workspace,
    shares: Sequence[float] = SHARES,
    seeds: int = SEEDS,
    margin: float = curate.MARGIN,
    emit: Emit = ignore,
    fresh: bool = False,
) -> Curve:
    """Train on growing shares of the rows and say whether more would help; writes ``<output_dir>-enough/``.

    Under one seed a smaller share lies inside every larger one. All trainings show each of their rows equally often.

    Args:
        settings: of all stages.
        shares: of the training rows, ascending, the last one 1.
        seeds: trainings of each share.
        margin: share of the loss that a gain must reach to matter.
        fresh: train again what is known already.

    Raises:
        ConfigError: no such shares or seeds. TrainingError, Interrupted: see `tunesmith.train.train_on`.
    """
    _require_shares(shares)
    require_seeds(seeds)
    bench = open_bench(settings, workspace, emit, folder_of(settings, "enough"), fresh)
    wanted = _wanted(bench, shares, seeds)
    done = bench.train(wanted)
    found = [done[i * seeds : (i + 1) * seeds] for i in range(len(shares))]
    falling = sum(one.still_falling for one in found[-2]) / seeds
    growth = curate.judge_growth(shares, [[one.losses for one in some] for some in found], margin, falling)
    means = tuple(tuple(sum(one.losses) / len(one.losses) for one in some) for some in found)
    curve = Curve(growth, tuple(some[0].rows for some in found), means, bench.folder / "report.html")
    store.make_folder(bench.folder)
    store.write_text(bench.folder / "enough.json", json.dumps(curve.document(), indent=2) + "\n")
    store.write_text(curve.page, curve_page(growth, curve.rows, means, bench.project.config.model))
    return curve


def _wanted(bench: Bench, shares: Sequence[float], seeds: int) -> list[Wanted]:
    """Every share under every seed, share after share.

    Raises:
        ConfigError: two shares are the same rows.
    """
    wanted = []
    for share in shares:
        for seed in range(bench.seed, bench.seed + seeds):
            wanted.append(Wanted(curate.percent(share), training.nested(bench.units, share, seed), seed))
    sizes = [len(one.units) for one in wanted[::seeds]]
    if len(set(sizes)) < len(sizes):
        raise ConfigError(
            f"{len(bench.units)} training rows are too few for these shares: they give {sizes} rows",
            where="--fractions",
            rule="every share has more rows than the one before it",
            fix="add rows, or take --fractions 0.5,1",
        )
    return wanted


def _require_shares(shares: Sequence[float]) -> None:
    ascending = all(a < b for a, b in pairwise(shares))
    if len(shares) < 2 or not ascending or shares[0] <= 0 or shares[-1] != 1:
        raise ConfigError(
            f"these shares make no learning curve: {', '.join(f'{share:g}' for share in shares)}",
            where="--fractions",
            rule="two or more ascending shares above 0, the last of which is 1",
            fix="take --fractions 0.25,0.5,1",
        )
