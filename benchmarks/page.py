"""``python -m benchmarks page [--check]``: the tables of figures in the documents, written from the JSON files.

``docs/reference/figures.md`` has everything, the README's section what was measured. Nothing in them is typed by hand.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import CONTENDED
from benchmarks.settings import ROOT
from benchmarks.work import work

RESULTS = Path(__file__).parent / "results"
PAGE = "docs/reference/figures.md"
RIVALS = ("TRL", "Unsloth")
WORKS = tuple(
    work(shape, method)
    for shape, method in (
        ("short", "lora"),
        ("long", "lora"),
        ("shared", "lora"),
        ("short", "full"),
        ("short", "qlora"),
        ("short", "dpo"),
    )
)
BEGIN = "<!-- figures: begin. Written by `python -m benchmarks page` from benchmarks/results/. -->"
END = "<!-- figures: end -->"
UNKNOWN = "not measured"

Document = dict[str, Any]
Documents = Mapping[str, Document]


def main(arguments: Sequence[str]) -> int:
    """Write both places, or with ``--check`` say whether they are up to date; gives the exit code."""
    if list(arguments) == ["--check"]:
        stale = [str(path.relative_to(ROOT)) for path, text in texts(RESULTS, ROOT).items() if _read(path) != text]
        for name in stale:
            print(f"{name} is not what benchmarks/results/ says; fix: python -m benchmarks page")
        return int(bool(stale))
    write(RESULTS, ROOT)
    return 0


def write(results: Path, root: Path) -> None:
    """Write both places."""
    for path, text in texts(results, root).items():
        path.write_text(text, encoding="utf-8")


def texts(results: Path, root: Path) -> dict[Path, str]:
    """The two files as they should be."""
    documents, readme = load(results), root / "README.md"
    block = re.compile(r"<!-- figures: begin.*?<!-- figures: end -->", re.DOTALL)
    section = f"{BEGIN}\n{summary(documents)}\n{END}"
    return {root / PAGE: whole(documents), readme: block.sub(lambda _: section, _read(readme))}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def load(results: Path) -> dict[str, Document]:
    """The newest document of each benchmark; one in which nothing could be measured gives way to an older one."""
    found: dict[str, Document] = {}
    for path in sorted(results.glob("????-??-??-*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        name = path.stem[11:]
        figures = [figure for part in document["results"].values() for figure in part]
        if name not in found or any(figure["value"] is not None for figure in figures):
            found[name] = {**document, "figures": figures}
    return found


def figure(document: Document | None, what: str) -> float | None:
    """A figure's value; None where it was not measured, or others used the machine meanwhile."""
    for result in document["figures"] if document else ():
        if result["what"] == what and result["value"] is not None:
            usage = result["details"].get("usage")
            return None if usage and usage["foreign"] > CONTENDED else float(result["value"])
    return None


def shown(value: float | None, unit: str = "") -> str:
    """A value for people."""
    if value is None:
        return UNKNOWN
    digits = 0 if value >= 10 or value.is_integer() else 1
    return f"{value:,.{digits}f} {unit}".strip()


def whole(documents: Documents) -> str:
    """The page with everything."""
    parts = [
        "<!-- Written by `python -m benchmarks page` from benchmarks/results/. Changes by hand are lost. -->",
        "",
        "# Figures",
        "",
        "Each row was measured by one command on an otherwise idle machine, our side and the others in turns, each in",
        "a process of its own; speeds are medians. `python -m benchmarks table` measures all rows and writes this",
        "page. What is not here was not measured; a timing during which others used the machine does not count.",
        "",
        "## Training",
        "",
        "Non-padding tokens a second of SmolLM2-135M; each rival at the fastest of its settings that computes the",
        "same. Where rows begin alike, that beginning counts in every row, on all sides. *Losses*: the largest",
        "difference from ours in the first steps from the same weights. When all weights are trained ours are kept in",
        "fp32; the first losses cannot tell a rival that keeps them in bf16 from one that does not, its setting does.",
        "",
        "| work | ours | TRL | Unsloth | memory: ours, TRL, Unsloth | losses: TRL, Unsloth | date |",
        "|---|---|---|---|---|---|---|",
        *(training_row(documents.get(each.name), each.about) for each in WORKS),
        "",
        "## Evaluation",
        "",
        *evaluation(documents.get("evaluation")),
        "",
        "## On a GPU",
        "",
        *gpu(documents.get("gpu")),
        "",
        "## Machines",
        "",
        *machines(documents),
        "",
    ]
    return "\n".join(parts)


