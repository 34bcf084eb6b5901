"""``python -m benchmarks [NAME …]``: measure what we claim, print a table, keep the figures as JSON.

``python -m benchmarks table`` measures all rows of the documents' table one after the other, each under a time limit;
``python -m benchmarks page`` writes that table from the JSON files; ``python -m benchmarks.gpu`` is for a GPU.

Exit code 1 when a goal was measured and not met. Run it on an otherwise idle machine: where others use the processor,
timings are shown but do not count.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results as figures
from benchmarks.results import Result
from benchmarks.settings import ROOT, Settings, Unavailable
from benchmarks.work import METHODS, SHAPES, work

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: where its function is (``module:function``), and what it measures."""

    place: str
    about: str
    by_default: bool = True

    def load(self) -> Callable[[Settings], list[Result]]:
        """The function."""
        module, _, function = self.place.partition(":")
        return vars(importlib.import_module(f"benchmarks.{module}"))[function]


BENCHMARKS = {
    "help": Benchmark("commands:measure_help", "seconds of tunesmith --help"),
    "check": Benchmark("commands:measure_check", "seconds of tunesmith data check on 50,000 rows"),
    "curate": Benchmark(
        "curate:measure", "seconds and memory of tunesmith data check on 10,000 and 100,000 support chats (3 minutes)"
    ),
    "curate-million": Benchmark("curate:measure_million", "the same on 1,000,000 chats, 1 GB", by_default=False),
    "data": Benchmark("data:measure", "seconds and memory of tokenising and packing 1,000 to 100,000 rows (5 minutes)"),
    "training": Benchmark(
        "training:measure", "speed and memory of training beside TRL and Unsloth, at equal loss (20 minutes)"
    ),
    "evaluation": Benchmark("evaluation:measure", "scoring and greedy answers beside transformers (3 minutes)"),
    "serving": Benchmark(
        "serving:measure",
        "mixed adapters, one answer, first tokens, 2,000 adapters, beside PEFT, transformers, llama.cpp (20 minutes)",
        by_default=False,
    ),
    "verdicts": Benchmark("verdicts:measure", "statistics of 10,000 rows, five models and 10,000 resamples (seconds)"),
    "plan": Benchmark("plan:measure", "time and memory of runs against their plans (10 minutes)"),
    "job": Benchmark("job:measure", "seconds of a whole tunesmith train on 400 rows (3 minutes)"),
    "install": Benchmark("install:measure", "packages and megabytes of a fresh installation"),
    "attention": Benchmark("attention:measure", "padded block against fused kernel at each length"),
    "personal": Benchmark(
        "personal:measure",
        "search for personal data beside euredact, Presidio and deduce (10 minutes)",
        by_default=False,
    ),
    "quickstart": Benchmark("job:measure_quickstart", "minutes of tunesmith quickstart", by_default=False),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that were asked for; gives the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and arguments[0] in ("table", "page"):
        driver = importlib.import_module(f"benchmarks.{arguments[0]}")
        return int(driver.main(arguments[1:]))
    options = _parser().parse_args(arguments)
    if options.list:
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:12} {benchmark.about}{'' if benchmark.by_default else ' (only when named)'}")
        return 0
    wanted = options.names or [name for name, benchmark in BENCHMARKS.items() if benchmark.by_default or options.all]
    settings = Settings(options.model, options.steps, options.rounds, options.compiled, options.shape, options.method)
    found: dict[str, list[Result]] = {}
    for name in wanted:
        print(f"measuring {name}: {BENCHMARKS[name].about}", file=sys.stderr, flush=True)
        try:
            found[name] = BENCHMARKS[name].load()(settings)
        except Unavailable as error:
            found[name] = [figures.not_measured(name, str(error))]
        if not options.no_save:
            label = work(settings.shape, settings.method).name if name == "training" else name
            figures.save(FOLDER, label, found[name])
    show(found)
    if options.json is not None:
        options.json.write_text(figures.to_json(figures.document(found)), encoding="utf-8")
    return int(figures.failed(found))


def show(found: dict[str, list[Result]]) -> None:
    """The table, wide enough to be read where there is no terminal."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=180)
    machine = figures.machine()
    console.print(f"\n{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB\n")
    console.print(figures.table(found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*BENCHMARKS, []], help="which (default: all)")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and stop")
    parser.add_argument("--all", action="store_true", help="also those that run only when named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures into one file")
    parser.add_argument("--no-save", action="store_true", help="keep nothing in benchmarks/results/")
    parser.add_argument("--model", default=Settings.model, help="model folder or name (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=None, help="steps of a round of training (default: by the work)")
    parser.add_argument("--rounds", type=int, default=Settings.rounds, help="rounds of training (%(default)s)")
    parser.add_argument("--shape", choices=SHAPES, default=Settings.shape, help="of the trained rows (%(default)s)")
    parser.add_argument("--method", choices=METHODS, default=Settings.method, help="of training (%(default)s)")
    parser.add_argument("--compiled", action="store_true", help="try TRL with torch.compile too (minutes more)")
    return parser


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))  # this checkout is measured, whatever is installed
    sys.exit(main())
