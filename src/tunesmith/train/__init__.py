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
from tunesmith.train.sweep import claim_sweep
from tunesmith.train.tracking import require_trackers, trackers

if TYPE_CHECKING:
    from tunesmith.train.runs import Context, Rows, finished, plan, run
    from tunesmith.train.trial import search

__all__ = [
    "AdapterConfig",
    "Config",
    "Context",
    "LoopConfig",
    "Rows",
    "SweepConfig",
    "after_first",
    "auto_learning_rate",
    "claim_sweep",
    "finished",
    "in_turn",
    "joined",
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
    "take_over",
    "trackers",
    "weights_folder",
    "worst_rows",
]


def __getattr__(name: str) -> Any:
    if name in __all__:  # torch is imported only when training is really wanted
        from importlib import import_module

        return vars(import_module("tunesmith.train.trial" if name == "search" else "tunesmith.train.runs"))[name]
    raise AttributeError(name)
