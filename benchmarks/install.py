"""How heavy an installation is, and that it works without packages that many others drag along."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.results import Result, judged
from benchmarks.rivals import TORCH
from benchmarks.settings import ROOT, Settings, run

PACKAGES_GOAL, MEGABYTES_GOAL = 80, 850
NOT_COUNTED = ("pip", "setuptools", "tunesmith", "torch")
UNWANTED = ("torchvision", "torchaudio", "bitsandbytes", "wandb")

IMPORT_ALL = """
import importlib, json, pkgutil, sys, tunesmith
names = [m.name for m in pkgutil.walk_packages(tunesmith.__path__, "tunesmith.") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(json.dumps({"modules": len(names), "loaded": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def measure(_settings: Settings) -> list[Result]:
    """Install into a fresh environment as the README says, then count."""
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        folder = Path(name)
        python = folder / "venv" / "bin" / "python"
        run([sys.executable, "-m", "venv", str(folder / "venv")])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
        constrained = [*pip, "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
        plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        run([*constrained, TORCH], env=plain)
        run([*constrained, str(_source(folder / "source"))], env=plain)
        listed = {row["name"]: row["version"] for row in json.loads(run([*pip, "list", "--format=json"], env=plain))}
        imports = json.loads(run([str(python), "-I", "-c", IMPORT_ALL], cwd=folder, env=plain))
        [site] = (folder / "venv" / "lib").glob("python*/site-packages")
        return [*sizes(listed, package_bytes(site)), unwanted(imports, listed)]


def _source(target: Path) -> Path:
    """A copy of what is installed, so that building leaves nothing in the repository."""
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", target / "src", ignore=leave)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target / name)
    return target


def package_bytes(site: Path) -> dict[str, int]:
    """Package name → bytes that its files in ``site`` take on the disk, compiled files included."""
    found = {}
    for package in metadata.distributions(path=[str(site)]):
        paths = {Path(package.locate_file(file)).resolve() for file in package.files or ()}
        inside = (path for path in paths if path.is_file() and path.is_relative_to(site.resolve()))
        found[canonical(package.name)] = sum(512 * path.stat().st_blocks for path in inside)
    return found


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


def sizes(listed: dict[str, str], size: dict[str, int]) -> list[Result]:
    """Number and megabytes of the packages beside torch."""
    counted = sorted(canonical(name) for name in listed if canonical(name) not in NOT_COUNTED)
    heaviest = sorted(counted, key=lambda name: -size.get(name, 0))[:5]
    note = f"pip list without {', '.join(NOT_COUNTED)}"
    shares = ", ".join(f"{name} {size.get(name, 0) / 1e6:.0f}" for name in heaviest)
    megabytes = {name: round(size.get(name, 0) / 1e6, 1) for name in counted}
    return [
        judged("packages beside torch", len(counted), "", at_most=PACKAGES_GOAL, note=note, details={"listed": listed}),
        judged(
            "megabytes beside torch",
            sum(size.get(name, 0) for name in counted) / 1e6,
            "MB",
            at_most=MEGABYTES_GOAL,
            note=f"on the disk, the same packages; heaviest: {shares}; torch itself {size.get('torch', 0) / 1e6:.0f}",
            details={"megabytes": megabytes},
        ),
    ]


def unwanted(imports: dict[str, Any], listed: dict[str, str]) -> Result:
    """Whether everything can be imported without the unwanted packages."""
    present = [name for name in UNWANTED if name in imports["loaded"] or name in map(canonical, listed)]
    note = f"all {imports['modules']} modules imported; looked for {', '.join(UNWANTED)}"
    return judged(
        "unwanted packages installed or imported",
        len(present),
        "",
        at_most=0,
        note=f"found {', '.join(present)}; {note}" if present else note,
    )
