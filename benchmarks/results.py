"""A measured figure with its goal and its verdict, as table rows and as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.load import CONTENDED, Usage

if TYPE_CHECKING:
    from rich.table import Table

Verdict = Literal["met", "not met", "not measured", "no goal"]
VERSIONED = ("tunesmith", "torch", "transformers", "tokenizers", "safetensors", "numpy", "pydantic", "typer", "rich")


@dataclass(frozen=True)
class Result:
    """One figure. ``value`` None: nothing could be measured; ``note`` says why, or under which conditions it was."""

    what: str
    value: float | None
    unit: str
    goal: str
    verdict: Verdict
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def measured(self) -> str:
        """The value for people."""
        if self.value is None:
            return "–"
        digits = 0 if abs(self.value) >= 100 or float(self.value).is_integer() else 2
        return f"{self.value:,.{digits}f} {self.unit}".strip()


def judged(
    what: str,
    value: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    usage: Usage | None = None,
    note: str = "",
    details: Mapping[str, Any] | None = None,
) -> Result:
    """A figure against its goal. Where others used the machine meanwhile, it is shown but counts as not measured.

    Args:
        at_most, at_least: the goal; neither: the figure is only shown.
        usage: of the stretch in which a time was measured; None for figures that do not depend on speed.
    """
    signs = [(sign, bound) for sign, bound in (("≤", at_most), ("≥", at_least)) if bound is not None]
    goal = " and ".join(f"{sign} {bound:g} {unit}".strip() for sign, bound in signs)
    details = dict(details or {}) | ({"usage": usage.as_dict()} if usage else {})
    if not math.isfinite(value):
        return Result(what, None, unit, goal, "not measured", f"not a number; {note}".rstrip("; "), details)
    if usage is not None:
        note = f"{note}; {foreign_load(usage)}".lstrip("; ")
    verdict: Verdict
    if not signs:
        verdict = "no goal"
    elif usage is not None and usage.contended:
        verdict = "not measured"
    else:
        met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        verdict = "met" if met else "not met"
    return Result(what, value, unit, goal, verdict, note, details)


def not_measured(what: str, reason: str, goal: str = "") -> Result:
    """A figure that could not be had, and why."""
    return Result(what, None, "", goal, "not measured", f"not measured: {reason}")


def foreign_load(usage: Usage) -> str:
    """What others used, in words."""
    text = f"others used {usage.foreign:.2f} cores"
    return f"{text} (more than {CONTENDED}): contended, figures not valid" if usage.contended else text


def busiest(usages: Sequence[Usage]) -> Usage:
    """The stretch in which others used most."""
    return max(usages, key=lambda usage: usage.foreign)


def table(results: Mapping[str, Sequence[Result]]) -> Table:
    """Benchmark name → its figures, as a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    colours = {"met": "green", "not met": "red", "not measured": "yellow", "no goal": "dim"}
    shown = Table("", "figure", "goal", "measured", "verdict", "note", box=None, pad_edge=False)
    for name, figures in results.items():
        for index, result in enumerate(figures):
            verdict = Text(result.verdict, style=colours[result.verdict])
            cells = [Text(x) for x in (name if index == 0 else "", result.what, result.goal, result.measured)]
            shown.add_row(*cells, verdict, Text(result.note))
    return shown


def failed(results: Mapping[str, Sequence[Result]]) -> bool:
    """Whether any goal was measured and not met."""
    return any(result.verdict == "not met" for figures in results.values() for result in figures)


def document(results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """Everything for JSON: date, machine, versions, figures."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "results": {name: [asdict(result) for result in figures] for name, figures in results.items()},
    }


def save(folder: Path, name: str, figures: Sequence[Result]) -> Path:
    """Write the figures of one benchmark to ``folder/<date>-<name>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y-%m-%d}-{name}.json"
    path.write_text(to_json(document({name: figures})), encoding="utf-8")
    return path


def to_json(value: Mapping[str, Any]) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def machine() -> dict[str, Any]:
    """The machine in words and numbers."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 1024**3, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    """Installed versions of the packages that matter for speed."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed (run from the source folder)" if name == "tunesmith" else "not installed"
    return found
