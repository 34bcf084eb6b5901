"""``tunesmith data``: look at examples before they are trained on.

``check`` says what is wrong with them, ``show`` what the model will see of them and which of it is trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from tunesmith.cli.console import Console, JsonOption, SetOption, session

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from tunesmith.core.artifacts import Check
    from tunesmith.core.protocols import Renderer
    from tunesmith.core.records import Example, Finding, TokenizedExample
    from tunesmith.curate import Config, DatasetSpec, Examination

app = typer.Typer(no_args_is_help=True, help="Check data files, and look at their rows token by token.")

LISTED = 5
"""How many findings of each check are listed for people; the JSON document has all."""

OPEN, CLOSE, LINE_BREAK = "⟦", "⟧", "⏎"
"""Around what is trained, and for a line break: marks that survive without colour."""

_CONFIG_SUFFIXES = (".yaml", ".yml")

FilesArgument = Annotated[list[str], typer.Argument(help="Data files, or one config file (.yaml).")]
FormatOption = Annotated[str, typer.Option("--format", help="auto, chat, sharegpt, alpaca, prompt-completion or text.")]
ColumnOption = Annotated[
    list[str] | None, typer.Option("--column", help="Our field=your column, e.g. prompt=question; may be repeated.")
]
ModelOption = Annotated[str, typer.Option("--model", help="Model whose chat template and tokens are used.")]


class Piece(Protocol):
    """Text of a token and whether it is trained."""

    @property
    def text(self) -> str:
        """What the token says."""
        ...

    @property
    def trained(self) -> bool:
        """Whether it takes part in the loss."""
        ...


@dataclass(frozen=True)
class Request:
    """What the command line asked for: files and how to read them, and the model's view of them if there is one."""

    config: Config
    renderer: Any
    """A ``Renderer`` that also has ``pieces(row)``; None without a model."""
    max_length: int | None
    is_config: bool
    context: int | None = None


