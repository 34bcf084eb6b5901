"""Verb: a data set becomes a run and an adapter. Public names: see ``__all__``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith.train.config import AdapterConfig, Config, LoopConfig, refuse_formats, refuse_undeployable, refuse_unread
from tunesmith.train.loss_log import worst_rows
from tunesmith.train.order import parts_of
from tunesmith.train.output import refuse_finished, weights_folder
from tunesmith.train.parent import take_over
from tunesmith.train.ranks import after_first, in_turn, joined, refuse_alone
from tunesmith.train.schedule import auto_learning_rate
from tunesmith.train.space import SweepConfig
from tunesmith.train.subsets import KIND as SUBSET_TRAINING
from tunesmith.train.subsets import SubsetTraining, Unit, drawn, nested, units_of
from tunesmith.train.sweep import claim_sweep
from tunesmith.train.tracking import require_trackers, trackers

if TYPE_CHECKING:
    from tunesmith.train.runs import Context, Rows, finished, plan, run
    from tunesmith.train.subset_trial import subset_key, train_on
    from tunesmith.train.trial import search

__all__ = [
    "SUBSET_TRAINING",
    "AdapterConfig",
    "Config",
    "Context",
    "LoopConfig",
    "Rows",
    "SubsetTraining",
    "SweepConfig",
    "Unit",
    "after_first",
    "auto_learning_rate",
    "claim_sweep",
    "drawn",
    "finished",
    "in_turn",
    "joined",
    "nested",
    "parts_of",
    "plan",
    "refuse_alone",
    "refuse_finished",
    "refuse_formats",
    "refuse_undeployable",
    "refuse_unread",
    "require_trackers",
    "run",
    "search",
    "subset_key",
    "take_over",
    "trackers",
    "train_on",
    "units_of",
    "weights_folder",
    "worst_rows",
]

_HOMES = {"search": "trial", "subset_key": "subset_trial", "train_on": "subset_trial"}


def __getattr__(name: str) -> Any:
    if name in __all__:  # torch is imported only when training is really wanted
        from importlib import import_module

        return vars(import_module(f"tunesmith.train.{_HOMES.get(name, 'runs')}"))[name]
    raise AttributeError(name)
