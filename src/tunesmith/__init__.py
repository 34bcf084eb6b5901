"""Tunesmith: from a company's own examples to a proven, deployed, documented fine-tuned model.

    import tunesmith as ts

    workspace = ts.Workspace.open()
    project = ts.lifecycle.prepare(ts.lifecycle.load_settings(path), workspace)
    outcome = ts.lifecycle.run_to_verdict(project)

The verbs (``curate``, ``assess``, ``train``, ``evaluate``, ``serve``) and ``lifecycle`` are imported when they are
first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith import assess, curate, evaluate, lifecycle, serve, train
    from tunesmith.core.store import Workspace

__version__ = "0.1.0"

__all__ = ["Workspace", "assess", "curate", "evaluate", "lifecycle", "serve", "train"]


def __getattr__(name: str) -> Any:
    if name == "Workspace":
        return import_module("tunesmith.core.store").Workspace
    if name in __all__:
        return import_module(f"tunesmith.{name}")
    raise AttributeError(f"module 'tunesmith' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