@app.command()
def check(
    files: FilesArgument,
    model: ModelOption = "",
    max_length: Annotated[int | None, typer.Option("--max-length", min=1, help="Longest row in tokens.")] = None,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    set: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Say what is wrong with the examples. Exit code 1 when an error stands, 2 when rows cannot be read."""
    with session(json) as console:
        from tunesmith import curate

        asked = _request(console, files, model, max_length, format, column or [], set or [])
        found = curate.examine(asked.config, asked.renderer, asked.max_length, console.emit, asked.context)
        findings = [*found.findings, *([] if found.unreadable else _too_few_rows(found, asked))]
        errors = sum(finding.severity == "error" for finding in findings)
        console.print(*_report(found, findings, asked))
        console.result(_document(found, findings, ok=not errors and not found.unreadable))
        if found.unreadable:
            raise typer.Exit(max(console.fail(error) for error in found.unreadable))
        if errors:
            raise typer.Exit(1)


@app.command()
def show(
    files: FilesArgument,
    model: ModelOption = "",
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows of each file.")] = 3,
    line: Annotated[int | None, typer.Option("--line", min=1, help="Only the row on this line of the file.")] = None,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    set: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Show rows token by token, with what is trained marked."""
    with session(json) as console:
        from tunesmith import curate
        from tunesmith.core.errors import InputError

        asked = _request(console, files, model, None, format, column or [], set or [])
        shown: list[dict[str, object]] = []
        for spec in asked.config.datasets:
            wanted = (e for e in curate.read(spec) if line is None or e.source.line == line)
            for example in islice(wanted, rows):
                shown += show_row(console, example, asked.renderer)
        if not shown:
            raise InputError(
                f"no row begins on line {line}",
                where=", ".join(files),
                rule="--line is the line a row begins on (the row number in CSV and Parquet files)",
                fix="leave --line out to see the first rows",
            )
        console.print(*_legend(asked.renderer is not None))
        console.result({"rows": shown})


# ---------------------------------------------------------------- what was asked for


def _request(
    console: Console,
    files: Sequence[str],
    model: str,
    max_length: int | None,
    format: str,
    columns: Sequence[str],
    overrides: Sequence[str],
) -> Request:
    from tunesmith.core.errors import InputError

    configs = [file for file in files if Path(file).suffix.lower() in _CONFIG_SUFFIXES]
    if not configs:
        if overrides:
            raise InputError(
                "--set changes a config file, and none was given",
                where="--set",
                rule="data files have no configuration",
                fix="give the config file, or use --format, --column and --max-length",
            )
        renderer = _renderer(model, console) if model else None
        return Request(_config_of(files, format, columns), renderer, max_length, is_config=False)
    if len(files) > 1 or format != "auto" or columns or model:
        raise InputError(
            "a config file says everything itself",
            where=configs[0],
            rule="give data files with options, or one config file alone",
            fix="change the config file, or use --set key=value",
        )
    from tunesmith import lifecycle

    config, renderer, length, context = lifecycle.data_of(Path(configs[0]), overrides, emit=console.emit)
    return Request(config, renderer, max_length or length, is_config=True, context=context)


def _renderer(model: str, console: Console) -> Renderer:
    from tunesmith import lifecycle

    return lifecycle.renderer_for(model, emit=console.emit)


def _config_of(files: Sequence[str], format: str, columns: Sequence[str]) -> Config:
    """The configuration that reads plain files."""
    from pydantic import ValidationError

    from tunesmith.core.errors import ConfigError
    from tunesmith.curate import Config

    wrong = next((column for column in columns if "=" not in column), None)
    if wrong is not None:
        raise ConfigError(
            f"--column {wrong} has no equals sign",
            where="--column",
            rule="a column is given as our field=your column",
            fix="for example --column prompt=question --column completion=answer",
        )
    shared = {"format": format, "columns": dict(column.split("=", 1) for column in columns)}
    try:
        return Config.model_validate({"datasets": [{"path": file, **shared} for file in files]})
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            raise ConfigError(cause.what, where="--column", rule=cause.rule, fix=cause.fix) from None
        raise ConfigError(
            f"--format does not know {first['input']!r}",
            where="--format",
            rule=first["msg"],
            fix="use one of the names that the rule lists",
        ) from None


def dataset_spec(file: str, format: str, columns: Sequence[str], system: str) -> DatasetSpec:
    """How one file is to be read, from the options of the command line."""
    return _config_of([file], format, columns).datasets[0].model_copy(update={"system": system})


# ---------------------------------------------------------------- check


def _too_few_rows(found: Examination, asked: Request) -> Iterator[Finding]:
    """A split that would get no row: an error for a configuration, worth knowing for plain files."""
    from tunesmith.core.errors import DataError
    from tunesmith.core.records import Finding
    from tunesmith.curate import must_have_rows

    try:
        must_have_rows(found.kept, asked.config)
    except DataError as error:
        severity = "error" if asked.is_config else "info"
        yield Finding(check="split", severity=severity, message=error.what, fix=error.fix)  # type: ignore[arg-type]


def _document(found: Examination, findings: Sequence[Finding], *, ok: bool) -> dict[str, object]:
    error = {"error": found.unreadable[0].as_dict()} if found.unreadable else {}
    return {
        "ok": ok,
        **error,
        "rows": len(found.examples),
        "files": [
            {"path": path, "format": found.formats[path], "sha256": digest} for path, digest in found.sources.items()
        ],
        "splits": _splits(found),
        "tokens": found.inspection.tokens,
        "checks": list(found.inspection.checks),
        "findings": list(findings),
        "unreadable": [error.as_dict() for error in found.unreadable],
    }


def _splits(found: Examination) -> dict[str, int]:
    counts = Counter(str(example.split) for example in found.kept)
    return {name: counts[name] for name in ("train", "validation", "test")}


def _report(found: Examination, findings: Sequence[Finding], asked: Request) -> Iterator[RenderableType]:
    """Everything that people read, top to bottom."""
    for spec, rows in zip(asked.config.datasets, found.rows, strict=True):
        path, format = spec.path, found.formats[spec.path]
        yield f"{path}: {rows:,} rows, format {format}"
    if found.inspection.tokens:
        tokens = found.inspection.tokens
        share = f"{tokens.trained:,} of {tokens.total:,} trained ({tokens.trained / tokens.total:.0%})"
        yield f"tokens: {share}; a row has {tokens.median} (median), at most {tokens.longest}"
    yield "split: " + ", ".join(f"{n:,} {name}" for name, n in _splits(found).items())
    yield ""
    yield _table(found.inspection.checks)
    for group in _groups(findings):
        yield ""
        yield from _listed(group)
    yield ""
    yield _verdict(found, findings)


def _table(checks: Sequence[Check]) -> RenderableType:
    from rich.table import Table

    words = {True: "ok", False: "ERROR", None: "–"}
    styles = {True: "green", False: "bold red", None: "yellow"}
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        warned = check.passed and "warning" in check.detail
        mark = _styled("warning" if warned else words[check.passed], "yellow" if warned else styles[check.passed])
        table.add_row(mark, check.name, check.detail)
    return table


def _styled(text: str, style: str) -> Text:
    from rich.text import Text

    from tunesmith.cli.failures import clean

    return Text(clean(text), style=style)


def _groups(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """The findings of each check and severity, errors first."""
    for severity in ("error", "warning", "info"):
        of_severity = sorted((f for f in findings if f.severity == severity), key=lambda f: f.check)
        for _, group in groupby(of_severity, lambda f: f.check):
            yield list(group)


def _listed(findings: Sequence[Finding]) -> Iterator[RenderableType]:
    styles = {"error": "bold red", "warning": "yellow", "info": "cyan"}
    yield _styled(f"{findings[0].check} ({findings[0].severity})", styles[findings[0].severity])
    for finding in findings[:LISTED]:
        source = finding.source if finding.source.line else finding.source.path
        where = f"{source}: " if finding.source.path else ""
        yield f"  {where}{finding.message}"
    if len(findings) > LISTED:
        yield f"  … and {len(findings) - LISTED:,} more (--json lists all)"
    for fix in dict.fromkeys(finding.fix for finding in findings[:LISTED] if finding.fix):
        yield f"  fix: {fix}"


def _verdict(found: Examination, findings: Sequence[Finding]) -> Text:
    counts = Counter(finding.severity for finding in findings)
    skipped = sum(check.passed is None for check in found.inspection.checks)
    more = f"; {skipped} checks did not run" if skipped else ""
    if found.unreadable:
        return _styled(f"rows that cannot be read: {len(found.unreadable)}; correct them first", "bold red")
    if counts["error"]:
        return _styled(f"errors: {counts['error']}, warnings: {counts['warning']}{more}", "bold red")
    return _styled(f"no errors, warnings: {counts['warning']}{more}", "bold green")


# ---------------------------------------------------------------- show


def show_row(console: Console, example: Example, renderer: Any) -> list[dict[str, object]]:
    """Print a row and return its JSON form; a template that rewrites history makes several of one."""
    content = {"text": example.target.text} if example.is_document else {"messages": list(example.conversation)}
    plain: dict[str, object] = {"source": str(example.source), "id": example.id, **content}
    if renderer is None:
        console.print(_styled(f"{example.source}  id {example.id}", "bold"))
        console.print(*turns(example), "")
        return [{**plain, "tokens": None}]
    parts: list[dict[str, object]] = []
    rendered: Sequence[TokenizedExample] = renderer.example(example)
    for number, row in enumerate(rendered, start=1):
        part = f"  part {number} of {len(rendered)}" if len(rendered) > 1 else ""
        title = f"{example.source}  id {example.id}{part}  {row.trained_tokens} of {len(row.tokens)} tokens trained"
        pieces = renderer.pieces(row)
        console.print(_styled(title, "bold"), marked(pieces), "")
        parts.append({**plain, "tokens": [{"text": piece.text, "trained": piece.trained} for piece in pieces]})
    return parts


def marked(pieces: Sequence[Piece]) -> Text:
    """A rendered row: tokens parted by ``│``, what is trained in brackets and in colour."""
    from rich.text import Text

    from tunesmith.cli.failures import clean

    text = Text()
    for trained, run in groupby(pieces, lambda piece: piece.trained):
        style = "bold green" if trained else ""
        text.append(OPEN if trained else "", style="bold")
        for i, piece in enumerate(run):
            text.append("│" if i else "", style="dim")
            text.append(clean(piece.text.replace("\t", "\\t")).replace("\n", f"{LINE_BREAK}\n"), style=style)
        text.append(CLOSE if trained else "", style="bold")
    return text


def turns(example: Example) -> Iterator[RenderableType]:
    """A row as its turns, with what is trained in brackets: for when there is no model to make tokens."""
    if example.is_document:
        yield _styled(OPEN + example.target.text.replace("\n", f"{LINE_BREAK}\n  ") + CLOSE, "bold green")
    for message in example.conversation:
        calls = "".join(f"{call.name}({call.arguments})" for call in message.tool_calls)
        trained = message.role == "assistant" and message.weight != 0
        body = (message.text + calls).replace("\n", f"{LINE_BREAK}\n  ")
        yield _styled(f"{message.role}:", "dim")
        yield _styled(f"  {OPEN}{body}{CLOSE}" if trained else f"  {body}", "bold green" if trained else "")


def _legend(tokens: bool) -> list[str]:
    what = f"{OPEN}…{CLOSE} is trained"
    if tokens:
        return [f"{what}, all else is context; │ parts tokens, {LINE_BREAK} is a line break"]
    return [f"{what}, all else is context; not shown: tokens (no model given: --model)"]
