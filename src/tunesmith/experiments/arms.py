"""Selection arms: the configured run on equally many rows that were chosen in several ways, and on all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import curate, lifecycle
from tunesmith import train as training
from tunesmith.core import store
from tunesmith.core.config import Settings
from tunesmith.core.errors import ConfigError, InputError
from tunesmith.core.events import Emit, Note, Stage, Tick, ignore
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Example, digest_of
from tunesmith.core.registry import nearest
from tunesmith.core.store import Workspace
from tunesmith.experiments.bench import Bench, Wanted, folder_of, open_bench, require_seeds
from tunesmith.experiments.page import arms_page

if TYPE_CHECKING:
    from tunesmith.train import Unit

BUDGET = 0.3
DIFFICULTY = "difficulty"
"""What the measured difficulty of rows is called in the workspace."""


@dataclass(frozen=True)
class Choice:
    """What is asked for. ``budget`` is a share of the training rows; ``write`` an arm and the file for its rows."""

    arms: tuple[str, ...] = curate.ARMS
    budget: float = BUDGET
    seeds: int = 3
    write: tuple[str, Path] | None = None


@dataclass(frozen=True)
class Selection:
    """The comparison, the page, and the file that was asked for."""

    comparison: curate.Comparison
    page: Path
    written: Path | None = None

    def document(self) -> dict[str, object]:
        """Plain JSON."""
        written = str(self.written) if self.written else None
        return {**self.comparison.document(), "page": str(self.page), "written": written}


def select(
    settings: Settings, workspace: Workspace, choice: Choice, emit: Emit = ignore, fresh: bool = False
) -> Selection:
    """Train every arm, compare each with chance on the validation rows; writes ``<output_dir>-select/``.

    Raises:
        ConfigError: no such arm or budget. DataError: an arm cannot judge the rows. InputError: the file to write is
        there already. TrainingError, Interrupted: see `tunesmith.train.train_on`.
    """
    choice = _checked(choice)
    bench = open_bench(settings, workspace, emit, folder_of(settings, "select"), fresh)
    chosen = _rows_of(bench, choice)
    seeds = range(bench.seed, bench.seed + choice.seeds)
    wanted = [Wanted(arm, chosen[arm][i], seed) for arm in choice.arms for i, seed in enumerate(seeds)]
    done = bench.train(wanted)
    of_arm = {arm: done[i * len(seeds) : (i + 1) * len(seeds)] for i, arm in enumerate(choice.arms)}
    comparison = curate.compare_arms(
        {arm: [one.losses for one in some] for arm, some in of_arm.items()},
        {arm: some[0].rows for arm, some in of_arm.items()},
    )
    page = bench.folder / "report.html"
    written = _written(bench, choice, chosen)
    selection = Selection(comparison, page, written)
    store.make_folder(bench.folder)
    store.write_text(bench.folder / "select.json", json.dumps(selection.document(), indent=2) + "\n")
    store.write_text(page, arms_page(comparison, bench.project.config.model))
    return selection


def _checked(choice: Choice) -> Choice:
    """The same with chance among the arms, or a refusal."""
    require_seeds(choice.seeds)
    for arm in choice.arms:
        if arm not in curate.ARMS:
            near = nearest(arm, curate.ARMS)
            raise ConfigError(
                f"there is no arm {arm!r}",
                where="--arms",
                rule=f"arms are {', '.join(curate.ARMS)}",
                fix=f"did you mean {near[0]}?" if near else "leave --arms out: all of them",
            )
    if not 0 < choice.budget < 1:
        raise ConfigError(
            f"a budget of {choice.budget:g} selects nothing",
            where="--budget",
            rule="the budget is a share of the training rows, above 0 and below 1",
            fix="take --budget 0.3",
        )
    arms = tuple(dict.fromkeys(("random", *choice.arms)))
    _refuse_write(arms, choice.write)
    if len(arms) == 1:
        raise ConfigError(
            "only the random arm takes part, so nothing is compared",
            where="--arms",
            rule="an arm is compared with chance",
            fix=f"add one of {', '.join(curate.ARMS[1:])}",
        )
    return Choice(arms, choice.budget, choice.seeds, choice.write)


def _refuse_write(arms: Sequence[str], write: tuple[str, Path] | None) -> None:
    """Refuse before hours of training what could not be written after them."""
    if write is not None:
        arm, file = write
        if arm not in arms:
            raise ConfigError(
                f"the arm to write, {arm!r}, does not take part",
                where="--write",
                rule=f"the arms of this comparison are {', '.join(arms)}",
                fix="name one of these, or add it to --arms",
            )
        if file.exists():
            raise InputError(
                "the file for the chosen rows is already there",
                where=str(file),
                rule="nothing is replaced unasked",
                fix="give another name, or remove the file",
            )
        if file.suffix.lower() not in (".jsonl", ".csv", ".parquet"):
            raise InputError(
                f"no rows are written into a file of kind {file.suffix or '(no suffix)'}",
                where=str(file),
                rule="the suffix says the kind: .jsonl, .csv or .parquet",
                fix="give a name that ends in .jsonl",
            )


def _rows_of(bench: Bench, choice: Choice) -> dict[str, list[Sequence[Unit]]]:
    """Arm → seed → its rows; every arm but "all" has equally many."""
    units = bench.units
    count = max(1, round(choice.budget * len(units)))
    ranked: dict[str, list[int]] = {}
    if {"ifd", "diversity"} & set(choice.arms):
        rows = _examples(bench)
        difficulty = _difficulty(bench, rows)
        if "ifd" in choice.arms:
            ranked["ifd"] = curate.hard_rows(rows, difficulty)
        if "diversity" in choice.arms:
            tell = _ticks(bench, "choosing rows")
            ranked["diversity"] = curate.diverse_rows(rows, difficulty, count, tell)
    fewest = min([count, *map(len, ranked.values())])
    if not fewest:
        raise InputError(
            "no row has an IFD of at most 1",
            where="--arms",
            rule="rows whose question makes the answer less likely are not chosen, and the base finds all so",
            fix="look at the rows with `tunesmith data check`, or take --arms random,all",
        )
    if fewest < count:
        text = f"the budget is lowered from {count} to {fewest} rows in every arm: no more have an IFD of at most 1"
        bench.project.emit(Note(text=text, level="warning"))
    found: dict[str, list[Sequence[Unit]]] = {}
    for arm in choice.arms:
        if arm == "random":
            found[arm] = [training.drawn(units, fewest, bench.seed + i) for i in range(choice.seeds)]
        else:
            mine = units if arm == "all" else [units[i] for i in ranked[arm][:fewest]]
            found[arm] = [mine] * choice.seeds
    return found


def _examples(bench: Bench) -> list[Example]:
    """The example of each unit."""
    known = {example.id: example for example in bench.project.dataset.of("train")}
    return [known[unit.id] for unit in bench.units]


def _difficulty(bench: Bench, rows: Sequence[Example]) -> curate.Difficulty:
    """The IFD of the rows by the untuned base; measured once for a base and a data set."""
    from tunesmith.model.sample import LocalSampler

    project = bench.project
    sampler = LocalSampler(lifecycle.load_engine(project), project.renderer, name="base")
    key = digest_of({"sampler": sampler.digest, "rows": [row.id for row in rows]})
    for known in project.workspace.list(DIFFICULTY, curate.Difficulty):
        if known.key == key:
            return known
    project.emit(Stage(title="measuring difficulty", detail=f"{len(rows)} rows, each with and without its question"))
    found = curate.measure_difficulty(rows, sampler, key, _ticks(bench, "scoring rows"))
    project.workspace.put(DIFFICULTY, key, found)
    return found


def _ticks(bench: Bench, task: str) -> Progress:
    return lambda done, total: bench.project.emit(Tick(task=task, done=done, total=total))


def _written(bench: Bench, choice: Choice, chosen: dict[str, list[Sequence[Unit]]]) -> Path | None:
    """The rows of the arm that was asked for, under the first seed, as a file of data."""
    if choice.write is None:
        return None
    arm, file = choice.write
    wanted = {unit.id for unit in chosen[arm][0]}
    rows = [row for row in bench.project.dataset.of("train") if row.id in wanted]
    curate.write_examples({row.id: row for row in rows}.values(), file, "text" if rows[0].is_document else "chat")
    return file
