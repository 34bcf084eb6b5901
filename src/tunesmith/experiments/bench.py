"""Trainings on parts of the rows: which are wanted, which are known from earlier, and the rest one after another.

A finished training is kept in the workspace under its identity, so the same command goes on after a stop, and two
experiments that need the same training make it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import lifecycle
from tunesmith import train as training
from tunesmith.core import store
from tunesmith.core.config import Settings
from tunesmith.core.errors import ConfigError
from tunesmith.core.events import Emit, Note, Stage
from tunesmith.core.store import Workspace

if TYPE_CHECKING:
    from tunesmith.train import Context, Rows, SubsetTraining, Unit


@dataclass(frozen=True)
class Wanted:
    """A training: what it is called, the rows it sees, its seed."""

    name: str
    units: Sequence[Unit]
    seed: int


@dataclass
class Bench:
    """A project without its test rows, and its training rows as units."""

    project: lifecycle.Project
    rows: Rows
    units: Sequence[Unit]
    folder: Path
    fresh: bool

    @property
    def seed(self) -> int:
        """Of the configuration; further trainings count on from it."""
        return self.project.config.seed

    def context(self) -> Context:
        """The base as it was before any training."""
        project = self.project
        if project.config.method == "full":  # training all weights spoils them
            project.engine = None
        return training.Context(
            base=lifecycle.load_engine(project).base,
            renderer=project.renderer,
            chat_template=project.config.chat_template,
            output_dir=self.folder,
            emit=project.emit,
            loop=project.loop,
        )

    def train(self, wanted: Sequence[Wanted]) -> list[SubsetTraining]:
        """Every wanted training, in order.

        Raises:
            TrainingError, ConfigError, Interrupted: see `tunesmith.train.train_on`.
        """
        project, context = self.project, self.context()
        config, adapter = project.config, project.adapter
        known: dict[str, SubsetTraining] = {}
        if not self.fresh:
            stored = project.workspace.list(training.SUBSET_TRAINING, training.SubsetTraining)
            known = {one.key: one for one in stored}
        found, used = [], False
        for number, one in enumerate(wanted):
            key = training.subset_key(config, adapter, self.rows, context, one.units, one.seed)
            title = f"training {number + 1} of {len(wanted)}"
            what = f"{one.name}, {len(one.units)} rows, seed {one.seed}"
            if key in known:
                project.emit(Note(text=f"{title}: {what}: known already, loss {known[key].loss:.4f}"))
            else:
                project.emit(Stage(title=title, detail=what))
                context = self.context() if used else context
                used = True
                known[key] = training.train_on(config, adapter, self.rows, context, one.units, one.seed)
                project.workspace.put(training.SUBSET_TRAINING, key, known[key])
                project.emit(Note(text=f"loss {known[key].loss:.4f} in {known[key].seconds:.0f} s"))
            found.append(known[key])
        return found


def open_bench(settings: Settings, workspace: Workspace, emit: Emit, folder: Path, fresh: bool) -> Bench:
    """Prepare the project of a configuration, and put its test rows away.

    Raises:
        ModelError, DataError: as `lifecycle.prepare`. StorageError: ``folder`` cannot be written.
    """
    store.require_writable(folder)
    project = lifecycle.prepare(settings, workspace, emit)
    dataset = project.dataset
    kept = tuple(example for example in dataset.examples if example.split in ("train", "validation"))
    tokens = {name: rows for name, rows in dataset.tokens.items() if name != "test"}
    project.dataset = replace(dataset, examples=kept, tokens=tokens)
    parts, digest = training.parts_of(dataset.sets), dataset.card.digest
    train, validation = (lifecycle.tokenise(project, split) for split in ("train", "validation"))
    rows = training.Rows(train, validation, digest, parts)
    return Bench(project, rows, training.units_of(train, parts), folder, fresh)


def folder_of(settings: Settings, what: str) -> Path:
    """Where an experiment writes: beside the run's own folder."""
    return Path(settings.stage("train", training.Config).output_dir + f"-{what}").absolute()


def require_seeds(seeds: int) -> None:
    """Refuse what gives no spread.

    Raises:
        ConfigError: fewer than two seeds.
    """
    if seeds < 2:
        raise ConfigError(
            f"{seeds} seed shows no chance",
            where="--seeds",
            rule="two trainings on the same rows differ by chance, and only several seeds show by how much",
            fix="take --seeds 3",
        )
