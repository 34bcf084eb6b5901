"""``python -m benchmarks.gpu [PART …]``: check and time everything on a GPU, in nine minutes at most.

Each part runs in a process of its own under its own time limit and leaves what it has found when it is stopped. Exit
code 1: a goal was measured and not met; 2: there is no GPU, and nothing was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import results as figures
from benchmarks.__main__ import FOLDER, show
from benchmarks.results import Result, not_measured
from benchmarks.settings import OFFLINE, ROOT, environment, last_words, say

VERSIONED = ("bitsandbytes", "peft", "triton", "unsloth")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for, keep and show the figures; gives the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["part"]:
        return run_part(arguments[1], Path(arguments[2]), arguments[3])
    from benchmarks.gpu.made import facts
    from benchmarks.gpu.parts import PARTS

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[*PARTS, []], help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, not to benchmarks/results/")
    options = parser.parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print("nothing was measured: torch finds no GPU here (torch.cuda.is_available() is false)", file=sys.stderr)
        return 2
    found: dict[str, list[Result]] = {}
    path = options.json or FOLDER / f"{datetime.now(UTC):%Y-%m-%d}-gpu.json"
    for name in options.parts or PARTS:
        say(f"{name}: {PARTS[name].about}, {PARTS[name].limit:g} s at most")
        begin = time.monotonic()
        found[name] = in_child(name, "cuda", PARTS[name].limit)
        say(f"{name}: {len(found[name])} figures after {time.monotonic() - begin:.0f} s")
        save(path, found, facts(torch.device("cuda")))
    show(found)
    return int(figures.failed(found))


def save(path: Path, found: dict[str, list[Result]], machine: dict[str, Any]) -> None:
    """Write what is known so far, with the GPU and the versions that matter there."""
    document = figures.document(found)
    document["machine"] |= machine
    document["versions"] |= {name: version(name) for name in VERSIONED}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(figures.to_json(document), encoding="utf-8")


def version(package: str) -> str:
    """Of an installed package, in words where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def in_child(name: str, device: str, limit: float) -> list[Result]:
    """The results of a part that runs in a process of its own; what it had found when it was stopped or broke."""
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as folder:
        out, errors = Path(folder) / "out.json", Path(folder) / "errors"
        command = [sys.executable, "-m", "benchmarks.gpu", "part", name, str(out), device]
        changes = {**OFFLINE, "PYTORCH_ALLOC_CONF": "expandable_segments:True", "TRITON_CACHE_DIR": folder}
        with (
            errors.open("w", encoding="utf-8") as log,
            subprocess.Popen(
                command, cwd=ROOT, env=environment(**changes), stderr=log, start_new_session=True
            ) as process,
        ):
            try:
                code = process.wait(limit)
                problem = "" if code == 0 else f"ended with {code}: {last_words(errors.read_text(encoding='utf-8'))}"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                problem = f"stopped at its limit of {limit:g} s"
        kept = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
    return [*(Result(**each) for each in kept), *([not_measured(f"the rest of {name}", problem)] if problem else [])]


def run_part(name: str, out: Path, device: str) -> int:
    """In the child: run a part, writing its results anew after each."""
    import torch

    from benchmarks.gpu.parts import PARTS

    found: list[dict[str, Any]] = []
    for result in PARTS[name].run(torch.device(device)):
        found.append(asdict(result))
        waiting = out.with_suffix(".new")
        waiting.write_text(json.dumps(found), encoding="utf-8")
        waiting.replace(out)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    sys.exit(main())