def training_row(document: Document | None, about: str) -> str:
    """One line of the table of training."""
    if document is None:
        return f"| {about} | {UNKNOWN} | | | | | |"
    sides = [shown(figure(document, "speed, ours"))]
    for rival in RIVALS:
        sides.append(f"{beside(document, rival)} {setting_of(document, rival)}".strip())
    memory = ", ".join(shown(figure(document, f"peak memory, {side}")) for side in ("ours", *RIVALS))
    losses = ", ".join(shown_percent(figure(document, _difference(rival))) for rival in RIVALS)
    return f"| {about} | {' | '.join(sides)} | {memory} MiB | {losses} | {document['date'][:10]} |"


def beside(document: Document, rival: str) -> str:
    """A rival's speed, and how many times as fast ours is."""
    speed, ratio = figure(document, f"speed, {rival}"), figure(document, f"speed, ours / {rival}")
    return UNKNOWN if speed is None or ratio is None else f"{shown(speed)} ({ratio:.1f} times)"


def setting_of(document: Document, rival: str) -> str:
    """The setting that won a rival's trials, as its figure's note has it."""
    notes = [result["note"] for result in document["figures"] if result["what"] == f"speed, {rival}"]
    found = re.match("setting (“.+?”)", notes[0]) if notes else None
    return found.group(1) if found else ""


def _difference(rival: str) -> str:
    return f"largest difference of the first losses, ours and {rival}'s"


def shown_percent(value: float | None) -> str:
    """A small share for people."""
    return UNKNOWN if value is None else f"{value:.2f} %"


def evaluation(document: Document | None) -> Iterator[str]:
    """The table of scoring and answering."""
    if document is None:
        yield f"{UNKNOWN.capitalize()}."
        return
    yield "Tokens a second beside transformers' own forward and `generate` on the same batches."
    yield ""
    yield "| work | ours | transformers | ours / transformers |"
    yield "|---|---|---|---|"
    for what in ("scoring", "greedy answers"):
        sides = [shown(figure(document, f"{what}, {side}")) for side in ("ours", "transformers")]
        ratio = figure(document, f"{what}, ours / transformers")
        yield f"| {what} | {' | '.join(sides)} | {UNKNOWN if ratio is None else f'{ratio:.1f} times'} |"


def gpu(document: Document | None) -> Iterator[str]:
    """Everything that the GPU suite found, a table for each part."""
    if document is None:
        yield "Not measured on a GPU. `python -m benchmarks.gpu` checks and times everything there."
        return
    yield f"{document['machine'].get('gpu', 'GPU')}, torch {document['versions']['torch']}, {document['date'][:10]}."
    for section, results in document["results"].items():
        yield from ("", f"### {section}", "", "| figure | goal | measured | verdict |", "|---|---|---|---|")
        for result in results:
            value = UNKNOWN if result["value"] is None else f"{result['value']:,.4g} {result['unit']}".strip()
            note = f" ({result['note']})" if result["value"] is None else ""
            yield f"| {result['what']} | {result['goal']} | {value}{note} | {result['verdict']} |"


