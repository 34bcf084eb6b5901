"""``tunesmith doctor``: what this machine offers, and what stands in the way.

It changes nothing and does not touch the network.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from tunesmith.cli.console import Console, JsonOption, session

if TYPE_CHECKING:
    from tunesmith.core.artifacts import Machine

Status = Literal["ok", "warning", "error"]

GIB = 1024**3
LITTLE_MEMORY, TOO_LITTLE_MEMORY = 4 * GIB, 1 * GIB
LITTLE_DISK, TOO_LITTLE_DISK = 5 * GIB, GIB // 2
"""A small model with its converted copy and a run take about 2 GiB."""
USUAL_SPEED_UP = 1.3
"""Two idle cores multiply matrices at 1.7 to 2 times the speed of one; below this something else uses them."""

MARKS: dict[Status, str] = {"ok": "✓", "warning": "!", "error": "✗"}
ASCII_MARKS: dict[Status, str] = {"ok": "+", "warning": "!", "error": "x"}


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    status: Status
    detail: str
    fix: str = ""


def doctor(json: JsonOption = False) -> None:
    """Check this machine: packages, cores, memory, disk, GPU, workspace.

    Nothing is changed and the network is not touched. Exit code 1 when something is wrong.
    """
    with session(json) as console:
        checks = []
        for check in examine():
            checks.append(check)
            show(console, check)
        wrong = sum(check.status == "error" for check in checks)
        warnings = sum(check.status == "warning" for check in checks)
        console.print("", verdict(wrong, warnings))
        console.result({"ok": wrong == 0, "checks": [asdict(check) for check in checks]})
        if wrong:
            raise typer.Exit(1)


def examine() -> Iterator[Check]:
    """Every check in order, slow ones last."""
    yield python()
    yield from packages()
    yield workspace()
    yield disk_space()
    yield network()
    yield from hardware()


def verdict(wrong: int, warnings: int) -> str:
    """The last line."""
    if wrong:
        return f"{wrong} of these must be put right first"
    return f"ready, with {warnings} warning{'s' if warnings > 1 else ''}" if warnings else "ready"


def show(console: Console, check: Check) -> None:
    """One line, and the way out below it."""
    marks = MARKS if console.out.encoding.lower().startswith("utf") else ASCII_MARKS
    console.print(f"{marks[check.status]} {check.name:<14}{check.detail}")
    if check.fix:
        console.print(f"  {'':<14}fix: {check.fix}")


def python() -> Check:
    """The interpreter."""
    return Check("Python", "ok", f"{platform.python_version()}, {platform.system()} {platform.machine()}")


def packages() -> Iterator[Check]:
    """Every package that Tunesmith needs, against the version that it needs."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in metadata.requires("tunesmith") or ()]
    except metadata.PackageNotFoundError:
        yield Check("packages", "warning", "not compared: this tunesmith runs from an uninstalled source tree")
        return
    found, wrong = [], False
    for requirement in needed:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            detail, fix = f"{requirement.name} is missing", f"pip install '{requirement.name}{requirement.specifier}'"
            wrong = True
            yield Check("packages", "error", detail, fix)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement.name} {version}")
        else:
            wrong = True
            detail = f"{requirement.name} {version} does not fit: {requirement.specifier} is needed"
            yield Check("packages", "error", detail, f"pip install '{requirement.name}{requirement.specifier}'")
    if not wrong:
        yield Check("packages", "ok", ", ".join(found))


def workspace_folder() -> Path:
    """Where the workspace is or will be."""
    return Path(os.environ.get("TUNESMITH_HOME") or ".tunesmith").expanduser().absolute()


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def workspace() -> Check:
    """Whether the workspace can be written (nothing is written to find out)."""
    folder = workspace_folder()
    existing = _nearest_existing(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        what = "is not writable" if existing.is_dir() else "is a file"
        fix = "set TUNESMITH_HOME to a folder that you may write to"
        return Check("workspace", "error", f"{folder}: {existing} {what}", fix)
    return Check("workspace", "ok", f"{folder}{'' if folder.exists() else ' (will be made when it is needed)'}")


def disk_space() -> Check:
    """Room where the workspace is."""
    free = shutil.disk_usage(_nearest_existing(workspace_folder())).free
    text = f"{free / GIB:.1f} GiB free for the workspace"
    fix = "free some space, or set TUNESMITH_HOME to a folder on another disk"
    if free < TOO_LITTLE_DISK:
        return Check("disk", "error", text, fix)
    return Check("disk", "warning", text, fix) if free < LITTLE_DISK else Check("disk", "ok", text)


def network() -> Check:
    """The offline switch; the network itself is not touched."""
    from tunesmith.core.fetch import offline

    if offline():
        return Check("network", "ok", "switched off: models must be on this disk already")
    return Check(
        "network", "ok", "allowed for downloads of models (not tried now); TUNESMITH_OFFLINE=1 switches it off"
    )


def hardware() -> Iterator[Check]:
    """What torch sees, the threads it will use, and how fast they are."""
    try:
        from tunesmith.lifecycle import machine

        found = machine()
    except (ImportError, OSError) as error:
        fix = "install it again; README.md says how to choose a CPU-only or a CUDA build"
        yield Check("torch", "error", f"cannot be used: {error}", fix)
        return
    yield Check("torch", "ok", metadata.version("torch"))
    for name, text in found.facts.items():
        if name not in ("threads", "memory", "number format"):
            yield Check(name, "ok", text)
    yield threads(found)
    yield memory(found)
    yield number_format(found)
    yield speed(found)


def threads(found: Machine) -> Check:
    """How many threads will be used; a limit left behind by somebody else is pointed out."""
    text = f"{found.threads}: {found.threads_reason}"
    if os.environ.get("OMP_NUM_THREADS") == "1" and found.threads > 1:
        fix = "unset OMP_NUM_THREADS, so that other programs use all cores as well"
        return Check("threads", "warning", text, fix)
    return Check("threads", "ok", text)


def memory(found: Machine) -> Check:
    """RAM that is free now."""
    text = found.facts.get("memory", f"{found.available_memory_bytes / GIB:.1f} GiB available")
    fix = "close other programs, or choose a smaller model"
    if found.available_memory_bytes < TOO_LITTLE_MEMORY:
        return Check("memory", "error", text, fix)
    if found.available_memory_bytes < LITTLE_MEMORY:
        return Check("memory", "warning", text, fix)
    return Check("memory", "ok", text)


def number_format(found: Machine) -> Check:
    """bf16 in hardware or not: half the memory and about twice the speed."""
    text = found.facts.get("number format", "bf16 in hardware" if found.fast_bf16 else "fp32")
    return Check("number format", "ok" if found.fast_bf16 else "warning", text)


def speed(found: Machine) -> Check:
    """Matrix products on one thread and on all: a busy neighbour shows as a missing speed-up."""
    text = ", ".join(f"{name} {value:,.0f} GFLOP/s" for name, value in found.gflops.items())
    one, every = next(iter(found.gflops.values())), list(found.gflops.values())[-1]
    if found.threads > 1 and every < USUAL_SPEED_UP * one:
        text += ": more threads bring nothing, so something else uses the cores, or the machine is throttled"
        return Check("speed", "warning", text, "stop the other program, or expect training to be slower")
    return Check("speed", "ok", text)
