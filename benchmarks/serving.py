"""Answering many at once: mixed adapters beside the base alone, PEFT, transformers and llama.cpp.

Every side runs in a process of its own, rounds of the sides alternate inside or between processes, and medians are
compared. The adapters are random low-rank ones on the benchmark's model: speed does not depend on what they say.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import rivals
from benchmarks.load import Usage
from benchmarks.results import Result, busiest, judged, not_measured
from benchmarks.settings import OFFLINE, ROOT, Settings, Unavailable, environment, run, say

MANY, RESIDENT, REQUESTS, NEW_TOKENS, SMALL = 2000, 64, 600, 64, 3
"""Adapters, places for them, requests of Zipf traffic, tokens of an answer. With fewer rounds than ``SMALL``, all of
them are a tenth: a try of the benchmark, not a measurement."""

Figures = dict[str, Any]


def measure(settings: Settings) -> list[Result]:
    """All figures of answering."""
    try:
        model = str(settings.model_folder())
    except Unavailable as error:
        return [not_measured("serving", str(error))]
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        bench = Bench(model, settings.rounds, Path(name))
        return bench.results()


class Bench:
    """One run of the benchmark in a folder of its own."""

    def __init__(self, model: str, rounds: int, folder: Path) -> None:
        small = rounds < SMALL
        self.folder, self.rounds = folder, rounds
        self.note = "a small try: not a measurement" if small else ""
        self.job: Figures = {
            "model": model,
            "rounds": rounds,
            "new_tokens": NEW_TOKENS // (4 if small else 1),
            "adapters": str(folder / "adapters"),
            "many_adapters": str(folder / "many"),
            "many": MANY // (100 if small else 1),
            "resident": RESIDENT // (16 if small else 1),
            "requests": REQUESTS // (20 if small else 1),
            "gguf": str(folder / "model.gguf"),
            "gguf_adapters": [str(folder / f"{index}.gguf") for index in range(4)],
            "threads": int(environment()["OMP_NUM_THREADS"]),
        }
        (folder / "job.json").write_text(json.dumps(self.job), encoding="utf-8")

    def results(self) -> list[Result]:
        """The figures; a part that cannot be had says why, and the others go on."""
        self.side("benchmarks.serving_ours", "prepare")
        parts = (self.mixed, self.alone, self.first, self.eight_bits, self.many, self.llama)
        found: list[Result] = []
        for part in parts:
            try:
                found += part()
            except Unavailable as error:
                found.append(not_measured(f"serving: {part.__name__}", str(error)))
        return found

    def side(self, module: str, part: str) -> Figures:
        """The figures that one process gives."""
        out = self.folder / "out.json"
        out.unlink(missing_ok=True)
        say(f"{module.rpartition('.')[2]} {part}")
        command = [sys.executable, "-m", module, part, str(self.folder / "job.json"), str(out)]
        run(command, cwd=self.folder, env=environment(**OFFLINE))
        figures: Figures = json.loads(out.read_text(encoding="utf-8"))
        return figures

    def judged(self, what: str, value: float, unit: str, sides: Sequence[Figures], **more: Any) -> Result:
        """A figure with who used the processor while its sides ran; a small try has no verdict."""
        if self.note:
            more = {"note": self.note}
        usage = busiest([Usage(**side["usage"]) for side in sides])
        return judged(what, value, unit, usage=usage, **more)

    def mixed(self) -> list[Result]:
        """Eight requests: for the base, for eight adapters, and by PEFT."""
        ours, theirs = self.side("benchmarks.serving_ours", "mixed"), self.side("benchmarks.serving_plain", "peft")
        base, mixed, peft = median(ours["base"]), median(ours["mixed"]), median(theirs["rates"])
        return [
            self.judged("8 requests, base alone", base, "tokens/s", [ours]),
            self.judged("8 requests, 8 adapters", mixed, "tokens/s", [ours], details={"rounds": ours["mixed"]}),
            self.judged("8 adapters / base alone", 100 * mixed / base, "%", [ours], at_least=85.0),
            self.judged("8 requests, 8 adapters, PEFT adapter_names", peft, "tokens/s", [theirs]),
            self.judged("8 adapters, ours / PEFT", mixed / peft, "", [ours, theirs], at_least=3.0),
        ]

    def alone(self) -> list[Result]:
        """One answer: against the memory, and against transformers' generate."""
        ours, theirs = self.side("benchmarks.serving_ours", "single"), self.side("benchmarks.serving_plain", "single")
        rate, other = median(ours["rates"]), median(theirs["rates"])
        bound = ours["read_bytes_per_second"] / ours["bytes"]
        note = f"memory reads {ours['read_bytes_per_second'] / 1e9:.1f} GB/s, a token {ours['bytes'] / 1e6:.0f} MB"
        return [
            self.judged("one answer", rate, "tokens/s", [ours], details={"rounds": ours["rates"]}),
            self.judged("one answer / bound of memory", 100 * rate / bound, "%", [ours], at_least=80.0, note=note),
            self.judged("one answer, transformers generate", other, "tokens/s", [theirs]),
            self.judged("one answer, ours / transformers", rate / other, "", [ours, theirs], at_least=1.0),
        ]

    def first(self) -> list[Result]:
        """The first token of a long prompt."""
        ours = self.side("benchmarks.serving_ours", "first")
        whole, known = median(ours["whole"]), median(ours["known"])
        what = "first token of 500, 400 of them known / unknown"
        return [
            self.judged("first token of 500", 1000 * whole, "ms", [ours]),
            self.judged(what, known / whole, "", [ours], at_most=1 / 3),
        ]

    def eight_bits(self) -> list[Result]:
        """What weights in 8 bits give and take."""
        ours = self.side("benchmarks.serving_ours", "int8")
        rate, bound = median(ours["rates"]), ours["read_bytes_per_second"] / ours["bytes"]
        return [
            self.judged("one answer, int8", rate, "tokens/s", [ours]),
            self.judged("one answer, int8 / bound of memory", 100 * rate / bound, "%", [ours], at_least=80.0),
            judged("int8: change of the likeliest token's log-probability", ours["difference"], "nats"),
            judged("int8: likeliest tokens that stay", 100 * ours["agreement"], "%"),
        ]

    def many(self) -> list[Result]:
        """More adapters than places."""
        ours = self.side("benchmarks.serving_ours", "many")
        loads, share = ours["loads"], 100 * ours["four times"] / ours["resident"]
        late = 1000 * loads[min(len(loads) - 1, int(0.99 * len(loads)))]
        known = f"{self.job['many']} adapters, {self.job['resident']} places, Zipf"
        return [
            judged(f"{known}: failed requests", ours["failed"], "", at_most=0.0),
            self.judged("as many adapters as places", ours["resident"], "tokens/s", [ours]),
            self.judged("4 times as many / as many", share, "%", [ours], at_least=50.0),
            self.judged(f"{known}", ours["all"], "tokens/s", [ours]),
            self.judged("loading an adapter, 99th of 100", late, "ms", [ours], at_most=50.0),
        ]

    def llama(self) -> list[Result]:
        """llama.cpp with weights in 8 bits, against ours in 8 bits and as they are."""
        python = rivals.llama_python()
        run([sys.executable, "-m", "benchmarks.serving_gguf", str(self.folder / "job.json")], cwd=self.folder)
        out = self.folder / "out.json"
        script = str(ROOT / "benchmarks" / "serving_llama.py")
        run([str(python), script, str(self.folder / "job.json"), str(out)], cwd=self.folder)
        theirs: Figures = json.loads(out.read_text(encoding="utf-8"))
        ours, eight = (self.side("benchmarks.serving_ours", part) for part in ("int8", "mixed"))
        alone, many = median(theirs["single"]), median(theirs["eight"])
        share, times = median(ours["rates"]) / alone, median(eight["four"]) / many
        return [
            judged("one answer, llama.cpp q8_0", alone, "tokens/s"),
            self.judged("one answer, ours int8 / llama.cpp", share, "", [ours], at_least=2 / 3),
            judged("8 requests, 4 adapters, llama.cpp q8_0", many, "tokens/s"),
            self.judged("8 requests, 4 adapters, ours / llama.cpp", times, "", [eight], at_least=2.0),
        ]
