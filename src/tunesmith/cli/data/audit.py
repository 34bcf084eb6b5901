"""``tunesmith data audit``: a random sample, read by two people, becomes an error rate with a bound."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import Console, JsonOption, session
from tunesmith.cli.data.request import ColumnOption, FormatOption, data_config, styled

if TYPE_CHECKING:
    from tunesmith.core.records import Example
    from tunesmith.curate import AuditResult, Sample

FilesArgument = Annotated[list[str], typer.Argument(help="Data files; with --result, journals and saved decisions.")]
SizeOption = Annotated[int, typer.Option("--n", min=1, help="How many rows to draw; 0 of 300 wrong: at most 1 %.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Another number draws another sample.")]
ReviewerOption = Annotated[str, typer.Option("--reviewer", help="Your name: review at the terminal, one key a row.")]
JournalOption = Annotated[Path | None, typer.Option("--journal", help="Where decisions go; else NAME.audit.jsonl.")]
ResultOption = Annotated[bool, typer.Option("--result", help="Compute the error rate from these journals.")]
LimitOption = Annotated[
    float | None, typer.Option("--max-error-rate", min=0.0, max=1.0, help="Exit code 1 when the bound is above this.")
]
KEYS: Mapping[str, str] = {"g": "good", "b": "bad", "u": "unclear"}


def audit(
    files: FilesArgument,
    n: SizeOption = 300,
    seed: SeedOption = 0,
    reviewer: ReviewerOption = "",
    journal: JournalOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="The page to write; else NAME.audit.html.")] = None,
    result: ResultOption = False,
    max_error_rate: LimitOption = None,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    json: JsonOption = False,
) -> None:
    """Draw a sample for review: a page to read in a browser, or with --reviewer at this terminal."""
    with session(json) as console:
        if result:
            _result(console, [Path(file) for file in files], max_error_rate)
            return
        _refuse_limit(max_error_rate)
        sample, rows = _sample(console, files, format, column or [], n, seed)
        if reviewer:
            _review(console, sample, rows, reviewer, journal or _beside(files, "jsonl"))
        else:
            _page(console, sample, rows, out or _beside(files, "html"))


def _beside(files: Sequence[str], suffix: str) -> Path:
    from tunesmith.curate import stem_of

    first = Path(files[0])
    return first.with_name(f"{stem_of(first)}.audit.{suffix}")


def _refuse_limit(limit: float | None) -> None:
    from tunesmith.core.errors import InputError

    if limit is not None:
        raise InputError(
            "--max-error-rate needs a result",
            where="--max-error-rate",
            rule="a bound is compared after rows were read",
            fix="give it together with --result",
        )


def _sample(
    console: Console, files: Sequence[str], format: str, columns: Sequence[str], n: int, seed: int
) -> tuple[Sample, dict[int, Example]]:
    from tunesmith import curate

    config = data_config(files, format, columns)
    return curate.draw_rows(config, n, seed, console.emit)


def _page(console: Console, sample: Sample, rows: Mapping[int, Example], out: Path) -> None:
    from tunesmith.core.store import write_text
    from tunesmith.curate import audit_page

    write_text(out, audit_page(sample, [(number, rows[number]) for number in sample.numbers]))
    console.print(f"{len(sample.numbers):,} of {sample.rows:,} rows, sample {sample.id} (seed {sample.seed})")
    console.print(f"open {out} in a browser; each reviewer saves a file of decisions, then:")
    console.print("tunesmith data audit --result decisions-….json decisions-….json")
    console.result({"sample": sample.id, "rows": sample.rows, "drawn": len(sample.numbers), "page": str(out)})


def _review(console: Console, sample: Sample, rows: Mapping[int, Example], reviewer: str, journal: Path) -> None:
    """Row after row, one key each; what was decided is on the disk at once, and is not asked again."""
    from tunesmith import curate
    from tunesmith.curate import AuditDecision

    curate.begin_audit(journal, sample)
    waiting = curate.undecided(sample, curate.read_journal(journal)[1], reviewer)
    total, position = len(sample.numbers), 0
    while position < len(waiting):
        number = waiting[position]
        example = rows[number]
        done = total - len(waiting) + position
        console.print("", styled(f"row {done + 1} of {total}  {example.source}  id {example.id}", "bold"))
        for who, what in curate.audit_texts(example):
            console.print(styled(f"{who}:", "dim"), f"  {what.replace(chr(10), chr(10) + '  ')}")
        key = _key(console)
        if key == "q":
            break
        if key == "z":
            position = max(position - 1, 0)
            continue
        mark = AuditDecision.model_validate(
            {"sample": sample.id, "row": number, "id": example.id, "reviewer": reviewer, "mark": KEYS[key]}
        )
        curate.decide_row(journal, mark)
        position += 1
    console.print("", f"{total - len(waiting) + position} of {total} rows decided by {reviewer}, in {journal}")
    console.print(f"the error rate: tunesmith data audit --result {journal}")
    decided = total - len(waiting) + position
    console.result({"sample": sample.id, "drawn": total, "decided": decided, "journal": str(journal)})


def _key(console: Console) -> str:
    """One of g, b, u, z, q; a terminal needs no Return."""
    console.print("[g]ood [b]ad [u]nclear [z] back [q]uit")
    while True:
        try:
            key = typer.getchar() if sys.stdin.isatty() else input().strip()
        except EOFError:
            return "q"
        if (key := key.lower()[:1]) in (*KEYS, "z", "q"):
            return key


def _result(console: Console, journals: Sequence[Path], limit: float | None) -> None:
    from tunesmith import curate

    found = curate.audit_result(*curate.gather(journals))
    console.print(*_told(found))
    above = limit is not None and (found.high is None or found.high > limit)
    if above:
        high = "not measured" if found.high is None else f"{found.high:.2%}"
        console.print(styled(f"above the limit: at most {limit:.2%} is wanted, the bound is {high}", "bold red"))
    console.result({"ok": not above, **found.model_dump(mode="json")})
    if above:
        raise typer.Exit(1)


def _told(found: AuditResult) -> list[str]:
    lines = [found.sentence, ""]
    lines.append(f"sample {found.sample}: {found.read:,} of {found.wanted:,} rows read, {found.rows:,} in the data")
    if found.rate is not None:
        lines.append(f"error rate {found.rate:.2%}; 95 % bounds, one-sided each: {found.low:.2%} and {found.high:.2%}")
        lines.append(f"wrong: {found.wrong:,} (by all who read it: {found.wrong_by_all:,}; unclear: {found.unclear:,})")
    for pair in found.agreements:
        value = "not defined: one mark throughout" if pair.kappa is None else f"{pair.kappa:.2f}"
        lines.append(f"{' and '.join(pair.reviewers)}: equal on {pair.equal:,} of {pair.rows:,} rows, kappa {value}")
    return lines