def machines(documents: Documents) -> Iterator[str]:
    """Which machine and versions each row was measured with."""
    yield "| row | date | machine | torch, transformers |"
    yield "|---|---|---|---|"
    for name, document in sorted(documents.items()):
        machine, versions = document["machine"], document["versions"]
        words = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
        yield f"| {name} | {document['date'][:10]} | {words} | {versions['torch']}, {versions['transformers']} |"


def summary(documents: Documents) -> str:
    """The README's section."""
    dates = sorted({document["date"][:10] for document in documents.values()}) or ["no day"]
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    text = f"Measured on {when} {_machine(documents)}; all numbers with their rounds are in `benchmarks/results/`, and "
    lead = textwrap.wrap(f"{text}[a page](docs/reference/figures.md) has the whole table.", 120, break_on_hyphens=False)
    rows = [line for each in WORKS for line in summary_rows(documents.get(each.name), each.about)]
    return "\n".join(
        [*lead, "", "| what | here | beside it |", "|---|---|---|", *rows, *_others(documents), "", CLOSING]
    )


CLOSING = """\
What the rows of a step have in common at their beginning (a system prompt, also that of the model's template) is
computed once; that is part of the speed, and exact. A figure that is not here was not measured."""


def _machine(documents: Documents) -> str:
    document = documents.get("training") or next(iter(documents.values()), None)
    if document is None:
        return "on no machine yet"
    machine, rate = document["machine"], figure(document, "matrix products, this machine")
    speed = f", {rate:.0f} GFLOP/s of bf16 matrix products" if rate else ""
    python, torch = ".".join(machine["python"].split(".")[:2]), document["versions"]["torch"].partition("+")[0]
    words = f"{machine['cores']} cores ({machine['processor']}{speed}, {machine['memory_gib']} GiB, no GPU)"
    return f"on an idle machine with {words}, Python {python}, torch {torch}"


def summary_rows(document: Document | None, about: str) -> Iterator[str]:
    """Speed, losses and memory of one work, where it was measured."""
    speed = figure(document, "speed, ours")
    if document is None or speed is None:
        return
    measured = [rival for rival in RIVALS if figure(document, f"speed, {rival}") is not None]
    speeds = ", ".join(f"{rival} {beside(document, rival)}" for rival in measured)
    losses = ", ".join(f"{shown_percent(figure(document, _difference(rival)))} from {rival}'s" for rival in measured)
    memory = ", ".join(f"{rival} {shown(figure(document, f'peak memory, {rival}'), 'MiB')}" for rival in measured)
    yield f"| training SmolLM2-135M, {about}: tokens a second | {shown(speed)} | {speeds} |"
    yield f"| … largest difference of the first losses | – | {losses} |"
    yield f"| … peak memory | {shown(figure(document, 'peak memory, ours'), 'MiB')} | {memory} |"


def _others(documents: Documents) -> Iterator[str]:
    """Rows that stand beside nobody, and evaluation."""
    for what in ("scoring", "greedy answers"):
        ours, theirs = (figure(documents.get("evaluation"), f"{what}, {side}") for side in ("ours", "transformers"))
        if ours and theirs:
            beside_it = f"transformers {shown(theirs)} ({ours / theirs:.1f} times)"
            yield f"| {what}: tokens a second | {shown(ours)} | {beside_it} |"
    seconds = {
        "`tunesmith train` on 400 rows, start to saved adapter": ("job", "start to saved adapter"),
        "`tunesmith --help`": ("help", "tunesmith --help"),
        "`tunesmith data check` of 50,000 rows": ("check", "tunesmith data check, without a model"),
        "… with a model's tokens": ("check", "tunesmith data check, with a model's tokens"),
    }
    for what, (name, key) in seconds.items():
        value = figure(documents.get(name), key)
        if value is not None:
            yield f"| {what} | {shown(value, 's')} | |"
    packages = figure(documents.get("install"), "packages beside torch")
    size = figure(documents.get("install"), "megabytes beside torch")
    if packages and size:
        yield f"| a default installation beside torch | {packages:.0f} packages, {size:.0f} MB | |"
