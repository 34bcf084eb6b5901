"""``tunesmith data synth``: new rows from rows that are there."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.console import Console, JsonOption, session
from tunesmith.cli.data.request import ColumnOption, FormatOption, dataset_spec

if TYPE_CHECKING:
    from tunesmith.core.protocols import Sampler
    from tunesmith.core.records import Example
    from tunesmith.curate import Synthesis, SynthOptions

PAIRS = "pairs"


def synth(
    seeds: Annotated[str, typer.Argument(help="File with rows to start from; only its training rows are used.")],
    out: Annotated[Path, typer.Option("--out", help="File to write: .jsonl.")],
    model: Annotated[str, typer.Option("--model", help="Generator: model, run, or MODEL@http://host/v1.")] = "",
    method: Annotated[
        str, typer.Option("--method", help="new-questions, paraphrase, from-answers, or pairs (needs no generator).")
    ] = "new-questions",
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="Rows that are wanted.")] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another number gives other rows.")] = 0,
    shots: Annotated[int, typer.Option("--shots", min=0, max=20, help="Rows that the generator is shown.")] = 4,
    temperature: Annotated[float, typer.Option("--temperature", min=0, max=2, help="Of the generator.")] = 0.9,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer of the generator.")] = 512,
    schema: Annotated[Path | None, typer.Option("--schema", help="JSON Schema that answers follow.")] = None,
    price: Annotated[
        float | None, typer.Option("--price", min=0, help="Price of a million tokens, for the cost.")
    ] = None,
    currency: Annotated[str, typer.Option("--currency", help="Of the price.")] = "EUR",
    format: FormatOption = "auto",
    column: ColumnOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is already there.")] = False,
    json: JsonOption = False,
) -> None:
    """Make new rows: asked of a model, filtered, marked as synthetic. Exit code 1 when fewer come out than wanted."""
    with session(json) as console:
        from tunesmith import curate

        _refuse(out, method, model, force)
        spec = dataset_spec(seeds, format, column or [], "")
        given = _training_rows(tuple(curate.read(spec)))
        if method == PAIRS:
            _pairs(console, given, rows, seed, out)
            return
        options = curate.SynthOptions(
            method=method, rows=rows, seed=seed, shots=shots, temperature=temperature, max_tokens=max_tokens
        )
        made = _made(console, given, options, _generator(model, console), out, schema)
        curate.write_examples(made.rows, out, "chat")
        _tell(console, made, options, out, _cost(made, price, currency))
        if len(made.rows) < rows:
            raise typer.Exit(1)


def _refuse(out: Path, method: str, model: str, force: bool) -> None:
    from tunesmith.core.errors import ConfigError, InputError
    from tunesmith.core.registry import nearest
    from tunesmith.curate import METHODS

    known = [*METHODS, PAIRS]
    if method not in known:
        near = nearest(method, known)
        raise ConfigError(
            f"--method does not know {method!r}",
            where="--method",
            rule=f"methods are {', '.join(known)}",
            fix=f"did you mean {near[0]}?" if near else "leave it out: new-questions",
        )
    if method != PAIRS and not model:
        raise InputError(
            f"{method} needs a generator, and none was given",
            where="--model",
            rule="rows are made by a model of this machine, or by one behind an OpenAI-compatible endpoint",
            fix="--model smollm2-135m-instruct, or --model MODEL@http://host:8000/v1",
        )
    if out.suffix != ".jsonl":
        raise InputError(
            f"{out} is no .jsonl file",
            where="--out",
            rule="synthetic rows carry a mark, which only JSON lines hold",
            fix="give --out a name that ends in .jsonl",
        )
    if out.exists() and not force:
        raise InputError(
            "the file to write is already there",
            where=str(out),
            rule="nothing is replaced unasked",
            fix="give another name with --out, or replace it with --force",
        )


def _training_rows(given: tuple[Example, ...]) -> tuple[Example, ...]:
    """The seeds that would train: what is made from held-out rows would carry them into training."""
    from tunesmith.curate import Config, DatasetSpec, place_rows

    if any(example.split for example in given) or len(given) < 20:
        return given
    splits = place_rows(given, Config(datasets=(DatasetSpec(path="seeds"),)))
    return tuple(example for example, split in zip(given, splits, strict=True) if split == "train")


def _generator(model: str, console: Console) -> Sampler:
    from tunesmith import serve
    from tunesmith.core.store import Workspace

    if serve.is_remote(model):
        return serve.open_remote(model)
    [(_, sampler)] = serve.open_samplers([model], Workspace.open(), console.emit)
    return sampler


def _made(
    console: Console,
    seeds: tuple[Example, ...],
    options: SynthOptions,
    generator: Sampler,
    out: Path,
    schema: Path | None,
) -> Synthesis:
    from tunesmith import curate
    from tunesmith.core.errors import InputError

    wanted: Any = None
    if schema is not None:
        try:
            wanted = json_module.loads(schema.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"the JSON Schema cannot be read: {error}",
                where=str(schema),
                rule="--schema names a file with one JSON Schema",
                fix="correct the path or the file",
            ) from error
    journal = out.with_name(f"{out.name}.journal")
    return curate.synthesise(seeds, generator, options, journal, schema=wanted, emit=console.emit)


def _cost(made: Synthesis, price: float | None, currency: str) -> str:
    if price is None:
        return "not measured (no --price given)"
    tokens = made.prompt_tokens + made.completion_tokens
    return f"{tokens * price / 1e6:.4f} {currency} at {price:g} {currency} for a million tokens"


def _tell(console: Console, made: Synthesis, options: SynthOptions, out: Path, cost: str) -> None:
    from tunesmith.curate import REASONS

    console.print(f"{out}: {len(made.rows)} of {options.rows} rows, each marked as synthetic; they train, never judge")
    for reason, number in made.rejected.most_common():
        console.print(f"  not kept: {number} ({reason}: {REASONS[reason]})")
    used = f"{made.prompt_tokens:,} tokens read, {made.completion_tokens:,} written"
    console.print(f"asked {made.asked} times, {used}; cost {cost}")
    console.print(f"every answer: {out}.journal; run the same command to go on after a stop")
    console.print(f"next: tunesmith data check {out}")
    console.result(
        {
            "path": str(out),
            "rows": len(made.rows),
            "wanted": options.rows,
            "rejected": dict(made.rejected),
            "asked": made.asked,
            "prompt_tokens": made.prompt_tokens,
            "completion_tokens": made.completion_tokens,
            "seconds": made.seconds,
            "cost": cost,
        }
    )


def _pairs(console: Console, seeds: tuple[Example, ...], rows: int, seed: int, out: Path) -> None:
    from tunesmith import curate
    from tunesmith.core.store import write_lines

    made = curate.degraded_pairs(seeds, rows, seed)
    write_lines(out, (json_module.dumps(row, ensure_ascii=False) for row in made))
    console.print(f"{out}: {len(made)} of {rows} pairs: the wanted answer beside the same made worse in a known way")
    console.result({"path": str(out), "rows": len(made), "wanted": rows})
    if len(made) < rows:
        raise typer.Exit(1)
